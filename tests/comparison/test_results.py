"""From predictions to the results of a comparison."""

import numpy as np
import pytest
import torch
from ultralytics.utils.metrics import ap_per_class

from tests.samples import random_predictions
from ultralytics_diffattn.comparison import results
from ultralytics_diffattn.evaluation.predictions import Predictions
from ultralytics_diffattn.output.files import write_json


def with_boxes(p):
    """Give made-up predictions boxes of three sizes, so that there is an AP by size."""
    rng = np.random.default_rng(0)
    box = rng.choice([10.0, 50.0, 200.0], len(p.target_cls))
    return p._replace(
        target_box=np.stack([box, box, box, box], 1),
        box=rng.uniform(10, 200, (len(p.cls), 4)),
        shape=np.full((30, 2), 640),
    )


def test_scores_are_ultralytics():
    p = with_boxes(random_predictions(0))
    found = results.scores(p)
    _, _, precision, recall, _, ap, *_ = ap_per_class(p.tp, p.conf, p.cls, p.target_cls)
    metrics = found["metrics"]
    assert list(metrics) == list(results.METRICS)
    assert (metrics["mAP50-95"], metrics["mAP50"]) == (ap.mean(), ap[:, 0].mean())
    assert (metrics["precision"], metrics["recall"]) == (precision.mean(), recall.mean())
    assert found["per_class"] == dict(zip(p.names, ap.mean(1), strict=True))
    assert np.diff(found["pr_curve"]).max() <= 0
    assert len(found["pr_curve"]) == 101


def test_a_model_that_predicts_nothing():
    p = with_boxes(random_predictions(0, predicted=0))
    found = results.scores(p)
    assert found["metrics"]["mAP50-95"] == found["metrics"]["recall"] == 0
    assert found["per_class"] == dict.fromkeys(p.names, 0.0)


@pytest.mark.parametrize("silent", ["stock", "ours"])
def test_scores_are_of_the_same_classes_whatever_is_predicted(silent):
    """A class without a box in val is in no model's, so one that predicts nothing can be paired, as first or second."""
    kept = {}
    for label in ("stock", "ours"):
        p = with_boxes(random_predictions(0, predicted=0 if label == silent else 5))
        kept[label, 0] = p._replace(names=[*p.names, "in train only"])
    found = {key: results.scores(p) for key, p in kept.items()}
    assert list(found["stock", 0]["per_class"]) == list(found["ours", 0]["per_class"]) == p.names
    assert list(results.pairs(dict.fromkeys(kept), found, kept)[0]["per_class"]) == p.names


def better(p: Predictions) -> Predictions:
    """Return predictions in which what is right at IoU 0.5 is right at each."""
    return p._replace(tp=np.repeat(p.tp[:, :1], 10, 1))


@pytest.mark.parametrize(
    ("change", "seeds", "verdict"),
    [
        (lambda p: p, 3, "not distinguishable"),  # the same model
        (better, 3, "better"),
        (better, 1, "not distinguishable"),  # one seed cannot tell
    ],
)
def test_pairs(change, seeds, verdict):
    kept = {}
    for seed in range(seeds):
        kept["stock", seed] = with_boxes(random_predictions(seed, images=60)._replace(shape=np.full((60, 2), 640)))
        kept["ours", seed] = change(kept["stock", seed])
    kept = {key: p._replace(shape=np.full((60, 2), 640)) for key, p in kept.items()}
    found = {key: results.scores(p) for key, p in kept.items()}
    pair = results.pairs(dict.fromkeys(kept), found, kept)[0]
    assert (pair["first"], pair["second"], pair["metric"], pair["verdict"]) == ("stock", "ours", "mAP50-95", verdict)
    expected = [
        found["ours", s]["metrics"]["mAP50-95"] - found["stock", s]["metrics"]["mAP50-95"] for s in range(seeds)
    ]
    assert pair["per_seed"] == expected
    assert pair["difference"] == pytest.approx(np.mean(expected))
    low, high = pair["over_images"]
    assert low <= pair["difference"] <= high
    assert (pair["over_seeds"] is None) == (seeds == 1)


def test_only_seeds_that_both_have_are_paired():
    kept = {key: with_boxes(random_predictions(key[1])) for key in [("a", 0), ("a", 1), ("b", 1), ("b", 2)]}
    found = {key: results.scores(p) for key, p in kept.items()}
    assert [pair["seeds"] for pair in results.pairs(dict.fromkeys(kept), found, kept)] == [[1], [1]]


def saved(tmp_path, label, seed, changes):
    run = tmp_path / label / f"seed{seed}"
    (run / "train" / "weights").mkdir(parents=True)
    args = {"model": f"{label}.yaml", "seed": seed, "epochs": 3, "batch": 16, "save_dir": str(run)} | changes
    torch.save({"train_args": args}, run / "train" / "weights" / "best.pt")
    return run


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 8}, "different batch= .*a seed 0: 16, b seed 0: 8"),  # as after running out of memory
        ({"seed": 4}, "trained with seed=4"),
        ({"extra": 1}, "different extra="),
        ({}, None),
    ],
)
def test_check_alike(tmp_path, changes, message):
    runs = {("a", 0): saved(tmp_path, "a", 0, {}), ("b", 0): saved(tmp_path, "b", 0, changes)}
    if message is None:
        results.check_alike(runs)
    else:
        with pytest.raises(ValueError, match=message):
            results.check_alike(runs)


def test_facts_take_the_later_of_an_epoch_that_was_trained_twice(tmp_path):
    (tmp_path / "train").mkdir()
    write_json(tmp_path / "run.json", {"epochs": 2})
    header = "epoch,time,train/box_loss,train/cls_loss,metrics/mAP50-95(B)\n"
    (tmp_path / "train" / "results.csv").write_text(header + "1,1,5,4,0.1\n2,2,3,2,0.2\n2,2,3.5,2.5,0.25\n")
    assert results.facts(tmp_path) == {
        "epochs": 2,
        "step0": None,
        "curve": {"epoch": [1, 2], "mAP50-95": [0.1, 0.25], "box_loss": [5.0, 3.5], "cls_loss": [4.0, 2.5]},
    }
    write_json(tmp_path / "step0.json", {"metrics/mAP50(B)": 0.3, "metrics/mAP50-95(B)": 0.2})
    assert results.facts(tmp_path)["step0"] == 0.2


def test_summary():
    def one(value, small):
        metrics = dict.fromkeys(results.METRICS, value) | {"AP small": small}
        return {
            "metrics": metrics,
            "per_class": {"cell": value},
            "seconds_per_epoch": value * 10,
            "peak_memory_mb": value * 100,
            "resumed_after": [1] if value > 0.5 else [],
        }

    found = results.summary([one(0.4, None), one(0.6, None)])
    assert found["metrics"]["mAP50"] == {"mean": 0.5, "sd": pytest.approx(0.02**0.5), "values": [0.4, 0.6]}
    assert found["metrics"]["AP small"] == {"mean": None, "sd": None, "values": [None, None]}
    assert (found["seconds_per_epoch"], found["peak_memory_mb"], found["resumed_runs"]) == (5.0, 60.0, 1)
    assert results.summary([one(0.4, 0.1)])["metrics"]["mAP50"]["sd"] is None


def test_nothing_to_compare_yet(tmp_path, caplog):
    results.report(tmp_path, {("a", 0): tmp_path / "a", ("b", 0): tmp_path / "b"})
    assert list(tmp_path.iterdir()) == []
