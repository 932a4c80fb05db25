"""Which tensors of a trained model go where, and what is said of those that go nowhere."""

from collections import Counter
from copy import deepcopy

import pytest
import torch
from torch import nn
from ultralytics.nn.tasks import DetectionModel, yaml_model_load

from tests.places import ROOT
from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.weights.transfer import check_pretrained, match_rows, transfer


def build(name):
    return DetectionModel(yaml_model_load(name), verbose=False)


@pytest.fixture(scope="module")
def stock():
    """Return a yolo11n in which no two tensors are alike."""
    model = build("yolo11n.yaml")
    for i, value in enumerate(model.state_dict().values()):
        value.copy_(torch.rand(value.shape) * 10 + i)
    return model.eval()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("yolo11n.yaml", {"kept": 499}),
        ("yolo11n-diffattn.yaml", {"kept": 493, "split": 6, "added": 5}),  # q and k of one convolution with its norm
        ("yolo11n-diffattn-paired.yaml", {"kept": 499, "added": 7}),  # lam, and the second query's convolution
        ("yolo11n-diffattn-token.yaml", {"kept": 487, "dropped": 12, "added": 13}),  # `pe` is kept
        (ROOT / "cfg" / "yolo11n-diffattn-p4.yaml", {"kept": 493, "split": 6, "added": 52}),
        (ROOT / "cfg" / "controls" / "yolo11n-c2psa-p4.yaml", {"kept": 499, "added": 42}),
    ],
)
def test_status_of_each_tensor(stock, name, expected):
    target = build(name)
    tensors = transfer(stock, target)
    assert Counter(t.status for t in tensors) == expected
    present = [t.name for t in tensors if t.status != "dropped"]
    assert present == list(target.state_dict())
    assert {t.name for t in tensors if t.status == "dropped"} <= set(stock.state_dict())


def test_values_follow_rows_that_have_shifted(stock):
    target = build(ROOT / "cfg" / "yolo11n-diffattn-p4.yaml")
    tensors = transfer(stock, target)
    after, added = target.state_dict(), {t.name for t in tensors if t.status == "added"}
    for name, value in stock.state_dict().items():
        _, row, rest = name.split(".", 2)
        place = f"model.{int(row) + (int(row) > 6)}.{rest}"  # one row stands behind stock's 6
        assert place not in added
        torch.testing.assert_close(after[place], value, rtol=0, atol=0)


@pytest.fixture(scope="module")
def official12():
    """Return a yolo12n with a bias in each `pe.conv`, as in official weights."""
    torch.manual_seed(0)
    model = build("yolo12n.yaml")
    for name, module in model.named_modules():
        if name.endswith("pe.conv"):
            module.bias = nn.Parameter(torch.randn(module.out_channels))
    return model.eval()


@pytest.mark.parametrize("name", ["yolo12n.yaml", "yolo12n-diffattn-paired.yaml"])
def test_biases_of_official_yolo12_weights_are_folded(official12, name):
    target = build(name).eval()
    tensors = transfer(official12, target)
    assert Counter(t.status for t in tensors)["folded"] == 8
    assert not [t for t in tensors if t.status == "dropped"]
    x = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, y = (model(x)[0] for model in (official12, target))
    assert (y - expected).abs().max() / expected.abs().max() < 5e-7
    assert any("conv.bias" in name for name in official12.state_dict()), "the source is as it was"


@pytest.mark.parametrize("name", ["yolo12n.yaml", "yolo12n-diffattn-paired.yaml"])
def test_pretrained_tells_what_would_be_left_over(official12, name, tmp_path):
    torch.save({"model": official12}, tmp_path / "yolo12n.pt")
    with pytest.raises(UserError, match=r"(?s)8 tensors that .*pe\.conv\.bias.*diffattn convert"):
        check_pretrained(str(tmp_path / "yolo12n.pt"), build(name))


def test_all_that_stock_predicts_is_kept(stock):
    """Paired, its lambda zero: the same outputs, to rounding."""
    source, target = deepcopy(stock), build("yolo11n-diffattn-paired.yaml").eval()
    for m in source.modules():
        if isinstance(m, nn.BatchNorm2d):
            for value, low in ((m.weight, 0.5), (m.bias, -0.5), (m.running_mean, -0.1), (m.running_var, 0.5)):
                nn.init.uniform_(value, low, low + 1)
        if isinstance(m, nn.Conv2d):
            m.reset_parameters()
    transfer(source, target)
    x = torch.rand(1, 3, 96, 64)
    with torch.no_grad():
        a, b = source(x)[0], target(x)[0]
    assert (a - b).abs().max() <= 1e-5 * a.abs().max()


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (
            "yolo11n.yaml",
            "yolo11s-diffattn.yaml",
            r"model\.0\.conv\.weight has shape \(16, 3, 3, 3\) in the checkpoint",
        ),
        (
            "yolo11n.yaml",
            "yolo11n-diffattn-seg.yaml",
            "layers differ: at row 23 the model has Segment, the checkpoint Detect at its row 23",
        ),
        (
            "yolov8n.yaml",
            "yolo11n-diffattn.yaml",
            "layers differ: at row 2 the model has C3k2, the checkpoint C2f at its row 2",
        ),
        (
            "yolo11n-diffattn.yaml",
            "yolo11n-diffattn-paired.yaml",
            r"model\.10\.m\.0\.attn\.lambda_q1 of the checkpoint",
        ),
        (
            str(ROOT / "cfg" / "yolo11n-diffattn-p4.yaml"),
            "yolo11n.yaml",
            "differ: at row 7 the model has Conv",
        ),  # a row too many
    ],
)
def test_what_does_not_fit_is_said_and_nothing_is_changed(source, target, message):
    target = build(target)
    before = deepcopy(target.state_dict())
    with pytest.raises(ValueError, match=message):
        transfer(build(source), target)
    assert all(torch.equal(value, before[name]) for name, value in target.state_dict().items())


def test_another_number_of_classes():
    d = yaml_model_load("yolo11n.yaml") | {"nc": 3}
    with pytest.raises(ValueError, match=r"tensors do not fit:\n  model\.23\.cv3.* checkpoint, \(80, "):
        transfer(DetectionModel(d, verbose=False, nc=3), build("yolo11n-diffattn.yaml"))


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("ABC", "ABC", [0, 1, 2]),
        ("ABC", "AXBC", [0, None, 1, 2]),
        ("ABC", "ABCX", [0, 1, 2, None]),
        ("ABC", "AXC", None),
        ("ABC", "AB", None),
        ("AB", "BA", None),
    ],
)
def test_pair(source, target, expected):
    def layers(names):
        return nn.Sequential(*(type(name, (nn.Module,), {})() for name in names))

    if expected is None:
        with pytest.raises(ValueError, match="the layers differ: "):
            match_rows(layers(source), layers(target))
    else:
        assert match_rows(layers(source), layers(target)) == expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("yolo11n-diffattn.yaml", None),
        ("yolo11n-diffattn-token.yaml", None),
        ("yolo11n-diffattn-seg.yaml", None),  # another head: as with a stock model
        ("yolo11s-diffattn.yaml", r"model\.0\.conv\.weight \(32, 3, 3, 3\) is \(16, 3, 3, 3\) in the checkpoint"),
        (ROOT / "cfg" / "yolo11n-diffattn-p4.yaml", r"model\.7\.cv1\.conv\.weight .* is not in the checkpoint"),
        ("yolo12n.yaml", "would get no weights"),
    ],
)
def test_check_pretrained(stock, tmp_path, name, message):
    from ultralytics import YOLO

    file = tmp_path / "stock.pt"
    torch.save({"model": stock}, file)
    model = YOLO(name).model
    if message:
        with pytest.raises(ValueError, match=message):
            check_pretrained(str(file), model)
    else:
        check_pretrained(str(file), model)
        # the promise: ultralytics then loads every stock tensor outside head and token attention
        model.load({"model": deepcopy(stock)}, verbose=False)
        loaded = model.state_dict()
        for key, value in stock.state_dict().items():
            if not key.startswith("model.23") and not ("token" in str(name) and ".attn." in key):
                torch.testing.assert_close(loaded[key], value, rtol=0, atol=0)


def test_a_row_of_the_published_module_in_place_of_c2psa(stock):
    d = yaml_model_load("yolo11n.yaml")
    d["backbone"][10] = [-1, 1, "DiffAttention", [1024, 8]]
    tensors = transfer(stock, DetectionModel(d, verbose=False))
    assert {t.name.split(".")[1] for t in tensors if t.status != "kept"} == {"10"}
    assert {t.status for t in tensors if ".10." in t.name} == {"added", "dropped"}


def test_weights_that_ultralytics_would_download_are_not_checked():
    check_pretrained("yolo11n-of-nowhere.pt", nn.Identity())


def test_a_live_lambda_does_not_hide_what_does_not_fit():
    """Two blocks in a row of ours where the checkpoint has one."""
    d = yaml_model_load("yolo11n-diffattn-paired.yaml")
    d["backbone"][10][1], d["backbone"][10][3] = 4, [1024, 0.5, "paired", 0.5]
    stock, ours = DetectionModel("yolo11n.yaml", verbose=False), DetectionModel(d, verbose=False)
    with pytest.raises(UserError, match="tensors do not fit"):
        transfer(stock, ours)


def test_a_lambda_of_one_is_refused_in_words():
    d = yaml_model_load("yolo11n-diffattn-paired.yaml")
    d["backbone"][10][3] = [1024, 0.5, "paired", 1.0]
    stock, ours = DetectionModel("yolo11n.yaml", verbose=False), DetectionModel(d, verbose=False)
    with pytest.raises(UserError, match="subtracts all of equal maps: choose another"):
        transfer(stock, ours)
