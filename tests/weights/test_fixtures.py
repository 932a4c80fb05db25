"""Checkpoints of version 0.1.0, stored beside this file: they load for ever, and mean what they meant."""

import pickletools
import re
import zipfile
from pkgutil import resolve_name

import pytest
import torch
from torch import nn
from ultralytics import YOLO
from ultralytics.cfg import get_cfg
from ultralytics.data.augment import classify_transforms
from ultralytics.nn.modules.block import C2PSA, A2C2f, AAttn, Attention, C2f, PSABlock
from ultralytics.nn.modules.transformer import AIFI

from tests.places import ROOT
from ultralytics_diffattn.nn import attention
from ultralytics_diffattn.nn.aifi import AIFI_Diff, MultiheadAttention_Diff
from ultralytics_diffattn.nn.area import A2C2f_Diff, AAttn_Diff
from ultralytics_diffattn.nn.blocks import Attention_Diff, C2PSA_Diff, C3k2_Diff, PairedAttention_Diff, PSABlock_Diff

FOLDER = ROOT / "tests" / "fixtures"
BLOCKS = {
    "split": "nn.blocks.Attention_Diff nn.blocks.C2PSA_Diff nn.blocks.PSABlock_Diff nn.attention.DiffRMSNorm",
    "paired": "nn.paired.PairedAttention_Diff nn.blocks.C2PSA_Diff nn.blocks.PSABlock_Diff",
    "token": "nn.attention.DiffAttention nn.attention.DiffRMSNorm",
    "c3k2": "nn.blocks.C3k2_Diff nn.blocks.PSABlock_Diff nn.blocks.Attention_Diff nn.attention.DiffRMSNorm",
    "area": "nn.area.A2C2f_Diff nn.area.AAttn_Diff",
    "aifi": "nn.aifi.AIFI_Diff nn.aifi.MultiheadAttention_Diff",
}
IMAGE = (torch.arange(3 * 32 * 32) * 0.37).sin().mul(0.5).add(0.5).reshape(1, 3, 32, 32)


def outputs(model):
    """Return what the row of ours makes of the image, and what the model does."""
    with torch.no_grad():
        return model.model[1](model.model[0](IMAGE)), model(IMAGE)


def check_outputs(found, stored):
    for a, b in zip(found, stored, strict=True):
        assert b.abs().max() > 0.1
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * b.abs().max().item())


@pytest.fixture(params=BLOCKS)
def file(request):
    return FOLDER / f"{request.param}.pt"


def test_every_kind_is_there():
    assert {f.stem for f in FOLDER.glob("*.pt")} == set(BLOCKS)


def test_predicts_as_then(file):
    stored = torch.load(file, weights_only=False)["outputs"]
    check_outputs(outputs(YOLO(file).model.eval()), stored)
    check_outputs(outputs(YOLO(file).model.eval().fuse(verbose=False)), stored)
    image = (IMAGE[0].permute(1, 2, 0) * 255).byte().numpy()
    model = YOLO(file)
    model.model.transforms = classify_transforms(32)  # as the trainer leaves them; 8.3.160 to 8.4.104 need them
    assert model.predict(image, imgsz=32, verbose=False)[0].probs.shape == (2,)


def test_trains_on(file):
    model = YOLO(file).model.train()
    model.args = get_cfg()
    for parameter in model.parameters():
        parameter.requires_grad_()  # as the trainer does
    batch = {"img": torch.cat((IMAGE, IMAGE.flip(3))), "cls": torch.tensor([0, 1])}
    model.loss(batch)[0].sum().backward()
    ours = {
        n: p for n, p in model.model[1].named_parameters() if re.search(r"(^|\.)(lam|lambda_.*|diff_norm.*|q2.*)$", n)
    }
    assert ours
    assert all(p.grad is not None and p.grad.isfinite().all() for p in ours.values())
    assert any(p.grad.abs().max() > 0 for n, p in ours.items() if "lam" in n)
    before = {n: p.detach().clone() for n, p in ours.items()}
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    assert any(not torch.equal(p, before[n]) for n, p in ours.items() if "lam" in n)


def test_what_it_names_is_there(file):
    with zipfile.ZipFile(file) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith("/data.pkl"))
        names = [arg for op, arg, _ in pickletools.genops(archive.read(name)) if op.name == "GLOBAL"]
    ours = {n.replace(" ", ".") for n in names if n.startswith("ultralytics_diffattn")}
    assert ours == {f"ultralytics_diffattn.{n}" for n in BLOCKS[file.stem].split()}
    for path in ours:
        module, _, attribute = path.rpartition(".")
        assert issubclass(resolve_name(f"{module}:{attribute}"), nn.Module), path


OURS = [  # module of ours, the stock module that it extends, whose attributes are stock's affair
    (lambda: attention.DiffRMSNorm(4), nn.Module),
    (lambda: attention.DiffAttention(16, 4), nn.Module),
    (lambda: Attention_Diff(16, 2), lambda: Attention(16, 2)),
    (lambda: PairedAttention_Diff(16, 2), lambda: Attention(16, 2)),
    (lambda: PSABlock_Diff(16, num_heads=2), lambda: PSABlock(16, num_heads=2)),
    (lambda: C2PSA_Diff(16, 16), lambda: C2PSA(128, 128)),
    (lambda: C3k2_Diff(16, 16), lambda: C2f(16, 16)),
    (lambda: AAttn_Diff(32, 1), lambda: AAttn(32, 1)),
    (lambda: A2C2f_Diff(32, 32, e=1.0), lambda: A2C2f(32, 32, e=1.0)),
    (lambda: MultiheadAttention_Diff(16, 2), lambda: nn.MultiheadAttention(16, 2)),
    (lambda: AIFI_Diff(16, 16, 2), lambda: AIFI(16, 16, 2)),
]


def names_of(module):
    """Return all that one instance holds itself, where an unpickled one has what its version set and no more."""
    plain = vars(module).keys() - vars(nn.Module()).keys()
    return {*plain, *module._parameters, *module._buffers, *module._modules}


@pytest.fixture(scope="module")
def then():
    """Return what the modules of 0.1.0 hold, by class."""
    models = (torch.load(FOLDER / f"{name}.pt", weights_only=False)["model"] for name in BLOCKS)
    return {type(m): names_of(m) for model in models for m in model.modules()}


@pytest.mark.parametrize(("ours", "stock"), OURS)
def test_a_new_attribute_has_a_default_on_its_class(ours, stock, then):
    module = ours()
    new = names_of(module) - names_of(stock()) - then[type(module)] - set(dir(type(module)))
    assert not new, (
        f"{type(module).__name__} sets {sorted(new)}, which modules in checkpoints of 0.1.0 do not have: give each a "
        "default on the class, as LambdaMixin.folded has."
    )


def test_every_class_is_asked(then):
    assert {type(ours()) for ours, _ in OURS} == {c for c in then if c.__module__.startswith("ultralytics_diffattn")}
