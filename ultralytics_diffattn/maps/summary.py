# Ultralytics DiffAttn - AGPL-3.0 License
"""A measurement as tables and sentences: attention.md, and the same on the page."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ultralytics_diffattn.maps.drawing import A1, A2, DIFFERENCE, PLAIN
from ultralytics_diffattn.maps.measurement import BlockMeasurement, Measurement, RemovedShare
from ultralytics_diffattn.output.formatting import interval, percent, signed
from ultralytics_diffattn.output.markdown import table

TITLES = {"baseline": PLAIN, "A1": A1, "A2": A2, "difference": DIFFERENCE, "positive": f"{DIFFERENCE}, positive part"}
COLUMNS = "map", "mass inside the box", "times its area", "entropy", "sparsity"
EXPLANATION = (
    "Mean over labelled objects and heads. Mass inside the box: 0 to 1; times its area: over what uniform attention "
    "would put there. Entropy: 1 for a uniform map, 0 for one that looks at one token. Sparsity (Hoyer's): the other "
    "way round. Negative weights count with their absolute value, so a subtraction can also add mass: a share below "
    "zero. Intervals: 95 %, over resampled images."
)


@dataclass(frozen=True)
class BlockSummary:
    """Table and sentences of one attention block.

    Attributes:
        title (str): Name of the block, and lambda.
        columns (tuple[str, ...]): Heads of the table.
        rows (list[list[str]]): A row for each map.
        sentences (list[str]): What the subtraction changes; none for plain attention.
    """

    title: str
    columns: tuple[str, ...]
    rows: list[list[str]]
    sentences: list[str]


def summarize(measurement: Measurement) -> list[BlockSummary]:
    """Return the tables and sentences of all blocks.

    Args:
        measurement (Measurement): From `measure`.

    Returns:
        (list[BlockSummary]): In the network's order.

    Examples:
        >>> maps = {"A1": {"inside": 0.2, "entropy": 0.7, "sparsity": 0.6}}
        >>> block = {"lambda": None, "maps": maps, "removed": {}, "versus": {}}
        >>> summarize({"images": 1, "objects": 2, "area": 0.1, "mAP50-95": {}, "blocks": {"a": block}})[0].rows
        [['A1', '0.200', '2.00', '0.700', '0.600']]
    """
    return [_block(name, block, measurement["area"]) for name, block in measurement["blocks"].items()]


def scope(measurement: Measurement) -> str:
    """Return the sentence on what was measured.

    Args:
        measurement (Measurement): From `measure`.

    Returns:
        (str): Numbers of objects and images, and mAP50-95.

    Examples:
        >>> scope({"images": 3, "objects": 12, "area": 0.1, "mAP50-95": {"model": 0.5}, "blocks": {}})
        '12 labelled objects in 3 validation images; mAP50-95 0.500 (model).'
    """
    scores = ", ".join(f"{score:.3f} ({name})" for name, score in measurement["mAP50-95"].items())
    objects, images = measurement["objects"], measurement["images"]
    return f"{objects:,} labelled objects in {images:,} validation images; mAP50-95 {scores}."


def as_markdown(measurement: Measurement) -> str:
    """Return the content of attention.md: a table and sentences for each block.

    Args:
        measurement (Measurement): From `measure`.

    Returns:
        (str): Markdown.

    Examples:
        >>> print(as_markdown({"images": 3, "objects": 12, "area": 0.1, "mAP50-95": {"model": 0.5}, "blocks": {}}))
        12 labelled objects in 3 validation images; mAP50-95 0.500 (model).
        ...
    """
    lines = [scope(measurement), ""]
    for block in summarize(measurement):
        lines += [f"{block.title}:", "", *table(block.columns, block.rows), ""]
        lines += [*(f"- {sentence}" for sentence in block.sentences), ""]
    return "\n".join([*lines, EXPLANATION]) + "\n"


def _block(name: str, block: BlockMeasurement, area: float) -> BlockSummary:
    """Return table and sentences of a block."""
    rows = []
    for key, row in block["maps"].items():
        ratio = row["inside"] / area if area else 0
        rows.append(
            [TITLES[key], f"{row['inside']:.3f}", f"{ratio:.2f}", f"{row['entropy']:.3f}", f"{row['sparsity']:.3f}"]
        )
    sentences = []
    if block["removed"]:
        shares = {region: _share(removed) for region, removed in block["removed"].items()}
        sentences.append(
            f"The subtraction removes {shares['outside']} of A1's mass outside all boxes, and {shares['inside']} of "
            "that inside the object's own."
        )
    for other, differences in block["versus"].items():
        listed = (f"{key} {signed(d['difference'])} ({interval(d['over_images'])})" for key, d in differences.items())
        sentences.append(f"{DIFFERENCE} minus {TITLES[other]}: {', '.join(listed)}.")
    lam = "" if block["lambda"] is None else f", λ = {block['lambda']:.3f}"
    return BlockSummary(f"{name}{lam}", COLUMNS, rows, sentences)


def _share(removed: RemovedShare) -> str:
    """Return a removed share with its interval."""
    if math.isnan(removed["share"]):
        return "an undefined share (A1 has no mass there)"
    if removed["over_images"] is None:
        return percent(removed["share"])
    low, high = removed["over_images"]
    return f"{percent(removed['share'])} ({percent(low)} to {percent(high)})"
