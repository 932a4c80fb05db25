"""clip/build.py: bundled YAMLs, YAMLs of one's own, and YAMLs of something else."""

import pytest
from ultralytics.utils import YAML

pytest.importorskip("timm")
from tests.samples import TINY
from ultralytics_diffattn.clip.build import build
from ultralytics_diffattn.clip.model import CLIP, DiffCLIP
from ultralytics_diffattn.clip.sizes import Sizes
from ultralytics_diffattn.errors import MissingFileError, UserError


@pytest.mark.parametrize("name", ["clip-tiny.yaml", "diffclip-tiny.yaml"])
def test_bundled_models_differ_in_attention_only(name):
    model = build(name)
    assert type(model) is {"clip-tiny.yaml": CLIP, "diffclip-tiny.yaml": DiffCLIP}[name]
    assert model.sizes == build("clip-tiny.yaml").sizes


@pytest.mark.parametrize(
    ("yaml", "match"),
    [
        ({**TINY}, "must be CLIP or DiffCLIP"),
        ({"kind": "BLIP"}, "must be CLIP or DiffCLIP"),
        ({"kind": "CLIP", "depth": 3}, "depth"),
        ({"kind": "CLIP", **TINY, "embed_dim": 0}, "embed_dim=0"),
        ({"kind": "DiffCLIP", **TINY, "transformer_heads": 1}, "heads"),
    ],
)
def test_bad_yaml(yaml, match, tmp_path):
    YAML.save(tmp_path / "a.yaml", yaml)
    with pytest.raises(UserError, match=match):
        build(tmp_path / "a.yaml")


def test_own_yaml(tmp_path):
    YAML.save(tmp_path / "a.yaml", {"kind": "CLIP", **TINY})
    model = build(tmp_path / "a.yaml")
    assert type(model) is CLIP
    assert model.sizes == Sizes(**TINY)
    assert model.training


def test_no_such_yaml():
    with pytest.raises(MissingFileError, match=r"there is no none.yaml; there are clip-tiny.yaml, diffclip-tiny.yaml"):
        build("none.yaml")
