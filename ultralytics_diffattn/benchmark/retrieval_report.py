# Ultralytics DiffAttn - AGPL-3.0 License
"""The retrieval of the benchmark as a table and as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from statistics import mean

import matplotlib.style
from matplotlib.figure import Figure

from ultralytics_diffattn.benchmark.results import Reading
from ultralytics_diffattn.evaluation.intervals import over_seeds
from ultralytics_diffattn.output.formatting import interval, signed
from ultralytics_diffattn.output.markdown import table

COLOURS = {
    "stock": "#000000",
    "paired": "#0072b2",
    "split": "#d55e00",
    "token": "#009e73",
    "control": "#888888",
    "candidate": "#cc79a7",
}
DASHES = "-", "--", ":", "-."  # of the variants of a kind, in turn


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
            if variant == "stock":
                cells += ["-"] * len(sizes)
            else:
                cells += [_difference(_accuracies(here, "stock", n), _accuracies(here, variant, n)) for n in sizes]
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
    """Return a picture of accuracy against noise, a panel for each number of tokens, with 95 % intervals over seeds.

    Args:
        readings (Sequence[Reading]): What performance.json holds.

    Returns:
        (bytes): A PNG.
    """
    sizes = sorted({r["tokens"] for r in readings})
    noises = sorted({r["noise"] for r in readings})
    variants = list(dict.fromkeys(r["variant"] for r in readings))
    with matplotlib.style.context(["default", {"font.size": 11, "axes.spines.top": False, "axes.spines.right": False}]):
        figure = Figure((4 * len(sizes) + 2.6, 4.4), dpi=150, layout="constrained")
        panels = figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
        for panel, tokens in zip(panels, sizes, strict=True):
            count: dict[str, int] = {}
            for i, variant in enumerate(variants):
                kind = variant.partition(",")[0].partition(":")[0]
                dash = DASHES[count.get(kind, 0) % len(DASHES)]
                count[kind] = count.get(kind, 0) + 1
                here = [r for r in readings if r["tokens"] == tokens]
                values = [
                    list(_accuracies([r for r in here if r["noise"] == x], variant, tokens).values()) for x in noises
                ]
                means = [mean(v) for v in values]
                ends = [over_seeds(v) or (m, m) for v, m in zip(values, means, strict=True)]
                errors = [[m - low for m, (low, _) in zip(means, ends, strict=True)]]
                errors.append([high - m for m, (_, high) in zip(means, ends, strict=True)])
                shifted = [x * (1 + 0.012 * (i - len(variants) / 2)) for x in noises]  # that bars lie side by side
                panel.errorbar(
                    shifted,
                    means,
                    errors,
                    color=COLOURS[kind],
                    linestyle=dash,
                    marker="o",
                    markersize=4,
                    capsize=2,
                    elinewidth=1,
                    label=variant,
                )
            panel.set(xscale="log", xlabel="noise", ylim=(0, 1.02))
            panel.set_xticks(noises, [f"{x:g}" for x in noises])
            panel.minorticks_off()
            panel.set_title(f"{tokens:,} tokens", loc="left")
            panel.grid(color="#dddddd", linewidth=0.8)
            panel.set_axisbelow(True)
        panels[0].set_ylabel("accuracy")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
        out = io.BytesIO()
        figure.savefig(out, format="png")
    return out.getvalue()
