"""clip/training.py and verbs/clip_train.py: training learns, resumes bit-identically, runs on two ranks; bad input."""

import csv
import json

import cv2
import numpy as np
import pytest
import torch

from tests.interpreters import forked

pytest.importorskip("lightning")
from ultralytics.utils import YAML

from tests.samples import TINY
from ultralytics_diffattn.clip.build import build
from ultralytics_diffattn.clip.model import CLIP, DiffCLIP
from ultralytics_diffattn.clip.sizes import Sizes
from ultralytics_diffattn.clip.training import Contrast, Pairs
from ultralytics_diffattn.errors import MissingFileError, UserError
from ultralytics_diffattn.verbs.clip_train import clip_train

SIZES = {**TINY, "vocab_size": 49408, "transformer_width": 16, "transformer_heads": 2, "context_length": 8}
COLOURS = {"red": (0, 0, 255), "green": (0, 255, 0), "blue": (255, 0, 0), "white": (255, 255, 255)}


@pytest.fixture
def data(tmp_path):
    """Return a table of 16 images in four colours, and a YAML of a tiny model."""
    rng = np.random.default_rng(0)
    with open(tmp_path / "pairs.csv", "w", newline="") as f:
        writer = csv.writer(f)
        writer.writerow(("image", "caption"))
        for i in range(16):
            name, colour = list(COLOURS.items())[i % 4]
            image = np.clip(np.full((40, 50, 3), colour) + rng.normal(0, 20, (40, 50, 3)), 0, 255)
            cv2.imwrite(str(tmp_path / f"{i}.png"), image)
            writer.writerow((f"{i}.png", f"something {name}"))
    YAML.save(tmp_path / "tiny.yaml", {"kind": "DiffCLIP", **SIZES})
    return {"data": str(tmp_path / "pairs.csv"), "model": str(tmp_path / "tiny.yaml"), "batch": 4, "device": "cpu"}


def state(folder):
    return torch.load(folder / "last.pt", weights_only=True)["state_dict"]


def test_training_learns_and_writes(data, tmp_path):
    metrics = clip_train(**data, val_data=data["data"], epochs=4, lr0=0.01, project=str(tmp_path), name="a")
    folder = tmp_path / "a"
    table = rows(folder)
    assert [row["epoch"] for row in table] == ["0", "1", "2", "3"]
    assert float(table[-1]["loss"]) < float(table[0]["loss"])
    assert metrics["text_to_image/R@5"] == pytest.approx(float(table[-1]["text_to_image/R@5"]))
    assert json.loads((folder / "clip-train.json").read_text())["metrics"] == metrics
    model = CLIP.from_pretrained(folder / "last.pt")
    assert type(model) is DiffCLIP
    assert model.sizes == Sizes(**SIZES)
    assert torch.load(folder / "last.pt", weights_only=True)["sizes"] == SIZES  # a plain dict, loaded by any version


def test_lambda_learns(data, tmp_path):
    clip_train(**data, epochs=1, lr0=0.01, project=str(tmp_path), name="a")
    torch.manual_seed(0)
    trained = {name: tensor for name, tensor in state(tmp_path / "a").items() if "lambda_q1" in name}
    torch.manual_seed(0)
    fresh = build(data["model"]).state_dict()
    assert trained
    assert all(not torch.equal(tensor, fresh[name]) for name, tensor in trained.items())


def test_a_resumed_training_ends_as_an_uninterrupted_one(data, tmp_path, monkeypatch):
    where = {"project": str(tmp_path), "epochs": 3, "seed": 1}
    clip_train(**data, **where, name="whole")

    def stop(self):
        if self.current_epoch == 2:
            raise OSError("the power went")

    with monkeypatch.context() as patch:
        patch.setattr(Contrast, "on_train_epoch_start", stop)
        with pytest.raises(OSError, match="the power went"):
            clip_train(**data, **where, name="broken")
    clip_train(**data, **where, name="broken", resume=True)
    whole, resumed = state(tmp_path / "whole"), state(tmp_path / "broken")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    clip_train(**data, **{**where, "seed": 2}, name="other")
    assert not torch.equal(whole["text_projection"], state(tmp_path / "other")["text_projection"])


def rows(folder):
    return list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))


def test_a_killed_training_goes_on_and_keeps_its_rows(data, tmp_path):
    """No exception, no clean end: the process is gone within the third epoch."""
    code = (
        "import os\nfrom ultralytics_diffattn.clip import training as t\n"
        "from ultralytics_diffattn.verbs.clip_train import clip_train\n"
        "t.Contrast.on_train_epoch_start = lambda self: self.current_epoch == 2 and os._exit(9)\n"
        f"clip_train(**{data!r}, epochs=3, project={str(tmp_path)!r}, name='a')\n"
    )
    assert forked(code, cwd=tmp_path, check=False, preloaded="clip").returncode == 9
    assert [row["epoch"] for row in rows(tmp_path / "a")] == ["0", "1"]
    before = rows(tmp_path / "a")
    where = {"project": str(tmp_path), "name": "a", "epochs": 3, "resume": True}
    metrics = clip_train(**data, **where)
    assert [row["epoch"] for row in rows(tmp_path / "a")] == ["0", "1", "2"]
    assert rows(tmp_path / "a")[:2] == before
    files = {p.name: p.read_bytes() for p in (tmp_path / "a").iterdir()}
    again = clip_train(**data, **where)  # has nothing to do
    assert again == pytest.approx(metrics)
    assert {p.name for p in (tmp_path / "a").iterdir()} == set(files)
    assert files["metrics.csv"] == (tmp_path / "a" / "metrics.csv").read_bytes()
    clip_train(
        **data, project=str(tmp_path), name="a", epochs=1, exist_ok=True
    )  # anew: the rows of before are no part of it
    assert [row["epoch"] for row in rows(tmp_path / "a")] == ["0"]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"epochs": 2}, "begun with epochs=1, not 2; .* model="),
        ({"lr0": 0.1, "seed": 3}, "begun with lr0=0.001, not 0.1, seed=0, not 3"),
        ({"model": "PLAIN"}, "begun with model=DiffCLIP, not CLIP"),
    ],
    ids=str,
)
def test_resume_with_other_arguments_is_refused(data, arguments, match, tmp_path):
    where = {"project": str(tmp_path), "name": "a", "epochs": 1}
    clip_train(**data, **where)
    files = {p.name: p.read_bytes() for p in (tmp_path / "a").iterdir()}
    YAML.save(tmp_path / "plain.yaml", {"kind": "CLIP", **SIZES})
    arguments = {k: str(tmp_path / "plain.yaml") if v == "PLAIN" else v for k, v in arguments.items()}
    with pytest.raises(UserError, match=match):
        clip_train(**{**data, **where, **arguments}, resume=True)
    assert {p.name: p.read_bytes() for p in (tmp_path / "a").iterdir()} == files


def test_lightnings_checkpoint_holds_the_weights_too(data, tmp_path):
    YAML.save(tmp_path / "plain.yaml", {"kind": "CLIP", **SIZES})
    clip_train(**{**data, "model": str(tmp_path / "plain.yaml")}, epochs=1, project=str(tmp_path), name="a")
    ours, theirs = (CLIP.from_pretrained(tmp_path / "a" / name) for name in ("last.pt", "last.ckpt"))
    assert ours.sizes == theirs.sizes
    assert all(torch.equal(t, theirs.state_dict()[name]) for name, t in ours.state_dict().items())


TWO_RANKS = """
import os, sys, torch
from ultralytics_diffattn.clip import training as t
from ultralytics_diffattn.verbs.clip_train import clip_train
class Saving(t.Contrast):
    def on_fit_end(self): torch.save(self.clip.state_dict(), f"rank{{self.global_rank}}.pt")
t.Contrast = Saving
pids = []
for rank in "01":
    pids.append(os.fork())
    if not pids[-1]:
        os.environ |= {{"RANK": rank, "LOCAL_RANK": rank}}
        clip_train(**{data!r}, epochs=2, project={project!r}, name="two")
        sys.exit()
sys.exit(any([os.waitpid(pid, 0)[1] for pid in pids]))
"""


def test_two_ranks_train_one_model(data, tmp_path):
    """In forks, with the variables that torchrun sets; clip/test_commands.py has torchrun itself."""
    code = TWO_RANKS.format(data=data, project=str(tmp_path))
    group = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "two"}
    forked(code, cwd=tmp_path, preloaded="clip", MASTER_ADDR="127.0.0.1", MASTER_PORT="29617", **group)
    first, second = (torch.load(tmp_path / f"rank{i}.pt", weights_only=True) for i in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(torch.equal(first[name], tensor) for name, tensor in state(tmp_path / "two").items())
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("two") and p.is_dir()] == ["two"]


def test_an_image_that_cannot_be_read_is_replaced_by_the_next(data, tmp_path, caplog):
    (tmp_path / "3.png").write_bytes(b"no image")
    (tmp_path / "15.png").unlink()
    files = [tmp_path / f"{i}.png" for i in range(16)]
    pairs = Pairs(files, torch.arange(16)[:, None], 32)
    assert [pairs[i][1].item() for i in (2, 3, 15)] == [2, 4, 0]
    assert pairs[3][0].shape == (3, 32, 32)
    clip_train(**data, epochs=1, project=str(tmp_path), name="a")
    assert (tmp_path / "a" / "last.pt").is_file()


def test_no_image_that_can_be_read(data, tmp_path):
    for i in range(16):
        (tmp_path / f"{i}.png").write_bytes(b"")
    with pytest.raises(UserError, match="none of the 16 images"):
        clip_train(**data, epochs=1, project=str(tmp_path))


def test_plain_clip_and_weights_go_on(data, tmp_path):
    YAML.save(tmp_path / "plain.yaml", {"kind": "CLIP", **SIZES})
    clip_train(**{**data, "model": str(tmp_path / "plain.yaml")}, epochs=1, project=str(tmp_path), name="a")
    model = CLIP.from_pretrained(tmp_path / "a" / "last.pt")
    assert type(model) is CLIP
    clip_train(**{**data, "model": str(tmp_path / "a" / "last.pt")}, epochs=1, project=str(tmp_path), name="b")
    assert not torch.equal(state(tmp_path / "a")["text_projection"], state(tmp_path / "b")["text_projection"])


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"data": ""}, UserError, "data= is missing"),
        ({"data": "none.csv"}, MissingFileError, "no file none.csv"),
        ({"val_data": "none.csv"}, MissingFileError, "no file none.csv"),
        ({"model": "none.yaml"}, MissingFileError, "clip-tiny.yaml, diffclip-tiny.yaml"),
        ({"model": "none.pt"}, MissingFileError, "no checkpoint none.pt"),
        ({"batch": 17}, UserError, "from 2 to the number of pairs, 16"),
        ({"batch": 1}, UserError, "from 2"),
        ({"batch": 0.5}, UserError, "batch=0.5 must be an integer"),
        ({"workers": -1}, UserError, "workers=-1 must be an integer"),
        ({"device": 7}, UserError, "Invalid CUDA"),
        ({"epochs": 0}, UserError, "epochs=0 must be an integer"),
        ({"lr0": "abc"}, UserError, "lr0='abc' must be a number"),
        ({"lr0": -1}, UserError, "lr0=-1 must be a number"),
        ({"warmup": 2}, UserError, r"warmup=2 must be a number in \[0, 1\)"),
        ({"seed": -5}, UserError, "seed=-5 must be an integer >= 0"),
        ({"optimizer": "SGD"}, UserError, "optimizer= means nothing to clip-train"),
        ({"epoch": 3}, UserError, r"epoch= means nothing to clip-train. Did you mean epochs\?"),
        ({"resume": True}, MissingFileError, "last.ckpt to go on from"),
    ],
)
def test_bad_input_writes_nothing(data, arguments, error, match, tmp_path):
    with pytest.raises(error, match=match):
        clip_train(**{**data, **arguments}, project=str(tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()
