"""From the finished runs to the results of a comparison."""

from dataclasses import replace

import pytest
import torch

from tests.comparison.samples import make_results
from ultralytics_diffattn.comparison import results, typed_json
from ultralytics_diffattn.comparison.schema import Latency, RunKey, RunSpec, Spread
from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.evaluation.tasks import TASKS


def saved(tmp_path, label, seed, changes):
    run = tmp_path / label / f"seed{seed}"
    (run / "train" / "weights").mkdir(parents=True)
    args = {"model": f"{label}.yaml", "seed": seed, "epochs": 3, "batch": 16, "save_dir": str(run)} | changes
    torch.save({"train_args": args}, run / "train" / "weights" / "best.pt")
    typed_json.write(run / "spec.json", RunSpec(f"{label}.yaml", "", {"pretrained": "in.pt"}, {}, "", {}))
    return run


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 8}, "different batch= .*a seed 0: 16, b seed 0: 8"),  # as after running out of memory
        ({"seed": 4}, "trained with seed=4"),
        ({"extra": 1}, "different extra="),
        ({}, None),
        ({"pretrained": "/tmp/diffattn-x/b.pt"}, None),  # made of what spec.json names
    ],
)
def test_check_alike(tmp_path, changes, message):
    runs = {RunKey("a", 0): saved(tmp_path, "a", 0, {}), RunKey("b", 0): saved(tmp_path, "b", 0, changes)}
    if message is None:
        results.check_alike(runs)
    else:
        with pytest.raises(UserError, match=message):
            results.check_alike(runs)


def test_model_result():
    def one(value, small):
        return replace(
            make_results(seeds=(0,)).runs[0],
            metrics=dict.fromkeys(TASKS["detect"].metrics, value) | {"AP small": small},
            per_class={"cell": value},
            seconds_per_epoch=value * 10,
            peak_memory_mb=value * 100,
            resumed_after=[1] if value > 0.5 else [],
        )

    def result(*runs):
        return results.model_result("a.yaml", 10, 1.5, Latency(1.0, None), runs)

    two = result(one(0.4, None), one(0.6, None))
    assert (two.seeds, two.parameters, two.gflops) == (2, 10, 1.5)
    assert two.metrics["mAP50"] == Spread(0.5, pytest.approx(0.02**0.5), [0.4, 0.6])
    assert two.metrics["AP small"] == Spread(None, None, [None, None])
    assert two.per_class["cell"].values == [0.4, 0.6]
    assert (two.seconds_per_epoch, two.peak_memory_mb, two.resumed_runs) == (5.0, 60.0, 1)
    assert result(one(0.4, 0.1)).metrics["mAP50"].sd is None
