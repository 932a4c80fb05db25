"""bundled.py and lookup.py: names of ours are found anywhere, and a user's own file comes first."""

import pytest
import ultralytics
from ultralytics.nn.tasks import check_yaml, yaml_model_load

from tests.places import model_yamls, scaled
from ultralytics_diffattn.bundled import find
from ultralytics_diffattn.bundled import path as bundled_path
from ultralytics_diffattn.plugin.module_table import MODULES

OWN = "nc: 7\nscales:\n  n: [0.5, 0.25, 1024]\nbackbone: [[-1, 1, Conv, [64, 3, 2]]]\nhead: [[[0], 1, Detect, [nc]]]\n"


@pytest.mark.parametrize("file", model_yamls())
@pytest.mark.parametrize("scale", ["", *"nsmlx"])
def test_model_names(file, scale, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = scaled(file, scale)
    d = yaml_model_load(name)
    assert find(name) == str(bundled_path("cfg") / file)
    assert d["scale"] == ("" if name == file else scale)
    assert any(module in MODULES for _, _, module, _ in d["backbone"] + d["head"])


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("yolo26n-diffattn-paired.yaml", "8.4.0"),
        ("yolo26x-diffattn-paired-cls.yaml", "8.4.0"),
        ("yolo26-diffattn-paired-sem.yaml", "8.4.52"),
        ("yolo26n-diffattn-paired-depth.yaml", "8.4.104"),
    ],
)
def test_what_needs_a_newer_ultralytics_says_so(name, least, monkeypatch):
    monkeypatch.setattr(ultralytics, "__version__", "8.3.200")
    with pytest.raises(RuntimeError, match=rf"^yolo26-diffattn-\S+ needs ultralytics>={least}, found 8\.3\.200: `pip"):
        yaml_model_load(name)
    for other in ("yolo11n-diffattn-paired.yaml", "yolo12n-diffattn-paired.yaml", "rtdetr-l-diffattn-paired.yaml"):
        assert yaml_model_load(other)["backbone"]
    monkeypatch.setattr(ultralytics, "__version__", least)
    assert yaml_model_load(name)["backbone"]


def test_a_users_own_file_says_what_it_needs(tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_text(f"min_ultralytics: 9.0.1 # for a reason\n{OWN}  # no row of ours\n")
    assert yaml_model_load(tmp_path / "mine.yaml")["nc"] == 7
    (tmp_path / "mine.yaml").write_text("min_ultralytics: 9.0.1 # for a reason\n" + OWN.replace("Conv", "C3k2_Diff"))
    with pytest.raises(RuntimeError, match=r"mine\.yaml needs ultralytics>=9\.0\.1, found"):
        yaml_model_load(tmp_path / "mine.yaml")


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
        "yoloe-11q-diffattn-paired.yaml",
        "rtdetrn-l-diffattn-paired.yaml",
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
