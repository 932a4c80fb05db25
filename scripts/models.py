# Ultralytics DiffAttn - AGPL-3.0 License
"""Print every model of `cfg/` beside stock's as a Markdown table: `python scripts/models.py [part of a name]`.

Parameters and GFLOPs are ultralytics' own (`model.info()`, 640 px, 224 px for cls); it counts layers, not the products
inside attention, so a column has PyTorch's count of all operators (FlopCounterMode). Transferred are the stock tensors
that `YOLO(yaml).load(stock checkpoint)` loads. The large scales take minutes.
"""

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode
from ultralytics import RTDETR, YOLO
from ultralytics.nn.tasks import yaml_model_load
from ultralytics.utils import LOGGER
from ultralytics.utils.torch_utils import get_flops, get_num_params

from ultralytics_diffattn.bundled import path as bundled_path

HEADER = """| model | params | added | GFLOPs (stock) | with the products of attention (stock) | transferred |
|---|---|---|---|---|---|"""


def stock_of(name: str) -> str:
    """Return the name of the stock model that one of ours is compared with."""
    return re.sub(r"-diffattn|-token|-paired|-p4", "", name)


def scaled(file: Path) -> list[str]:
    """Return the names of a YAML's model at each scale."""
    scales = yaml_model_load(file).get("scales") or {}
    letters = [s for s in scales if len(scales) > 1] or [""]  # rtdetr-l has its scale in its name
    return [re.sub(r"^(yolo(?:e-)?\d+)", rf"\g<1>{letter}", file.name) for letter in letters]


def counted_gflops(model: torch.nn.Module, size: int) -> float:
    """Return the GFLOPs of a whole model, products of attention included."""
    x = torch.zeros(1, 3, size, size)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.eval()(x)
    return counter.get_total_flops() / 1e9


def compare(name: str, stock_name: str) -> dict[str, Any]:
    """Build a model and its stock counterpart, load the stock checkpoint into ours, and count.

    Args:
        name (str): One of our YAMLs with a scale, e.g. `yolo11n-diffattn.yaml`.
        stock_name (str): Stock's YAML, e.g. `yolo11n.yaml`.

    Returns:
        (dict): `params`, `flops`, `counted` as pairs (ours, stock's), and `transferred`, `tensors`.
    """
    ours, stock = (RTDETR(n) if "rtdetr" in n else YOLO(n) for n in (name, stock_name))
    size = 224 if ours.task == "classify" else 640
    counts = {
        "params": tuple(get_num_params(m.model) for m in (ours, stock)),
        "flops": tuple(get_flops(m.model, size) for m in (ours, stock)),
        "counted": tuple(counted_gflops(m.model, size) for m in (ours, stock)),
    }
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "stock.pt"
        for p in stock.model.parameters():
            torch.nn.init.normal_(p)  # so that an untouched tensor cannot pass for a transferred one
        stock.model.half().float()  # checkpoints hold float16
        stock.save(checkpoint)
        ours.load(checkpoint)
    a, b = ours.model.state_dict(), stock.model.state_dict()
    transferred = sum(n in a and a[n].shape == v.shape and torch.equal(a[n], v) for n, v in b.items())
    return {**counts, "transferred": transferred, "tensors": len(b)}


if __name__ == "__main__":
    LOGGER.setLevel("ERROR")
    print(HEADER)
    part = "".join(sys.argv[1:])
    for file in sorted(bundled_path("cfg").glob("*.yaml"), key=lambda f: f.name):
        for name in (name for name in scaled(file) if part in name):
            c = compare(name, stock_of(name))
            (p, p0), (f, f0), (g, g0) = c["params"], c["flops"], c["counted"]
            print(
                f"| {name.removesuffix('.yaml')} | {p:,} | {(p - p0) / p0:+.3%} | {f:.2f} ({f0:.2f}) "
                f"| {g:.2f} ({g0:.2f}) | {c['transferred']}/{c['tensors']} |",
                flush=True,
            )
