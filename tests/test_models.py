"""The model YAMLs: every task and scale beside stock's, weights that transfer, fusion, the five tasks' forward."""

import re
import runpy
from functools import cache
from pathlib import Path

import pytest
import torch
import ultralytics
import yaml
from ultralytics import RTDETR, YOLO
from ultralytics.nn import tasks
from ultralytics.nn.modules.conv import Conv
from ultralytics.nn.tasks import parse_model, yaml_model_load

from tests.places import ROOT, SCALES, TASKS, model_yamls, scaled
from ultralytics_diffattn.plugin.module_table import MODULES

script = runpy.run_path(str(ROOT / "scripts" / "models.py"))
compare, stocks = script["compare"], script["stock_of"]


PAIRED = model_yamls("*-paired*.yaml")


def on_meta(name):
    """Return the layers of a model YAML, without memory behind their tensors."""
    with torch.device("meta"):
        return parse_model(yaml_model_load(name) | {"nc": 80}, ch=3, verbose=False)[0]


@cache
def built(name):
    """Return the shapes of a model's tensors, the number of its parameters, and which head it is given."""
    layers = on_meta(name)
    shapes = {n: v.shape for n, v in layers.state_dict().items()}
    # `legacy` is of the class, which the next model sets anew
    return shapes, sum(p.numel() for p in layers.parameters()), getattr(layers[-1], "legacy", None)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("task", TASKS)
def test_every_scale_holds_stocks_tensors(task, scale):
    (a, ours, _), (b, stock, _) = (built(f"yolo11{scale}{variant}{task}.yaml") for variant in ("-diffattn", ""))
    assert {n: a.get(n) for n in b} == b
    assert 0 < ours / stock - 1 < 0.001


@pytest.mark.parametrize("scale", SCALES)
def test_every_scale_of_token_keeps_all_but_the_attention(scale):
    both = (built(f"yolo11{scale}-diffattn{variant}.yaml")[0] for variant in ("-token", ""))
    a, b = ({name: shape for name, shape in shapes.items() if ".attn." not in name} for shapes in both)
    assert a == b


@pytest.mark.parametrize("name", [name for name in model_yamls() if "-p4" not in name])  # which has a row on top
def test_yamls_differ_from_stocks_in_the_attention_alone(name):
    (file,) = Path(ultralytics.__path__[0], "cfg", "models").rglob(stocks(name))
    ours, stock = (yaml.safe_load(f.read_text()) for f in (ROOT / "cfg" / name, file))
    head = (ROOT / "cfg" / name).read_text().splitlines()[0]
    assert head.endswith(f" - after ultralytics/cfg/models/{file.parent.name}/{file.name}, AGPL-3.0")
    a, b = (d.pop("backbone") + d.pop("head") for d in (ours, stock))
    ours.pop("min_ultralytics", None)
    if name.startswith("yolo12") and name.endswith("-cls.yaml"):
        ours["nc"] = stock["nc"]  # which ultralytics has corrected, from 80
    assert ours == stock
    for x, y in zip(a, b, strict=True):
        if x[2] in MODULES and "-token" not in name:
            assert [*x[:2], MODULES[x[2]].like, x[3][: len(y[3])]] == y
            assert x[3][len(y[3]) :] in ([], [0.5, "paired"], ["paired"])
            assert "paired" in x[3] or "-paired" not in name or x[2] in {"A2C2f_Diff", "AIFI_Diff"}
        elif x[2] in MODULES:
            assert (x[0], x[2], x[3][-1], y[2]) == (y[0], "C2PSA_Diff", "token", "C2PSA")
        else:
            assert x == y
            attends = {"C2PSA": True, "AIFI": True, "A2C2f": x[3][1:2] == [True], "C3k2": x[3][3:4] == [True]}
            assert not attends.get(x[2]), "stock's attention must not be left"


@pytest.mark.parametrize("name", dict.fromkeys(scaled(name, scale) for name in PAIRED for scale in SCALES))
def test_every_scale_of_paired_holds_stocks_tensors(name):
    (a, ours, legacy), (b, stock, expected) = built(name), built(stocks(name))
    assert {n: a.get(n) for n in b} == b
    assert all(re.search(r"(\.attn|\.ma)\.(lam|q2\.\S+)$", n) for n in a.keys() - b.keys())
    assert legacy == expected
    assert 0 < ours / stock - 1 < 0.07


def tensors(y):
    """Return all tensors of an output, in order."""
    if isinstance(y, torch.Tensor):
        return [y]
    return [t for part in (y.values() if isinstance(y, dict) else y or ()) for t in tensors(part)]


@pytest.mark.parametrize("name", PAIRED)
def test_paired_predicts_as_the_stock_model_it_has_loaded(name):
    torch.manual_seed(0)
    api = RTDETR if name.startswith("rtdetr") else YOLO
    ours, stock = (api(scaled(n, "n")).model.eval() for n in (name, stocks(name)))
    if ours.yaml["nc"] != stock.yaml["nc"]:
        pytest.skip("this ultralytics has its YOLO12 classify 80 classes, not ImageNet's")
    for m in stock.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(m.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(m.running_var, 0.5, 1.5)
    assert not ours.load_state_dict(stock.state_dict(), strict=False).unexpected_keys
    assert torch.equal(torch.as_tensor(ours.stride), torch.as_tensor(stock.stride))

    def seen(model):  # what reaches the head, and the predictions
        features = []
        handle = model.model[-1].register_forward_pre_hook(lambda _, inputs: features.extend(tensors(inputs[0])))
        with torch.no_grad():
            y = tensors(model(x))[0]
        handle.remove()
        return [*features, y.sort(1).values if api is RTDETR else y]  # whose best queries change places at a tie

    x = torch.rand(1, 3, 128, 160)
    expected = seen(stock)
    for stage, tolerance in (("loaded", 1e-5), ("fused", 1e-3)):
        if stage == "fused":
            ours.fuse(verbose=False)
            assert not any(hasattr(m, "bn") for m in ours.modules() if type(m) is Conv)
        for a, b in zip(seen(ours), expected, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=tolerance * float(b.abs().max()))


@pytest.mark.parametrize("task", TASKS)
def test_load_transfers_all_tensors_for_no_more_flops(task):
    c = compare(f"yolo11n-diffattn{task}.yaml", f"yolo11n{task}.yaml")
    assert c["transferred"] == c["tensors"]
    assert c["flops"][0] <= 1.01 * c["flops"][1]
    assert c["counted"][0] <= 1.01 * c["counted"][1]


@pytest.mark.parametrize("name", ["yolo11n-c2psa-p4.yaml", "yolo11n-c3k2-p4.yaml"])
def test_controls_of_p4_have_its_flops(name):
    ours, control = (YOLO(n).model for n in ("yolo11n-diffattn-p4.yaml", name))
    a, b = (script["counted_gflops"](m, 640) for m in (ours, control))
    assert a == pytest.approx(b, rel=0.002)
    if "c2psa" in name:
        shapes = {n: v.shape for n, v in ours.state_dict().items()}
        assert all(shapes[n] == v.shape for n, v in control.state_dict().items())


def test_load_transfers_499_of_499(shared):
    weights = shared / "weights" / "yolo11n_coco.pt"
    model = YOLO("yolo11n-diffattn.yaml").load(weights)
    a, b = model.model.state_dict(), YOLO(weights).model.state_dict()
    assert sum(torch.equal(a[n], v) for n, v in b.items()) == len(b) == 499


@pytest.mark.parametrize("name", [*(f"yolo11n-diffattn{t}.yaml" for t in TASKS), "yolo11n-diffattn-token.yaml"])
def test_fuse_changes_nothing_but_speed(name):
    torch.manual_seed(0)
    model = YOLO(name).model.eval()
    for m in model.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(m.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(m.running_var, 0.5, 1.5)
    x = torch.rand(1, 3, 96, 64)

    def first(y):
        return y if isinstance(y, torch.Tensor) else first(y[0])

    with torch.no_grad():
        before = first(model(x))
        model.fuse(verbose=False)
        torch.testing.assert_close(first(model(x)), before, rtol=1e-3, atol=1e-3)
    assert not any(hasattr(m, "bn") for m in model.modules() if isinstance(m, Conv))


def test_task_is_known_from_the_yaml():
    assert {t: tasks.guess_model_task(yaml_model_load(f"yolo11n-diffattn{t}.yaml")) for t in TASKS} == TASKS
