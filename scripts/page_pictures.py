# Ultralytics DiffAttn - AGPL-3.0 License
"""Draw what the tables of docs/results.md and docs/warmstart.md say: `python scripts/page_pictures.py docs`.

The figures are read from the pages themselves, so a picture cannot say something else than the tables below it.
"""

import re
import sys
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

DOCS = Path(__file__).resolve().parents[1] / "docs"
KINDS = {"yolo11n-diffattn": "split", "yolo11n-diffattn-token": "token"}
LINES = {  # label of a model on the warm-start page: name, colour (Okabe and Ito), marker, dash
    "yolo11n": ("yolo11n", "#444444", "D", ":"),
    "yolo11n-diffattn-paired": ("paired", "#0072b2", "o", "-"),
    "yolo11n-diffattn-token": ("token", "#009e73", "^", "-."),
    "yolo11n-split-lambda0": ("split, λ_init = 0", "#cc79a7", "v", "--"),
    "yolo11n-diffattn": ("split, λ_init = 0.8", "#d55e00", "s", "-"),
}


def differences(page: str) -> list[tuple[str, str, float, float, float]]:
    """Return data and start, kind, and the difference from yolo11n in mAP50-95 with its interval over seeds."""
    found = []
    for section in page.split("\n## ")[1:]:
        title = section.partition("\n")[0]
        rows = re.findall(
            r"^- (\S+) is .* from yolo11n in mAP50-95: (\S+), 95 % interval over 3 seeds (\S+) to (\S+),", section, re.M
        )
        found += [(title, KINDS[name], *(float(x) for x in figures)) for name, *figures in rows]
    return found


def curves(page: str, heading: str) -> dict[str, list[tuple[int, float]]]:
    """Return mAP50-95 by epoch of each model, from the table below a heading."""
    section = page.partition(f"\n## {heading}")[2].partition("\n## ")[0]
    table = section.partition("| mAP50-95 after epoch")[2].partition("\n\n")[0].splitlines()
    epochs = [int(cell) for cell in table[0].split("|")[1:-1]]
    rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table[2:])
    return {name: list(zip(epochs, (float(c.split()[0]) for c in cells), strict=True)) for name, *cells in rows}


def draw_results(page: str) -> Figure:
    """Draw a point and an interval for each experiment and kind."""
    rows = differences(page)
    figure = Figure((8, 0.42 * len(rows) + 1.1), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color="#444444", linewidth=1)
    for i, (_, kind, difference, low, high) in enumerate(rows):
        colour = LINES["yolo11n-diffattn" if kind == "split" else "yolo11n-diffattn-token"][1]
        axes.plot([low, high], [i, i], color=colour, linewidth=3, solid_capstyle="butt")
        axes.plot(difference, i, "o", color=colour, markersize=8)
    axes.set_yticks(range(len(rows)), [f"{title}: {kind}" for title, kind, *_ in rows])
    axes.invert_yaxis()
    axes.set_xlabel("mAP50-95 minus that of yolo11n, with its 95 % interval over 3 seeds")
    _plain(axes)
    return figure


def draw_warm_start(page: str) -> Figure:
    """Draw mAP50-95 against the epochs of a fine-tuning, for the two data sets."""
    figure = Figure((10, 4.2), dpi=150, layout="constrained")
    for axes, heading, title in zip(
        figure.subplots(1, 2), ("coco356", "BCCD"), ("COCO, its own labels", "BCCD, new classes"), strict=True
    ):
        for name, points in curves(page, heading).items():
            label, colour, marker, dash = LINES[name]
            x, y = zip(*points, strict=True)
            axes.plot(x, y, dash, color=colour, marker=marker, linewidth=2, markersize=6, label=label)
        axes.set_title(title, loc="left")
        axes.set_xticks((0, 5, 10, 15, 20))
        axes.set_xlabel("epochs of fine-tuning")
        axes.set_ylabel("mAP50-95")
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, loc="lower right")
        _plain(axes)
    return figure


def _plain(axes: Axes) -> None:
    """Leave out the frame, and put a light grid behind."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("Give the folder: python scripts/page_pictures.py docs")
    folder = Path(sys.argv[1])
    draw_results((DOCS / "results.md").read_text(encoding="utf-8")).savefig(folder / "results.png")
    draw_warm_start((DOCS / "warmstart.md").read_text(encoding="utf-8")).savefig(folder / "warmstart.png")
