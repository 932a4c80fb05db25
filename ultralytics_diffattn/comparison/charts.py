# Ultralytics DiffAttn - AGPL-3.0 License
"""Charts as SVG that stands inside a page: Matplotlib draws, the page's CSS variables give the colours."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

Series: TypeAlias = Sequence[Mapping[float, float | None]]  # for each seed y by x; None leaves a gap

COLOURS = 6  # repeated after that; with five line styles and markers there are 30 combinations
DASHES = ("-", (0, (5, 2)), (0, (5, 1.5, 1, 1.5)), (0, (1, 1.2)), (0, (8, 2, 1, 2, 1, 2)))
MARKERS = ("o", "s", "^", "D", "v")
# Matplotlib wants colours, the page has variables, one for light and one for dark: these stand in for them.
INK, LINE, PAGE = "#fe0a01", "#fe0a02", "#fe0a03"
VARIABLES = {INK: "var(--ink)", LINE: "var(--line)", PAGE: "var(--page)"} | {
    f"#fe0b{i:02}": f"var(--series-{i})" for i in range(COLOURS)
}
STYLE = {
    "svg.fonttype": "none",  # text stays text: smaller, searchable, in the page's font
    "svg.hashsalt": "diffattn",
    "text.parse_math": False,  # a class may be called "$5"
    "font.size": 11,  # of 331 across, so 11 px on a phone
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "legend.handlelength": 2.6,
    "legend.columnspacing": 1,
    "figure.constrained_layout.use": True,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}
STEPS = (1, 2, 5, 10)  # between ticks, times a power of ten
WIDTH, HEIGHT = 4.6, 2.7  # inches; a phone shows a chart at this size, without a legend


def lines(
    name: str,
    title: str,
    series: Mapping[str, Series],
    x_name: str,
    y_name: str = "",
    limits: tuple[float, float] | None = None,
) -> str:
    """Draw a line for each series, the mean over its seeds, with the band from the lowest seed to the highest.

    A point that has no neighbour, as of a training that validates at its end alone, is drawn by itself.

    Args:
        name (str): Of the chart; it makes the ids in the page unique.
        title (str): Description of the chart, for those who do not see it.
        series (Mapping[str, Series]): By label, for each seed y by x; None leaves a gap.
        x_name (str): Below the horizontal axis.
        y_name (str): Above the vertical axis, where the text beside the chart does not say it.
        limits (tuple[float, float], optional): Of the vertical axis.

    Returns:
        (str): An SVG element.

    Examples:
        >>> lines("loss", "Loss by epoch", {"a": [{1: 0.5, 2: 0.4}, {1: 0.6, 2: None}]}, "epoch")[:4]
        '<svg'
    """
    columns = 2 if len(series) > 1 and max(map(len, series)) <= 17 else 1
    rows = -(-len(series) // columns)
    with matplotlib.style.context(["default", STYLE]):
        figure = Figure((WIDTH, HEIGHT + 0.21 * rows))
        axes = figure.add_subplot()
        xs = np.array(sorted({x for seeds in series.values() for seed in seeds for x in seed}), float)
        for i, (label, seeds) in enumerate(series.items()):
            ys = np.array([[seed.get(x) for x in xs] for seed in seeds], float)  # None becomes NaN
            ys = ys.reshape(len(seeds), len(xs))  # also without an x
            _line(axes, i, len(series), label, xs, np.ma.masked_invalid(ys))
        if len(xs) > 1:
            margin = 0.03 * (xs[-1] - xs[0])
            axes.set_xlim(xs[0] - margin, xs[-1] + margin)
        if limits:
            axes.set_ylim(*limits)
        axes.set_xlabel(x_name)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=all(x == int(x) for x in xs), steps=STEPS))
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=STEPS))
        axes.set_title(y_name, loc="left")
        figure.legend(loc="outside upper left", ncols=columns)
        return _svg(figure, name, title)


def _line(axes: Axes, i: int, count: int, label: str, xs: NDArray[Any], ys: Any) -> None:
    """Draw series `i` of `count`; ys is a masked array, (seeds, xs)."""
    colour, mean = f"#fe0b{i % COLOURS:02}", ys.mean(0)
    known = ~np.ma.getmaskarray(mean)
    has_neighbour = np.concatenate([known[1:], [False]]) | np.concatenate([[False], known[:-1]])
    alone = known & ~has_neighbour
    if len(xs) > 1 and not (known & has_neighbour).any():  # nothing but points, drawn side by side
        xs = xs + (i - count + 1) * 0.03 * (xs[-1] - xs[0])
    step = max(1, len(xs) // 8)
    marked = np.flatnonzero(alone | ((np.arange(len(xs)) % step == i * step // count) & known))
    axes.plot(
        *(xs, mean),
        color=colour,
        linestyle=DASHES[i % len(DASHES)],
        marker=MARKERS[i % len(MARKERS)],
        markersize=4.5,
        markevery=marked.tolist(),
        linewidth=1.8,
        label=shorten(label, 44),
    )
    if len(ys) > 1:
        low, high = ys.min(0), ys.max(0)
        axes.fill_between(xs, low, high, color=colour, alpha=0.18, linewidth=0)
        axes.vlines(xs[alone], low[alone], high[alone], color=colour, linewidth=1)


def differences(
    name: str,
    title: str,
    metric: str,
    rows: Sequence[tuple[str, float, tuple[float, float] | None]],
    margin: float | None = None,
    first_is_all: bool = True,
) -> str:
    """Draw a dot and its interval for each row; the dot is filled where the interval leaves out zero.

    Args:
        name (str): Of the chart; it makes the ids in the page unique.
        title (str): Description of the chart, for those who do not see it.
        metric (str): What differs.
        rows (Sequence[tuple[str, float, tuple[float, float] | None]]): Label, difference and interval, from the
            top.
        margin (float, optional): Difference that does not matter, to be shaded.
        first_is_all (bool): Whether the first row is of all together, and is set apart from the others.

    Returns:
        (str): An SVG element.
    """
    with matplotlib.style.context(["default", STYLE]):
        figure = Figure((WIDTH, 0.75 + 0.25 * len(rows)))
        axes = figure.add_subplot()
        axes.axvline(0, color=INK, linewidth=1)
        if margin:
            axes.axvspan(-margin, margin, color=LINE, alpha=0.5, linewidth=0)
        if first_is_all:
            axes.axhline(0.5, color=LINE, linewidth=0.7)
        for y, (_, value, interval) in enumerate(rows):
            clear = interval is not None and not interval[0] <= 0 <= interval[1]
            colour = "#fe0b00"
            if interval is not None:
                axes.hlines(y, *interval, color=colour, linewidth=1.8)
            axes.plot(value, y, "o", color=colour, markersize=6, markerfacecolor=colour if clear else PAGE)
        # With two or three seeds an interval can be wider than APs can differ; it then leaves the chart.
        farthest = max((abs(x) for _, value, interval in rows for x in (value, *(interval or ()))), default=0)
        edge = min(max(1.08 * farthest, 0.01), 1)
        axes.set_xlim(-edge, edge)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_yticks(range(len(rows)), [shorten(label) for label, *_ in rows])
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MaxNLocator(4, symmetric=True, steps=STEPS))
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:+.3g}" if abs(x) > 1e-9 else "0")
        axes.set_xlabel(f"difference in {metric}")
        axes.grid(axis="y", visible=False)
        return _svg(figure, name, title)


def shorten(label: str, most: int = 18) -> str:
    """Return a label that fits beside a chart on a phone.

    Args:
        label (str): Any text.
        most (int): Characters.

    Returns:
        (str): The label, or its beginning and an ellipsis.

    Examples:
        >>> shorten("a" * 30, 5)
        'aaaa…'
    """
    return label if len(label) <= most else f"{label[: most - 1]}…"


def _svg(figure: Figure, name: str, title: str) -> str:
    """Return the figure as an element that can stand in a page beside others."""
    out = io.BytesIO()
    figure.savefig(out, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    root = ET.fromstring(out.getvalue())
    for child in [c for c in root if c.tag.endswith("metadata")]:
        root.remove(child)
    attributes = [element.attrib for element in root.iter()]
    used = {ref for a in attributes for value in a.values() for ref in re.findall(r"#([\w-]+)", value)}
    for element in root.iter():
        element.tag = element.tag.split("}")[-1]  # HTML knows svg without a namespace
        for key, value in list(element.attrib.items()):
            del element.attrib[key]
            if key != "id" or value in used:
                element.set(key.split("}")[-1], _attribute(key, value, name))
    for key in ("width", "height"):
        del root.attrib[key]
    root.attrib.update({"xmlns": "http://www.w3.org/2000/svg", "role": "img", "aria-labelledby": f"{name}-title"})
    label = ET.Element("title", {"id": f"{name}-title"})
    label.text = title
    root.insert(0, label)
    return ET.tostring(root, encoding="unicode")


def _attribute(key: str, value: str, name: str) -> str:
    """Return an attribute's value with the page's colours, ids of this chart's own, and shorter numbers."""
    if key == "d":
        return re.sub(r"(\.\d\d)\d+", r"\1", value)
    if key == "id":
        return f"{name}-{value}"
    value = re.sub(r"#fe0[ab]\w\w", lambda m: VARIABLES[m[0]], value)
    return re.sub(r"#(?=[\w-]+\)|[\w-]+$)", f"#{name}-", value) if "url(" in value or "href" in key else value
