"""bundled.py: names of ours are found anywhere, and a user's own file comes first."""

import pytest
from ultralytics.nn.tasks import check_yaml, yaml_model_load

from ultralytics_diffattn.bundled import cfg_dir, find

OWN = "nc: 7\nscales:\n  n: [0.5, 0.25, 1024]\nbackbone: [[-1, 1, Conv, [64, 3, 2]]]\nhead: [[[0], 1, Detect, [nc]]]\n"


@pytest.mark.parametrize("file", sorted(f.name for f in cfg_dir().glob("*.yaml")))
@pytest.mark.parametrize("scale", ["", *"nsmlx"])
def test_model_names(file, scale, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = file.replace("yolo11", f"yolo11{scale}")
    d = yaml_model_load(name)
    assert d["scale"] == scale
    assert any("C2PSA_Diff" in row for row in d["backbone"])


@pytest.mark.parametrize("own", ["yolo11n-diffattn.yaml", "yolo11-diffattn.yaml"])
def test_a_users_own_file_wins(own, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / own).write_text(OWN)
    assert yaml_model_load("yolo11n-diffattn.yaml")["nc"] == 7


def test_a_users_own_data_wins(tmp_path, monkeypatch, tiny):
    from ultralytics.data.utils import check_det_dataset

    monkeypatch.chdir(tmp_path)
    (tmp_path / "shapes.yaml").write_text(tiny.read_text() + f"path: {tiny.parent}\n")
    assert check_det_dataset("shapes.yaml")["path"] == tiny.parent


@pytest.mark.parametrize(
    "name",
    [
        "yolo11n-diffattm.yaml",  # misspelt
        "elsewhere/yolo11n-diffattn.yaml",  # a path means that file
        "../yolo11n-diffattn.yaml",
        "datasets/shapes.yaml",
        "yolo11q-diffattn.yaml",
        "",
        ".",
    ],
)
def test_what_is_not_ours(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find(name) is None
    if name.endswith(".yaml"):
        with pytest.raises(FileNotFoundError):
            check_yaml(name)


def test_stock_names_are_stocks():
    assert "ultralytics" in check_yaml("yolo11.yaml")
    assert "diffattn" not in check_yaml("yolo11.yaml")
