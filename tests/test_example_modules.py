"""examples/modules/: each is what its paper says, trains, and leaves the model as a graph that computes the same."""

import importlib
import math
import os
import sys

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from ultralytics import YOLO
from ultralytics.nn import tasks

from tests.interpreters import command, forked
from tests.places import ROOT
from ultralytics_diffattn.plugin import user_files, user_modules
from ultralytics_diffattn.plugin.registry import MODULES

FOLDER = ROOT / "examples" / "modules"
CLASSES = {
    "se": "SE",
    "cbam": "CBAM",
    "eca": "ECA",
    "simam": "SimAM",
    "coordinate_attention": "CoordinateAttention",
    "bifpn": "BiFPNConcat",
}
ALL = f"""
nc: 3
scales: {{n: [1, 1, 1024]}}
backbone:
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [32, 3, 2]]
{"".join(f"  - [-1, 1, {c}, []]{chr(10)}" for c in CLASSES.values() if c != "BiFPNConcat")}
head:
  - [[-1, 1], 1, BiFPNConcat, []]
  - [[-1], 1, Detect, [nc]]
"""  # rows 2 to 7 are the six
PATHS = os.pathsep.join(str(FOLDER / f"{name}.py") for name in CLASSES)


@pytest.fixture(autouse=True)
def known(monkeypatch):
    """Make the six files known, as DIFFATTN_MODULES does."""
    monkeypatch.setenv(user_files.PATHS, PATHS)
    monkeypatch.setenv(user_files.INHERITED, "[]")
    monkeypatch.setattr(user_modules, "_failures", {})
    for name, row in CLASSES.items():  # another test's of the same name is none of these
        monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.delitem(MODULES, row, raising=False)
        monkeypatch.delattr(tasks, row, raising=False)
    before = dict(MODULES)
    assert user_modules.load() == {}
    yield
    MODULES.clear()
    MODULES.update(before)
    for name, row in CLASSES.items():  # nothing of them is left for other tests
        sys.modules.pop(name, None)
        vars(tasks).pop(row, None)


def module(name, *args):
    """Return a module with weights and statistics that are no 0 and no 1."""
    torch.manual_seed(0)
    made = getattr(importlib.import_module(name), CLASSES[name])(*args)
    for p in made.parameters():
        nn.init.normal_(p, std=0.3)
    for n, b in made.named_buffers():
        if "running" in n:
            nn.init.uniform_(b, 0.5, 2)
    return made.eval()


X = torch.randn(2, 64, 5, 7, generator=torch.Generator().manual_seed(1))


def test_se_is_torchvisions():
    ours, theirs = module("se", 64, 4), torchvision.ops.SqueezeExcitation(64, 16)
    theirs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours(X), theirs(X))


def test_cbam_is_timms():
    """But for timm's BatchNorm behind the spatial convolution, which the paper has not, and which is left out here."""
    cbam = pytest.importorskip("timm.layers.cbam")
    ours, theirs = module("cbam", 64), cbam.CbamModule(64).eval()
    theirs.spatial.conv.bn = nn.Identity()
    state = {name.replace("spatial.conv.", "spatial.conv.conv."): value for name, value in ours.state_dict().items()}
    theirs.load_state_dict(state)
    torch.testing.assert_close(ours(X), theirs(X))


@pytest.mark.parametrize(("channels", "kernel"), [(64, 3), (128, 5), (256, 5), (512, 5), (2048, 7)])
def test_eca_is_timms(channels, kernel):
    """The kernels are those of the paper's rule."""
    eca = pytest.importorskip("timm.layers.eca")
    ours, theirs = module("eca", channels), eca.EcaModule(channels)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, channels, 4, 4)
    torch.testing.assert_close(ours(x), theirs(x))
    assert ours.conv.kernel_size == (kernel,)
    assert kernel == math.floor(abs(math.log2(channels) / 2 + 0.5)) // 2 * 2 + 1


def test_simam_is_its_formula():
    """In float64, value by value: the inverse of the least energy, equation 5, behind a sigmoid."""
    x, lam = X.double().numpy(), 1e-4
    flat = x.reshape(*x.shape[:2], -1)
    mean, variance = flat.mean(2), flat.var(2, ddof=1)
    expected = np.empty_like(x)
    for index in np.ndindex(x.shape):
        t, mu, var = x[index], mean[index[:2]], variance[index[:2]]
        energy = 4 * (var + lam) / ((t - mu) ** 2 + 2 * var + 2 * lam)
        expected[index] = t / (1 + math.exp(-1 / energy))
    found = module("simam")(X.double()).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    assert not list(module("simam").parameters())
    assert module("simam")(torch.ones(1, 2, 1, 1)).isfinite().all()


def test_coordinate_attention_is_timms():
    coord = pytest.importorskip("timm.layers.coord_attn")
    ours, theirs = module("coordinate_attention", 64), coord.CoordAttn(64, rd_channels=8, bias=True).eval()
    theirs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours(X), theirs(X))


def test_bifpn_is_its_formula():
    ours = module("bifpn", [64, 64])
    with torch.no_grad():
        ours.weights.copy_(torch.tensor([3.0, -1.0]))  # a negative one is none
    torch.testing.assert_close(ours([X, X]), torch.cat((X * 3 / (3 + 1e-4), 0 * X), 1))


@pytest.mark.parametrize("name", CLASSES)
def test_each_model_trains_and_is_scaled(name, tiny, tmp_path):
    """A step of the loss, a gradient in each parameter; the width of its row scales."""
    for scale in "ns":
        model = YOLO(FOLDER / f"yolo11{scale}-{name}.yaml").model
        held = [m for m in model.model if type(m).__name__ == CLASSES[name]]
        assert len(held) == (4 if name == "bifpn" else 1)
    torch.manual_seed(0)
    loss = sum(y.square().mean() for y in tensors(model.train()(torch.rand(2, 3, 64, 64))))
    loss.backward()
    for m in held:
        assert all(p.grad.abs().max() > 0 for n, p in m.named_parameters() if "conv1.bias" not in n)  # BatchNorm's


def tensors(outputs):
    if isinstance(outputs, torch.Tensor):
        yield outputs
    else:
        for each in outputs.values() if isinstance(outputs, dict) else outputs:
            yield from tensors(each)


def test_the_exported_graph_of_all_of_them_computes_the_same(tmp_path):
    """One model with the six: diffattn export runs the ONNX file beside PyTorch."""
    pytest.importorskip("onnxruntime", reason="needs onnxruntime, which the test extra installs")
    (tmp_path / "all.yaml").write_text(ALL)
    code = """
import torch
from ultralytics import YOLO
torch.manual_seed(0)
yolo = YOLO("all.yaml")
for m in yolo.model.modules():  # BatchNorm from these images: else nothing of an image arrives
    m.momentum = 1.0 if isinstance(m, torch.nn.BatchNorm2d) else None
with torch.no_grad():
    yolo.model.train()(torch.rand(4, 3, 64, 64))
yolo.save("all.pt")
"""
    env = {user_files.PATHS: PATHS}
    forked(code, cwd=tmp_path, **env)
    words = "export", "model=all.pt", "format=onnx", "imgsz=64", "conf=0.01"
    said = command("diffattn", *words, cwd=tmp_path, **env).stdout
    assert "found by only one of the two" in said
