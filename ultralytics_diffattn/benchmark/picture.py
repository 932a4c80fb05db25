# Ultralytics DiffAttn - AGPL-3.0 License
"""Time and memory of attention alone against the number of tokens, as a picture."""

from __future__ import annotations

import io

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from ultralytics_diffattn.benchmark.results import Performance, Point

LOOK = {  # colours of Okabe and Ito, which the colour-blind tell apart; markers and dashes do it without colour
    "ours": ("ours", "#0072b2", "o", "-"),
    "timm": ("timm", "#d55e00", "s", "--"),
    "published": ("published formula, eager", "#cc79a7", "^", "-."),
    "plain": ("plain attention, eager", "#444444", "D", ":"),
}


def as_png(results: Performance) -> bytes | None:
    """Return a picture of time and peak memory against the number of tokens, both axes logarithmic.

    Args:
        results (Performance): What `performance.json` holds.

    Returns:
        (bytes | None): A PNG, or None where no curve was measured.
    """
    memory = results["groups"].get("memory")
    curves = drawn(memory.get("curves", {})) if memory else {}
    if not curves:
        return None
    with matplotlib.style.context(["default", {"font.size": 11, "axes.spines.top": False, "axes.spines.right": False}]):
        figure = Figure((10, 4.4), dpi=150, layout="constrained")
        left, right = figure.subplots(1, 2)
        _panel(left, "Time, forward, ms", {name: [(p["tokens"], p["ms"]) for p in curves[name]] for name in curves})
        memory_of = {name: [(p["tokens"], p["mb"]) for p in curves[name]] for name in curves}
        _panel(right, "Peak memory, forward and backward, MB", memory_of)
        out = io.BytesIO()
        figure.savefig(out, format="png")
    return out.getvalue()


def _panel(axes: Axes, title: str, curves: dict[str, list[tuple[int, float]]]) -> None:
    """Draw one quantity of all implementations against the number of tokens."""
    for name, (label, colour, marker, dash) in LOOK.items():
        points = curves.get(name, [])
        xs, ys = [x for x, _ in points], [y for _, y in points]
        axes.plot(xs, ys, color=colour, marker=marker, linestyle=dash, linewidth=2, markersize=6, label=label)
    axes.set(xscale="log", yscale="log", xlabel="tokens, N")
    axes.set_title(title, loc="left")
    ticks = sorted({x for points in curves.values() for x, _ in points})
    axes.set_xticks(ticks, [f"{n:,}" for n in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,g}"))
    axes.grid(color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    _legend(axes)


def _legend(axes: Axes) -> None:
    """Name the lines in their order from the top, each in its own colour, where rising lines leave space."""
    lines = [line for line in axes.get_lines() if len(np.asarray(line.get_xdata()))]
    common = min(np.asarray(line.get_xdata()).max() for line in lines)

    def height(line: Line2D) -> float:
        x, y = (np.asarray(values) for values in line.get_data())
        return float(y[x <= common].max(initial=0))

    lines.sort(key=height, reverse=True)
    labels = [str(line.get_label()) for line in lines]
    axes.legend(lines, labels, labelcolor="linecolor", frameon=False, loc="upper left")


def drawn(curves: dict[str, list[Point]]) -> dict[str, list[Point]]:
    """Return the curves that can be drawn.

    Args:
        curves (dict[str, list[Point]]): By implementation.

    Returns:
        (dict[str, list[Point]]): Without the points that could not be measured, and without curves that have none.

    Examples:
        >>> drawn({"ours": [{"tokens": 100, "ms": 0.2, "mb": 1.0}], "timm": [{"tokens": 100, "why": "not installed"}]})
        {'ours': [{'tokens': 100, 'ms': 0.2, 'mb': 1.0}]}
    """
    curves = {name: [p for p in points if "mb" in p] for name, points in curves.items()}
    return {name: points for name, points in curves.items() if points}
