"""Every model with every teacher: names, labels, and what the runs' specifications say of them."""

import pytest
from ultralytics import YOLO

from ultralytics_diffattn.comparison.schema import RunSpec
from ultralytics_diffattn.comparison.teachers import (
    NONE,
    Taught,
    check_teacher,
    located,
    name_teachers,
    taught_by,
    teacher_arguments,
)
from ultralytics_diffattn.errors import UserError


def spec(teacher=None):
    return RunSpec("a.yaml", "digest", {"distill_model": teacher} if teacher else {}, {}, "data digest", {})


def test_an_existing_file_is_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.pt").touch()
    assert name_teachers(["none", "t.pt", "nonesuch.pt"]) == {
        "none": None,
        "t": str(tmp_path / "t.pt"),
        "nonesuch": "nonesuch.pt",
    }


def test_a_file_called_none():
    with pytest.raises(UserError, match="none stands for training without a teacher; rename that file"):
        name_teachers(["none", "none.pt"])


@pytest.mark.parametrize("teachers", [["none"], ["a.pt"], ["a.pt", "b/a.pt"], ["none", "none"]], ids=str)
def test_too_few_or_alike(teachers):
    with pytest.raises(UserError, match="must list two or more teachers with different names, as teacher=none"):
        name_teachers(teachers)


def test_labels_and_back():
    specs = {"a": spec(), "b": spec(), "a+t": spec("/w/t.pt"), "b+t": spec("/w/t.pt")}
    taught = taught_by(specs)
    assert taught == [Taught("a", NONE), Taught("b", NONE), Taught("a", "t"), Taught("b", "t")]
    assert [t.label for t in taught] == list(specs)


@pytest.mark.parametrize(
    ("teachers", "arguments"),
    [
        ([None, None], {}),
        (["/w/t.pt", "/w/t.pt"], {"distill_model": "/w/t.pt"}),
        ([None, "/w/t.pt"], {"teacher": "none,/w/t.pt", "distill_model": None}),
    ],
)
def test_arguments_of_the_command(teachers, arguments):
    assert teacher_arguments(map(spec, teachers)) == arguments


def test_weights_that_ultralytics_downloads_have_a_path_from_the_start(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def download(name):
        (tmp_path / name).touch()
        return name

    monkeypatch.setattr("ultralytics.utils.downloads.attempt_download_asset", download)
    assert located("yolo11s.pt") == located("yolo11s.pt") == str(tmp_path / "yolo11s.pt")
    monkeypatch.setattr("ultralytics.utils.downloads.attempt_download_asset", lambda name: 1 / 0)
    assert located("other.pt") == "other.pt"


def test_a_teacher_of_another_task(tmp_path):
    YOLO("yolo11n-seg.yaml").save(tmp_path / "t.pt")
    check_teacher(str(tmp_path / "t.pt"), "segment")
    with pytest.raises(UserError, match=r"t\.pt is for segment, but the models are for detect"):
        check_teacher(str(tmp_path / "t.pt"), "detect")
