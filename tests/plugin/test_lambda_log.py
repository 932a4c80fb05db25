"""Lambda during training: what is logged is what the model has, whoever listens, and no training notices."""

import csv
import logging
from pathlib import Path
from types import SimpleNamespace

import cloudpickle
import pytest
import torch
from PIL import Image
from ultralytics import YOLO
from ultralytics.utils import LOGGER
from ultralytics.utils.callbacks import base, get_default_callbacks

from tests.interpreters import forked, python, train_and_kill
from ultralytics_diffattn import register
from ultralytics_diffattn.plugin import lambda_log, lambda_plot

BLOCK = "model.3.m.0.attn"
COLUMNS = {"split": [BLOCK], "paired": [f"{BLOCK}/0", f"{BLOCK}/1"], "stock": []}
ROWS = {"split": "C2PSA_Diff, [256]", "paired": "C2PSA_Diff, [256, 0.5, paired]", "stock": "C2PSA, [256]"}
YAML = """
nc: 6
scales: {{n: [1.0, 1.0, 1024]}}
backbone: [[-1, 1, Conv, [16, 3, 4]], [-1, 1, Conv, [256, 3, 2]], [-1, 1, C3k2, [256]], [-1, 1, {}]]
head: [[[3], 1, Detect, [nc]]]
"""
EPOCHS = 2
BUDGET = dict(epochs=EPOCHS, imgsz=64, batch=4, workers=0, device="cpu", save_period=1)
STEPS = dict(optimizer="AdamW", lr0=0.01, warmup_epochs=0, nbs=4)  # large enough to see in float16


def by_the_formula(model, kind):
    """Return the lambdas of a model, in the order of `COLUMNS`, from nothing but its tensors."""
    state = {name: value.double() for name, value in model.state_dict().items()}
    if kind == "paired":
        return state[f"{BLOCK}.lam"].tolist()
    q1, k1, q2, k2 = (state[f"{BLOCK}.lambda_{name}"] for name in ("q1", "k1", "q2", "k2"))
    return [float(torch.exp(q1 @ k1) - torch.exp(q2 @ k2) + 0.2)]


def yaml_of(kind, folder):
    """Write the YAML of a small model into a folder, and return its path."""
    file = Path(folder) / f"small-{kind}.yaml"
    file.write_text(YAML.format(ROWS[kind]))
    return str(file)


def train(kind, data, folder, *callbacks, **changes):
    """Train by the stock API; return what a logger and a reader of checkpoints saw."""
    seen = SimpleNamespace(logged=[], saved=[], lambdas=[], warnings=[], plots=None)
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: seen.warnings.append(record.getMessage())
    model = YOLO(yaml_of(kind, folder))
    model.add_callback("on_fit_epoch_end", lambda trainer: seen.logged.append(dict(trainer.metrics)))
    model.add_callback("on_train_end", lambda trainer: vars(seen).update(plots=set(trainer.plots)))
    if kind != "stock":
        model.add_callback("on_model_save", lambda t: seen.lambdas.append(by_the_formula(t.ema.ema, kind)))
    for event, callback in callbacks:
        model.add_callback(event, callback)
    LOGGER.addHandler(handler)
    try:
        model.train(data=str(data), project=str(folder), name="run", **{**BUDGET, **STEPS, "plots": False, **changes})
    finally:
        LOGGER.removeHandler(handler)
    seen.folder = Path(model.trainer.save_dir)
    seen.state = {name: value.clone() for name, value in model.trainer.model.state_dict().items()}
    return seen


@pytest.fixture(scope="module")
def runs(tiny, tmp_path_factory):
    """Train one of each kind; without validation the metrics stay from epoch to epoch."""
    changes = {"split": {"val": False}, "paired": {"plots": True}, "stock": {"val": False}}
    return {kind: train(kind, tiny, tmp_path_factory.mktemp(kind), **changes[kind]) for kind in ROWS}


def rows_of(file):
    with open(file, newline="") as f:
        header, *rows = csv.reader(f)
    return header, [[float(x) for x in row] for row in rows]


@pytest.mark.parametrize("kind", ["split", "paired"])
def test_each_epoch_has_a_row_of_what_its_model_has(kind, runs):
    run = runs[kind]
    header, rows = rows_of(run.folder / "lambda.csv")
    assert header == ["epoch", *COLUMNS[kind]]
    assert [row[0] for row in rows] == [1, 2]
    assert [row[1:] for row in rows] == [pytest.approx(expected, abs=2e-6) for expected in run.lambdas]
    assert rows[0][1:] != rows[1][1:]
    for epoch, row in enumerate(rows):
        saved = torch.load(run.folder / "weights" / f"epoch{epoch}.pt", weights_only=False)["ema"]  # in float16
        assert row[1:] == pytest.approx(by_the_formula(saved, kind), abs=2e-3)


@pytest.mark.parametrize("kind", ["split", "paired"])
def test_a_logger_gets_each_epoch_and_not_the_final_validation(kind, runs):
    *epochs, final = runs[kind].logged
    keys = {f"lambda/{name}" for name in COLUMNS[kind]}
    assert [{k for k in metrics if "lambda" in k} for metrics in epochs] == [keys] * EPOCHS
    assert [[m[f"lambda/{name}"] for name in COLUMNS[kind]] for m in epochs] == [
        pytest.approx(expected, abs=1e-6) for expected in runs[kind].lambdas
    ]
    assert not [k for k in final if "lambda" in k]
    assert all(type(m[k]) is float for m in epochs for k in keys)  # what JSON takes


def test_what_ultralytics_writes_does_not_notice(runs):
    header = rows_of(runs["stock"].folder / "results.csv")[0]
    for kind in ("split", "paired"):
        found, rows = rows_of(runs[kind].folder / "results.csv")
        assert found == header
        assert {len(row) for row in rows} == {len(header)}
        for file in ("epoch0.pt", "epoch1.pt", "last.pt"):
            checkpoint = torch.load(runs[kind].folder / "weights" / file, weights_only=False)
            assert "metrics/mAP50(B)" in checkpoint["train_metrics"]
            assert not [k for k in checkpoint["train_metrics"] if "lambda" in k], file


def test_a_stock_model_is_left_alone(runs):
    run = runs["stock"]
    assert len(run.logged) == EPOCHS + 1
    assert not [k for metrics in run.logged for k in metrics if "lambda" in k]
    assert not list(run.folder.glob("lambda*"))


def test_plot(runs):
    file = runs["paired"].folder / "lambda.png"
    with Image.open(file) as picture:
        picture.load()
        assert len(picture.convert("RGB").resize((200, 100)).getcolors(20000)) > 10
    assert file in runs["paired"].plots  # where loggers find what to upload
    assert (runs["split"].folder / "lambda.csv").exists()
    assert not (runs["split"].folder / "lambda.png").exists()  # plots=False


def test_turned_off_it_leaves_nothing_and_the_weights_are_the_same(runs, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFATTN_LOG", "0")
    off, on = train("paired", tiny, tmp_path, plots=True), runs["paired"]
    assert not list(off.folder.glob("lambda*"))
    assert (off.folder / "results.png").exists()
    assert not [k for metrics in off.logged for k in metrics if "lambda" in k]
    assert off.state.keys() == on.state.keys()
    assert all(torch.equal(value, on.state[name]) for name, value in off.state.items())


def test_what_cannot_be_written_is_said_once_and_costs_no_training(tiny, tmp_path):
    in_the_way = ("on_train_start", lambda trainer: (trainer.save_dir / "lambda.csv").mkdir())
    run = train("split", tiny, tmp_path, in_the_way, val=False)
    (warning,) = [w for w in run.warnings if "diffattn" in w]
    assert "IsADirectoryError" in warning or "PermissionError" in warning
    assert "DIFFATTN_LOG=0" in warning
    assert len(rows_of(run.folder / "results.csv")[1]) == EPOCHS
    assert not [k for metrics in run.logged for k in metrics if "lambda" in k]
    assert (run.folder / "weights" / "best.pt").exists()


def test_resume_after_a_kill(tiny, tmp_path):
    weights = train_and_kill(tiny, tmp_path, epochs=2)
    file = weights.parent / "lambda.csv"
    before = file.read_text()
    assert [row[0] for row in rows_of(file)[1]] == [1, 2]  # the kill came right behind the second checkpoint
    file.write_text(f"{before}3,9\n4,9\n")  # as a kill leaves it that comes before the next one
    YOLO(weights / "last.pt").train(resume=True)
    assert file.read_text().startswith(before)
    rows = rows_of(file)[1]
    assert [row[0] for row in rows] == [1, 2, 3]
    assert rows[-1][1] != 9


TENSORBOARD = """
from ultralytics import YOLO, settings
settings.update(tensorboard=True)
YOLO({model!r}).train(data={data!r}, project={project!r}, name="run", epochs=2, imgsz=64, batch=4, workers=0,
                      device="cpu", plots=False, lr0=0.01, optimizer="AdamW")
"""


def test_tensorboard(tiny, tmp_path):
    events = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="TensorBoard is not installed"
    )
    code = TENSORBOARD.format(model=yaml_of("paired", tmp_path), data=str(tiny), project=str(tmp_path))
    forked(
        code, cwd=tmp_path, preloaded="torch", YOLO_CONFIG_DIR=str(tmp_path / "config")
    )  # the setting is for this training alone
    header, rows = rows_of(tmp_path / "run" / "lambda.csv")
    found = events.EventAccumulator(str(tmp_path / "run"))
    found.Reload()
    for name, values in zip(header, zip(*rows, strict=True), strict=True):
        if name != "epoch":
            logged = found.Scalars(f"lambda/{name}")
            assert [event.step for event in logged] == [1, 2]
            assert [event.value for event in logged] == pytest.approx(values, rel=1e-5)


@pytest.fixture
def trainer(tmp_path):
    """Return what the callbacks use of a trainer, before its first epoch."""
    attention = torch.nn.Module()
    attention.compute_lambda = lambda: torch.tensor([0.25, -0.5])
    model = torch.nn.ModuleDict({"attn": attention})
    return SimpleNamespace(
        metrics={"fitness": 1},
        epoch=0,
        save_dir=tmp_path,
        ema=SimpleNamespace(ema=model),
        args=SimpleNamespace(plots=True),
        on_plot=lambda file: None,
    )


SHOWN = {"fitness": 1, "lambda/attn/0": 0.25, "lambda/attn/1": -0.5}


def run_epoch(trainer, times=1):
    for name in ("on_train_epoch_start", "on_train_epoch_end", "on_fit_epoch_end"):
        for _ in range(times):
            lambda_log.CALLBACKS[name](trainer)


def test_metrics_hold_it_during_the_event_alone(trainer):
    lambda_log.on_train_epoch_start(trainer)
    lambda_log.on_train_epoch_end(trainer)
    assert trainer.metrics == {"fitness": 1}  # of which results.csv and the checkpoint are made next
    lambda_log.on_fit_epoch_end(trainer)
    assert trainer.metrics == SHOWN
    trainer.metrics["of another callback"] = 2
    lambda_log.on_train_epoch_start(trainer)
    assert trainer.metrics == {"fitness": 1, "of another callback": 2}
    lambda_log.on_train_epoch_end(trainer)
    lambda_log.on_fit_epoch_end(trainer)
    lambda_log.on_train_end(trainer)
    assert trainer.metrics == {"fitness": 1, "of another callback": 2}


@pytest.mark.parametrize("later", [0, 1])  # ultralytics 8.3.108 validates best.pt at the last epoch, 8.4.190 one behind
def test_final_validation_is_no_epoch(trainer, later):
    run_epoch(trainer)
    trainer.metrics, trainer.epoch = {"of": "best.pt"}, trainer.epoch + later
    lambda_log.on_fit_epoch_end(trainer)
    assert trainer.metrics == {"of": "best.pt"}
    assert (trainer.save_dir / "lambda.csv").read_text() == "epoch,attn/0,attn/1\n1,0.25,-0.5\n"


def test_an_epoch_that_is_trained_again_has_the_later_row(trainer):
    """As after ultralytics has found NaN in it."""
    lambda_log.on_train_epoch_start(trainer)
    lambda_log.on_train_epoch_end(trainer)
    trainer.ema.ema["attn"].compute_lambda = lambda: torch.tensor([1.0, 2.0])
    run_epoch(trainer)
    assert (trainer.save_dir / "lambda.csv").read_text() == "epoch,attn/0,attn/1\n1,1,2\n"
    assert trainer.metrics["lambda/attn/1"] == 2


def test_any_error_is_said_once(trainer, monkeypatch):
    said = []
    monkeypatch.setattr(LOGGER, "warning", said.append)
    monkeypatch.setattr(lambda_log, "draw", lambda *_: 1 / 0)
    run_epoch(trainer)
    for _ in range(2):
        lambda_log.on_train_end(trainer)
    (warning,) = said
    assert "on_train_end failed to log lambda (ZeroDivisionError: division by zero)" in warning


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        ("epoch,attn/0,attn/1\n1,7,7\n2,8,8\n3,9,9\n", "1,7,7\n2,0.25,-0.5\n"),  # taken up again after epoch 1
        ("epoch,attn/0\n1,7\n", "2,0.25,-0.5\n"),  # of another model
        ("", "2,0.25,-0.5\n"),
    ],
)
def test_rows_that_are_there(trainer, present, expected):
    (trainer.save_dir / "lambda.csv").write_text(present)
    trainer.epoch = 1
    run_epoch(trainer, times=2)  # handed over twice to a process of a multi-GPU training, it counts once
    assert (trainer.save_dir / "lambda.csv").read_text() == f"epoch,attn/0,attn/1\n{expected}"
    assert trainer.metrics == SHOWN


@pytest.mark.parametrize(
    ("value", "on"), [("0", 0), ("False", 0), (" OFF ", 0), ("no", 0), ("1", 1), ("", 1), (None, 1)]
)
def test_switch_is_read_at_each_epoch(trainer, value, on, monkeypatch):
    monkeypatch.delenv("DIFFATTN_LOG", raising=False)
    if value is not None:
        monkeypatch.setenv("DIFFATTN_LOG", value)
    run_epoch(trainer)
    assert trainer.metrics == (SHOWN if on else {"fitness": 1})
    assert (trainer.save_dir / "lambda.csv").exists() == bool(on)


def test_other_processes_of_a_multi_gpu_training_are_silent(trainer, monkeypatch):
    monkeypatch.setattr("ultralytics.utils.RANK", 1)
    trainer.metrics = trainer.ema = None  # as they are there
    for callback in lambda_log.CALLBACKS.values():
        callback(trainer)
    assert not list(trainer.save_dir.iterdir())
    assert not hasattr(trainer, "diffattn_log_failed")


def test_registration_counts_once(monkeypatch):
    for _ in range(2):
        register()
        lambda_log.attach()
    for event, function in lambda_log.CALLBACKS.items():
        assert base.default_callbacks[event].count(function) == 1
        assert get_default_callbacks()[event][-1] is function
        assert YOLO("yolo11n.yaml").callbacks[event] == base.default_callbacks[event]

    def on_train_end(trainer):
        """Be what a reload of the module leaves in the list."""

    on_train_end.__module__ = lambda_log.__name__
    listed = [base.on_train_end, on_train_end, print]
    monkeypatch.setitem(base.default_callbacks, "on_train_end", listed)
    lambda_log.attach()
    assert listed == [base.on_train_end, lambda_log.on_train_end, print]


def test_callbacks_travel_by_name():
    """As ultralytics hands them to the processes of a multi-GPU training."""
    assert cloudpickle.loads(cloudpickle.dumps(lambda_log.CALLBACKS)) == lambda_log.CALLBACKS


def test_compiled_modules_keep_their_names():
    model = YOLO("yolo11n-diffattn-paired.yaml").model
    expected = {"model.10.m.0.attn/0": 0.0, "model.10.m.0.attn/1": 0.0}
    assert lambda_log.scalars(model) == expected
    assert lambda_log.scalars(torch.compile(model)) == expected
    model.model[10].m[0].attn = torch.compile(model.model[10].m[0].attn)
    assert lambda_log.scalars(model) == expected


def test_import_is_light():
    code = "import sys, ultralytics_diffattn.plugin.lambda_log; print({'matplotlib', 'ultralytics'} & set(sys.modules))"
    assert python(code).stdout.split()[-1] == "set()"


@pytest.mark.parametrize(
    ("names", "start", "panels", "dashed"),
    [
        (["a"], 0.8, 1, 0.8),
        ([f"a{i}" for i in range(24)], 0.8, 1, 0.8),
        ([f"{block}/{head}" for block in "ab" for head in range(4)], None, 2, 0),
        ([f"a{block}/{head}" for block in range(6) for head in range(12)], None, 6, 0),
    ],
    ids=["one", "24 blocks", "2 blocks of 4 heads", "6 blocks of 12 heads"],
)
@pytest.mark.parametrize("epochs", [1, 100])
def test_drawing_has_a_line_of_its_own_for_each_lambda(names, start, panels, dashed, epochs, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    drawn, save = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda figure, *a, **k: drawn.append(figure) or save(figure, *a, **k))
    curves = {name: {e: 0.1 * i + 0.01 * e for e in range(1, epochs + 1)} for i, name in enumerate(names)}
    lambda_plot.draw(tmp_path / "lambda.png", curves, dict.fromkeys([n.partition("/")[0] for n in names], start))
    assert [file.name for file in tmp_path.iterdir()] == ["lambda.png"]
    ((axes),) = [[a for a in figure.axes if a.get_visible()] for figure in drawn]
    assert len(axes) == panels
    found, looks = {}, set()
    for a in axes:
        *lines, start_line = a.lines
        assert set(start_line.get_ydata()) == {dashed}
        assert start_line.get_linestyle() == "--"
        for line in lines:
            label = line.get_label().replace("head ", f"{a.get_title()}/")
            found[label] = dict(zip(line.get_xdata(), line.get_ydata(), strict=True))
            looks.add((a.get_title(), str(line.get_color()), line.get_linestyle()))
            assert epochs > 1 or line.get_marker() == "."  # a line of one point is not to be seen
            low, high = a.get_ylim()
            assert low <= min(line.get_ydata()) <= max(line.get_ydata()) <= high
    assert found == curves
    assert len(looks) == len(curves)
    legend = [text.get_text() for figure in drawn for text in figure.legends[0].get_texts()]
    heads = list(dict.fromkeys(f"head {n.partition('/')[2]}" if "/" in n else n for n in names))
    assert sorted(legend) == sorted([*heads, "start" if start is None else "lambda_init"])
