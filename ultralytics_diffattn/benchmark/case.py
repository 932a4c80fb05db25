# Ultralytics DiffAttn - AGPL-3.0 License
"""A case of the benchmark: callables without arguments that compute the same, all setup done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Case = dict[str, Callable[[], Any]]


def random_tensor(*shape: int) -> Tensor:
    """Return normal numbers of a shape, float32 on the CPU, the same ones each time.

    Examples:
        >>> bool((random_tensor(3) == random_tensor(3)).all())
        True
    """
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def runner(
    forward: Callable[[], Any], leaves: Sequence[Tensor] = (), shape: Sequence[int] = ()
) -> Callable[[], list[Any]]:
    """Return a callable that runs `forward` in inference mode, or forward and backward.

    Args:
        forward (Callable): Returns the output.
        leaves (Sequence[torch.Tensor]): Tensors whose gradients are computed; none for inference.
        shape (Sequence[int]): Shape of the output; only needed with leaves, since running it might take 10 GB.

    Returns:
        (Callable): Returns a list of the output and the gradients.
    """

    def infer() -> list[Any]:
        with torch.inference_mode():
            return [forward()]

    if not leaves:
        return infer
    gradient = random_tensor(*shape).to(leaves[0])  # of the output

    def differentiate() -> list[Any]:
        y = forward()
        # Unlike `backward` it adds to nothing, so that no turn leaves anything to the next.
        return [y.detach(), *torch.autograd.grad(y, leaves, gradient, allow_unused=True)]

    return differentiate
