"""scripts/attention_worth.py: what each row silences, and the table that it prints."""

import runpy

import pytest
import torch
from ultralytics import YOLO
from ultralytics.nn.modules.block import Attention

from tests.interpreters import script
from tests.places import ROOT
from tests.samples import randomize


@pytest.fixture(scope="module")
def rows():
    return runpy.run_path(str(ROOT / "scripts" / "attention_worth.py"))["ROWS"]


def silenced(change):
    torch.manual_seed(0)
    attention = randomize(Attention(64, num_heads=2)).double()
    with torch.no_grad():
        change(attention)
    return attention


X = torch.randn(1, 64, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_as_trained(rows):
    assert torch.equal(silenced(rows["as trained"])(X), silenced(lambda a: None)(X))


def test_without_the_branch_nothing_is_added(rows):
    assert torch.equal(silenced(rows["without the branch"])(X), torch.zeros_like(X))


def test_without_positions_a_permutation_is_a_permutation(rows):
    attention, order = silenced(rows["without positional encoding"]), torch.randperm(16)
    shuffled = X.flatten(2)[..., order].reshape(X.shape)
    expected = attention(X).flatten(2)[..., order].reshape(X.shape)
    torch.testing.assert_close(attention(shuffled), expected, rtol=0, atol=1e-12)
    assert not torch.allclose(silenced(rows["as trained"])(shuffled), expected)


def test_uniform_attention_takes_the_mean_of_all_values(rows):
    attention = silenced(rows["uniform attention"])
    v = attention.qkv(X).view(1, 2, -1, 16)[:, :, 2 * attention.key_dim :]  # (1, heads, head_dim, N)
    everywhere = v.mean(-1, keepdim=True).expand_as(v).reshape(X.shape)
    expected = attention.proj(everywhere + attention.pe(v.reshape(X.shape)))
    torch.testing.assert_close(attention(X), expected, rtol=0, atol=1e-10)


def test_command(tiny, tmp_path):
    YOLO("yolo11n.yaml").save(tmp_path / "stock.pt")
    done = script("attention_worth.py", "model=stock.pt", f"data={tiny}", "sizes=32,64", cwd=tmp_path)
    table = done.stdout.strip().splitlines()[-6:]
    assert table[0] == "|  | 32 px | 64 px |"
    assert [line.split(" | ")[0].strip("| ") for line in table[2:]] == [
        "as trained",
        "without the branch",
        "uniform attention",
        "without positional encoding",
    ]


def test_a_model_without_such_attention_is_refused(tiny, tmp_path):
    YOLO("yolov8n.yaml").save(tmp_path / "old.pt")
    done = script("attention_worth.py", "model=old.pt", f"data={tiny}", cwd=tmp_path, check=False)
    assert done.returncode
    assert "has no attention of ultralytics' `Attention`" in done.stderr
