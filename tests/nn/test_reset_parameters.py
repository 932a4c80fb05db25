"""Every module of ours that owns parameters can fill them itself: how FSDP2 and meta devices make a model."""

import math

import pytest
import torch
from ultralytics.nn.modules import block

from ultralytics_diffattn import A2C2f_Diff, AIFI_Diff, C2PSA_Diff, C3k2_Diff, DiffAttention
from ultralytics_diffattn.nn.attention import DiffRMSNorm

MODULES = {
    "published": lambda: DiffAttention(64, num_heads=4, lambda_per_head=True),
    "norm": lambda: DiffRMSNorm(64),
    "split": lambda: C2PSA_Diff(128, 128, kind="split"),
    "token": lambda: C2PSA_Diff(256, 256, kind="token"),
    "paired": lambda: C2PSA_Diff(128, 128, kind="paired"),
    "c3k2": lambda: C3k2_Diff(128, 128, c3k=True, attn=True),
    "area": lambda: A2C2f_Diff(64, 64, area=4),
    "aifi": lambda: AIFI_Diff(64, cm=128),
}
SIZES = dict(image_size=32, patch_size=8, vision_width=64, vision_layers=1, vision_heads=4)
TEXT = dict(context_length=8, vocab_size=99, transformer_width=64, transformer_layers=1, transformer_heads=4)


def refilled(build):
    """Return a module whose memory was nan before each of its modules was asked to fill its own."""
    with torch.device("meta"):
        module = build()
    module.to_empty(device="cpu")
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.detach().copy_(torch.full_like(tensor, math.nan) if tensor.is_floating_point() else tensor * 0)
    torch.manual_seed(0)

    def fill(m):
        own = [*m.parameters(recurse=False)]
        ours = type(m).__module__.startswith("ultralytics_diffattn")
        assert not (ours and own) or hasattr(m, "reset_parameters"), f"{type(m).__name__} owns parameters"
        if hasattr(m, "reset_parameters"):
            m.reset_parameters()

    return module.apply(fill)


@pytest.mark.parametrize("build", MODULES.values(), ids=MODULES)
def test_nothing_is_left_as_memory_was(build):
    module, expected = refilled(build), build()
    for name, tensor in module.state_dict().items():
        assert tensor.isfinite().all(), name
        if name.endswith(("lam", "diff_norm.weight")) or type(expected) is DiffRMSNorm:
            assert torch.equal(tensor, expected.state_dict()[name]), name
        if "lambda_" in name:
            assert 0 < tensor.std() < 0.3
    assert module.state_dict().keys() == expected.state_dict().keys()


@pytest.mark.parametrize("name", ["CLIP", "DiffCLIP"])
def test_nothing_of_clip_is_left_as_memory_was(name):
    model = pytest.importorskip("ultralytics_diffattn.clip.model")
    built = refilled(lambda: getattr(model, name)(embed_dim=16, **SIZES, **TEXT))
    expected = getattr(model, name)(embed_dim=16, **SIZES, **TEXT)
    timms = ("visual.cls_token", "visual.pos_embed")  # which timm fills by a method of its own
    assert {n for n, t in built.state_dict().items() if not t.isfinite().all()} <= {*timms}
    assert torch.equal(built.attn_mask, expected.attn_mask)
    assert torch.equal(built.logit_scale, expected.logit_scale)


def test_stocks_modules_fill_their_own_likewise():
    """Were it not so, the test above would say nothing of ours."""
    assert all(t.isfinite().all() for t in refilled(lambda: block.C2PSA(128, 128)).state_dict().values())
