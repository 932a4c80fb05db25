"""YOLOE with DiffCLIP's words on a data set: `python scripts/words.py data.yaml weights last.pt folder`.

`data.yaml` has 80 classes or more, `weights` are a detector's, such as yolo11n.pt, and `last.pt` is DiffCLIP's.
YOLOE-11n with differential attention learns five epochs from scratch, then three with its classes alone. It is exported
with two words that it was not trained on, and run beside PyTorch. Printed is a row for each epoch, and how far the
export is off.
"""

import csv
import sys
from pathlib import Path

import onnxruntime
import torch
from ultralytics import YOLOE
from ultralytics.models.yolo.yoloe import YOLOEPETrainer, YOLOETrainerFromScratch
from ultralytics.utils import YAML

from ultralytics_diffattn.bundled import path as bundled_path

ARGS = {"imgsz": 320, "batch": 16, "seed": 0, "workers": 0, "device": "cpu", "plots": False, "exist_ok": True}
NEW = ["zebra crossing", "red double-decker bus"]


def table(run, stage):
    """Print a row for each epoch of a run."""
    with open(run / "results.csv", newline="", encoding="utf-8") as f:
        for row in csv.DictReader(f):
            row = {name.strip(): value for name, value in row.items()}
            print(f"| {stage} | {row['epoch']} | {row['val/cls_loss']} | {row['metrics/mAP50-95(B)']} |")


@torch.no_grad()
def export(weights):
    """Export a detector with new words, and print how far the graph is from PyTorch."""
    model = YOLOE(weights)
    model.set_classes(NEW)
    image = torch.rand(1, 3, 320, 320, generator=torch.Generator().manual_seed(0))
    expected = model.model.eval()(image)[0]  # (1, 4 + 2, positions)
    session = onnxruntime.InferenceSession(model.export(format="onnx", imgsz=320, device="cpu"))
    outputs = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: image.numpy()})[0])
    boxes, scores = (float((outputs - expected)[:, part].abs().max()) for part in (slice(4), slice(4, None)))
    print(
        f"ONNX, {len(NEW)} new words, output {tuple(outputs.shape)}: "
        f"boxes differ by {boxes:.1e} px, scores by {scores:.1e}"
    )


def main(data, weights, clip, folder):
    """Train twice, print the tables, export."""
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    yaml = folder / "yoloe-11n-words.yaml"
    YAML.save(
        yaml,
        {**YAML.load(bundled_path("cfg") / "yoloe-11-diffattn.yaml"), "text_model": f"diffclip:{Path(clip).resolve()}"},
    )
    model = YOLOE(yaml).load(weights)
    both = {split: {"yolo_data": [str(data)]} for split in ("train", "val")}
    model.train(data=both, trainer=YOLOETrainerFromScratch, epochs=5, project=str(folder), name="scratch", **ARGS)
    model = YOLOE(folder / "scratch" / "weights" / "last.pt")
    model.train(data=str(data), trainer=YOLOEPETrainer, epochs=3, project=str(folder), name="classes", **ARGS)
    print("| stage | epoch | val/cls_loss | mAP50-95 |\n|---|---|---|---|")
    table(folder / "scratch", "from scratch")
    table(folder / "classes", "its classes alone")
    export(folder / "scratch" / "weights" / "last.pt")


if __name__ == "__main__":
    if len(sys.argv) < 5 or "help" in sys.argv[1]:
        sys.exit(__doc__)
    main(*sys.argv[1:])
