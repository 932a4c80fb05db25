"""What stands side by side computes the same thing, or is what it is said to be; else a ratio would mean nothing."""

import pytest
import torch
import torch.nn.functional as F
from ultralytics import YOLO
from ultralytics.nn.modules.block import C2PSA, Attention

from tests.samples import small_models
from ultralytics_diffattn.benchmark import attention_cases, model_cases
from ultralytics_diffattn.benchmark.case import random_tensor
from ultralytics_diffattn.nn.blocks import Attention_Diff, C2PSA_Diff

CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("tokens", [9, 400, 1100])
def test_core_is_the_same_by_every_way(tokens, backward):
    outputs = {name: run() for name, run in attention_cases.core(tokens, backward).items()}
    plain = outputs.pop("plain")
    assert list(outputs) == ["ours", "flash", "formula", "published"]
    for results in outputs.values():
        assert len(results) == (3 if backward else 1)  # output, gradients of q, k and v, and of lambda
        for result, expected in zip(results, outputs["published"], strict=True):
            assert torch.isfinite(result).all()
            torch.testing.assert_close(result, expected, atol=1e-5 * float(expected.abs().max().clamp(min=1)), rtol=0)
    assert plain[0].shape == outputs["ours"][0].shape == (1, 128, tokens)
    assert plain[0].is_contiguous()
    assert outputs["ours"][0].is_contiguous()  # both end as a feature map, so that neither leaves work to the next


def test_exported_core_is_the_core():
    pytest.importorskip("onnxruntime")
    expected = attention_cases.core(36)
    for name, run in attention_cases.exported(36).items():
        torch.testing.assert_close(torch.from_numpy(run()[0]), expected[name]()[0], **CLOSE)


def test_core_reads_what_the_stock_block_gives_it():
    """`plain` is stock's attention between its convolutions, and `ours` is ours."""
    qkv = random_tensor(1, 2, 128, 36)
    stock, ours = Attention(128, num_heads=2), Attention_Diff(128, num_heads=2)
    assert (stock.key_dim, stock.head_dim) == (2 * attention_cases.KEY, attention_cases.VALUE)
    ours.diff_norm = torch.nn.Identity()
    ours.lambda_init = 0.0  # the factor of the norm becomes 1
    ours.compute_lambda = lambda: torch.tensor(0.8)

    def attended(module):
        module.qkv, module.pe, module.proj = _Given(qkv.reshape(1, 256, 6, 6)), torch.nn.Identity(), torch.nn.Identity()
        values = qkv[:, :, 4 * attention_cases.KEY :].reshape(1, 128, 36)  # which `pe` adds
        return module(torch.empty(1, 128, 6, 6)).reshape(1, 128, 36) - values

    with torch.inference_mode():
        outputs = {name: run()[0] for name, run in attention_cases.core(36).items()}
        torch.testing.assert_close(outputs["plain"], attended(stock), **CLOSE)
        torch.testing.assert_close(outputs["ours"], attended(ours), **CLOSE)


class _Given(torch.nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, _):
        return self.value


@pytest.mark.parametrize("backward", [False, True])
def test_modules_agree_with_timm(backward):
    pytest.importorskip("timm")
    outputs = {name: run() for name, run in attention_cases.modules(70, batch=2, backward=backward).items()}
    assert len(outputs["ours"]) == (7 if backward else 1)  # output, gradients: qkv, four vectors of lambda, the gain
    for ours, timm in zip(*outputs.values(), strict=True):
        assert timm.abs().max() > 0
        torch.testing.assert_close(ours, timm, atol=2e-5, rtol=1e-5)


def test_gradients_do_not_add_up():
    for case in (attention_cases.core(16, backward=True), model_cases.step(64, batch=1)):
        for run in case.values():
            for first, second in zip(run(), run(), strict=True):
                if first is not None:
                    torch.testing.assert_close(first, second)


def test_kernels():
    """Plain attention is of queries and keys as wide as both of ours together; the dtype is the one asked for."""
    outputs = {name: run()[0] for name, run in attention_cases.kernels(33, 2, "cpu", torch.float64).items()}
    q, k, v = random_tensor(3, 2, 2, 33, 64).double()
    maps = [F.softmax(a @ b.mT / 32**0.5, -1) for a, b in zip(q.split(32, -1), k.split(32, -1), strict=True)]
    torch.testing.assert_close(outputs["ours"], (maps[0] - torch.tensor(0.8) * maps[1]) @ v)
    torch.testing.assert_close(outputs["plain"], F.softmax(q @ k.mT / 8, -1) @ v)
    assert {run()[0].dtype for run in attention_cases.kernels(9, 1, "cpu", torch.bfloat16).values()} == {torch.bfloat16}


def test_block_is_layer_10_of_the_fused_models():
    outputs = {name: run()[0] for name, run in model_cases.block(4).items()}
    assert {y.shape for y in outputs.values()} == {(1, 256, 4, 4)}
    for name, kind in (("ours", C2PSA_Diff), ("stock", C2PSA)):
        model = model_cases.build(model_cases.MODELS[name])
        assert type(model.model[10]) is kind
        assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules())
        assert not model.training
        with torch.inference_mode():
            torch.testing.assert_close(outputs[name], model.model[10](random_tensor(1, 256, 4, 4)))


def test_models_differ_in_attention_alone():
    """Both have the weights of one seed, so that neither meets easier numbers than the other."""
    ours, stock = (YOLO(model_cases.MODELS[label]).model for label in ("ours", "stock"))
    assert type(ours.model[10]) is not type(stock.model[10])
    ours, stock = (model_cases._seeded(model_cases.MODELS[label]).model.state_dict() for label in ("ours", "stock"))
    assert stock.keys() < ours.keys()
    assert all(torch.equal(ours[key], value) for key, value in stock.items())


def test_building_leaves_the_random_numbers_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    model_cases.block(2)
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_whole(dtype):
    for run in model_cases.whole(64, batch=2, dtype=dtype).values():
        y = run()[0][0]
        assert (y.shape, y.dtype) == ((2, 84, 84), dtype)
        assert y.is_inference()


def test_compiled_models_are_the_same_models(tmp_path, monkeypatch):
    stock, seen = torch.compile, []

    def compile(model, **options):  # inductor would take minutes; what matters here is what is compiled
        seen.append(options)
        return stock(model, backend="eager", **options)

    monkeypatch.setattr(torch, "compile", compile)
    monkeypatch.setattr(model_cases, "MODELS", {"ours": small_models(tmp_path)[1]})
    eager, compiled = model_cases.whole(64), model_cases.whole(64, mode="compile")
    for name, run in eager.items():
        torch.testing.assert_close(compiled[name]()[0][0], run()[0][0], rtol=1e-4, atol=1e-3)
    assert seen == [{"dynamic": False}]


def test_a_step_trains():
    losses = {name: run()[0] for name, run in model_cases.step(64, batch=2).items()}
    assert all(torch.isfinite(loss) and loss > 0 for loss in losses.values())


def test_openvino_and_onnx_find_what_pytorch_finds(tmp_path, monkeypatch):
    monkeypatch.setattr(model_cases, "MODELS", {"ours": model_cases.MODELS["ours"]})
    for name in ("onnx", "onnxruntime", "openvino"):
        pytest.importorskip(name)
    expected = {label: run()[0][0].numpy() for label, run in model_cases.whole(64).items()}
    for kind in ("onnx", "openvino"):
        files = model_cases.export(tmp_path, kind, 64)
        for label, run in model_cases.exported(lambda files=files: files, kind, 64).items():
            outputs = run()[0]
            assert outputs.shape == expected[label].shape
            tolerance = 0.01 if kind == "onnx" else 0.5  # pixels, on average; openvino may compute in bfloat16
            assert abs(outputs - expected[label]).mean() < tolerance
        if kind == "onnx":
            assert all(100 < model_cases.nodes(file) < 1000 for file in files.values())
