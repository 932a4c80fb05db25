"""The model YAMLs: every task and scale beside stock's, weights that transfer, fusion, the five tasks' forward."""

import runpy

import pytest
import torch
from conftest import ROOT, SCALES, TASKS
from ultralytics import YOLO
from ultralytics.nn import tasks
from ultralytics.nn.modules.conv import Conv
from ultralytics.nn.tasks import parse_model, yaml_model_load

compare = runpy.run_path(str(ROOT / "scripts" / "models.py"))["compare"]


def on_meta(name):
    """Return the layers of a model YAML, without memory behind their tensors."""
    with torch.device("meta"):
        return parse_model(yaml_model_load(name), ch=3, verbose=False)[0]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("task", TASKS)
def test_every_scale_holds_stocks_tensors(task, scale):
    ours, stock = (on_meta(f"yolo11{scale}{variant}{task}.yaml") for variant in ("-diffattn", ""))
    a, b = ({n: v.shape for n, v in m.state_dict().items()} for m in (ours, stock))
    assert {n: a.get(n) for n in b} == b
    added = sum(p.numel() for p in ours.parameters()) / sum(p.numel() for p in stock.parameters()) - 1
    assert 0 < added < 0.001


@pytest.mark.parametrize("scale", SCALES)
def test_every_scale_of_token_keeps_all_but_the_attention(scale):
    ours, stock = (on_meta(f"yolo11{scale}-diffattn{variant}.yaml") for variant in ("-token", ""))
    a, b = ({n: v.shape for n, v in m.state_dict().items() if ".attn." not in n} for m in (ours, stock))
    assert a == b


@pytest.mark.parametrize("task", TASKS)
def test_load_transfers_all_tensors_for_no_more_flops(task):
    c = compare(f"yolo11n-diffattn{task}.yaml", f"yolo11n{task}.yaml")
    assert c["transferred"] == c["tensors"]
    assert c["flops"][0] <= 1.01 * c["flops"][1]
    assert c["block"][0] <= 1.01 * c["block"][1]


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
