"""`diffattn strip`: less in the file, the same predictions, here and where this package is not."""

import shutil
import subprocess
import sys

import pytest
import torch
from ultralytics import YOLO

from tests.samples import small_models, stir
from ultralytics_diffattn import cli
from ultralytics_diffattn.evaluation import without_plugin
from ultralytics_diffattn.verbs import strip


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    """Return last.pt in the middle of a training, with optimizer and averaged weights."""
    folder = tmp_path_factory.mktemp("trained")
    torch.manual_seed(0)
    stir(YOLO(small_models(folder)[1])).save(folder / "start.pt")  # else all of its boxes score alike
    model = YOLO(folder / "start.pt")
    kept = []
    model.add_callback("on_model_save", lambda trainer: kept.append(trainer.last.read_bytes()))
    arguments = dict(epochs=2, imgsz=64, batch=4, workers=0, plots=False, device="cpu", seed=1)
    model.train(data=tiny, project=folder, **arguments)
    (folder / "last.pt").write_bytes(kept[0])
    return folder / "last.pt"


def test_strip_leaves_the_optimizer_behind(trained, tmp_path):
    before = trained.read_bytes()
    report = strip.strip(str(trained), str(tmp_path / "best.pt"))
    full, small = (torch.load(f, weights_only=False) for f in (trained, report["file"]))
    assert full["optimizer"] is not None
    assert (small["optimizer"], small["ema"]) == (None, None)
    kept = small["model"].state_dict()
    for name, value in full["ema"].state_dict().items():
        torch.testing.assert_close(kept[name], value.to(kept[name].dtype))
    assert trained.read_bytes() == before
    assert (tmp_path / "best.pt").stat().st_size < 0.6 * trained.stat().st_size


@pytest.fixture
def images(tiny):
    """Return a folder of images."""
    return str(tiny.parent / "images" / "val")


@pytest.mark.parametrize("kind", ["onnx", "torchscript"])
def test_an_export_predicts_the_same_without_this_package(trained, images, tmp_path, kind):
    report = strip.strip(str(trained), str(tmp_path / f"best.{kind}"), format=kind, imgsz=64, source=images)
    assert report["without_plugin"] <= without_plugin.CLOSE
    assert [f.name for f in tmp_path.iterdir()] == [f"best.{kind}"]


def test_elsewhere_has_no_access_to_this_package():
    code = without_plugin.SCRIPT.partition("file, task")[0] + "import ultralytics_diffattn"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True)
    assert "No module named 'ultralytics_diffattn'" in done.stderr


def test_what_differs_elsewhere_is_an_error(trained, images, tmp_path, monkeypatch):
    file = YOLO(shutil.copy(trained, tmp_path / "a.pt")).export(format="onnx", imgsz=64)
    moved = without_plugin.SCRIPT.replace(".data.tolist()", ".data.add(1).tolist()")
    monkeypatch.setattr(without_plugin, "SCRIPT", moved)
    with pytest.raises(
        RuntimeError, match="predicts something else without this package: coordinates or scores differ by 1"
    ):
        without_plugin.difference_without_plugin(file, str(trained), images)
    monkeypatch.setattr(without_plugin, "SCRIPT", "raise SystemExit('no runtime')")
    with pytest.raises(RuntimeError, match="does not run without this package"):
        without_plugin.difference_without_plugin(file, str(trained), images)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "checkpoint is missing"),
        (["nowhere.pt"], "nowhere.pt does not exist"),
        (["IN", "format=engine"], "must be one of pt, onnx, torchscript"),
        (["IN", "OUT.onnx"], "must end with .pt"),
        (["IN", "IN"], "exists already"),
        (["IN", "OUT.pt", "imgsz=64"], "imgsz has no meaning with format=pt"),
    ],
)
def test_mistakes_are_named_and_leave_nothing(trained, tmp_path, words, message, capsys):
    words = [w.replace("IN", str(trained)).replace("OUT", str(tmp_path / "out")) for w in words]
    assert cli.main(["strip", *words]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []
