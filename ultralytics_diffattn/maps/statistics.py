# Ultralytics DiffAttn - AGPL-3.0 License
"""Where the mass of an attention map lies, and how spread out it is."""

from __future__ import annotations

import math

import torch
from torch import Tensor

STATISTICS = "inside", "entropy", "sparsity"


def map_statistics(maps: Tensor, cover: Tensor) -> Tensor:
    """Return the share of a map's mass inside a box, the map's entropy and its sparsity.

    Args:
        maps (Tensor): (..., h, w); negative weights count with their absolute value.
        cover (Tensor): (..., h, w) or broadcastable to it: the share of each cell that lies inside the box.

    Returns:
        (Tensor): (..., 3), each 0 to 1, in the order of `STATISTICS`. Entropy is 1 for a uniform map and 0 for a single
            token, sparsity the reverse.

    Examples:
        >>> map_statistics(torch.full((2, 2), 0.25), torch.tensor([[1.0, 0.0], [0.0, 0.0]])).tolist()
        [0.25, 1.0, 0.0]

    References:
        Share of mass by relevance: Differential Transformer, arXiv:2410.05258, section 3.3. Entropy over its maximum,
        the logarithm of the number of tokens. Sparsity: Hoyer, "Non-negative matrix factorization with sparseness
        constraints", JMLR 5 (2004), section 3.1.
    """
    n = maps.shape[-1] * maps.shape[-2]
    mass = maps.abs()
    share = mass / mass.sum((-2, -1), keepdim=True).clamp_min(torch.finfo(mass.dtype).tiny)
    inside = (share * cover).sum((-2, -1))
    if n == 1:
        return torch.stack([inside, torch.zeros_like(inside), torch.ones_like(inside)], -1)
    entropy = torch.special.entr(share).sum((-2, -1)) / math.log(n)
    norm = share.square().sum((-2, -1)).sqrt().clamp_min(torch.finfo(mass.dtype).tiny)
    return torch.stack([inside, entropy, (math.sqrt(n) - 1 / norm) / (math.sqrt(n) - 1)], -1)
