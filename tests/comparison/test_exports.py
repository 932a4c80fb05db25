"""Exports of a run, made and measured by ultralytics in a process of their own."""

import numpy as np
import pytest

from ultralytics_diffattn.comparison import exports, typed_json
from ultralytics_diffattn.comparison.retention import retentions
from ultralytics_diffattn.comparison.schema import RunKey, RunSpec
from ultralytics_diffattn.evaluation import recording
from ultralytics_diffattn.evaluation.export_formats import Export

EXPORT = Export("torchscript", "float32")


@pytest.fixture
def run(photos, tmp_path):
    """Return the folder of a finished run whose best.pt was trained on COCO."""
    weights, data = photos
    args = {"data": data, "imgsz": 320, "batch": 4, "workers": 0, "device": "cpu"}
    folder = tmp_path / "yolo11n" / "seed0"
    (folder / "train" / "weights").mkdir(parents=True)
    typed_json.write(folder / "spec.json", RunSpec("yolo11n.yaml", "", args, {}, "", {}))
    with open(weights, "rb") as source:
        (folder / "train" / "weights" / "best.pt").write_bytes(source.read())
    return folder


def test_the_same_predictions_once(run):
    exports.make_exports([run], [EXPORT])
    ours, theirs = (recording.read(exports.predictions(run, export)) for export in (None, EXPORT))
    assert ours.files == theirs.files
    assert len(ours.files) == 16
    sure = [np.sort(p.conf[p.conf > 0.01]) for p in (ours, theirs)]
    assert sure[0] == pytest.approx(sure[1], abs=1e-3)
    (kept,) = retentions({RunKey("yolo11n", 0): run}, [EXPORT], "detect")
    assert kept.pytorch[0] > 0.3
    assert kept.kept == pytest.approx(1, abs=1e-3)
    files = {f.name for f in exports.folder(run, EXPORT).iterdir()}
    assert files == {"best.torchscript", "predictions.npz"}
    times = {f: f.stat().st_mtime_ns for f in (run / "exports").rglob("*")}
    exports.make_exports([run], [EXPORT])
    assert times == {f: f.stat().st_mtime_ns for f in (run / "exports").rglob("*")}


def test_a_failure_is_written_down_and_tried_again(run):
    best = run / "train" / "weights" / "best.pt"
    whole = best.read_bytes()
    best.write_bytes(b"torn")
    exports.make_exports([run], [EXPORT])
    assert "Error" in exports.failure(run, EXPORT)
    best.write_bytes(whole)
    exports.make_exports([run], [EXPORT])
    assert exports.predictions(run, EXPORT).exists()
