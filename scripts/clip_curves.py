"""CLIP beside DiffCLIP on drawings: `python scripts/clip_curves.py folder out.png [epochs] [seeds]`.

Draws the data into the folder, trains both small models with each seed there, draws retrieval over the epochs, and
prints the last epoch of each as a table. What exists is not made again; a run that was cut off is resumed.
"""

import csv
import sys
from pathlib import Path

import captions  # beside this file
import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

from ultralytics_diffattn.verbs.clip_train import clip_train

KINDS = {"clip": ("CLIP", "#52606d"), "diffclip": ("DiffCLIP", "#d9480f")}
WAYS = {"text_to_image/R@1": "text to image, R@1", "image_to_text/R@1": "image to text, R@1"}


def read(file):
    """Return each epoch's row of a `metrics.csv`, numbers as such."""
    with open(file, newline="", encoding="utf-8") as f:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(f)]


def trained(folder, kind, seed, epochs):
    """Return the folder of a run, which is trained or resumed unless it is complete."""
    data, run = folder / "captions", folder / f"{kind}-{seed}"
    if (run / "clip-train.json").is_file():  # a run's last file
        return run
    if not (data / "train.csv").is_file():  # the last file of these
        captions.main(data)
    clip_train(
        model=f"{kind}-tiny.yaml", data=str(data / "train.csv"), val_data=str(data / "val.csv"), epochs=epochs,
        seed=seed, project=str(folder.resolve()), name=run.name, exist_ok=True, resume=(run / "last.ckpt").is_file(),
    )  # fmt: skip
    return run


def main(folder, out, epochs=12, seeds=3):
    """Train, write the picture, print the table."""
    seeds = range(int(seeds))
    runs = {(kind, seed): trained(Path(folder), kind, seed, int(epochs)) for seed in seeds for kind in KINDS}
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True, layout="constrained")
    print(
        "| model | seed | loss | text to image R@1, R@5, R@10 | image to text R@1, R@5, R@10 |\n|---|---|---|---|---|"
    )
    for kind, (label, colour) in KINDS.items():
        for seed in seeds:
            rows = read(runs[kind, seed] / "metrics.csv")
            scores = (
                ", ".join(f"{rows[-1][f'{way}/R@{k}']:.3f}" for k in (1, 5, 10))
                for way in ("text_to_image", "image_to_text")
            )
            print(f"| {label} | {seed} | {rows[-1]['loss']:.3f} | {' | '.join(scores)} |")
            for axis, way in zip(axes, WAYS, strict=True):
                x, y = [row["epoch"] + 1 for row in rows], [row[way] for row in rows]
                axis.plot(x, y, color=colour, label=None if seed else label, alpha=0.8)
    for axis, title in zip(axes, WAYS.values(), strict=True):
        axis.set(title=title, xlabel="epoch", ylim=(0, 1))
        axis.axhline(0.9, color="#9aa5b1", linewidth=0.8, linestyle=":")
        axis.grid(alpha=0.2)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, loc="lower right")
    figure.savefig(out, dpi=130)


if __name__ == "__main__":
    if len(sys.argv) < 3 or "help" in sys.argv[1]:
        sys.exit(__doc__)
    main(*sys.argv[1:])
