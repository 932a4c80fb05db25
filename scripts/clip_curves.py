"""Draw the retrieval of CLIP and DiffCLIP: `python scripts/clip_curves.py folder out.png` with runs of `clip-train`.

The folder holds runs called as `clip-0` and `diffclip-0`, kind and seed. Prints the last epoch of each as a table.
"""

import csv
import sys
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

KINDS = {"clip": ("CLIP", "#52606d"), "diffclip": ("DiffCLIP", "#d9480f")}
WAYS = {"text_to_image/R@1": "text to image, R@1", "image_to_text/R@1": "image to text, R@1"}


def read(file):
    """Return each epoch's row of a `metrics.csv`, numbers as such."""
    with open(file, newline="", encoding="utf-8") as f:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(f)]


def main(folder, out):
    """Write the picture, print the table."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True, layout="constrained")
    print(
        "| model | seed | loss | text to image R@1, R@5, R@10 | image to text R@1, R@5, R@10 |\n|---|---|---|---|---|"
    )
    for kind, (label, colour) in KINDS.items():
        for i, run in enumerate(sorted(Path(folder).glob(f"{kind}-*"))):
            rows = read(run / "metrics.csv")
            scores = (
                ", ".join(f"{rows[-1][f'{way}/R@{k}']:.3f}" for k in (1, 5, 10))
                for way in ("text_to_image", "image_to_text")
            )
            print(f"| {label} | {run.name.rpartition('-')[2]} | {rows[-1]['loss']:.3f} | {' | '.join(scores)} |")
            for axis, way in zip(axes, WAYS, strict=True):
                epochs = [row["epoch"] + 1 for row in rows]
                axis.plot(epochs, [row[way] for row in rows], color=colour, label=None if i else label, alpha=0.8)
    for axis, title in zip(axes, WAYS.values(), strict=True):
        axis.set(title=title, xlabel="epoch", ylim=(0, 1))
        axis.axhline(0.9, color="#9aa5b1", linewidth=0.8, linestyle=":")
        axis.grid(alpha=0.2)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, loc="lower right")
    figure.savefig(out, dpi=130)


if __name__ == "__main__":
    main(*sys.argv[1:])
