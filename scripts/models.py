# Ultralytics DiffAttn - AGPL-3.0 License
"""Print every model of `cfg/` beside stock's as a Markdown table: `python scripts/models.py` (under two minutes).

Parameters and GFLOPs are ultralytics' own (`model.info()`, 640 px, 224 px for cls); it counts layers, not the products
inside attention, so a column adds those, counted by PyTorch's FlopCounterMode: GFLOPs of one C2PSA block at 20 x 20
positions (7 x 7 for cls). Transferred are the stock tensors that `YOLO(yaml).load(stock checkpoint)` keeps.
"""

import tempfile
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode
from ultralytics import YOLO
from ultralytics.utils import LOGGER
from ultralytics.utils.torch_utils import get_flops, get_num_params

from ultralytics_diffattn.bundled import cfg_dir

HEADER = """| model | params | added | GFLOPs (stock) | attention block, GFLOPs (stock) | transferred |
|---|---|---|---|---|---|"""


def block_gflops(model: torch.nn.Module, size: int) -> float:
    """Return the GFLOPs of the attention block, products of attention included."""
    block = next(m for m in model.model if "C2PSA" in type(m).__name__).eval()
    x = torch.zeros(1, block.cv1.conv.in_channels, size // 32, size // 32)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        block(x)
    return counter.get_total_flops() / 1e9


def compare(name: str, stock_name: str) -> dict:
    """Build a model and its stock counterpart, load the one's checkpoint into the other, and count.

    Args:
        name (str): One of our YAMLs with a scale, e.g. `yolo11n-diffattn.yaml`.
        stock_name (str): Stock's YAML, e.g. `yolo11n.yaml`.

    Returns:
        (dict): `params`, `flops`, `block` as pairs (ours, stock's), and `transferred`, `tensors`.
    """
    ours, stock = YOLO(name), YOLO(stock_name)
    size = 224 if ours.task == "classify" else 640
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "stock.pt"
        for p in stock.model.parameters():
            torch.nn.init.normal_(p)  # so that an untouched tensor cannot pass for a transferred one
        stock.model.half().float()  # checkpoints hold float16
        stock.save(checkpoint)
        ours.load(checkpoint)
    a, b = ours.model.state_dict(), stock.model.state_dict()
    return {
        "params": (get_num_params(ours.model), get_num_params(stock.model)),
        "flops": (get_flops(ours.model, size), get_flops(stock.model, size)),
        "block": (block_gflops(ours.model, size), block_gflops(stock.model, size)),
        "transferred": sum(n in a and a[n].shape == v.shape and torch.equal(a[n], v) for n, v in b.items()),
        "tensors": len(b),
    }


if __name__ == "__main__":
    LOGGER.setLevel("WARNING")
    print(HEADER)
    for file in sorted(cfg_dir().glob("*.yaml"), key=lambda f: ("token" in f.name, f.name)):
        for scale in "nsmlx":
            name = file.name.replace("yolo11", f"yolo11{scale}")
            c = compare(name, name.replace("-diffattn", "").replace("-token", ""))
            (p, p0), (f, f0), (g, g0) = c["params"], c["flops"], c["block"]
            print(
                f"| {name.removesuffix('.yaml')} | {p:,} | {(p - p0) / p0:+.3%} | {f:.2f} ({f0:.2f}) "
                f"| {g:.3f} ({g0:.3f}) | {c['transferred']}/{c['tensors']} |",
                flush=True,
            )
