"""docs/how-to/adding-a-module.md holds: one file, one row, one YAML; nothing else in the package knows the module."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from ultralytics import YOLO
from ultralytics.nn import tasks

from tests.places import ROOT
from ultralytics_diffattn import attention_maps
from ultralytics_diffattn.plugin import module_table
from ultralytics_diffattn.plugin.attach import attach
from ultralytics_diffattn.plugin.lambda_log import scalars
from ultralytics_diffattn.weights.transfer import transfer

FILE = '''
"""A differential PSA whose second query is a 1x1 convolution of the input."""

import torch
from torch import nn
from ultralytics.nn.modules.block import PSA, Attention

from ultralytics_diffattn.nn.functional import diff_attention
from ultralytics_diffattn.nn.safe_global import safe_global


@safe_global
class ToyAttention(Attention):
    added = "second.", "weight_of_second"
    halved = ()

    def __init__(self, dim, num_heads):
        super().__init__(dim, num_heads, 0.5)
        self.second = nn.Conv2d(dim, self.key_dim * num_heads, 1)
        self.weight_of_second = nn.Parameter(torch.full((num_heads,), 0.25))

    def compute_lambda(self):
        return self.weight_of_second

    def queries_and_keys(self, x):
        q, k, _ = self._stock(x)
        q2 = self.second(x).unflatten(1, (self.num_heads, -1)).flatten(3)  # (B, heads, key_dim, N)
        return (q, k), (q2.transpose(-2, -1), k)

    def _stock(self, x):
        qkv = self.qkv(x).unflatten(1, (self.num_heads, -1)).flatten(3)  # (B, heads, width, N)
        return (t.transpose(-2, -1) for t in qkv.split([self.key_dim, self.key_dim, self.head_dim], dim=2))

    def forward(self, x):
        (q1, k1), (q2, k2) = self.queries_and_keys(x)
        _, _, v = self._stock(x)
        y = diff_attention(q1, k1, q2, k2, v, self.compute_lambda(), scale=self.scale)
        y = y.transpose(-2, -1).reshape(x.shape)
        return self.proj(y + self.pe(v.transpose(-2, -1).reshape(x.shape)))


@safe_global
class PSA_Toy(PSA):
    def __init__(self, c1, c2, e=0.5):
        super().__init__(c1, c2, e)
        self.attn = ToyAttention(self.c, self.attn.num_heads)
'''


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """Add the toy as the page says, and return its YAML and one with stock's `PSA` in the same row."""
    (tmp_path / "toy_psa.py").write_text(FILE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(module_table.MODULES, "PSA_Toy", module_table.Row("PSA", "toy_psa:PSA_Toy"))
    monkeypatch.setattr(tasks, "PSA_Toy", None, raising=False)
    attach(tasks)
    d = yaml.safe_load(Path(importlib.import_module("ultralytics").__file__).with_name("cfg").joinpath(
        "models", "11", "yolo11.yaml").read_text())  # fmt: skip
    yamls = []
    for name in ("PSA_Toy", "PSA"):
        d["backbone"][10] = [-1, 1, name, [1024]]
        yamls.append(tmp_path / f"yolo11n-{name.lower()}.yaml")
        yamls[-1].write_text(yaml.safe_dump(d))
    yield yamls
    monkeypatch.undo()


@torch.no_grad()
def test_a_module_takes_one_file_one_row_and_one_yaml(toy, tmp_path):
    ours, stock = (YOLO(file) for file in toy)
    block = ours.model.model[10]
    assert (type(block).__name__, block.c) == ("PSA_Toy", 128)  # the row's width scales

    stock.model.eval()
    statuses = {t.name: t.status for t in transfer(stock.model, ours.model)}
    assert {name for name, status in statuses.items() if status == "added"} == {
        "model.10.attn.second.weight",
        "model.10.attn.second.bias",
        "model.10.attn.weight_of_second",
    }
    assert set(statuses.values()) == {"kept", "added"}
    assert torch.equal(block.attn.qkv.conv.weight, stock.model.model[10].attn.qkv.conv.weight)

    assert scalars(ours.model) == {"model.10.attn/0": 0.25, "model.10.attn/1": 0.25}

    (maps,) = attention_maps(ours, np.zeros((64, 96, 3), np.uint8), xy=(32, 24), imgsz=96)
    (name,) = maps.blocks
    assert name == "model.10.attn"
    assert maps.blocks[name].a2.shape == maps.blocks[name].a1.shape
    torch.testing.assert_close(maps.blocks[name].a2.sum((2, 3)), torch.ones(1, 2))

    x = torch.rand(1, 3, 64, 64)
    expected = ours.model.eval()(x)[0]
    torch.testing.assert_close(ours.model.fuse(verbose=False)(x)[0], expected, rtol=1e-3, atol=1e-2)
    assert set(torch.serialization.get_safe_globals()) >= {type(block), type(block.attn)}


def test_the_page_names_the_steps():
    page = (ROOT / "docs" / "how-to" / "adding-a-module.md").read_text(encoding="utf-8")
    for step in (
        "MODULES",
        "queries_and_keys",
        "@safe_global",
        "added",
        "cfg/",
        "tests/plugin/test_adding_a_module.py",
    ):
        assert step in page
