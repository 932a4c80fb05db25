"""The Markdown table, the sentences and the CSV."""

import csv
import io
from dataclasses import replace

import pytest

from tests.comparison.samples import make_results, make_retention
from ultralytics_diffattn.comparison import retention_tables, tables
from ultralytics_diffattn.comparison.schema import DataSummary, Latency, PairResult, Retention, Spread

PAIR = PairResult(
    first="stock",
    second="ours",
    metric="mAP50-95",
    seeds=[0, 1, 2],
    difference=0.02,
    per_seed=[],
    interval=(-0.01, 0.05),
    error=0.012,
    df=4.0,
    over_seeds=None,
    over_images=None,
    p_different=0.2,
    p_unequal=0.8,
    verdict="not distinguishable",
    seeds_needed=9,
    per_class=None,
)


NOT = "ours is not distinguishable from stock in mAP50-95: +0.020, 95 % interval"
MORE = "over 3 seeds and 1,234 images"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, f"{NOT} -0.010 to +0.050 {MORE}; to show a difference of that size would take about 9 seeds."),
        (
            {"seeds_needed": None},
            f"{NOT} -0.010 to +0.050 {MORE}; on so few images not even 1,000 seeds would show a difference of that "
            "size.",
        ),
        (
            {"interval": (0.001, 0.039)},
            f"{NOT} +0.001 to +0.039 {MORE}; on its own it would be distinguishable, but not as one of 2 differences "
            "in this report.",
        ),
        ({"difference": 0.0, "seeds_needed": None}, f"{NOT} -0.010 to +0.050 {MORE}.".replace("+0.020", "+0.000")),
        (
            {"verdict": "better", "interval": (0.01, 0.03)},
            f"ours is better than stock in mAP50-95: +0.020, 95 % interval +0.010 to +0.030 {MORE}.",
        ),
        (
            {"verdict": "worse", "difference": -0.002, "interval": (-0.003, -0.001), "p_unequal": 0.01},
            f"ours is worse than stock in mAP50-95: -0.002, 95 % interval -0.003 to -0.001 {MORE}; that is too small "
            "to matter (less than margin=0.005).",
        ),
        (
            {"verdict": "equal", "difference": 0.001, "interval": (-0.002, 0.004), "p_unequal": 0.01},
            f"ours is equal to stock in mAP50-95 within ±0.005: +0.001, 95 % interval -0.002 to +0.004 {MORE}.",
        ),
        (
            {"verdict": "no verdict", "interval": None, "seeds": [0]},
            "ours gets no verdict against stock in mAP50-95: +0.020; one seed is too few to rule out chance: give 3 "
            "or more, as seeds=0,1,2.",
        ),
        (
            {"verdict": "no verdict", "seeds": [0, 1]},
            "ours gets no verdict against stock in mAP50-95: +0.020, 95 % interval -0.010 to +0.050 over 2 seeds and "
            "1,234 images; 2 seeds are too few to rule out chance: give 3 or more, as seeds=0,1,2.",
        ),
        (
            {"verdict": "no verdict", "difference": 0.0, "interval": (0.0, 0.0)},
            f"ours gets no verdict against stock in mAP50-95: +0.000, 95 % interval +0.000 to +0.000 {MORE}; "
            "neither has learned anything: train longer.",
        ),
    ],
)
def test_sentence(changes, expected):
    results = replace(make_results(), pairs=[PAIR, PAIR])
    assert tables.sentence(replace(PAIR, **changes), results) == expected


def test_sentence_from_few_images():
    results = make_results()
    few = replace(results, data=replace(results.data, images=2))
    assert tables.sentence(replace(PAIR, verdict="no verdict", interval=None), few) == (
        "ours gets no verdict against stock in mAP50-95: +0.020; there are 2 images, and a verdict needs at least 10."
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"verdict": "better"}, "ours is better than stock in mAP50-95: +0.020, 95 % interval -0.010 to +0.050 over "),
        ({}, f"{NOT} -0.010 to +0.050 over "),
    ],
)
def test_sentence_of_models_as_they_are(changes, expected):
    results = replace(make_results(arguments={"epochs": 0}), pairs=[PAIR])
    pair = replace(PAIR, seeds=[], seeds_needed=None, **changes)
    said = "1,234 images, for these weights; trained again, the models may compare differently."
    assert tables.sentence(pair, results) == expected + said


def test_sentence_of_models_as_they_are_without_a_verdict():
    results = replace(make_results(arguments={"epochs": 0}), pairs=[PAIR])
    pair = replace(PAIR, seeds=[], verdict="no verdict", difference=0.0, interval=(0.0, 0.0))
    assert tables.sentence(pair, results).endswith("over 1,234 images; neither finds anything.")


def table_results(step0=(0.1, 0.1), curve=(0.3, 0.4, 0.5), map50=0.5, **arguments):
    """Return results of two models and two seeds; `step0` is of stock's seeds 0 and 1, that of ours 0.1."""
    results = make_results(labels=("stock", "ours"), seeds=(0, 1), classes=("a, b",), epochs=3)
    runs = [
        replace(
            run,
            metrics={"mAP50-95": 0.5, "AP small": None},
            per_class={"a, b": 0.5},
            step0=step0[run.seed] if run.model == "stock" else step0[1],
            curve=replace(run.curve, metric=list(curve)),
            resumed_after=[1] * run.seed,
        )
        for run in results.runs
    ]
    model = replace(
        results.models["stock"],
        metrics={
            "mAP50-95": Spread(0.5, 0.01, []),
            "mAP50": Spread(map50, 0.01, []),
            "AP small": Spread(None, None, []),
        },
        parameters=2624080,
        gflops=6.614,
        latency_ms=Latency(20.0, None),
        seconds_per_epoch=3.14,
        peak_memory_mb=1234.5,
    )
    return replace(
        results,
        arguments={"epochs": 3, "imgsz": 64, "batch": 4, "pretrained": None, **arguments},
        versions={"torch": "2.14"},
        hardware={"cpu": "Xeon", "cores": 2, "gpu": "none", "system": "Linux"},
        data=DataSummary("data.yaml", "ab", "val", None, 4, 15, ["a, b"]),
        models={"stock": model, "ours": model},
        runs=runs,
        pairs=[PAIR],
        missing=["ours seed 2"],
    )


def test_markdown():
    lines = tables.as_markdown(table_results()).splitlines()
    assert lines[0] == "No difference from stock in mAP50-95 could be shown for ours."
    assert (
        lines[2]
        == "4 validation images, 15 objects; epochs=3, imgsz=64, batch=4; seeds 0, 1; torch 2.14; Xeon, GPU none"
    )
    end = lines.index("", 4)
    table = [line for line in lines[:end] if line.startswith("|")]
    assert table[2] == "| stock | 0.500 ± 0.010 | 0.500 ± 0.010 | - | 2,624,080 | 6.61 | 20.0 | - | 3.1 | 1,234 |"
    assert len({line.count("|") for line in table}) == 1
    assert "- Resumed after an interruption: stock seed 1, ours seed 1." in lines
    assert "- Not finished, and not in the table: ours seed 2." in lines


def test_markdown_by_epoch():
    table = tables.as_markdown(table_results(step0=(0.3, 0.1))).split("\n\n")[3].splitlines()
    assert table == [
        "| mAP50-95 after epoch | 0 | 1 | 2 | 3 |",
        "|---|---|---|---|---|",
        "| stock | 0.200 ± 0.141 | 0.300 ± 0.000 | 0.400 ± 0.000 | 0.500 ± 0.000 |",
        "| ours | 0.100 ± 0.000 | 0.300 ± 0.000 | 0.400 ± 0.000 | 0.500 ± 0.000 |",
    ]
    from_scratch = {"step0": (None, None)}
    assert "| mAP50-95 after epoch | 1 | 2 | 3 |" in tables.as_markdown(table_results(**from_scratch))
    # With val=False ultralytics validates after the last epoch only, and writes 0 before.
    validated_at_the_end = table_results(**from_scratch, curve=(0.0, 0.0, 0.5), val=False)
    assert "| mAP50-95 after epoch | 3 |\n" in tables.as_markdown(validated_at_the_end)


def test_nothing_learned():
    assert "No model has learned anything (mAP50 0.004)" in tables.as_markdown(table_results(map50=0.004))
    assert "No model has learned" not in tables.as_markdown(table_results())


def test_what_exports_keep():
    without = table_results()
    both = [
        typed_retention("stock", failures=["seed 2: no"]),
        typed_retention("ours", seeds=[1], pytorch=[0.6], exported=[0.57]),
    ]
    results = replace(without, retention=[*both, *(replace(r, precision="float16") for r in both)])
    lines = tables.as_markdown(results).splitlines()
    assert lines[4].endswith("| kept by onnx int8 | kept by onnx float16 |")
    assert lines[6].endswith("| 96.5 % (-0.020, -0.050 to +0.010) | 96.5 % (-0.020, -0.050 to +0.010) |")
    assert "- Not measured, and not counted: onnx int8 of stock, seed 2: no" in lines
    assert "Kept:" not in tables.as_markdown(without)
    assert len([line for line in lines if line.startswith("- With fewer than 3 seeds")]) == 1
    enough = typed_retention("stock", seeds=[0, 1, 2])
    assert retention_tables.remarks(replace(without, retention=[enough])) == []
    rows = list(csv.DictReader(io.StringIO(tables.as_csv(results))))
    columns = "mAP50-95 PyTorch, square images", "mAP50-95 onnx int8"
    assert [tuple(row[name] for name in columns) for row in rows] == [
        ("0.5", "0.49"),
        ("", ""),
        ("0.6", "0.57"),
        ("0.6", "0.57"),
    ]


def typed_retention(label, **changes):
    return Retention(**make_retention(label, **changes))


def test_csv_reads_back():
    rows = list(csv.DictReader(io.StringIO(tables.as_csv(table_results()))))
    assert [(row["model"], row["seed"], row["resumed_after"]) for row in rows] == [
        ("stock", "0", ""),
        ("ours", "0", ""),
        ("stock", "1", "1"),
        ("ours", "1", "1"),
    ]
    assert rows[0]["mAP50-95 a, b"] == "0.5"
