"""Parameters, GFLOPs and latency."""

import pytest
from ultralytics import YOLO

from ultralytics_diffattn.evaluation import cost


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measure")
    files = {name: folder / f"{name}.pt" for name in ("yolo11n", "yolo11n-diffattn")}
    for name, file in files.items():
        YOLO(f"{name}.yaml").save(file)
    return files


def test_size(checkpoints):
    sizes = {name: cost.size(file, 640) for name, file in checkpoints.items()}
    published = 2_624_080  # ultralytics/cfg/models/11/yolo11.yaml, as are its 6.6 GFLOPs
    assert sizes["yolo11n"] == {"parameters": published, "gflops": pytest.approx(6.6, abs=0.1)}
    assert sizes["yolo11n-diffattn"]["parameters"] == published + 128  # four vectors of 16, a gain of 64


def test_latency_of_both_runtimes(checkpoints, monkeypatch):
    monkeypatch.setattr(cost, "REPEATS", 2)
    times_of = cost.latency(checkpoints, 64)
    assert list(times_of) == list(checkpoints)
    assert all(time > 0 for times in times_of.values() for time in times.values())


def test_without_onnxruntime_nothing_is_installed(checkpoints, monkeypatch):
    monkeypatch.setattr(cost, "REPEATS", 1)
    monkeypatch.setattr(cost, "find_spec", lambda name: None)
    assert {times["onnxruntime"] for times in cost.latency(checkpoints, 64).values()} == {None}


def test_a_failing_export_costs_its_column_only(checkpoints, monkeypatch):
    def fail(*_, **__):
        raise ModuleNotFoundError("No module named 'onnxscript'")

    monkeypatch.setattr(cost, "REPEATS", 1)
    monkeypatch.setattr(YOLO, "export", fail)
    times_of = cost.latency(checkpoints, 64)
    assert [(t["onnxruntime"], t["pytorch"] > 0) for t in times_of.values()] == [(None, True)] * 2
