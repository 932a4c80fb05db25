"""clip/model.py: parity with the reference, with formulas of this file and with plain attention; sizes; bad input."""

import inspect
import json

import pytest
import torch
from torch import nn

from tests.places import SHARED
from tests.samples import TINY, tiny_clip
from ultralytics_diffattn.clip.model import CLIP, DiffCLIP
from ultralytics_diffattn.clip.sizes import Sizes
from ultralytics_diffattn.nn.attention import DiffAttention

pytest.importorskip("timm")
VECTORS = SHARED / "vectors" / "diffclip"
shared = pytest.mark.skipif(not VECTORS.is_dir(), reason=f"the reference vectors are not at {VECTORS}")


def tokens(*rows):
    return torch.tensor(rows)


@pytest.fixture(scope="module")
def stored():
    from safetensors import safe_open

    with safe_open(VECTORS / "diffclip_tiny.safetensors", "pt") as f:
        return {k: f.get_tensor(k) for k in f.keys()}, {k: int(v) for k, v in f.metadata().items()}  # noqa: SIM118


@shared
@torch.no_grad()
def test_reference(stored):
    tensors, sizes = stored
    model = DiffCLIP(**sizes).eval()
    model.load_state_dict({k.removeprefix("param."): v for k, v in tensors.items() if k.startswith("param.")})
    outputs = model(tensors["image"], tensors["tokens"])
    for name in ("image_embed", "text_embed", "logit_scale"):
        assert tensors[name].abs().max() > 0.1
        torch.testing.assert_close(outputs[name], tensors[name], rtol=0, atol=1e-6)


@shared
def test_schema_of_the_published_weights():
    with torch.device("meta"):
        model = DiffCLIP()
    schema = json.loads((VECTORS / "diffclip_vitb16_schema.json").read_text())
    assert {k: list(v.shape) for k, v in model.state_dict().items()} == schema


def test_size_of_the_published_model():
    """0.006 % more than plain CLIP, counted by hand: lambda and the gain of 12 blocks in each tower."""
    with torch.device("meta"):
        differential, plain = (sum(p.numel() for p in kind().parameters()) for kind in (DiffCLIP, CLIP))
    assert differential == 149_629_185
    assert differential - plain == 2 * 12 * (4 * 64 + 128)


@torch.no_grad()
def test_text_tower_by_its_formula():
    """In float64, token after token: the formulas of the paper, with nothing of ours but the weights."""
    model = tiny_clip().double()
    text = tokens([126, 5, 9, 127], [126, 3, 127, 0])
    p = dict(model.named_parameters())
    for row, embedding in zip(text, model.encode_text(text), strict=True):
        x = torch.stack([p["token_embedding.weight"][t] for t in row]) + p["positional_embedding"][: len(row)]
        for i in range(2):
            w = {n.split(f"resblocks.{i}.")[1]: v for n, v in p.items() if f"resblocks.{i}." in n}
            y = nn.functional.layer_norm(x, x.shape[-1:], w["ln_1.weight"], w["ln_1.bias"])
            q, k, v = (y @ w[f"attn.{n}_proj.weight"].T + w[f"attn.{n}_proj.bias"] for n in "qkv")
            lam = (w["attn.lambda_q1"] @ w["attn.lambda_k1"]).exp() - (w["attn.lambda_q2"] @ w["attn.lambda_k2"]).exp()
            heads = []
            for h in range(2):  # of value width 24, from two maps of query width 12
                maps = []
                for j in (2 * h, 2 * h + 1):
                    logits = q[:, 12 * j : 12 * j + 12] @ k[:, 12 * j : 12 * j + 12].T / 12**0.5
                    maps.append(logits.masked_fill(torch.ones_like(logits).triu(1).bool(), -torch.inf).softmax(-1))
                z = (maps[0] - (lam + 0.8) * maps[1]) @ v[:, 24 * h : 24 * h + 24]
                z = z / (z.square().mean(-1, keepdim=True) + 1e-5).sqrt() * w["attn.diff_norm.weight"]
                heads.append(z * (1 - 0.8))
            x = x + torch.cat(heads, -1) @ w["attn.out_proj.weight"].T + w["attn.out_proj.bias"]
            y = nn.functional.layer_norm(x, x.shape[-1:], w["ln_2.weight"], w["ln_2.bias"])
            y = y @ w["mlp.c_fc.weight"].T + w["mlp.c_fc.bias"]
            y = y / (1 + (-1.702 * y).exp())
            x = x + y @ w["mlp.c_proj.weight"].T + w["mlp.c_proj.bias"]
        x = nn.functional.layer_norm(x, x.shape[-1:], p["ln_final.weight"], p["ln_final.bias"])
        torch.testing.assert_close(embedding, x[row.argmax()] @ p["text_projection"], rtol=1e-9, atol=1e-12)


@torch.no_grad()
def test_image_tower_is_timms_with_plain_attention():
    """The image tower of `CLIP`, which `DiffCLIP` is compared with: timm's own ViT with the same tensors."""
    timm = pytest.importorskip("timm")
    plain = tiny_clip(CLIP)
    vit = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=64, depth=2, num_heads=4, num_classes=0,
        norm_layer=nn.LayerNorm,
    )  # fmt: skip
    vit.load_state_dict(plain.visual.state_dict())
    image = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(plain.encode_image(image), vit.eval()(image) @ plain.image_projection)


@torch.no_grad()
@pytest.mark.parametrize("kind", [CLIP, DiffCLIP])
def test_a_token_sees_none_behind_it(kind):
    model = tiny_clip(kind)
    short, long = tokens([126, 5, 127]), tokens([126, 5, 127, 9, 11])
    torch.testing.assert_close(model.encode_text(short), model.encode_text(long))
    assert not torch.allclose(model.encode_text(short), model.encode_text(tokens([126, 9, 127])), atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("kind", [CLIP, DiffCLIP])
def test_length_one_on_demand(kind):
    model, image, text = tiny_clip(kind), torch.rand(2, 3, 32, 32), tokens([126, 5, 127])
    for encode, x in ((model.encode_image, image), (model.encode_text, text)):
        torch.testing.assert_close(encode(x, normalize=True), nn.functional.normalize(encode(x)))
        assert not torch.allclose(encode(x).norm(dim=-1), torch.ones(len(x)), atol=0.05)


@pytest.mark.parametrize("kind", [CLIP, DiffCLIP])
def test_every_parameter_learns(kind):
    model = tiny_clip(kind).train()
    outputs = model(torch.rand(2, 3, 32, 32), tokens([126, 5, 127], [126, 9, 127]))
    (outputs["image_embed"] @ outputs["text_embed"].T * outputs["logit_scale"]).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    unmoved = {n for n, p in model.named_parameters() if p.grad.abs().max() == 0}
    assert unmoved == set()


def test_both_towers_are_differential():
    kinds = [type(m).__mro__ for m in tiny_clip().modules()]
    assert sum(DiffAttention in kind for kind in kinds) == 4
    assert not any(DiffAttention in type(m).__mro__ for m in tiny_clip(CLIP).modules())


PUBLISHED = dict(
    embed_dim=512, image_size=224, patch_size=16, vision_width=768, vision_layers=12, vision_heads=12,
    context_length=77, vocab_size=49408, transformer_width=512, transformer_layers=12, transformer_heads=8,
)  # fmt: skip


@pytest.mark.parametrize("kind", [CLIP, DiffCLIP])
def test_help_shows_every_argument_with_its_default(kind):
    parameters = inspect.signature(kind).parameters
    assert {name: p.default for name, p in parameters.items()} == PUBLISHED
    assert {p.kind for p in parameters.values()} == {inspect.Parameter.POSITIONAL_OR_KEYWORD}
    with torch.device("meta"):
        assert kind().sizes == Sizes(**PUBLISHED)


def test_sizes_are_those_of_the_tensors():
    model = tiny_clip()
    assert Sizes.from_tensors(model.state_dict()) == model.sizes == Sizes(**TINY)
    assert model.sizes.as_dict() == TINY
    with pytest.raises(AttributeError):
        model.sizes.embed_dim = 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vision_heads": 5}, "vision_width=64 must be a multiple of vision_heads=5"),
        ({"patch_size": 7}, "image_size=32 must be a multiple of patch_size=7"),
        ({"transformer_heads": 5}, "transformer_width=48 must be a multiple of transformer_heads=5"),
        ({"transformer_heads": 3}, "num_heads=3 must be even"),
        ({"vision_layers": 0}, "vision_layers=0 must be an integer >= 1"),
        ({"embed_dim": 1.5}, "embed_dim=1.5 must be an integer >= 1"),
    ],
    ids=str,
)
def test_bad_sizes(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny_clip(**changes)
    if "num_heads" not in message:  # which plain attention does not ask for
        with pytest.raises(ValueError, match=message):
            Sizes(**{**TINY, **changes})


@pytest.mark.parametrize(
    ("method", "shape", "value", "error", "message"),
    [
        ("encode_image", (2, 3, 64, 64), 0.5, ValueError, r"\(2, 3, 64, 64\), but must be \(B, 3, 32, 32\)"),
        ("encode_image", (3, 32, 32), 0.5, ValueError, r"must be \(B, 3, 32, 32\)"),
        ("encode_text", (2, 16), 0.5, TypeError, "must be tokens"),
        ("encode_text", (2, 17), 0, ValueError, "with N from 1 to 16"),
        ("encode_text", (16,), 0, ValueError, "with N from 1 to 16"),
        ("encode_text", (2, 4), 128, ValueError, "128 is no token of a vocabulary of 128"),
    ],
    ids=str,
)
def test_bad_input(method, shape, value, error, message):
    with pytest.raises(error, match=message):
        getattr(tiny_clip(), method)(torch.full(shape, value))
