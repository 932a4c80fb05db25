# Ultralytics DiffAttn - AGPL-3.0 License
"""What weight decay does to lambda over a long run: the table of docs/models.md.

`python scripts/lambda_decay.py`: a `paired` attention learns, with SGD as ultralytics', what another with lambda 0.4
gives; with the decay of all other weights on lambda, and with none. steps=8000 and seeds=0,1,2 are the defaults.
"""

from __future__ import annotations

import sys

import torch
import torch.nn.functional as F
from torch import Tensor

from ultralytics_diffattn.nn.paired import PairedAttention_Diff
from ultralytics_diffattn.verbs.arguments import listed, parse

OWN = {"steps": 8000, "seeds": (0, 1, 2)}
DECAY = 5e-4  # ultralytics' default
NOISE = 0.3  # on what is to be learned


def attention(lam: float) -> PairedAttention_Diff:
    """Return an attention of 32 channels and one head, in training mode."""
    module = PairedAttention_Diff(32, num_heads=1)
    with torch.no_grad():
        module.lam.fill_(lam)
    return module


def learn(seed: int, steps: int, start: float, decay: float) -> float:
    """Return the lambda at the end of a training."""
    torch.manual_seed(seed)
    teacher = attention(0.4)
    with torch.no_grad():
        for name, parameter in teacher.named_parameters():
            if "conv.weight" in name:
                parameter.normal_(0, 0.3)
    module = attention(start)
    others = [p for name, p in module.named_parameters() if name != "lam"]
    groups = [{"params": [module.lam], "weight_decay": decay}, {"params": others, "weight_decay": DECAY}]
    optimizer = torch.optim.SGD(groups, lr=0.01, momentum=0.937, nesterov=True)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, steps)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        x = torch.randn(4, 32, 4, 4, generator=generator)
        with torch.no_grad():
            y: Tensor = teacher(x) + NOISE * torch.randn(x.shape, generator=generator)
        loss = F.mse_loss(module(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return float(module.lam.detach())


def main(words: list[str]) -> None:
    """Print a row for each start of lambda and each decay."""
    arguments = {**OWN, **parse(words, OWN)}
    seeds, steps = [int(seed) for seed in listed(arguments["seeds"])], int(arguments["steps"])
    torch.set_num_threads(1)
    print(
        f"| λ starts at | its decay | {' | '.join(f'seed {seed}' for seed in seeds)} |\n|---|---|{'---|' * len(seeds)}"
    )
    for start in (0.0, 0.5):
        for decay in (0.0, DECAY):
            ends = [learn(seed, steps, start, decay) for seed in seeds]
            print(f"| {start:g} | {decay:g} | {' | '.join(f'{end:.3f}' for end in ends)} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
