"""summary.py: a measurement with known numbers as tables and sentences."""

import math

from ultralytics_diffattn.maps.summary import as_markdown, scope, summarize

MAP = {"inside": 0.25, "entropy": 0.75, "sparsity": 0.5}
CHANGE = {key: {"difference": -0.125, "over_images": (-0.25, -0.0003)} for key in MAP}
BLOCK = {
    "lambda": 0.8,
    "maps": {"baseline": MAP, "A1": MAP, "A2": MAP, "difference": MAP, "positive": MAP},
    "removed": {
        "outside": {"share": 0.5, "over_images": (0.25, 0.75)},
        "inside": {"share": -0.125, "over_images": (-0.25, 0.0)},
    },
    "versus": {"baseline": CHANGE, "A1": CHANGE},
}
MEASUREMENT = {
    "images": 1200,
    "objects": 34567,
    "area": 0.125,
    "mAP50-95": {"model": 0.5, "baseline": 0.25},
    "blocks": {"model.10.m.0.attn": BLOCK},
}


def test_a_differential_block():
    (block,) = summarize(MEASUREMENT)
    assert block.title == "model.10.m.0.attn, λ = 0.800"
    assert block.rows[0] == ["baseline", "0.250", "2.00", "0.750", "0.500"]
    assert [row[0] for row in block.rows] == ["baseline", "A1", "A2", "A1 − λ·A2", "A1 − λ·A2, positive part"]
    change = (
        "inside -0.125 (-0.250 to -0.0003), entropy -0.125 (-0.250 to -0.0003), sparsity -0.125 (-0.250 to -0.0003)"
    )
    assert block.sentences == [
        "The subtraction removes 50.0 % (25.0 % to 75.0 %) of A1's mass outside all boxes, "
        "and -12.5 % (-25.0 % to 0.0 %) of that inside the object's own.",
        f"A1 − λ·A2 minus baseline: {change}.",
        f"A1 − λ·A2 minus A1: {change}.",
    ]
    markdown = as_markdown(MEASUREMENT)
    assert markdown.startswith(scope(MEASUREMENT))
    assert all(f"- {sentence}" in markdown for sentence in block.sentences)
    assert "34,567 labelled objects in 1,200 validation images; mAP50-95 0.500 (model), 0.250 (baseline)." in markdown


def test_a_plain_block():
    plain = {"lambda": None, "maps": {"A1": MAP}, "removed": {}, "versus": {}}
    (block,) = summarize({**MEASUREMENT, "blocks": {"model.10.m.0.attn": plain}})
    assert (block.title, len(block.rows), block.sentences) == ("model.10.m.0.attn", 1, [])


def test_a_share_of_nothing():
    nothing = {"share": math.nan, "over_images": (math.nan, math.nan)}
    removed = {**BLOCK["removed"], "inside": nothing}
    (block,) = summarize({**MEASUREMENT, "blocks": {"a": {**BLOCK, "removed": removed}}})
    assert "and an undefined share (A1 has no mass there) of that inside the object's own" in block.sentences[0]
    assert "nan" not in as_markdown({**MEASUREMENT, "blocks": {"a": {**BLOCK, "removed": removed}}})
