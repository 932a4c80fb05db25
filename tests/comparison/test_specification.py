"""What a comparison trains, and the folders of runs that it refuses."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ultralytics import YOLO

from ultralytics_diffattn.comparison.run_files import read_spec
from ultralytics_diffattn.comparison.run_folders import check_specification, prepare_run_folders
from ultralytics_diffattn.comparison.schema import RunKey, RunSpec
from ultralytics_diffattn.comparison.specification import Specification, file_digests, training_arguments
from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.output.files import write_json

SPEC = RunSpec("a.yaml", "digest", {"epochs": 3, "freeze": (1, 2)}, {}, "data digest", {"torch": "2.9.0"})


def files(folder):
    return {file.relative_to(folder): file.stat().st_mtime_ns for file in folder.rglob("*")}


def test_the_same_comparison_goes_on(tmp_path):
    specification = Specification(tmp_path, {RunKey("a", 0): SPEC, RunKey("b", 0): SPEC})
    prepare_run_folders(specification)
    before = files(tmp_path)
    assert set(before) == {Path(p) for p in ("a", "a/seed0", "a/seed0/spec.json", "b", "b/seed0", "b/seed0/spec.json")}
    assert read_spec(tmp_path / "a" / "seed0") == replace(SPEC, args={"epochs": 3, "freeze": [1, 2]})
    prepare_run_folders(specification)
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("existing", "message"),
    [
        (
            {"model": "a.yaml", "args": {}},
            "lacks data, files, holdout, model_digest, .*, versions. Choose another name=",
        ),
        ({**vars(SPEC), "args": {"epochs": 4, "freeze": [1, 2]}}, "other settings .epochs: 4 before, 3 now"),
        ({**vars(SPEC), "versions": {"torch": "2.8.0"}}, "versions: .*2.8.0.* before"),
        (None, "holds files that are not a run of a comparison"),
    ],
)
def test_another_comparison_is_refused_and_nothing_is_written(tmp_path, existing, message):
    run = tmp_path / "b" / "seed0"
    run.mkdir(parents=True)
    write_json(run / ("spec.json" if existing else "notes.json"), existing)
    before = files(tmp_path)
    with pytest.raises(UserError, match=message):
        prepare_run_folders(Specification(tmp_path, {RunKey("a", 0): SPEC, RunKey("b", 0): SPEC}))
    assert files(tmp_path) == before


@pytest.mark.parametrize("key", ["pretrained", "distill_model"])
def test_weights_that_change_behind_their_path_are_refused(tmp_path, monkeypatch, key):
    monkeypatch.chdir(tmp_path)
    weights = {}
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = YOLO("yolo11n.yaml")
        model.save(tmp_path / "w.pt")
        weights[seed] = (tmp_path / "w.pt").read_bytes()
    arguments = {"data": "shapes.yaml", "epochs": 1, key: "w.pt"}
    first = training_arguments(arguments)
    assert first[key] == str(tmp_path / "w.pt"), "the trainings work elsewhere"
    spec = replace(SPEC, args=first, files=file_digests(first, "detect"))
    prepare_run_folders(Specification(tmp_path / "c", {RunKey("a", 0): spec}))
    check_specification(tmp_path / "c" / "a" / "seed0", spec)
    (tmp_path / "w.pt").write_bytes(weights[0])
    changed = replace(spec, files=file_digests(training_arguments(arguments), "detect"))
    with pytest.raises(UserError, match=rf"the content of {key}=.*w\.pt: \w{{12}} before, \w{{12}} now"):
        check_specification(tmp_path / "c" / "a" / "seed0", changed)


def test_a_teacher_that_does_not_load_is_refused(tmp_path):
    (tmp_path / "t.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match=r"the teacher .*t\.pt does not load"):
        file_digests({"distill_model": str(tmp_path / "t.pt")}, "detect")


def test_a_torn_specification_is_refused_in_words(tmp_path):
    (tmp_path / "spec.json").write_text("{torn")
    with pytest.raises(UserError, match=r"spec\.json is not JSON.*nothing was changed"):
        check_specification(tmp_path, SPEC)
