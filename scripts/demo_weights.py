# Ultralytics DiffAttn - AGPL-3.0 License
"""Train the two checkpoints that `diffattn demo` starts with, and write them into the package.

python scripts/demo_weights.py [epochs]

cfg/demo/yolo11-shapes.yaml is trained as it is (kind `split`) and with stock's C2PSA in place of C2PSA_Diff: same seed,
same budget, on the images that `ultralytics_diffattn.data.shapes` draws with the seeds 0 to 7. Labels are the shapes
alone, disc, square and triangle: telling `same` from `other` takes a longer training. Half precision, no optimizer.
AGPL-3.0, as all of the repository: no image and no weight of others is in them.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch
import yaml
from ultralytics import YOLO

from ultralytics_diffattn.bundled import path
from ultralytics_diffattn.data import shapes
from ultralytics_diffattn.weights import checkpoints

OUT = Path(__file__).resolve().parents[1] / "ultralytics_diffattn" / "demo"
SEEDS = range(8)  # of the data set: 256 images each
BUDGET = dict(imgsz=320, batch=16, nbs=16, optimizer="AdamW", lr0=0.003, warmup_epochs=0.5, mosaic=0.0, scale=0.25)
QUIET = dict(val=False, plots=False, workers=0, device="cpu", seed=0, exist_ok=True, name="train")


def main(epochs: int) -> None:
    """Train and write both."""
    text = (path("cfg") / "demo" / "yolo11-shapes.yaml").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write_data(folder)
        for kind, module in (("split", "C2PSA_Diff"), ("stock", "C2PSA")):
            (folder / "yolo11n-shapes.yaml").write_text(text.replace("C2PSA_Diff,", f"{module},"), encoding="utf-8")
            yolo = YOLO(folder / "yolo11n-shapes.yaml")
            yolo.train(data=str(data), epochs=epochs, project=str(folder / kind), **BUDGET, **QUIET)
            trained = YOLO(folder / kind / "train" / "weights" / "last.pt")
            write(trained.model, OUT / f"shapes-{kind}.pt")
            score = YOLO(OUT / f"shapes-{kind}.pt").val(data=str(data), imgsz=320, plots=False, project=name).box.map
            print(f"shapes-{kind}.pt: mAP50-95 {score:.3f} on the 64 validation images")


def write_data(folder: Path) -> Path:
    """Draw the images, and return their data YAML."""
    for seed in SEEDS:
        shapes.generate(folder / f"shapes{seed}", seed)
        for file in (folder / f"shapes{seed}" / "labels").rglob("*.txt"):
            rows = [row.split() for row in file.read_text(encoding="utf-8").splitlines()]
            named = [" ".join([str(int(c) % len(shapes.SHAPES)), *box]) for c, *box in rows]
            file.write_text("\n".join(named) + "\n", encoding="utf-8")
    data = {
        "path": str(folder),
        "train": [f"shapes{seed}/images/train" for seed in SEEDS],
        "val": "shapes0/images/val",
        "names": dict(enumerate(shapes.SHAPES)),
    }
    file = folder / "data.yaml"
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    return file


def write(model: torch.nn.Module, file: Path) -> None:
    """Write the network alone, in half precision."""
    network = model.half()
    network.args = {"imgsz": 320, "task": "detect"}  # the others name folders of this machine, as does the next
    network.__dict__.pop("pt_path", None)
    network.yaml["yaml_file"] = "yolo11-shapes.yaml"
    for parameter in network.parameters():
        parameter.requires_grad = False
    file.parent.mkdir(parents=True, exist_ok=True)
    licence = (
        "AGPL-3.0-or-later; trained by scripts/demo_weights.py of ultralytics-diffattn on the images that it draws"
    )
    checkpoints.save({"model": network, "train_args": dict(network.args), "license": licence}, file)


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 4)
