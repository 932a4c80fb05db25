# Ultralytics DiffAttn - AGPL-3.0 License
"""What reconstruction gives back: mAP50-95 before and after `diffattn convert ... reconstruct=`, over seeds.

`python scripts/reconstruction.py weights=yolo11n.pt data=coco.yaml images=coco.yaml models=yolo11-diffattn.yaml
seeds=0,1,2`: the table of docs/defaults.md, whose error is of the first seed. `images=` are what convert's
`reconstruct=` takes, by default those of `data=`, on whose val every model is measured; `project=` keeps the files.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from statistics import mean

import torch
from ultralytics import YOLO

from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.evaluation.box_map import box_map
from ultralytics_diffattn.output.formatting import mean_sd
from ultralytics_diffattn.output.markdown import table
from ultralytics_diffattn.verbs.arguments import listed, parse
from ultralytics_diffattn.verbs.convert import convert

OWN = {
    "weights": "",
    "data": "",
    "images": "",
    "models": "yolo11-diffattn.yaml,yolo11-diffattn-token.yaml",
    "seeds": (0, 1, 2),
    "imgsz": 640,
    "threads": 0,
    "project": "",
}
HEAD = "model", "before", "after", "relative error", "seconds, recording + training"


def row(model: str, arguments: dict, folder: Path) -> list[str]:
    """Return the cells of one model."""
    weights, data, imgsz = arguments["weights"], arguments["data"], int(arguments["imgsz"])
    name = Path(model).stem
    before = box_map(YOLO(convert(weights, model, str(folder / f"{name}.pt"))["file"]), data, imgsz)
    after, errors, seconds = [], [], []
    for seed in map(int, listed(arguments["seeds"])):
        file = str(folder / f"{name}-seed{seed}.pt")
        made = convert(weights, model, file, arguments["images"] or data, imgsz=imgsz, seed=seed)
        errors.append([f"{block.before:.3f} → {block.after:.3f}" for block in made["blocks"]])
        seconds.append([sum(part) for part in zip(*((b.recording, b.training) for b in made["blocks"]), strict=True)])
        after.append(box_map(YOLO(file), data, imgsz))
        print(
            f"{name} seed {seed}: {before:.3f} -> {after[-1]:.4f}, {errors[-1]}, {sum(seconds[-1]):.0f} s", flush=True
        )
    return [
        name,
        f"{before:.3f}",
        mean_sd(after),
        "; ".join(errors[0]),
        " + ".join(f"{mean(s):.0f}" for s in zip(*seconds, strict=True)),
    ]


def main(words: list[str]) -> None:
    """Print a row for each model, behind that of the stock weights."""
    arguments = {**OWN, **parse(words, OWN)}
    if not arguments["weights"] or not arguments["data"]:
        raise UserError("give weights=yolo11n.pt data=coco.yaml")
    if arguments["threads"]:
        torch.set_num_threads(int(arguments["threads"]))
    stock = f"{box_map(YOLO(arguments['weights']), arguments['data'], int(arguments['imgsz'])):.3f}"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(arguments["project"] or scratch)
        folder.mkdir(parents=True, exist_ok=True)
        rows = [row(model, arguments, folder) for model in listed(arguments["models"])]
    print("\n".join(table(HEAD, [[Path(arguments["weights"]).stem, stock, "-", "-", "-"], *rows])))


if __name__ == "__main__":
    main(sys.argv[1:])
