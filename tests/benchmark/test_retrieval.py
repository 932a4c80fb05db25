"""Retrieval: the task has an answer that only attention can carry, and all variants are asked the same."""

import itertools

import cv2
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn
from ultralytics.nn.modules.block import Attention

from tests.samples import randomize
from ultralytics_diffattn.benchmark import groups, report, retrieval, retrieval_report, targets
from ultralytics_diffattn.benchmark import retrieval_controls as controls
from ultralytics_diffattn.benchmark.rows import Setting
from ultralytics_diffattn.nn.paired import PairedAttention_Diff
from ultralytics_diffattn.verbs import bench


def test_one_token_alone_has_the_whole_mark_and_the_code():
    task = retrieval.Task(seed=0, noise=0.0)
    x, code = task.maps(8, 25)
    assert x.shape == (8, retrieval.DIM, 5, 5)
    tokens = x.flatten(2).transpose(1, 2)  # (8, 25, DIM)
    basis = torch.cat((task.codes, task.mark[None]))
    for found, answer in zip(tokens, code, strict=True):
        parts = torch.stack([torch.linalg.lstsq(basis.T, t[:, None]).solution[:, 0] for t in found])  # (25, CODES + 1)
        marks = parts[:, -1]
        marked = marks.argmax()
        assert marks[marked] == pytest.approx(1, abs=1e-4)
        assert marks[torch.arange(25) != marked].max() < retrieval.PARTIAL + 1e-4
        assert parts[marked, :-1].argmax() == answer
        assert parts[:, :-1].sum(1).tolist() == pytest.approx([1] * 25, abs=1e-3)


def test_a_seed_is_one_task_and_noise_only_adds_to_it():
    (a, code_a), (b, code_b), (c, _) = (retrieval.Task(s, n).maps(4, 16) for s, n in ((0, 0.5), (0, 0.5), (1, 0.5)))
    assert torch.equal(a, b)
    assert torch.equal(code_a, code_b)
    assert not torch.equal(a, c)
    quiet, code = retrieval.Task(0, 0.0).maps(4, 16)
    assert torch.equal(code, code_a)
    assert (a - quiet).std() == pytest.approx(0.5, rel=0.05)


def test_who_looks_for_the_mark_reads_everything():
    """An oracle, built by hand: each token takes the code of the token with the most of the mark."""
    task = retrieval.Task(seed=0, noise=0.0)

    class Oracle(nn.Module):
        def forward(self, x):
            basis = torch.cat((task.codes, task.mark[None]))
            tokens = x.flatten(2).transpose(1, 2)
            parts = tokens @ torch.linalg.pinv(basis)  # (B, N, CODES + 1)
            marked = parts[..., -1].argmax(1)
            answer = parts[torch.arange(len(x)), marked, :-1]  # (B, CODES)
            return answer[:, :, None, None].expand(-1, -1, *x.shape[2:])

    assert retrieval._accuracy(Oracle(), task, 100, maps=64) == 1
    blind = nn.Conv2d(retrieval.DIM, retrieval.CODES, 1)
    assert retrieval._accuracy(blind, task, 100, maps=64) < 0.3


@pytest.mark.parametrize("variant", retrieval.VARIANTS)
def test_every_variant_trains(variant):
    reads = retrieval.read(variant, 0.5, 0, (9, 16), steps=2, maps=16)
    assert [(r.variant, r.noise, r.seed, r.tokens) for r in reads] == [(variant, 0.5, 0, n) for n in (9, 16)]
    assert all(0 <= r.accuracy <= 1 for r in reads)
    assert reads == retrieval.read(variant, 0.5, 0, (9, 16), steps=2, maps=16), "the same seed gives the same"


def test_control_adds_both_maps():
    torch.manual_seed(0)
    added = controls.added_maps(32, 2)
    assert not added.lam.requires_grad
    added = randomize(added)
    nn.init.constant_(added.lam, -1.0)
    first, second = (PairedAttention_Diff(32, 2).eval() for _ in range(2))  # with lambda 0: one map each
    for module in (first, second):
        module.load_state_dict({**added.state_dict(), "lam": torch.zeros(2)})
    for half in ("weight", "bias"):  # the second's first query is the other one
        joint, q2 = getattr(second.qkv.bn, half).data, getattr(added.q2.bn, half).data
        joint.view(2, -1)[:, :8] = q2.view(2, 8)
    second.qkv.conv.weight.data.view(2, -1, 32)[:, :8] = added.q2.conv.weight.data.view(2, 8, 32)
    for half in ("running_mean", "running_var"):
        getattr(second.qkv.bn, half).view(2, -1)[:, :8] = getattr(added.q2.bn, half).view(2, 8)
    for module in (added, first, second):
        module.proj, module.pe = nn.Identity(), nn.Conv2d(32, 32, 1).requires_grad_(False)
        nn.init.zeros_(module.pe.weight)
        nn.init.zeros_(module.pe.bias)
    x = torch.randn(1, 32, 4, 4)
    torch.testing.assert_close(added(x), first(x) + second(x), rtol=1e-4, atol=1e-5)


def test_gate_starts_near_stock():
    torch.manual_seed(0)
    gated = controls.GatedAttention(32, 2).eval()
    nn.init.zeros_(gated.gate.weight)
    nn.init.zeros_(gated.gate.bias)
    x = torch.randn(1, 32, 4, 4)
    assert type(gated.attn) is Attention
    assert torch.equal(gated(x), gated.attn(x))


@pytest.fixture
def x():
    return torch.randn(1, 32, 4, 4, generator=torch.Generator().manual_seed(1))


def maps_of(module, x):
    """Return both softmax maps, (heads, N, N), and v, (heads, N, head_dim), of a paired module."""
    (q1, k), (q2, _) = module.queries_and_keys(x)
    first, second = ((q @ k.mT * module.scale).softmax(-1)[0] for q in (q1, q2))
    return first, second, module._project(x)[3][0].mT


def output_of(module, attention, v, x):
    """Return what the module makes of a map, (heads, N, N)."""
    y = (attention @ v).mT.reshape(x.shape)
    return module.proj(y + module.pe(v.mT.reshape(x.shape)))


def test_lambda_by_token_is_the_formula(x):
    torch.manual_seed(0)
    module = randomize(controls.LambdaByToken(32, 2))
    first, second, v = maps_of(module, x)
    lam = module.project_lambda(x).sigmoid().flatten(2)[0][..., None]  # (heads, N, 1)
    torch.testing.assert_close(module(x), output_of(module, first - lam * second, v, x), rtol=1e-4, atol=1e-5)


def test_renormalized_rows_sum_to_one(x):
    torch.manual_seed(0)
    module = randomize(controls.RenormalizedRows(32, 2))
    first, second, v = maps_of(module, x)
    lam = module.compute_lambda()[:, None, None]
    attention = first - lam * second + lam * first.mean(-2, keepdim=True)
    torch.testing.assert_close(attention.sum(-1), torch.ones(2, 16), rtol=0, atol=1e-5)
    torch.testing.assert_close(module(x), output_of(module, attention, v, x), rtol=1e-4, atol=1e-5)


def test_annealed_lambda_rises_with_the_steps_of_training(x, monkeypatch):
    monkeypatch.setattr(controls.AnnealedLambda, "rise", 4)
    module, seen = controls.AnnealedLambda(32, 2), []
    for _ in range(6):
        module.train()(x)
        seen.append(float(module.compute_lambda()[0].detach()))
    assert seen == [0.125, 0.25, 0.375, 0.5, 0.5, 0.5]
    module.eval()(x)
    assert module.steps == 6


def test_split_without_norm_weighs_the_values_and_no_more(x):
    torch.manual_seed(0)
    module = randomize(controls.SplitWithoutNorm(32, 2))
    (q1, k1), (q2, k2) = module.queries_and_keys(x)
    first, second = ((q @ k.mT * module.scale).softmax(-1)[0] for q, k in ((q1, k1), (q2, k2)))
    v = module._project(x)[2][0].mT
    attention = first - module.compute_lambda() * second
    torch.testing.assert_close(module(x), output_of(module, attention, v, x), rtol=1e-4, atol=1e-5)


@pytest.fixture
def small(monkeypatch):
    for name, value in {"SEEDS": 2, "NOISE": (0.5,), "TOKENS": (9, 16), "STEPS": 2, "MAPS": 16}.items():
        monkeypatch.setattr(targets, name, value)


@pytest.mark.usefixtures("small")
def test_group_reads_everything_once():
    group = groups.run("retrieval", Setting())
    assert group["rows"] == []
    assert "note" not in group
    read = [(r["variant"], r["noise"], r["tokens"], r["seed"]) for r in group["retrieval"]]
    assert sorted(read) == sorted(itertools.product(retrieval.VARIANTS, (0.5,), (9, 16), (0, 1)))


def made_up():
    """Return readings of three variants, seeds 0 to 2: stock 0.5, paired 0.1 above it, split as it happens."""
    for variant, noise, tokens, seed in itertools.product(
        ("stock", "paired", "split"), (0.25, 1.0), (100, 400), range(3)
    ):
        add = {"stock": 0.0, "paired": 0.1, "split": (0.2, -0.2, 0.0)[seed]}[variant]
        accuracy = 0.5 + 0.01 * seed + add
        yield {"variant": variant, "noise": noise, "seed": seed, "tokens": tokens, "accuracy": accuracy}


def test_table_pairs_equal_seeds():
    lines = retrieval_report.as_lines(list(made_up()))
    (paired,) = {line for line in lines if line.startswith("| paired")}  # the same for both noises
    assert "0.610 (0.60 to 0.62)" in paired
    assert "+0.100 [+0.100 to +0.100]" in paired, "the difference of equal seeds has no spread"
    (split,) = {line for line in lines if line.startswith("| split")}
    assert "0.000 [-0.497 to +0.497]" in split  # t(0.975, 2) * 0.2 / sqrt(3)
    (stock,) = {line for line in lines if line.startswith("| stock")}
    assert stock.endswith("| - | - |")
    assert [line for line in lines if line.startswith("Noise")] == ["Noise 0.25:", "Noise 1:"]


def test_picture_has_a_panel_for_each_size(tmp_path):
    results = {
        "groups": {"retrieval": {"rows": [], "seconds": 1.0, "retrieval": list(made_up())}},
        "date": "2026-01-02",
    }
    results |= {"command": "diffattn bench only=retrieval", "versions": {}}
    results["hardware"] = {"cpu": "a", "cores": 2, "gpu": "none", "system": "Linux"}
    report.write(tmp_path, results)
    image = cv2.imdecode(np.frombuffer((tmp_path / "retrieval.png").read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    height, width = image.shape[:2]
    assert width > height
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 10
    assert not (tmp_path / "performance.png").exists()
    assert "(retrieval.png)" in (tmp_path / "performance.md").read_text()


def test_each_variant_has_a_line_however_many_there_are():
    variants = [f"v{i}" for i in range(9)]
    readings = [
        {"variant": v, "noise": 0.5, "seed": s, "tokens": 100, "accuracy": 0.5} for v in variants for s in (0, 1)
    ]
    panel = Figure().add_subplot()
    retrieval_report._draw(panel, readings, variants)
    assert [bars.get_label() for bars in panel.containers] == variants


def test_not_measured_unless_it_is_asked_for():
    assert "retrieval" not in bench.parse_groups(bench.OWN["only"])
    assert bench.parse_groups("retrieval") == ["retrieval"]
