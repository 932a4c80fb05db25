"""Results of made-up trainings, as JSON and as types."""

import tempfile
from itertools import combinations
from pathlib import Path

import numpy as np

from ultralytics_diffattn.comparison.metrics import CONFIDENCE_CURVES
from ultralytics_diffattn.comparison.results import spread
from ultralytics_diffattn.comparison.schema import SCHEMA, read_results
from ultralytics_diffattn.comparison.verdicts import verdicts
from ultralytics_diffattn.evaluation import intervals
from ultralytics_diffattn.evaluation.estimates import estimate
from ultralytics_diffattn.evaluation.tasks import TASKS
from ultralytics_diffattn.evaluation.tide import KINDS
from ultralytics_diffattn.output.files import write_json

NASTY = ("<script>alert(1)</script>", "\"quoted\" & 'single' $5 $6", "a class with a name that is much too long")


def make_run(label, seed, classes, epochs, gain):
    """Return the JSON of a run whose curves rise and fall as those of a training do."""
    rng = np.random.default_rng([seed, len(label)])
    rising = 0.5 * (1 - np.exp(-np.arange(1, epochs + 1) / 3)) + gain + rng.normal(0, 0.004, epochs)
    falling = 2 * np.exp(-np.arange(epochs) / 4) + rng.random(epochs) / 20
    return {
        "model": label,
        "seed": seed,
        "metrics": {name: rising[-1] + 0.02 * i for i, name in enumerate(TASKS["detect"].metrics)},
        "per_class": {c: 0.5 + gain * (i % 5) + rng.normal(0, 0.01) for i, c in enumerate(classes)},
        "pr_curve": np.clip(1.2 - np.linspace(0, 1.2, 101) ** 4 - rng.random() / 20, 0, 1),
        "by_confidence": {name: np.sin(np.linspace(0, 3, 101)) * rng.random() for name in CONFIDENCE_CURVES},
        "epochs": epochs,
        "seconds_per_epoch": 12.5,
        "seconds": 12.5 * epochs,
        "peak_memory_mb": 1234.0,
        "resumed_after": [],
        "seconds_last_process": 13.0 * epochs,
        "step0": None,
        "reconstruction": None,
        "curve": {
            "epoch": list(range(1, epochs + 1)),
            "metric": rising,
            "losses": {"box_loss": falling, "cls_loss": falling},
        },
        "lambdas": {f"model.{i}.m.0.attn": 0.8 - 0.01 * i * falling for i in (10, 11)} if "diffattn" in label else {},
    }


def make_model(label, runs):
    """Return the JSON of a model over its runs."""
    return {
        **{"model": f"{label}.yaml", "parameters": 2591010, "gflops": 1.63, "seeds": len(runs)},
        "latency_ms": {"pytorch": 10.5, "onnxruntime": None},
        **over_seeds(runs),
        **{"seconds_per_epoch": 12.5, "peak_memory_mb": 1234.0, "resumed_runs": 0},
    }


def over_seeds(runs):
    """Return metrics and APs of the classes over the seeds."""
    return {
        key: {name: vars(spread([run[key][name] for run in runs])) for name in runs[0][key]}
        for key in ("metrics", "per_class")
    }


def make_pair(first, second, metric, classes):
    """Return the JSON of a pair of models, from the JSON of their runs."""
    both = list(zip(first, second, strict=True))
    gaps = [b["metrics"][metric] - a["metrics"][metric] for a, b in both]
    resamples = np.mean(gaps) + 0.005 * np.random.default_rng(0).standard_normal(1000)
    found = estimate(gaps, np.repeat(resamples[:, None], len(gaps), 1), images=1234)
    by_class = {c: [b["per_class"][c] - a["per_class"][c] for a, b in both] for c in classes}
    return {
        **{"first": first[0]["model"], "second": second[0]["model"], "metric": metric},
        **{"seeds": [run["seed"] for run in first], "difference": np.mean(gaps), "per_seed": gaps},
        "interval": found and found.student.interval(),
        **{"error": found and found.student.error, "df": found and found.student.df},
        **{"over_seeds": intervals.over_seeds(gaps), "over_images": intervals.over_resamples(resamples)},
        **dict(zip(("verdict", "p_different", "p_unequal"), verdicts([found], 0.005)[0], strict=True)),
        "seeds_needed": found and found.seeds_needed(),
        "per_class": {c: {"difference": np.mean(d), "over_seeds": intervals.over_seeds(d)} for c, d in by_class.items()}
        if metric == TASKS["detect"].compared[0]
        else None,
    }


def make_facet(labels):
    """Return the JSON of the errors of models."""
    differences = [(-1) ** n * 0.01 for n in range(len(KINDS))]
    return {
        **{"title": "Errors", "note": "AP50 that is lost.", "names": [*KINDS]},
        "models": {label: [0.1 + 0.01 * i] * len(KINDS) for i, label in enumerate(labels)},
        "pairs": [
            {
                **{"first": a, "second": b, "differences": differences},
                "intervals": [None, *((d - 0.005, d + 0.005 + 0.01 * (d < 0)) for d in differences[1:])],
            }
            for a, b in combinations(labels, 2)
        ],
    }


def make_confusion(labels, classes):
    """Return the JSON of confusion matrices of models, the background last."""
    names = [*classes, "background"]
    rng = np.random.default_rng(0)
    models = {label: rng.poisson(0.5, (len(names),) * 2) + 90.5 * np.eye(len(names)) for label in labels}
    gaps = [-12.5, *range(1, min(20, len(classes)))]
    return {
        **{"classes": names, "models": models},
        "largest": {
            **{
                "title": "Confusions",
                "note": "Numbers.",
                "names": [f"{names[n % len(classes)]} taken for x" for n in range(len(gaps))],
            },
            "models": {label: [100.0 + i * gap for gap in gaps] for i, label in enumerate(labels)},
            "pairs": [
                {"first": a, "second": b, "differences": gaps, "intervals": [None, *((g - 1, g + 1) for g in gaps[1:])]}
                for a, b in combinations(labels, 2)
            ],
        },
    }


def make_retention(label, precision="int8", **changes):
    """Return the JSON of what an export of two seeds keeps."""
    return {
        **{"model": label, "format": "onnx", "precision": precision, "seeds": [0, 1]},
        **{"pytorch": [0.5, 0.6], "exported": [0.49, 0.57], "difference": -0.02, "interval": [-0.05, 0.01]},
        **{"kept": 0.965, "kept_interval": [0.92, 1.01], "failures": []},
        **changes,
    }


def make_json(labels=("yolo11n", "yolo11n-diffattn"), seeds=(0, 1, 2), classes=NASTY, epochs=8, gain=0.0, **more):
    """Return the JSON of results in which each model is `gain` above the one before; its arrays are NumPy's."""
    runs = [make_run(label, s, classes, epochs, gain * i) for s in seeds for i, label in enumerate(labels)]
    by_model = {label: [run for run in runs if run["model"] == label] for label in labels}
    return {
        "schema": SCHEMA,
        "task": "detect",
        "created": "2030-01-02T03:04:05+00:00",
        "versions": {"ultralytics": "8.4.0", "torch": "2.9.0"},
        "hardware": {"cpu": "a processor", "cores": 2, "gpu": "none", "system": "Linux"},
        "data": {
            **{
                "file": "/data/<b>bold</b>/data.yaml",
                "sha256": "ab" * 32,
                "split": "val",
                "holdout": None,
                "images": 1234,
                "objects": 5678,
            },
            "classes": list(classes),
        },
        "arguments": {"epochs": epochs, "imgsz": 320, "data": "/data/<b>bold</b>/data.yaml", "augment": None},
        "runs": runs,
        "models": {label: make_model(label, mine) for label, mine in by_model.items()},
        "margin": 0.005,
        "pairs": [
            make_pair(by_model[a], by_model[b], metric, classes)
            for a, b in combinations(labels, 2)
            for metric in TASKS["detect"].compared
        ],
        "effects": [],
        "facets": [make_facet(labels)],
        "confusion": make_confusion(labels, classes),
        "retention": [],
        "missing": [],
        **more,
    }


def typed(value):
    """Return results as whoever reads the file gets them."""
    with tempfile.TemporaryDirectory() as folder:
        write_json(Path(folder) / "results.json", value)
        return read_results(Path(folder) / "results.json")


def make_results(**arguments):
    """Return what `make_json` makes, as types."""
    return typed(make_json(**arguments))


def with_boxes(p):
    """Return made-up predictions with boxes of three sizes, so that each size has an AP."""
    rng = np.random.default_rng(0)
    box = rng.choice([10.0, 50.0, 200.0], len(p.target_cls))
    return p._replace(
        target_box=np.stack([box, box, box, box], 1),
        box=rng.uniform(10, 200, (len(p.cls), 4)),
        shape=np.full((30, 2), 640),
    )
