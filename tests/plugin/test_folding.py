"""folding.py and `fold`: the same output with constants, on every way that ultralytics fuses."""

import copy
import inspect
import math
from collections import Counter
from types import SimpleNamespace

import onnx
import pytest
import torch
from ultralytics import YOLO
from ultralytics.nn import tasks
from ultralytics.nn.modules.block import C2PSA, AAttn, Attention

from tests.nn.test_paired import fuse
from tests.samples import randomize
from ultralytics_diffattn import Attention_Diff, C2PSA_Diff, DiffAttention, PairedAttention_Diff, PSABlock_Diff
from ultralytics_diffattn.nn.area import AAttn_Diff
from ultralytics_diffattn.nn.lambdas import LAMBDA
from ultralytics_diffattn.nn.token import TokenAttention_Diff
from ultralytics_diffattn.plugin import folding

MODULES = {  # class, arguments; 72 channels: with 3 heads, the scale is no power of two
    "split": (Attention_Diff, dict(dim=72, num_heads=3, lambda_init=0.3)),
    "split, lambda per head": (Attention_Diff, dict(dim=72, num_heads=2, lambda_per_head=True)),
    "token": (DiffAttention, dict(dim=72, num_heads=6, lambda_init=0.3)),
    "token, lambda per head": (DiffAttention, dict(dim=72, num_heads=4, lambda_per_head=True)),
    "token, no bias": (DiffAttention, dict(dim=72, num_heads=4, qkv_bias=False)),
    "token with positions": (TokenAttention_Diff, dict(dim=72, num_heads=6, lambda_init=0.3)),
    "PSA block": (PSABlock_Diff, dict(c=72, num_heads=3)),
    "C2PSA": (C2PSA_Diff, dict(c1=72, c2=72, n=2, e=1.0)),
}


@pytest.mark.parametrize("case", MODULES)
def test_folding_changes_no_output(case):
    torch.manual_seed(0)
    build, arguments = MODULES[case]
    module = randomize(build(**arguments)).double()
    folded = copy.deepcopy(module)
    folding.fold(folded)
    folding.fold(folded)  # nothing is folded twice
    x = torch.randn(2, 72, 5, 4, dtype=torch.float64)
    torch.testing.assert_close(folded(x), module(x), rtol=0, atol=1e-12 * module(x).abs().max().item())
    names = {name.rpartition(".")[2] for name, _ in folded.named_parameters()}
    assert not names & set(LAMBDA)
    attentions = [m for m in folded.modules() if hasattr(m, "compute_lambda")]
    assert not any(p.requires_grad for m in attentions for p in m.parameters())
    assert "diff_norm" in str(folded)


@pytest.mark.parametrize("name", ["yolo11n-diffattn.yaml", "yolo11n-diffattn-token.yaml"])
def test_fuse_folds(name, tmp_path):
    torch.manual_seed(0)
    model = randomize_norms(YOLO(name).model.eval())
    x = torch.rand(1, 3, 64, 64)
    expected = model(x)[0]
    model.fuse(verbose=False)
    found = [m for m in model.modules() if hasattr(m, "compute_lambda")]
    assert found
    assert all(m.folded for m in found)
    torch.testing.assert_close(model(x)[0], expected, rtol=1e-3, atol=1e-3)
    torch.save(model, tmp_path / "fused.pt")  # and it stays an ordinary model
    assert torch.equal(torch.load(tmp_path / "fused.pt", weights_only=False)(x)[0], model(x)[0])
    assert torch.equal(copy.deepcopy(model).half().float()(x)[0].isfinite().all(), torch.tensor(True))


def randomize_norms(model):
    """Give the attention values that folding could get wrong, and leave the rest of the model as it is."""
    for m in model.modules():
        if hasattr(m, "compute_lambda"):
            randomize(m)
    return model


def test_the_trained_model_keeps_its_lambda():
    model = YOLO("yolo11n-diffattn.yaml")
    exported = copy.deepcopy(model.model).fuse(verbose=False)  # as the exporter does
    assert any(hasattr(m, "lambda_q1") for m in model.model.modules())
    assert not any(hasattr(m, "lambda_q1") for m in exported.modules())


def test_stock_is_fused_as_ever():
    torch.manual_seed(0)
    ours = YOLO("yolo11n.yaml").model.eval()
    stock = copy.deepcopy(ours)
    assert tasks.BaseModel.fuse.stock is not tasks.BaseModel.fuse
    ours.fuse(verbose=False)
    tasks.BaseModel.fuse.stock(stock, verbose=False)
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), stock.state_dict().values(), strict=True))
    assert isinstance(ours.model[10], C2PSA)


def test_checkpoints_of_earlier_versions(tmp_path):
    """They hold no attribute that folding came with."""
    module = Attention_Diff(64, 2)
    assert "folded" not in vars(module)
    torch.save(module, tmp_path / "old.pt")
    old = torch.load(tmp_path / "old.pt", weights_only=False)
    assert old.folded is False
    folding.fold(old)
    assert old.folded


class Base:
    def __init__(self):
        self.model = torch.nn.Sequential(DiffAttention(8, 2))

    def fuse(self, verbose=True):
        return self.model


@pytest.mark.parametrize(
    ("namespace", "folded"),
    [({}, True), ({"is_qat": lambda model: False}, True), ({"is_qat": lambda model: True}, False)],
    ids=["old release", "not quantized", "quantized in training"],
)
def test_quantized_models_keep_their_weights(namespace, folded):
    base = type("BaseModel", (Base,), {"fuse": Base.fuse})
    module = SimpleNamespace(BaseModel=base, **namespace)
    folding.attach(module)
    once = base.fuse
    folding.attach(module)
    assert base.fuse is once, "attached once, however often it is tried"
    assert base().fuse(verbose=False)[0].folded is folded


def test_a_release_without_fuse():
    folding.attach(SimpleNamespace())  # models then stay unfolded, and right


@pytest.mark.parametrize("case", MODULES)
def test_operators_that_converters_know(case):
    """X2Paddle has neither of the two."""
    build, arguments = MODULES[case]
    module = build(**arguments).eval().requires_grad_(False)
    folding.fold(module)
    graph = torch.jit.trace(module, torch.randn(1, 72, 5, 4), check_trace=False).inlined_graph
    assert not {"aten::square", "aten::unbind"} & {node.kind() for node in graph.nodes()}


def test_exported_graph_holds_no_lambda_arithmetic(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    counts = {}
    for name in ("yolo11n", "yolo11n-diffattn"):
        file = YOLO(f"{name}.yaml").export(format="onnx", imgsz=64, device="cpu", verbose=False)
        nodes = onnx.load(file).graph.node
        if not any("/model.0/" in node.name for node in nodes):
            pytest.skip("PyTorch's newer exporter, which old releases get with torch 2.9, names no modules")
        counts[name] = Counter(node.op_type for node in nodes if "/attn/" in node.name)
    added = counts["yolo11n-diffattn"] - counts["yolo11n"]
    maps = dict(MatMul=1, Softmax=1, Sub=1)
    norm = dict(ReduceMean=1, Add=1, Sqrt=1, Div=1)
    assert {op: added[op] for op in (maps | norm)} == maps | norm
    assert added["Mul"] == 3, "lambda, three in the norm with its gain, and none for the scale"
    assert not added.keys() - {*maps, *norm, "Mul", "Transpose"}, "no exp, no sum, no shape arithmetic"


def decibels_in_int8(module, images, folder):
    """Return signal over noise of a module whose weighted operators are in int8, as ultralytics quantizes for ONNX."""
    onnxruntime = pytest.importorskip("onnxruntime")
    quantization = pytest.importorskip("onnxruntime.quantization")

    left = [{"x": x.numpy()} for x in images]

    class Images(quantization.CalibrationDataReader):
        def get_next(self):
            return left.pop() if left else None

    files = [str(folder / name) for name in ("float.onnx", "int8.onnx")]
    exporter = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    torch.onnx.export(module.requires_grad_(False), images[0], files[0], input_names=["x"], **exporter)
    nodes = onnx.load(files[0]).graph.node
    left_out = [node.name for node in nodes if node.op_type not in ("Conv", "Gemm", "MatMul")]
    quantization.quantize_static(*files, Images(), nodes_to_exclude=left_out)
    sessions = [onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]) for file in files]
    exact, rounded = (
        torch.cat([torch.from_numpy(session.run(None, {"x": x.numpy()})[0]) for x in images]) for session in sessions
    )
    return 10 * math.log10(exact.square().sum() / (exact - rounded).square().sum())


@pytest.mark.parametrize(
    ("stock", "ours", "arguments"),
    [
        (Attention, Attention_Diff, dict(num_heads=2)),
        (Attention, Attention_Diff, dict(num_heads=1)),
        (Attention, PairedAttention_Diff, dict(num_heads=2, lambda_init=0.3)),
        (Attention, PairedAttention_Diff, dict(num_heads=2, lambda_init=1.5)),
        (AAttn, AAttn_Diff, dict(num_heads=2, area=4, lambda_init=0.3)),
    ],
)
def test_folding_costs_nothing_in_int8(stock, ours, arguments, tmp_path):
    """A tensor in int8 has one range: what is made smaller in a part of it, loses its last bits."""
    torch.manual_seed(0)
    plain = fuse(stock(64, **{k: v for k, v in arguments.items() if k != "lambda_init"}).eval())
    module = fuse(ours(64, **arguments).eval())
    for conv in (plain.qkv.conv, *([module.q2.conv] if hasattr(module, "q2") else [])):
        torch.nn.init.normal_(conv.weight, std=1 / 8)  # so that the maps are not flat
    module.load_state_dict(plain.state_dict(), strict=False)
    folded = copy.deepcopy(module)
    folded.fold()
    images = [torch.randn(1, 64, 8, 8) for _ in range(4)]
    of_stock, of_ours, of_folded = (decibels_in_int8(m, images, tmp_path) for m in (plain, module, folded))
    assert of_folded > of_ours - 0.5
    assert of_folded > of_stock - 4
