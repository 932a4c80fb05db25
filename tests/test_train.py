"""End to end with the stock command and the stock API: train, resume, validate, predict, export, several processes."""

import os
import re
import sys

import numpy as np
import pytest
import torch
from ultralytics import YOLO

from tests.interpreters import forked, python, run, train_and_kill, yolo
from tests.places import ROOT
from ultralytics_diffattn import Attention_Diff, DiffAttention

BUDGET = "imgsz=64", "batch=4", "workers=0", "plots=False", "device=cpu"


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny):
    """Train two epochs with the stock command from an empty directory; return the run's folder."""
    cwd = tmp_path_factory.mktemp("empty")
    steps = "optimizer=AdamW", "lr0=0.01", "warmup_epochs=0", "nbs=4", "save_period=1"  # large enough to see in float16
    yolo("train", "model=yolo11n-diffattn.yaml", f"data={tiny}", "epochs=2", *BUDGET, *steps, "name=first", cwd=cwd)
    return next(cwd.rglob("first"))


def attention(model):
    return [m for m in model.modules() if isinstance(m, (Attention_Diff, DiffAttention))]


def test_training_moves_lambda(trained):
    before, after = (attention(YOLO(trained / "weights" / f"{n}.pt").model)[0] for n in ("epoch0", "last"))
    for name in ("lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2", "diff_norm.weight"):
        assert not torch.equal(before.get_parameter(name), after.get_parameter(name)), name
    assert before.compute_lambda() != after.compute_lambda()


def test_checkpoint_loads_in_a_fresh_process(trained, tmp_path):
    code = f"from ultralytics import YOLO; print(YOLO({str(trained / 'weights' / 'best.pt')!r}).task)"
    assert "detect" in python(code, cwd=tmp_path).stdout


def test_val_and_predict(trained, tiny, tmp_path):
    image = next((tiny.parent / "images" / "val").iterdir())
    best = f"model={trained / 'weights' / 'best.pt'}"
    assert "all" in yolo("val", best, f"data={tiny}", *BUDGET, cwd=tmp_path).stdout
    yolo("predict", best, f"source={image}", "imgsz=64", "save_txt", "conf=0.0001", cwd=tmp_path)
    assert list(tmp_path.rglob(f"{image.stem}.txt"))


def test_resume(tiny, tmp_path):
    last = train_and_kill(tiny, tmp_path, epochs=2) / "last.pt"
    before = attention(torch.load(last, weights_only=False)["ema"])[0]
    output = yolo("train", "resume", f"model={last}", cwd=tmp_path).stdout
    assert "from epoch 3 to 3 total epochs" in output
    assert "Transferred 504/504 items" in output  # lambda and the gain, too
    rows = (tmp_path / "killed" / "results.csv").read_text().splitlines()[1:]
    assert [int(row.split(",")[0]) for row in rows] == [1, 2, 3]
    assert before.lambda_init == attention(YOLO(last).model)[0].lambda_init == pytest.approx(0.2)


@pytest.mark.parametrize("name", ["yolo11n-diffattn.yaml", "yolo11n-diffattn-token.yaml"])
@pytest.mark.parametrize("kind", ["onnx", "torchscript"])
def test_exported_model_finds_the_same_boxes(name, kind, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    model = YOLO(name)
    for p in model.model.parameters():  # off zero and one, so that each part has an effect on the boxes
        p.data += 0.02 * torch.randn_like(p)
    model.save("m.pt")
    file = YOLO("m.pt").export(format=kind, imgsz=64)
    original, exported = YOLO("m.pt"), YOLO(file)
    arguments = dict(imgsz=64, conf=1e-6, max_det=20, iou=0.9, verbose=False)
    for image in sorted((tiny.parent / "images" / "val").iterdir()):
        ours, theirs = (m.predict(image, **arguments)[0] for m in (original, exported))
        a, b = (r.boxes.data[r.boxes.data[:, 4].argsort(descending=True)].numpy() for r in (ours, theirs))
        assert len(a) == len(b) > 0
        np.testing.assert_allclose(a[:, :4], b[:, :4], rtol=0, atol=0.05)  # pixels
        np.testing.assert_allclose(a[:, 4], b[:, 4], rtol=0, atol=1e-4)


def test_pretrained_weights_by_the_stock_argument(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    YOLO("yolo11n.yaml").save("stock.pt")
    arguments = "pretrained=stock.pt", f"data={tiny}", "epochs=1", *BUDGET
    pattern = r"Transferred (\d+)/(\d+) items from pretrained weights"
    ours, stock = (
        re.search(pattern, yolo("train", model, *arguments, cwd=tmp_path).stdout).groups()
        for model in ("model=yolo11n-diffattn.yaml", "model=yolo11n.yaml")
    )
    assert ours[0] == stock[0]  # all but what the number of classes sizes
    assert (ours[1], stock[1]) == ("504", "499")


@pytest.mark.parametrize("suffix", ["-seg", "-pose", "-obb", "-cls"])
def test_other_tasks_take_a_training_step(suffix):
    """Forward, loss and backward of each task through ultralytics' own criterion."""
    torch.manual_seed(0)
    model = YOLO(f"yolo11n-diffattn{suffix}.yaml").model.train()
    from ultralytics.cfg import get_cfg

    model.args = get_cfg()
    n = 2
    batch = {
        "img": torch.rand(n, 3, 64, 64),
        "cls": torch.tensor([[0.0], [1.0]]) if suffix != "-cls" else torch.tensor([0, 1]),
        "bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.4], [0.4, 0.6, 0.3, 0.5]]),
        "batch_idx": torch.arange(n).float(),
    }
    if suffix == "-pose":
        batch["cls"] = torch.zeros(n, 1)
        batch["keypoints"] = torch.rand(n, 17, 3)
    if suffix == "-obb":
        batch["bboxes"] = torch.cat([batch["bboxes"], torch.tensor([[0.1], [0.2]])], 1)
    if suffix == "-seg":
        batch["masks"] = torch.ones(n, 16, 16)
        batch["sem_masks"] = torch.zeros(n, 16, 16)
    loss, _ = model.loss(batch)
    loss.sum().backward()
    (attn,) = attention(model)
    assert all(p.grad.isfinite().all() and p.grad.abs().max() > 0 for p in (attn.lambda_q1, attn.diff_norm.weight))


DDP = """
from pathlib import Path
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils.dist import generate_ddp_file
trainer = DetectionTrainer(overrides=dict(model={model!r}, data={data!r}, epochs=1, imgsz=64, batch=4,
                                          workers=0, plots=False, device="cpu", project={project!r}, name="ddp"))
trainer.callbacks.clear()  # else ours are in the file, and unpickling them registers the package
print(generate_ddp_file(trainer))
"""


@pytest.mark.parametrize(
    ("model", "error"),
    [
        (str(ROOT / "cfg" / "yolo11n-diffattn.yaml"), "KeyError: 'C2PSA_Diff'"),
        ("yolo11n-diffattn.yaml", "FileNotFoundError: 'yolo11n?-diffattn.yaml' does not exist"),
    ],
    ids=["path", "bare name"],
)
def test_the_file_of_a_multi_gpu_training_trains_in_a_fresh_interpreter(model, error, tiny, tmp_path):
    made = forked(DDP.format(model=model, data=str(tiny), project=str(tmp_path)), cwd=tmp_path, preloaded="torch")
    file = made.stdout.splitlines()[-1]
    try:
        if model == "yolo11n-diffattn.yaml":  # which is found by its name, and then the module by its own
            run(sys.executable, file, cwd=tmp_path)
            assert list(tmp_path.rglob("ddp*/weights/last.pt"))
        control = forked(f"import runpy; runpy.run_path({file!r}, run_name='__main__')", check=False, preloaded="bare")
        assert re.search(error, control.stderr), "without start-up files the module must be unknown"
    finally:
        os.remove(file)
