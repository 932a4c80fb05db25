"""Validation under corruptions: the arguments, what is written, and the table."""

import json

import numpy as np
import pytest
from ultralytics import YOLO
from ultralytics.utils import YAML
from ultralytics.utils.patches import imread

from ultralytics_diffattn import cli
from ultralytics_diffattn.data.check import check
from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.evaluation import robustness as evaluated
from ultralytics_diffattn.evaluation.corruptions import CORRUPTIONS, corrupt
from ultralytics_diffattn.evaluation.robustness import CLEAN, Condition
from ultralytics_diffattn.verbs import arguments, robustness


@pytest.fixture(scope="module")
def checkpoints(tiny, tmp_path_factory):
    """Return two untrained detectors of the six classes, whose predictions differ."""
    folder = tmp_path_factory.mktemp("robustness")
    files = [folder / f"{name}.pt" for name in ("yolo11n", "yolo11n-diffattn")]
    for file in files:
        stock = YOLO(f"{file.stem}.yaml").model.yaml
        YAML.save(folder / f"{file.stem}.yaml", {**stock, "nc": 6, "yaml_file": None})
        model = YOLO(folder / f"{file.stem}.yaml")
        model.model.names = check(tiny)["names"]
        model.save(file)
    return files


@pytest.mark.parametrize(
    ("value", "expected"),
    [("fog", ["fog"]), ("fog, snow", ["fog", "snow"]), (["snow", "snow"], ["snow"])],
)
def test_parse_names(value, expected):
    assert arguments.parse_corruptions(value) == expected


@pytest.mark.parametrize(("value", "expected"), [(3, [3]), ((1, 5), [1, 5]), ("2,4", [2, 4]), ([5, 5], [5])])
def test_parse_severities(value, expected):
    assert arguments.parse_severities(value) == expected


@pytest.mark.parametrize("value", [0, 6, 2.5, "a", (), (1, 9), True])
def test_parse_severities_refuses(value):
    with pytest.raises(ValueError, match="from 1 to 5"):
        arguments.parse_severities(value)


def test_write_corrupted(tiny, tmp_path):
    data = check(tiny)
    yaml = evaluated.write_corrupted(tmp_path, data, Condition("gaussian_noise", 3))
    again = check(yaml)
    written = sorted((tmp_path / "images").iterdir())
    originals = sorted((tiny.parent / "images" / "val").iterdir())
    assert again["names"] == data["names"]
    assert len(written) == len(originals) == 4
    for n, (image, original) in enumerate(zip(written, originals, strict=True)):
        assert np.array_equal(imread(str(image)), corrupt(imread(str(original)), "gaussian_noise", 3, seed=n))
        label = tiny.parent / "labels" / "val" / f"{original.stem}.txt"
        assert (tmp_path / "labels" / f"{image.stem}.txt").read_text() == label.read_text()

    evaluated.write_corrupted(tmp_path, data, CLEAN)  # into the same folder
    assert np.array_equal(imread(str(written[0])), imread(str(originals[0])))


def test_a_disk_that_does_not_write(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("ultralytics.utils.patches.imwrite", lambda *_: False)
    with pytest.raises(UserError, match="is the disk full"):
        evaluated.write_corrupted(tmp_path, check(tiny), Condition("fog", 1))


def scores():
    """Return mAP of two models: the second loses half as much."""
    points = {("clean", 0): [0.6, 0.6], ("fog", 1): [0.4, 0.5], ("fog", 2): [0.2, 0.4], ("snow", 1): [0.0, 0.3]}
    points |= {("snow", 2): [0.0, 0.2]}
    points = {Condition(*key): np.array([[m, m] for m in values]) for key, values in points.items()}
    noise = np.random.default_rng(0).normal(0, 0.01, (200, 2, 2))
    return points, {key: values + noise for key, values in points.items()}


def test_summarise():
    results = evaluated.summarise(["stock", "ours"], *scores(), images=100)
    stock, ours = results["models"]["stock"], results["models"]["ours"]
    assert (stock["clean"], stock["mean"], stock["relative"]) == pytest.approx((0.6, 0.15, 0.25))
    assert stock["corruptions"]["fog"] == {"mean": pytest.approx(0.3), "severities": {"1": 0.4, "2": 0.2}}
    assert ours["mean"] == pytest.approx(0.35)
    verdicts = {pair["corruption"]: (pair["difference"], pair["verdict"]) for pair in results["pairs"]}
    assert verdicts["clean"] == (0.0, "not distinguishable")
    assert verdicts["mean"] == (pytest.approx(0.2), "better")
    assert "| mean of corruptions | 0.150 | 0.350 |" in evaluated.as_markdown(results)


@pytest.mark.parametrize(
    ("images", "resamples", "said"),
    [
        (1, 0, "ours gets no verdict against stock, +0.200, no interval over one image."),
        (9, 200, "ours gets no verdict against stock, +0.200, 95 % interval over images"),
    ],
)
def test_no_verdict_from_few_images(images, resamples, said):
    points, resampled = scores()
    resampled = {key: values[:resamples] for key, values in resampled.items()}
    results = evaluated.summarise(["stock", "ours"], points, resampled, images=images)
    assert {pair["verdict"] for pair in results["pairs"]} == {"no verdict"}
    text = evaluated.as_markdown(results)
    assert said in text
    assert f"No verdicts: there {'is 1 image' if images == 1 else 'are 9 images'}, and a" in text


def test_command(checkpoints, tiny, tmp_path, capsys):
    words = [f"models={','.join(map(str, checkpoints))}", f"data={tiny}", "corruptions=fog,jpeg_compression"]
    words += ["severities=1", "imgsz=64", "batch=4", "workers=0", "device=cpu", f"project={tmp_path}", "name=r"]
    assert cli.main(["robustness", *words]) == 0, capsys.readouterr().err
    results = json.loads((tmp_path / "r" / "robustness.json").read_text())
    assert list(results["models"]) == ["yolo11n", "yolo11n-diffattn"]
    assert list(results["models"]["yolo11n"]["corruptions"]) == ["fog", "jpeg_compression"]
    assert {f.name for f in (tmp_path / "r").iterdir()} == {"robustness.json", "robustness.md"}
    assert "Not covered: frost" in (tmp_path / "r" / "robustness.md").read_text()


def test_by_default_all_that_there_are():
    assert arguments.parse_corruptions(robustness.OWN["corruptions"]) == list(CORRUPTIONS)
    assert len(CORRUPTIONS) == 14


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": "nothing.pt"}, "nothing.pt does not exist"),
        ({"models": ""}, "models= is missing"),
        ({"data": "coco8.yaml"}, "6 classes"),
        ({"corruptions": "frost"}, "frost"),
    ],
)
def test_bad_input(checkpoints, tiny, tmp_path, capsys, change, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "coco8.yaml").write_text(tiny.read_text().replace("disc_same", "person") + f"path: {tiny.parent}\n")
    words = {"models": str(checkpoints[0]), "data": str(tiny), "project": str(tmp_path / "out")} | change
    assert cli.main(["robustness", *(f"{k}={v}" for k, v in words.items() if v)]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
