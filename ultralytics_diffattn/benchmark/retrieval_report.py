# Ultralytics DiffAttn - AGPL-3.0 License
"""The retrieval of the benchmark as a table and as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import chain, cycle
from statistics import mean
from typing import Any

import matplotlib.style
from matplotlib.figure import Figure

from ultralytics_diffattn.benchmark.results import Reading
from ultralytics_diffattn.benchmark.retrieval import CODES
from ultralytics_diffattn.evaluation.intervals import over_seeds
from ultralytics_diffattn.output.formatting import interval, signed
from ultralytics_diffattn.output.markdown import table
from ultralytics_diffattn.output.palette import COLOURS

STOCK = "stock"
BESIDE = "control:", "candidate:"  # how the names of those begin that are none of our kinds


def as_lines(readings: Sequence[Reading]) -> list[str]:
    """Return the picture, and a table for each noise: accuracy by variant and tokens, and beside stock's.

    Args:
        readings (Sequence[Reading]): What performance.json holds.

    Returns:
        (list[str]): Markdown, which shows retrieval.png beside it.
    """
    lines = ["", "![Accuracy of each variant against the noise, for each number of tokens](retrieval.png)"]
    sizes = sorted({r["tokens"] for r in readings})
    for noise in sorted({r["noise"] for r in readings}):
        here = [r for r in readings if r["noise"] == noise]
        head = ["variant", *(f"{n:,} tokens" for n in sizes), *(f"beside stock, {n:,} tokens" for n in sizes)]
        rows = []
        for variant in dict.fromkeys(r["variant"] for r in here):
            cells = [_mean(_accuracies(here, variant, n)) for n in sizes]
            if variant == STOCK:
                cells += ["-"] * len(sizes)
            else:
                cells += [_difference(_accuracies(here, STOCK, n), _accuracies(here, variant, n)) for n in sizes]
            rows.append([variant, *cells])
        lines += ["", f"Noise {noise:g}:", "", *table(head, rows)]
    return lines


def _accuracies(readings: Sequence[Reading], variant: str, tokens: int) -> dict[int, float]:
    """Return the accuracy by seed."""
    return {r["seed"]: r["accuracy"] for r in readings if r["variant"] == variant and r["tokens"] == tokens}


def _mean(accuracies: dict[int, float]) -> str:
    """Return the mean over the seeds, and the lowest and highest."""
    values = accuracies.values()
    return f"{mean(values):.3f} ({min(values):.2f} to {max(values):.2f})"


def _difference(stock: dict[int, float], ours: dict[int, float]) -> str:
    """Return the mean of the differences of equal seeds, with its interval."""
    differences = [ours[seed] - stock[seed] for seed in ours]
    return f"{signed(mean(differences))} [{interval(over_seeds(differences))}]"


def as_png(readings: Sequence[Reading]) -> bytes:
    """Return a picture of accuracy against noise, with 95 % intervals over seeds.

    Args:
        readings (Sequence[Reading]): What performance.json holds.

    Returns:
        (bytes): A PNG: a column for each number of tokens; our kinds above, controls and candidates below.
    """
    sizes = sorted({r["tokens"] for r in readings})
    variants = list(dict.fromkeys(r["variant"] for r in readings))
    rows = [[v for v in variants if v.startswith(BESIDE) is beside and v != STOCK] for beside in (False, True)]
    rows = [[STOCK, *row] for row in rows if row]
    with matplotlib.style.context(["default", {"font.size": 11, "axes.spines.top": False, "axes.spines.right": False}]):
        figure = Figure((3.6 * len(sizes) + 2.6, 3.6 * len(rows)), dpi=130, layout="constrained")
        panels = figure.subplots(len(rows), len(sizes), sharex=True, sharey=True, squeeze=False)
        for row, shown in zip(panels, rows, strict=True):
            for panel, tokens in zip(row, sizes, strict=True):
                _draw(panel, [r for r in readings if r["tokens"] == tokens], shown)
                panel.set_title(f"{tokens:,} tokens", loc="left")
            row[0].set_ylabel("accuracy")
            row[-1].legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
        for panel in panels[-1]:
            panel.set_xlabel("noise")
        out = io.BytesIO()
        figure.savefig(out, format="png")
    return out.getvalue()


def _draw(panel: Any, readings: Sequence[Reading], variants: Sequence[str]) -> None:
    """Draw a line for each variant, and chance."""
    noises = sorted({r["noise"] for r in readings})
    for i, (variant, colour) in enumerate(zip(variants, chain(["#000000"], cycle(COLOURS)), strict=False)):
        mine = [r for r in readings if r["variant"] == variant]
        values = [[r["accuracy"] for r in mine if r["noise"] == n] for n in noises]
        means = [mean(v) for v in values]
        ends = [over_seeds(v) or (m, m) for v, m in zip(values, means, strict=True)]
        errors = [[m - low for m, (low, _) in zip(means, ends, strict=True)]]
        errors.append([high - m for m, (_, high) in zip(means, ends, strict=True)])
        shifted = [x * (1 + 0.015 * (i - len(variants) / 2)) for x in noises]  # that bars lie side by side
        style = {"marker": "o", "markersize": 4, "capsize": 2, "elinewidth": 1}
        panel.errorbar(shifted, means, errors, color=colour, label=variant.removeprefix("candidate: "), **style)
    panel.axhline(1 / CODES, color="#888888", linestyle=":", label="chance")
    panel.set(xscale="log", ylim=(0, 1.02))
    panel.set_xticks(noises, [f"{x:g}" for x in noises])
    panel.minorticks_off()
    panel.grid(color="#dddddd", linewidth=0.8)
    panel.set_axisbelow(True)
