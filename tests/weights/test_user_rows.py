"""A stock checkpoint carried into models with rows of a user's: shifted, new, or in the place of a stock module."""

import os
from collections import Counter

import pytest
import torch
import yaml
from torch import nn
from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import LOGGER

from tests.plugin.conftest import blocks, known, own_registry  # noqa: F401
from tests.samples import awake
from ultralytics_diffattn import cli
from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.weights import reconstruction
from ultralytics_diffattn.weights.conversion import convert_model
from ultralytics_diffattn.weights.reconstruction import counterparts
from ultralytics_diffattn.weights.rows import match_rows
from ultralytics_diffattn.weights.transfer import check_pretrained, transfer

STOCK = {
    "nc": 3,
    "scales": {"n": [1, 1, 1024]},
    "backbone": [
        [-1, 1, "Conv", [16, 3, 2]],
        [-1, 1, "C3k2", [32]],
        [-1, 1, "Conv", [32, 3, 2]],
        [-1, 1, "Conv", [32]],
    ],
    "head": [[[-1, 2], 1, "Concat", [1]], [-1, 1, "C3k2", [32]], [[5], 1, "Detect", ["nc"]]],
}


def variant(*changes, backbone=STOCK["backbone"], head=STOCK["head"]):
    """Return a model's rows, some changed: (index, row) replaces, (index, row, "new") goes before."""
    rows = [*map(list, backbone)]
    for index, row, *new in changes:
        rows[index : index + (not new)] = [row]
    return {**STOCK, "backbone": rows, "head": [*map(list, head)]}


SHIFTED = [[[-1, 3], 1, "Concat", [1]], [-1, 1, "C3k2", [32]], [[6], 1, "Detect", ["nc"]]]
VARIANTS = {  # rows; which row of the stock model each continues
    "new": (variant((2, [-1, 1, "Attend", []], "new"), head=SHIFTED), [0, 1, None, 2, 3, 4, 5, 6]),
    "new beside what it is like": (
        variant((2, [-1, 1, "Mixer", [32]], "new"), head=SHIFTED),
        [0, 1, None, 2, 3, 4, 5, 6],
    ),
    "in the place of a Conv": (variant((3, [-1, 1, "Mixer", [32]])), [0, 1, 2, 3, 4, 5, 6]),
    "in the place of another": (variant((1, [-1, 1, "Mixer", [32]])), [0, 1, 2, 3, 4, 5, 6]),
    "one in place, one new": (
        variant((0, [-1, 1, "Mixer", [16]]), (2, [-1, 1, "Attend", []], "new"), head=SHIFTED),
        [0, 1, None, 2, 3, 4, 5, 6],
    ),
    "over several inputs": (variant(head=[[[-1, 2], 1, "Join", []], *STOCK["head"][1:]]), [0, 1, 2, 3, 4, 5, 6]),
}


@pytest.fixture
def stock(known):  # noqa: F811 - the fixture
    """Return a stock model in which no two tensors are alike."""
    model = DetectionModel(variant(), verbose=False)
    for i, value in enumerate(model.state_dict().values()):
        value.copy_(torch.rand(value.shape) + i)
    return model.eval()


@pytest.mark.parametrize(("d", "expected"), VARIANTS.values(), ids=VARIANTS)
def test_rows_are_matched_and_keep_their_weights(stock, d, expected):
    target = DetectionModel(d, verbose=False)
    assert match_rows(stock.model, target.model) == expected
    statuses = Counter()
    tensors = transfer(stock, target)
    for j, i in enumerate(expected):
        is_users = type(target.model[j]).__module__ == "my_blocks"
        own = [t for t in tensors if t.name.startswith(f"model.{j}.") and t.status != "dropped"]
        assert {t.status for t in own} <= ({"added", "kept"} if is_users else {"kept"})  # what fits by name and shape
        statuses.update(t.status for t in own if not is_users)
        if not is_users:
            before, after = stock.model[i].state_dict(), target.model[j].state_dict()
            assert all(torch.equal(value, before[name]) for name, value in after.items())
    assert statuses["kept"] == sum(
        len(stock.model[i].state_dict())
        for j, i in enumerate(expected)
        if i is not None and type(target.model[j]).__module__ != "my_blocks"
    )


def test_what_fits_by_name_and_shape_is_kept(known, stock, monkeypatch):  # noqa: F811
    """A user's subclass of a stock module begins with that one's weights; what has another shape is new."""
    import my_blocks

    from ultralytics_diffattn import register

    class Wider(type(stock.model[1])):
        def __init__(self, c1, c2, n=1, c3k=False, e=0.5):
            super().__init__(c1, c2, n, c3k, e)
            self.cv2 = nn.Conv2d(3, 5, 1)
            self.more = nn.Linear(2, 2)

        def forward(self, x):
            return x.repeat_interleave(2, 1)

    Wider.__module__, Wider.__qualname__ = "my_blocks", "Wider"
    monkeypatch.setattr(my_blocks, "Wider", Wider, raising=False)
    register("my_blocks:Wider", like="C3k2")
    target = DetectionModel(variant((1, [-1, 1, "Wider", [32]])), verbose=False)
    row = {t.name: t.status for t in transfer(stock, target) if t.name.startswith("model.1.")}
    assert row["model.1.cv1.conv.weight"] == "kept"
    assert torch.equal(target.model[1].cv1.conv.weight, stock.model[1].cv1.conv.weight)
    assert row["model.1.more.weight"] == row["model.1.cv2.weight"] == "added"
    assert row["model.1.cv2.conv.weight"] == "dropped"


def test_pretrained_tells_rows_that_have_shifted(stock, tmp_path):
    torch.save({"model": stock}, tmp_path / "stock.pt")
    check_pretrained(str(tmp_path / "stock.pt"), DetectionModel(VARIANTS["in the place of a Conv"][0], verbose=False))
    with pytest.raises(UserError, match="diffattn convert"):
        check_pretrained(str(tmp_path / "stock.pt"), DetectionModel(VARIANTS["new"][0], verbose=False))


def test_pretrained_tells_a_users_row_of_another_shape(known, tmp_path):  # noqa: F811
    """The same class in both: it is as much a part of the checkpoint as any row of stock's."""
    old, new = (DetectionModel(variant((3, [-1, 1, "Mixer", [32, k]])), verbose=False) for k in (1, 3))
    torch.save({"model": old}, tmp_path / "old.pt")
    check_pretrained(str(tmp_path / "old.pt"), old)
    with pytest.raises(UserError, match=r"model\.3\.conv\.weight \(32, 32, 3, 3\) is \(32, 32, 1, 1\)"):
        check_pretrained(str(tmp_path / "old.pt"), new)


TOLD = {"new": True, "new beside what it is like": True, "in the place of a Conv": False, "over several inputs": False}


@pytest.mark.parametrize(("name", "said"), TOLD.items())
def test_stocks_own_load_tells_rows_that_have_shifted(name, said, stock, caplog, monkeypatch):
    monkeypatch.setattr(LOGGER, "propagate", True)
    DetectionModel(VARIANTS[name][0], verbose=False).load(stock)
    lines = list({m for m in caplog.messages if "do not get the weights" in m})
    assert len(lines) == said
    if said:
        assert "rows 3 to 6 " in lines[0]
        assert "diffattn convert " in lines[0]


def test_counterparts_are_of_rows_in_the_place_of_stocks(stock):
    def found(name):
        pairs = counterparts(stock, DetectionModel(VARIANTS[name][0], verbose=False))
        return [(where, type(module).__name__, type(old).__name__) for where, module, old in pairs]

    assert found("new") == []
    assert found("in the place of another") == [("model.1", "Mixer", "C3k2")]
    assert found("one in place, one new") == [("model.0", "Mixer", "Conv")]
    assert found("over several inputs") == [("model.4", "GatedConcat", "Concat")]


@pytest.fixture
def files(tmp_path, monkeypatch, known):  # noqa: F811
    """Work in a folder with a trained stock model, and a YAML of each variant."""
    monkeypatch.chdir(tmp_path)
    for name, (d, _) in {"stock": (variant(), None), **VARIANTS}.items():
        (tmp_path / f"{name.replace(' ', '_')}.yaml").write_text(yaml.safe_dump(d))
    torch.manual_seed(0)
    awake(YOLO("stock.yaml")).save("stock.pt")
    return tmp_path


@pytest.mark.parametrize(
    ("yaml_file", "row"), [("in_the_place_of_another.yaml", "1"), ("over_several_inputs.yaml", "4")]
)
def test_convert_and_reconstruct(yaml_file, row, files, tiny, monkeypatch):
    """Its training leads the user's module towards what stock's gave; all else stays bit for bit."""
    monkeypatch.setattr(reconstruction, "STEPS", 60)
    monkeypatch.setattr(reconstruction, "LEAST_IMAGES", 4)
    images = sorted(map(str, tiny.parent.glob("images/train/*")))
    plain = convert_model("stock.pt", yaml_file)
    made = convert_model("stock.pt", yaml_file, images, imgsz=64)
    (block,) = made.blocks
    assert block.name == f"model.{row}"
    assert block.after < 0.8 * block.before
    before = plain.model.state_dict()
    changed = {
        name.split(".")[1] for name, value in made.model.state_dict().items() if not torch.equal(value, before[name])
    }
    assert changed == {row}


def test_the_command_converts_and_the_result_trains(files, tiny):
    assert cli.main(["convert", "stock.pt", "model=new.yaml", "new.pt"]) == 0
    table = (files / "new.csv").read_text()
    assert table.count("added,model.2.") == 2
    assert "dropped" not in table
    budget = dict(epochs=1, imgsz=64, batch=4, workers=0, device="cpu", plots=False, project=str(files), val=False)
    YOLO("new.pt").train(data=str(tiny), **budget)
    assert cli.main(["strip", "new.pt", "stripped.pt"]) == 0
    os.environ["DIFFATTN_MODULES"] = ""
    assert type(YOLO("stripped.pt").model.model[2]).__name__ == "Attend"
