# Ultralytics DiffAttn - AGPL-3.0 License
"""Retrieval by the attention block alone: each token is to say which code the one marked token of its map carries.

Every token carries one of 16 codes, a part of the mark below 0.8, and noise; one token carries the whole mark. What is
read must come through attention, and what it spreads over the other tokens is noise to it: the claim of differential
attention, that two maps subtracted cancel such noise, is tested here without a detector around it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from ultralytics.nn.modules.block import Attention, PSABlock

from ultralytics_diffattn.benchmark import retrieval_controls as controls
from ultralytics_diffattn.nn.blocks import Attention_Diff
from ultralytics_diffattn.nn.paired import PairedAttention_Diff
from ultralytics_diffattn.nn.token import TokenAttention_Diff

DIM, HEADS = 64, 2
CODES = 16
MARK = 12.0  # length of the mark's vector; that of a code is 8
PARTIAL = 0.8  # the most that another token has of the mark
TRAINED = 100  # tokens of a map
BATCH = 16
LEARNING_RATE = 3e-3  # the highest of a cycle


VARIANTS: dict[str, Callable[[int, int], nn.Module]] = {
    "stock": Attention,
    "paired, λ_init 0": PairedAttention_Diff,
    "paired, λ_init 0.5": partial(PairedAttention_Diff, lambda_init=0.5),
    "split, λ_init 0.2": partial(Attention_Diff, lambda_init=0.2),
    "split, λ_init 0.8": partial(Attention_Diff, lambda_init=0.8),
    "token, λ_init 0.2": partial(TokenAttention_Diff, lambda_init=0.2),
    "token, λ_init 0.8": partial(TokenAttention_Diff, lambda_init=0.8),
    "control: two maps added": controls.added_maps,
    "control: stock with a gate": controls.GatedAttention,
    "candidate: split without norm": controls.SplitWithoutNorm,
    "candidate: λ by token": controls.LambdaByToken,
    "candidate: rows sum to 1": controls.RenormalizedRows,
    "candidate: λ annealed to 0.5": controls.AnnealedLambda,
}


class Read(NamedTuple):
    """How well one trained block reads.

    Attributes:
        variant (str): One of `VARIANTS`.
        noise (float): Standard deviation of the noise in each channel, where codes have 1.
        seed (int): Of the task, of the maps and of the weights.
        tokens (int): Of the maps that it reads.
        accuracy (float): Share of tokens that say the right code, over fresh maps.
    """

    variant: str
    noise: float
    seed: int
    tokens: int
    accuracy: float


class Task:
    """Codes, mark and maps of one seed: each variant gets the same.

    Args:
        seed (int): Any.
        noise (float): Standard deviation of the noise in each channel.
    """

    def __init__(self, seed: int, noise: float):
        """Draw the vectors of the codes and of the mark."""
        self.generator = torch.Generator().manual_seed(seed)
        self.noise = noise
        vectors = F.normalize(torch.randn(CODES + 1, DIM, generator=self.generator), dim=1)
        self.codes, self.mark = vectors[:-1] * DIM**0.5, vectors[-1] * MARK

    def maps(self, count: int, tokens: int) -> tuple[Tensor, Tensor]:
        """Return maps, (count, DIM, side, side), and the code of the marked token of each, (count,)."""
        g, side = self.generator, int(tokens**0.5)
        codes = torch.randint(CODES, (count, tokens), generator=g)
        strengths = PARTIAL * torch.rand(count, tokens, generator=g)
        marked = torch.randint(tokens, (count, 1), generator=g)
        strengths.scatter_(1, marked, 1.0)
        x = self.codes[codes] + strengths[..., None] * self.mark  # (count, tokens, DIM)
        x += self.noise * torch.randn(x.shape, generator=g)
        return x.transpose(1, 2).reshape(count, DIM, side, side), codes.gather(1, marked)[:, 0]


def read(variant: str, noise: float, seed: int, tokens: Sequence[int], steps: int, maps: int) -> list[Read]:
    """Train a block on maps of `TRAINED` tokens, and let it read others.

    Args:
        variant (str): One of `VARIANTS`.
        noise (float): Standard deviation of the noise in each channel.
        seed (int): Of the task, of the maps and of the weights.
        tokens (Sequence[int]): Square numbers: sizes of the maps that it is to read.
        steps (int): Of the training.
        maps (int): Number of fresh maps of each size, a multiple of `BATCH`.

    Returns:
        (list[Read]): One for each size.

    Examples:
        >>> [r.tokens for r in read("stock", 0.5, seed=0, tokens=(9, 16), steps=2, maps=16)]
        [9, 16]
    """
    torch.manual_seed(seed)
    block = PSABlock(DIM, num_heads=HEADS)
    block.add_module("attn", VARIANTS[variant](DIM, HEADS))
    model = nn.Sequential(block, nn.Conv2d(DIM, CODES, 1))
    task = Task(seed, noise)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for _ in range(steps):
        x, code = task.maps(BATCH, TRAINED)
        logits = model(x)  # (BATCH, CODES, side, side)
        loss = F.cross_entropy(logits, code[:, None, None].expand(-1, *logits.shape[2:]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()
    return [Read(variant, noise, seed, size, _accuracy(model, task, size, maps)) for size in tokens]


@torch.no_grad()
def _accuracy(model: nn.Module, task: Task, tokens: int, maps: int) -> float:
    """Return the share of tokens that say the right code."""
    right = 0.0
    count = min(max(BATCH * TRAINED // tokens, 1), maps)  # attention maps of a batch are to fit into a cache
    for _ in range(maps // count):
        x, code = task.maps(count, tokens)
        right += float((model(x).argmax(1) == code[:, None, None]).float().mean())
    return right / (maps // count)
