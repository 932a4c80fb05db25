# Ultralytics DiffAttn - AGPL-3.0 License
"""Draw the figure of differential attention: `python scripts/figure.py docs/differential-attention.svg`.

One row of an attention map: the weights of one position over all others. The logits are made up such that both maps see
the same noise; the weights are their softmax, and the third panel is the difference.
"""

import sys
from pathlib import Path

import matplotlib.style
import numpy as np
from matplotlib.figure import Figure

POSITIONS = 60
OBJECT = [*range(20, 24), *range(41, 45)]  # positions that this one should attend to
LAMBDA = 0.8
BLUE, ORANGE, INK = "#7b8794", "#d95f02", "#222222"
STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "diffattn",  # the same file each time
    "font.size": 11,  # of 331 across, so 11 px on a phone
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return weights that are positive and have the sum 1."""
    e = np.exp(logits - logits.max())
    return e / e.sum()


def maps() -> tuple[np.ndarray, np.ndarray]:
    """Return one row of the first and of the second map, each of sum 1."""
    rng = np.random.default_rng(2)
    shared = rng.normal(0, 0.6, POSITIONS)
    signal = np.zeros(POSITIONS)
    signal[OBJECT] = 1.2
    separate = rng.normal(0, 0.08, (2, POSITIONS))  # noise that the maps do not share remains
    return softmax(shared + signal + separate[0]), softmax(shared + separate[1])


def on_object(row: np.ndarray) -> float:
    """Return the share of a row's weight, sign aside, that lies on the object."""
    return float(np.abs(row[OBJECT]).sum() / np.abs(row).sum())


def figure() -> Figure:
    """Draw the first map, the second and their difference below each other."""
    first, second = maps()
    panels = {
        "A1": (first, "A1 = softmax(q1 k1ᵀ / √d)", "The object, and noise: "),
        "A2": (second, "A2 = softmax(q2 k2ᵀ / √d)", "The same noise: "),
        "difference": (
            first - LAMBDA * second,
            f"A1 \N{MINUS SIGN} λ A2, here λ = {LAMBDA}",
            "What both share cancels: ",
        ),
    }
    fig = Figure(figsize=(4.6, 5.7), facecolor="white")
    for i, (name, (row, title, caption)) in enumerate(panels.items()):
        top = 1 - 0.333 * i
        axes = fig.add_axes((0.13, top - 0.315, 0.84, 0.21))  # fixed, so that no font's width moves anything
        colours = [ORANGE if position in OBJECT else BLUE for position in range(POSITIONS)]
        for position, bar in enumerate(axes.bar(range(POSITIONS), row, 0.8, color=colours)):
            bar.set_gid(f"{name}-{position}")
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.set(xlim=(-1, POSITIONS), ylim=(-0.012, 0.1), xticks=[], yticks=(0, 0.04, 0.08))
        axes.spines["bottom"].set_visible(False)
        fig.text(0.02, top - 0.04, title, weight="bold")
        fig.text(0.02, top - 0.083, f"{caption}{100 * on_object(row):.0f} % of the weight is orange")
    return fig


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("Give the file: python scripts/figure.py docs/differential-attention.svg")
    out = Path(sys.argv[1])
    with matplotlib.style.context(["default", STYLE]):
        figure().savefig(out, dpi=200, metadata={"Date": None} if out.suffix == ".svg" else None)
