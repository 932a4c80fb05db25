# Ultralytics DiffAttn - AGPL-3.0 License
"""The first lines of performance.md: how much longer ours takes than stock, beside a second copy of stock."""

from __future__ import annotations

from ultralytics_diffattn.benchmark.results import Performance, Row
from ultralytics_diffattn.output.markdown import table

PARTS = {  # group: what it measures
    "block": "the block, `C2PSA_Diff`",
    "model": "the whole model",
    "train": "a training step",
    "export": "the exported model",
}


def as_lines(results: Performance) -> list[str]:
    """Return the range of the ratios over stock, for each part of a model that was measured.

    Args:
        results (Performance): What `performance.json` holds.

    Returns:
        (list[str]): Lines of Markdown; none where no part of a model was measured beside stock.
    """
    rows = []
    for name, what in PARTS.items():
        measured = results["groups"][name]["rows"] if name in results["groups"] else []
        ours, again = (_range(measured, who) for who in ("ours", "again"))
        if ours:
            rows.append((what, ours, again or "-"))
    if not rows:
        return []
    return [
        "Time of ours over that of stock, from the lowest to the highest of the medians below. Below 1, ours takes "
        "less. A second copy of stock shows how much is noise.",
        "",
        *table(("part", "ours / stock", "a copy of stock / stock"), rows),
    ]


def _range(rows: list[Row], who: str) -> str:
    """Return the lowest and the highest median ratio over stock."""
    ratios = [row["ratio"] for row in rows if (row["ours"], row["other"]) == (who, "stock")]
    known = [ratio for ratio in ratios if ratio is not None]
    return f"{min(known):.2f} to {max(known):.2f}" if known else ""
