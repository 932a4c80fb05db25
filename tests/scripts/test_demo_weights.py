"""scripts/demo_weights.py makes the checkpoints that the package brings: here small, and what is in those."""

import runpy

import pytest
import torch
import yaml

from tests.places import ROOT
from ultralytics_diffattn.data import shapes
from ultralytics_diffattn.demo.detectors import BUNDLED
from ultralytics_diffattn.weights import checkpoints


@pytest.fixture
def script(monkeypatch):
    """Return the names of the script, with one image in place of 256."""
    monkeypatch.setattr(shapes, "COUNTS", {"train": 4, "val": 4})
    return runpy.run_path(str(ROOT / "scripts" / "demo_weights.py"))


def test_makes_both(script, tmp_path):
    script["main"].__globals__.update(OUT=tmp_path, SEEDS=range(1), BUDGET={**script["BUDGET"], "imgsz": 64})
    script["main"](1)
    for made, bundled in zip((tmp_path / file.name for file in BUNDLED), BUNDLED, strict=True):
        (new, content), (old, _) = checkpoints.load(str(made)), checkpoints.load(str(bundled))
        assert {name: t.shape for name, t in new.state_dict().items()} == {
            name: t.shape for name, t in old.state_dict().items()
        }
        assert set(content) == {"model", "train_args", "license"}


@pytest.mark.parametrize("file", BUNDLED, ids=lambda file: file.stem)
def test_what_the_package_brings(file):
    """Half precision, the rows of the YAML, the licence, and no path of the machine that it was made on."""
    content = checkpoints.read(file)
    network = content["model"]
    assert {t.dtype for t in network.parameters()} <= {torch.float16, torch.float32}
    assert sum(t.dtype == torch.float32 for t in network.parameters()) == 0
    rows = yaml.safe_load((ROOT / "cfg" / "demo" / "yolo11-shapes.yaml").read_text())
    stock = "stock" in file.stem
    expected = [[f, n, m.removesuffix("_Diff") if stock else m, a] for f, n, m, a in rows["backbone"]]
    assert network.yaml["backbone"] == expected
    assert content["license"].startswith("AGPL-3.0-or-later")
    assert b"/tmp/" not in file.read_bytes()
    assert b"/work/" not in file.read_bytes()


def test_labels_are_the_shapes(script, tmp_path):
    data = yaml.safe_load(script["write_data"](tmp_path).read_text())
    assert data["names"] == {0: "disc", 1: "square", 2: "triangle"}
    assert len(data["train"]) == len(script["SEEDS"])
    rows = [row.split() for file in tmp_path.rglob("labels/*/*.txt") for row in file.read_text().splitlines()]
    assert {row[0] for row in rows} == {"0", "1", "2"}
    assert all(len(row) == 5 for row in rows)
