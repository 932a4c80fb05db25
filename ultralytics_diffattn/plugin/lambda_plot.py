# Ultralytics DiffAttn - AGPL-3.0 License
"""`lambda.png`: lambda of each head or block over the epochs of a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ultralytics_diffattn.output.files import whole
from ultralytics_diffattn.output.palette import COLOURS

DASHES = ("-", (0, (4, 1.5)), (0, (1, 1)))
START = "#7f7f7f"


def draw(file: Path, curves: dict[str, dict[int, float]], starts: dict[str, float | None]) -> None:
    """Draw lambda over the epochs: a panel for each block where lambda is per head, else one panel for all.

    Args:
        file (Path): The PNG.
        curves (dict[str, dict[int, float]]): Lambda by epoch, by the names that `scalars` gives.
        starts (dict[str, float | None]): Of each module lambda_init, a dashed line; None where lambda starts at zero.
    """
    import matplotlib.style
    from matplotlib.figure import Figure  # without pyplot, so that a notebook keeps its backend and its figures

    panels: dict[str, dict[str, dict[int, float]]] = {}  # by title, then by what the legend calls the line
    per_head = any("/" in name for name in curves)
    for name, curve in curves.items():
        block, _, head = name.partition("/")
        panels.setdefault(block if per_head else "", {})[f"head {head}" if head else block] = curve
    columns = min(len(panels), 4)
    rows = -(-len(panels) // columns)
    labels = list(dict.fromkeys(label for lines in panels.values() for label in lines))
    with matplotlib.style.context("default"):  # not in what the user has set for other pictures
        figure = Figure((2.5 + (5.5 if len(panels) == 1 else 2.9 * columns), 1 + (3.6 if rows == 1 else 2.2 * rows)))
        figure.set_layout_engine("constrained")
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, (title, lines) in zip(grid, panels.items(), strict=False):
            _panel(axes, title, lines, labels, {starts[title]} if title else set(starts.values()))
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        _scale(grid, sorted({epoch for curve in curves.values() for epoch in curve}))
        figure.supxlabel("epoch", fontsize=10)
        figure.supylabel("lambda", fontsize=10)
        _legend(figure, grid)
        with whole(file) as temporary:
            figure.savefig(temporary, format="png", dpi=200)


def _panel(
    axes: Any, title: str, lines: dict[str, dict[int, float]], labels: list[str], starts: set[float | None]
) -> None:
    """Draw the curves of one panel and a dashed line for each initial value."""
    for label, curve in lines.items():
        _line(axes, curve, label, labels.index(label), len(labels))
    for start in starts:
        label = "start" if start is None else "lambda_init"
        axes.axhline(start or 0, color=START, linestyle="--", linewidth=1, label=label, zorder=1)
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3)


def _line(axes: Any, curve: dict[int, float], label: str, i: int, count: int) -> None:
    """Draw line `i` of `count`: few in colours that all eyes tell apart, more in the order of a scale."""
    import matplotlib

    colour = COLOURS[i] if count <= len(COLOURS) else matplotlib.colormaps["turbo"](0.05 + 0.9 * i / (count - 1))
    axes.plot(
        *(list(curve), list(curve.values())),
        color=colour,
        linestyle=DASHES[i % len(DASHES)] if count > len(COLOURS) else "-",
        marker="." if len(curve) <= 60 else None,
        linewidth=1.5,
        label=label,
    )


def _legend(figure: Any, grid: Any) -> None:
    """Add one legend for all panels, in columns of at most 18 lines, and widen the figure for them."""
    lines = {label: line for axes in grid for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    columns = -(-len(lines) // 18)
    figure.set_figwidth(figure.get_figwidth() + 1.9 * (columns - 1))
    figure.legend(lines.values(), lines.keys(), loc="outside right upper", fontsize=8, ncols=columns)


def _scale(grid: Any, epochs: list[int]) -> None:
    """Give the axes that all panels share whole epochs, plain numbers, and a hundredth of lambda at least."""
    from matplotlib.ticker import MaxNLocator

    axes = grid[0]
    axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=(1, 2, 5, 10), min_n_ticks=1))
    low, high = axes.get_ylim()
    if high - low < 0.01:  # else the axis would make a great thing of a step in the sixth digit
        axes.set_ylim((low + high) / 2 - 0.005, (low + high) / 2 + 0.005)
    axes.ticklabel_format(axis="y", useOffset=False)
