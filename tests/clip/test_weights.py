"""clip/weights.py and from_pretrained: each form of checkpoint, a stand-in for the hub, files with something else."""

import argparse
import os

import pytest
import torch
from torch import nn

from tests.interpreters import forked
from tests.samples import TINY, prefixed, tiny_clip
from ultralytics_diffattn.clip import weights
from ultralytics_diffattn.clip.model import CLIP, DiffCLIP
from ultralytics_diffattn.clip.sizes import Sizes
from ultralytics_diffattn.errors import UserError

HEADS_64 = dict(vision_width=128, vision_heads=2, transformer_width=128, transformer_heads=2)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state},
        lambda state: {"state_dict": prefixed(state)},
        lambda state: {"state_dict": prefixed(state), "epoch": 34, "args": argparse.Namespace(lr=1e-3), "scaler": {}},
    ],
    ids=["bare", "state_dict", "module.", "as published"],
)
@torch.no_grad()
def test_loads(wrap, tmp_path):
    model = tiny_clip()
    torch.save(wrap(model.state_dict()), tmp_path / "w.pt")
    loaded = DiffCLIP.from_pretrained(tmp_path / "w.pt")
    assert type(loaded) is DiffCLIP
    assert loaded.sizes == model.sizes == Sizes(**TINY)
    assert not loaded.training
    image, text = torch.rand(2, 3, 32, 32), torch.tensor([[126, 5, 127]])
    for a, b in zip(loaded(image, text).values(), model(image, text).values(), strict=True):
        assert a.equal(b)


@pytest.mark.parametrize("with_sizes", [False, True])
def test_plain_weights(with_sizes, tmp_path):
    """Nothing tells the heads of plain attention but the sizes that clip-train writes: else they are 64 wide."""
    model = tiny_clip(CLIP, **({} if with_sizes else HEADS_64))
    torch.save(
        {"state_dict": model.state_dict()} | ({"sizes": model.sizes.as_dict()} if with_sizes else {}),
        tmp_path / "plain.pt",
    )
    loaded = CLIP.from_pretrained(str(tmp_path / "plain.pt"))
    assert type(loaded) is CLIP
    assert loaded.sizes == model.sizes
    with pytest.raises(UserError, match=r"holds CLIP with plain attention; CLIP\.from_pretrained"):
        DiffCLIP.from_pretrained(tmp_path / "plain.pt")


@pytest.mark.parametrize(("prefix", "file"), [("", "last.pt"), ("clip.", "last.ckpt")], ids=["last.pt", "last.ckpt"])
def test_checkpoints_of_clip_train_hold_sizes_as_a_plain_dict(prefix, file, tmp_path):
    """As they were written before `Sizes`: files of then are loaded."""
    model = tiny_clip(CLIP)
    state = {f"{prefix}{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save(
        {"state_dict": state, "sizes": dict(TINY), "run": {"model": "CLIP", **TINY}, "epoch": 0}, tmp_path / file
    )
    assert CLIP.from_pretrained(tmp_path / file).sizes == Sizes(**TINY)


@pytest.mark.parametrize(
    "sizes", [{"embed_dim": 32}, {**TINY, "depth": 3}, {**TINY, "embed_dim": 0}, [1, 2], 3], ids=str
)
def test_sizes_that_are_none(sizes, tmp_path):
    torch.save({"state_dict": tiny_clip().state_dict(), "sizes": sizes}, tmp_path / "w.pt")
    with pytest.raises(UserError, match=r"w\.pt holds no sizes of a CLIP or DiffCLIP"):
        CLIP.from_pretrained(tmp_path / "w.pt")


class Bomb:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def without(name):
    return lambda tmp: {"state_dict": {k: v for k, v in tiny_clip().state_dict().items() if k != name}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda tmp: {"state_dict": {}}, "no tensors under 'state_dict'"),
        (lambda tmp: {"epoch": 3}, "no tensors under 'state_dict'"),
        (lambda tmp: [torch.zeros(3)], "no tensors under 'state_dict'"),
        (lambda tmp: nn.Linear(2, 2).state_dict(), r"of another model \(weight, bias\), not of CLIP or DiffCLIP"),
        (without("visual.patch_embed.proj.weight"), "holds no weights of DiffCLIP: 'visual.patch_embed.proj.weight'"),
        (without("ln_final.bias"), r"1 are missing \(ln_final.bias\), and 0 are unknown"),
        (lambda tmp: tiny_clip().state_dict() | {"more": torch.zeros(1)}, r"0 are missing, and 1 are unknown \(more\)"),
        (lambda tmp: {**tiny_clip().state_dict(), "ln_final.bias": torch.zeros(3)}, "size mismatch for ln_final.bias"),
        (lambda tmp: {"model": nn.Linear(2, 2)}, "it could run code"),  # as ultralytics writes them
        (lambda tmp: {"state_dict": tiny_clip().state_dict(), "args": Bomb(tmp / "ran")}, "it could run code"),
    ],
    ids=[
        "empty", "no tensors", "list", "other model", "no patches", "missing", "extra", "shape", "ultralytics", "bomb"
    ],
)  # fmt: skip
def test_other_files(content, message, tmp_path):
    torch.save(content(tmp_path), tmp_path / "w.pt")
    with pytest.raises(UserError, match=message):
        CLIP.from_pretrained(tmp_path / "w.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None], ids=["empty", "text", "cut off"])
def test_broken_files(content, tmp_path):
    torch.save({"state_dict": tiny_clip().state_dict()}, tmp_path / "whole.pt")
    whole = (tmp_path / "whole.pt").read_bytes()
    (tmp_path / "w.pt").write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(UserError, match="cannot be read as weights"):
        CLIP.from_pretrained(tmp_path / "w.pt")


@pytest.mark.parametrize("source", ["no/such/file.pt", "nothing.pt", "owner/weights.pt", ".", "resnet50", "a/b/c"])
def test_no_such_file(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"there is no checkpoint .*DiffCLIP_ViTB16_CC12M"):
        weights.locate(source)


# --- the hub -------------------------------------------------------------------------------------------------------

LOAD = """
import time
time.sleep = lambda seconds: None  # half a minute between the hub's own attempts
from ultralytics_diffattn import DiffCLIP
from ultralytics_diffattn.errors import UserError
try:
    print(DiffCLIP.from_pretrained({name!r}).sizes.embed_dim)
except (FileNotFoundError, ConnectionError) as e:
    print(type(e).__name__, isinstance(e, UserError), e)
"""


def from_hub(name, endpoint, home):
    return forked(
        LOAD.format(name=name), cwd=home, HF_ENDPOINT=endpoint, HF_HOME=str(home), HF_HUB_DISABLE_XET="1", no_proxy="*"
    ).stdout.splitlines()[-1]


def test_hub(hub, tmp_path):
    endpoint, requests = hub
    for name in ("DiffCLIP_ViTB16_CC12M", "hammh0a/DiffCLIP_ViTB16_CC12M"):
        assert from_hub(name, endpoint, tmp_path) == str(TINY["embed_dim"])
    assert sum(line.startswith("GET") and "checkpoint_best.pt" in line for line in requests) == 1  # once
    assert from_hub("DiffCLIP_ViTB16_CC12M", "http://127.0.0.1:9", tmp_path) == str(TINY["embed_dim"])  # offline


def test_hub_has_no_such_repository(hub, tmp_path):
    message = from_hub("DiffCLIP_ViTB16_CC99M", hub[0], tmp_path)
    assert message.startswith(
        "MissingFileError True the Hugging Face hub has no checkpoint_best.pt in a public repository"
    )


def test_offline(tmp_path):
    message = from_hub("DiffCLIP_ViTB16_CC12M", "http://127.0.0.1:9", tmp_path)
    assert message.startswith(
        "HubUnreachableError True hammh0a/DiffCLIP_ViTB16_CC12M is not here yet, and the Hugging Face hub"
    )
    assert "https://huggingface.co/hammh0a/DiffCLIP_ViTB16_CC12M, and give the file here" in message
