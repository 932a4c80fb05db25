"""scripts/study.py: a run of the study on a small stand-in, whose file is enough to pair it, and is not made again."""

import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import YAML
from ultralytics.utils.torch_utils import get_flops, get_num_params

from tests.places import ROOT
from tests.samples import small_models
from ultralytics_diffattn.errors import UserError


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return runpy.run_path(str(ROOT / "scripts" / "study.py"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="the sizes of a CPU")
def test_models_that_the_package_does_not_bring(study, tmp_path):
    study["write_models"](tmp_path)
    ours, convolutions = (
        DetectionModel(str(tmp_path / f"yolo11n-p4-{n}.yaml"), verbose=False) for n in ("l08", "c3k2")
    )
    assert [float(m.lambda_init) for m in ours.modules() if hasattr(m, "lambda_init")] == [pytest.approx(0.8)] * 2
    assert get_flops(convolutions, 320) == pytest.approx(get_flops(ours, 320), rel=0.003)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the sizes of a CPU")
def test_the_page_has_the_parameters_of_question_c(study, tmp_path):
    study["write_models"](tmp_path)
    models = "yolo11n", "yolo11n-c2psa-p4", "yolo11n-diffattn-p4", tmp_path / "yolo11n-p4-c3k2"
    millions = [f"{get_num_params(DetectionModel(f'{m}.yaml', nc=3, verbose=False)) / 1e6:.3f}" for m in models]
    assert millions[1] == millions[2]
    said = "with 3 classes {} M without attention at stride 16, {} M with `C2PSA` or `split`, {} M with convolutions"
    assert said.format(*millions[:2], millions[3]) in (ROOT / "docs" / "study.md").read_text(encoding="utf-8")


def test_a_part_of_the_circuit_boards(study, tmp_path):
    for split, count in (("train", 16), ("val", 12)):
        (tmp_path / "deeppcb" / "images" / split).mkdir(parents=True)
        for n in range(count):
            (tmp_path / "deeppcb" / "images" / split / f"{n:02}.jpg").touch()
    (tmp_path / "deeppcb" / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [a]\n")
    content = YAML.load(study["data_yaml"]("deeppcb", tmp_path, tmp_path))
    assert content["path"] == str(tmp_path / "data" / "deeppcb")
    listed = {
        split: [Path(file).stem for file in Path(content[split]).read_text().split()] for split in ("train", "val")
    }
    assert listed == {"train": ["00", "08"], "val": ["00", "06"]}


def test_a_run_and_its_file(study, tiny, tmp_path, capsys):
    shutil.copytree(tiny.parent, tmp_path / "data" / "bccd")
    small = {**study["FINE"], "imgsz": 64, "epochs": 1, "batch": 4}
    one = study["Experiment"]("a", "bccd", (small_models(tmp_path)[1],), small)
    names = study["main"].__globals__
    names |= {"OUT": tmp_path / "out", "SEEDS": [10], "experiments": lambda weights: {"a-bccd": one}}
    words = [f"data={tmp_path / 'data'}", f"weights={tiny}", f"project={tmp_path / 'runs'}"]
    assert study["main"](words) == 0
    files = sorted((tmp_path / "out").iterdir())
    assert [f.name for f in files] == ["a-bccd-small-diffattn-10.json"]
    for file in files:
        found = json.loads(file.read_text())
        values = found["values"]
        assert values.keys() == {"mAP50-95", "background", "corrupted", "inside"}
        assert values["mAP50-95"]["value"] == pytest.approx(found["metrics"]["mAP50-95"])
        assert len(values["corrupted"]["by_corruption"]) == 4
        for value in values.values():
            assert len(value["resampled"]) == 1000
            assert np.isfinite(value["resampled"]).all()
        assert 0 < values["inside"]["value"] < 1
    before = [f.stat().st_mtime_ns for f in files]
    assert study["main"](words) == 0
    assert "0 runs to go" in capsys.readouterr().out
    assert [f.stat().st_mtime_ns for f in files] == before


def test_what_is_missing_is_named(study):
    with pytest.raises(UserError, match="give data="):
        study["main"]([])
