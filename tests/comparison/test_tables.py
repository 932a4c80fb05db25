"""The Markdown table, the sentences and the CSV."""

import csv
import io

import pytest

from ultralytics_diffattn.comparison import tables

PAIR = {
    "first": "stock",
    "second": "ours",
    "metric": "mAP50-95",
    "seeds": [0, 1, 2],
    "difference": 0.02,
    "over_seeds": [-0.01, 0.05],
    "over_images": [0.001, 0.04],
    "verdict": "not distinguishable",
    "seeds_needed": 9,
}


NOT = "ours is not distinguishable from stock in mAP50-95: +0.020, "
OVER = "95 % interval over 3 seeds -0.010 to +0.050, over images +0.001 to +0.040"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, f"{NOT}{OVER}; with this mean and spread, 9 seeds would be needed."),
        ({"seeds_needed": None}, f"{NOT}{OVER}; with this mean and spread, more than 1,000 seeds would be needed."),
        (
            {"over_seeds": None, "seeds": [0], "seeds_needed": None},
            f"{NOT}no interval over seeds, as there is only one, over images +0.001 to +0.040.",
        ),
        (
            {"verdict": "better", "over_seeds": [0.01, 0.03], "seeds_needed": 3},
            "ours is better than stock in mAP50-95: +0.020, 95 % interval over 3 seeds +0.010 to +0.030, "
            "over images +0.001 to +0.040.",
        ),
    ],
)
def test_sentence(changes, expected):
    assert tables.sentence({**PAIR, **changes}) == expected


def found(seeds=(0, 1)):
    metrics = {
        "mAP50-95": {"mean": 0.5, "sd": 0.01, "values": []},
        "mAP50": {"mean": 0.5, "sd": 0.01, "values": []},
        "AP small": {"mean": None, "sd": None, "values": []},
    }
    model = {
        "metrics": metrics,
        "parameters": 2624080,
        "gflops": 6.614,
        "latency_ms": {"pytorch": 20.0, "onnxruntime": None},
        "seconds_per_epoch": 3.14,
        "peak_memory_mb": 1234.5,
    }
    run = {"metrics": {"mAP50-95": 0.5, "AP small": None}, "per_class": {"a, b": 0.5}, "epochs": 3}
    run |= {"seconds_per_epoch": 3.1, "peak_memory_mb": 1234}
    run |= {"step0": 0.1, "curve": {"epoch": [1, 2, 3], "mAP50-95": [0.3, 0.4, 0.5]}}
    return {
        "arguments": {"epochs": 3, "imgsz": 64, "batch": 4, "pretrained": None},
        "versions": {"torch": "2.14"},
        "hardware": {"cpu": "Xeon", "gpu": "none"},
        "data": {"val_images": 4, "val_boxes": 15},
        "models": {"stock": model, "ours": model},
        "runs": [{"model": m, "seed": s, "resumed_after": [1] * s, **run} for s in seeds for m in ("stock", "ours")],
        "pairs": [PAIR],
        "missing": ["ours seed 2"],
    }


def test_markdown():
    lines = tables.as_markdown(found()).splitlines()
    assert (
        lines[0] == "4 validation images, 15 boxes; epochs=3, imgsz=64, batch=4; seeds 0, 1; torch 2.14; Xeon, GPU none"
    )
    end = lines.index("", 2)
    table = [line for line in lines[:end] if line.startswith("|")]
    assert table[2] == "| stock | 0.500 ± 0.010 | 0.500 ± 0.010 | - | 2,624,080 | 6.61 | 20.0 | - | 3.1 | 1,234 |"
    assert len({line.count("|") for line in table}) == 1
    assert "- Taken up again after an interruption: stock seed 1, ours seed 1." in lines
    assert "- Not finished, and not in the table: ours seed 2." in lines


def test_markdown_on_the_way():
    on_the_way = found()
    on_the_way["runs"][0] |= {"step0": 0.3}  # stock seed 0; seed 1 has 0.1
    table = tables.as_markdown(on_the_way).split("\n\n")[2].splitlines()
    assert table == [
        "| mAP50-95 after epoch | 0 | 1 | 2 | 3 |",
        "|---|---|---|---|---|",
        "| stock | 0.200 ± 0.141 | 0.300 ± 0.000 | 0.400 ± 0.000 | 0.500 ± 0.000 |",
        "| ours | 0.100 ± 0.000 | 0.300 ± 0.000 | 0.400 ± 0.000 | 0.500 ± 0.000 |",
    ]
    for run in on_the_way["runs"]:
        run |= {"step0": None}  # from scratch
    assert "| mAP50-95 after epoch | 1 | 2 | 3 |" in tables.as_markdown(on_the_way)
    on_the_way["arguments"]["val"] = False  # ultralytics then validates after the last epoch only, and writes 0 before
    for run in on_the_way["runs"]:
        run["curve"] = {"epoch": [1, 2, 3], "mAP50-95": [0.0, 0.0, 0.5]}
    assert "| mAP50-95 after epoch | 3 |\n" in tables.as_markdown(on_the_way)


def test_nothing_learned():
    nothing = found()
    for model in nothing["models"].values():
        model["metrics"]["mAP50"] = {"mean": 0.004, "sd": 0.0, "values": []}
    assert "No model has learned to find anything (mAP50 0.004)" in tables.as_markdown(nothing)
    assert "No model has learned" not in tables.as_markdown(found())
    same = {**PAIR, "difference": 0.0, "over_seeds": [0.0, 0.0], "seeds_needed": None}
    assert "seeds would be needed" not in tables.sentence(same)


def test_csv_reads_back():
    rows = list(csv.DictReader(io.StringIO(tables.as_csv(found()))))
    assert [(row["model"], row["seed"], row["resumed_after"]) for row in rows] == [
        ("stock", "0", ""),
        ("ours", "0", ""),
        ("stock", "1", "1"),
        ("ours", "1", "1"),
    ]
    assert rows[0]["AP a, b"] == "0.5"
