# Ultralytics DiffAttn - AGPL-3.0 License
"""What attention is worth to a trained detector: mAP50-95 with parts of it silenced.

`python scripts/attention_worth.py model=yolo11n.pt data=coco.yaml sizes=320,640,1280`: nothing is trained again. It
takes any detector whose attention is ultralytics' `Attention`, as in YOLO11 and YOLO26.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from ultralytics import YOLO
from ultralytics.nn.modules.block import Attention

from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.evaluation.box_map import box_map
from ultralytics_diffattn.output.markdown import table
from ultralytics_diffattn.verbs.arguments import listed, parse

OWN = {"model": "", "data": "", "sizes": (320, 640, 1280)}


def _norm(attention: Attention, conv: str) -> Iterator[Tensor]:
    """Yield gain and bias of the norm behind a convolution, whose channels are silent where both are zero."""
    norm = getattr(attention, conv).bn
    yield from (norm.weight, norm.bias)


def leave_out(attention: Attention) -> None:
    """Silence the whole branch: the block's residual stays."""
    for tensor in _norm(attention, "proj"):
        tensor.zero_()


def leave_out_positions(attention: Attention) -> None:
    """Silence the positional encoding, a depthwise convolution of the values."""
    for tensor in _norm(attention, "pe"):
        tensor.zero_()


def make_uniform(attention: Attention) -> None:
    """Silence the queries: all logits are then zero, and each position takes the mean of all values."""
    for tensor in _norm(attention, "qkv"):
        tensor.view(attention.num_heads, -1)[:, : attention.key_dim].zero_()  # (heads, q, k and v)


ROWS: dict[str, Callable[[Attention], None]] = {
    "as trained": lambda attention: None,
    "without the branch": leave_out,
    "uniform attention": make_uniform,
    "without positional encoding": leave_out_positions,
}


def main(words: list[str]) -> None:
    """Print a row for each change and a column for each size."""
    arguments = {**OWN, **parse(words, OWN)}
    if not arguments["model"] or not arguments["data"]:
        raise UserError("give model=yolo11n.pt data=coco.yaml")
    sizes = [int(size) for size in listed(arguments["sizes"])]
    trained = YOLO(arguments["model"])
    if not any(isinstance(m, Attention) for m in trained.model.modules()):
        raise UserError(f"{arguments['model']} has no attention of ultralytics' `Attention`.")
    rows = []
    for name, change in ROWS.items():
        cells = []
        for size in sizes:
            yolo = copy.deepcopy(trained)  # validation fuses it
            with torch.no_grad():
                for module in yolo.model.modules():
                    if isinstance(module, Attention):
                        change(module)
            cells.append(f"{box_map(yolo, arguments['data'], size):.3f}")
        rows.append([name, *cells])
    print("\n".join(table(["", *(f"{size} px" for size in sizes)], rows)))


if __name__ == "__main__":
    main(sys.argv[1:])
