"""What is recorded of each epoch, and what is made of it after kills."""

import json
import pickle
from types import SimpleNamespace

import pytest
import torch
from ultralytics import YOLO

from tests.interpreters import forked
from ultralytics_diffattn.comparison import epochs
from ultralytics_diffattn.comparison.schema import RunRecord

HEADER = "process,epoch,seconds,memory_mb,model.10.m.0.attn\n"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["7,1,2.0,100,0.8", "7,2,4.0,120,0.7", "7,3,3.0,110,0.6"], (3, 3.0, 9.0, 120.0, [])),
        (["7,1,2.0,100,0.8", "9,2,4.0,120,0.7"], (2, 3.0, 6.0, 120.0, [1])),  # taken up again after epoch 1
        (["7,1,2.0,100,0.8", "7,2,9.0,100,0.7", "9,2,4.0,120,0.7"], (2, 3.0, 6.0, 120.0, [1])),  # epoch 2 twice
        (["7,1,2.0,100,0.8", "8,2,2.0,100,0.7", "9,3,2.0,100,0.7"], (3, 2.0, 6.0, 100.0, [1, 2])),
        (["7,1,2.0,100,0.8", "7,2"], (1, 2.0, 2.0, 100.0, [])),  # torn in the middle of a row
        (["7,1,2.0,100,0.8", "7,2,9.0,12"], (1, 2.0, 2.0, 100.0, [])),  # torn before lambda
        ([], (0, None, 0, None, [])),
    ],
)
def test_summary(tmp_path, rows, expected):
    (tmp_path / "epochs.csv").write_text(HEADER + "\n".join(rows))
    assert epochs.summary(tmp_path, 7.5) == RunRecord(*expected, seconds_last_process=7.5)


def make_trainer(folder):
    return SimpleNamespace(
        save_dir=folder / "train",
        epoch=0,
        epochs=3,
        start_epoch=0,
        diffattn_start=0.0,
        diffattn_seconds=2.0,
        device=torch.device("cpu"),
        ema=SimpleNamespace(ema=YOLO("yolo11n-diffattn.yaml").model),
    )


def test_a_row_does_not_join_a_torn_one(tmp_path):
    trainer = make_trainer(tmp_path)
    epochs.record_epoch(trainer)
    with open(tmp_path / "epochs.csv", "a") as f:
        f.write("7,2,9")  # killed here
    trainer.epoch = 1
    epochs.record_epoch(trainer)
    assert [(row.epoch, row.seconds) for row in epochs.read(tmp_path)] == [(1, 2.0), (2, 2.0)]
    assert list(epochs.read(tmp_path)[1].lambdas) == ["model.10.m.0.attn"]


@pytest.mark.parametrize(
    ("remaining", "message"), [(2, "compare: 2 runs to go, about "), (1, "1 run to go"), (0, None)]
)
def test_time_left_is_logged_by_callbacks_that_were_sent_to_another_process(tmp_path, monkeypatch, remaining, message):
    messages, callbacks = [], {}
    monkeypatch.setattr(epochs.LOGGER, "info", messages.append)
    epochs.listen(SimpleNamespace(add_callback=callbacks.__setitem__), remaining)
    pickle.loads(pickle.dumps(callbacks))["on_model_save"](make_trainer(tmp_path))
    assert [message in text for text in messages] == ([True] if message else [])


def test_metrics_before_training_are_recorded_and_change_nothing(photos, tmp_path):
    weights, data = photos
    curves = []
    for listen in (True, False):
        model = YOLO("yolo11n-diffattn-paired.yaml")
        if listen:
            model.add_callback("on_pretrain_routine_end", epochs.record_step0)
        model.train(
            **dict(data=data, epochs=1, imgsz=160, batch=8, workers=0, device="cpu", plots=False, pretrained=weights),
            project=str(tmp_path / str(listen)),
            name="train",
        )
        rows = (tmp_path / str(listen) / "train" / "results.csv").read_text().splitlines()
        curves.append(
            [[c for n, c in zip(rows[0].split(","), row.split(","), strict=True) if n != "time"] for row in rows]
        )
    assert curves[0] == curves[1]
    metrics = json.loads((tmp_path / "True" / "step0.json").read_text())
    expected = YOLO(weights).val(data=data, imgsz=160, batch=16, workers=0, device="cpu", plots=False).results_dict
    assert metrics["metrics/mAP50-95(B)"] == pytest.approx(expected["metrics/mAP50-95(B)"], abs=1e-6) != 0
    assert not (tmp_path / "False" / "step0.json").exists()


@pytest.mark.parametrize(
    ("changes", "recorded"),
    [
        ({}, False),  # from scratch: there is nothing to see before the first step
        ({"pretrained": True}, False),  # ultralytics' default, which loads nothing into a YAML's model
        ({"start_epoch": 3, "pretrained": "w.pt"}, False),  # taken up again
        ({"rank": 0, "pretrained": "w.pt"}, False),  # one of several processes
        ({"pretrained": "w.pt"}, True),
        ({"model": "best.pt"}, True),
    ],
)
def test_what_starts_from_weights(tmp_path, monkeypatch, changes, recorded):
    monkeypatch.setattr(epochs, "RANK", changes.get("rank", -1))
    args = SimpleNamespace(model=changes.get("model", "a.yaml"), pretrained=changes.get("pretrained", False))
    trainer = SimpleNamespace(args=args, start_epoch=0, save_dir=tmp_path / "train", test_loader=None)
    vars(trainer).update({k: v for k, v in changes.items() if hasattr(trainer, k)})
    trainer.ema = SimpleNamespace(ema=None)

    class Validator:
        def __init__(self, args, **_):
            self.args = args

        def postprocess(self, preds):
            return preds

        def __call__(self, model):
            return {"fitness": 0.5}

    trainer.validator = Validator(None)
    epochs.record_step0(trainer)
    assert (tmp_path / "step0.json").exists() == recorded


def test_nothing_recorded(tmp_path):
    assert epochs.read(tmp_path) == []


def test_lambdas():
    model = YOLO("yolo11l-diffattn.yaml").model  # two blocks
    lambdas = epochs.mean_lambdas(model)
    assert list(lambdas) == ["model.10.m.0.attn", "model.10.m.1.attn"]
    assert lambdas["model.10.m.1.attn"] == pytest.approx(float(model.model[10].m[1].attn.compute_lambda().mean()))
    assert epochs.mean_lambdas(YOLO("yolo11n.yaml").model) == {}


def test_peak_memory_sees_an_allocation():
    code = """
import torch
from ultralytics_diffattn.comparison import epochs
before = epochs.peak_memory(torch.device("cpu"))
held = torch.ones(int(before * 1e6 / 4) + 50_000_000)  # more than the peak so far
print("GREW", epochs.peak_memory(torch.device("cpu")) > before + 100)
"""
    assert "GREW True" in forked(code).stdout  # of a process that is small
