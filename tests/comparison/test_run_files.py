"""What is read from the folder of a run."""

import pytest

from ultralytics_diffattn.comparison import run_files
from ultralytics_diffattn.comparison.schema import Curve, RunFailure
from ultralytics_diffattn.output.files import write_json


def test_curve_takes_the_later_of_an_epoch_that_was_trained_twice(tmp_path):
    (tmp_path / "train").mkdir()
    header = "epoch,time,train/box_loss,train/cls_loss,metrics/mAP50-95(B)\n"
    (tmp_path / "train" / "results.csv").write_text(header + "1,1,5,4,0.1\n2,2,3,2,0.2\n2,2,3.5,2.5,0.25\n")
    assert run_files.read_curve(tmp_path, "detect") == Curve(
        [1, 2], [0.1, 0.25], {"box_loss": [5.0, 3.5], "cls_loss": [4.0, 2.5]}
    )


@pytest.mark.parametrize(
    ("rows", "epochs"),
    [
        ("1,1,5,4,0.1\n2,2,3", [1]),  # cut in the middle of the last row
        ("1,1,5,4,0.1\n2,2,32,2,3,2,0.2\n3,3,2,1,0.3\n", [1, 3]),  # and the next process wrote behind it
    ],
)
def test_a_torn_row_costs_its_epoch_alone(tmp_path, rows, epochs):
    (tmp_path / "train").mkdir()
    header = "epoch,time,train/box_loss,train/cls_loss,metrics/mAP50-95(B)\n"
    (tmp_path / "train" / "results.csv").write_text(header + rows)
    assert run_files.read_curve(tmp_path, "detect").epoch == epochs


def test_step0_is_of_a_run_that_starts_from_weights(tmp_path):
    assert run_files.read_step0(tmp_path, "detect") is None
    write_json(tmp_path / "step0.json", {"metrics/mAP50(B)": 0.3, "metrics/mAP50-95(B)": 0.2})
    assert run_files.read_step0(tmp_path, "detect") == 0.2


def test_lambdas_by_epoch(tmp_path):
    assert run_files.read_lambdas(tmp_path) == {}
    header = "process,epoch,seconds,memory_mb,model.10.m.0.attn\n"
    (tmp_path / "epochs.csv").write_text(header + "7,1,2.0,100,0.8\n7,2,2.0,100,0.7\n")
    assert run_files.read_lambdas(tmp_path) == {"model.10.m.0.attn": [0.8, 0.7]}


def test_failure(tmp_path):
    assert run_files.read_failure(tmp_path) is None
    write_json(tmp_path / "error.txt", {"error": "OSError: full", "errno": 28})
    assert run_files.read_failure(tmp_path) == RunFailure("OSError: full", 28)
