"""Faults in training: whatever stock survives ours survives, and what a checkpoint holds it goes on with."""

import contextlib
import copy
import csv
import errno
import logging
import math
import multiprocessing
import os
import pickle
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from ultralytics import YOLO
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.modules.block import Attention
from ultralytics.utils import LOGGER
from ultralytics.utils.torch_utils import ModelEMA

from ultralytics_diffattn import DiffAttention
from ultralytics_diffattn.nn.aifi import AIFI_Diff
from ultralytics_diffattn.nn.area import A2C2f_Diff
from ultralytics_diffattn.nn.blocks import C2PSA_Diff, C3k2_Diff
from ultralytics_diffattn.nn.lambdas import LAMBDA
from ultralytics_diffattn.plugin import lambda_log, lambda_plot

EPOCHS = 3
HURT = 1  # the epoch, from 0, that the fault comes in
ROWS = {
    "stock": "C2PSA, [128, 0.5]",
    "split": "C2PSA_Diff, [128, 0.5]",
    "paired": "C2PSA_Diff, [128, 0.5, paired]",
    "token": "DiffAttention, [128, 4]",
}
YAML = """
nc: 3
scales: {{n: [1.0, 1.0, 1024]}}
backbone: [[-1, 1, Conv, [16, 3, 4]], [-1, 1, Conv, [128, 3, 2]], [-1, 1, C3k2, [128]], [-1, 1, {}]]
head: [[[3], 1, Detect, [nc]]]
"""
BUDGET = dict(epochs=EPOCHS, imgsz=64, batch=4, workers=0, device="cpu", plots=False, save_period=1, exist_ok=True)
STEPS = dict(lr0=0.01, warmup_epochs=0, nbs=4, close_mosaic=0)  # large enough to see in float16
BLOCK = "model.3"


def arguments(kind, data, cwd, optimizer="SGD"):
    """Return the model YAML and the training's arguments; the run is below `cwd`."""
    yaml = cwd / f"{kind}.yaml"
    yaml.write_text(YAML.format(ROWS[kind]))
    return str(yaml), dict(data=str(data), project=str(cwd), name=kind, optimizer=optimizer, **BUDGET, **STEPS)


def rows_of(file):
    """Return header and rows of a CSV, `results.csv` without the seconds that an epoch took."""
    with open(file, newline="") as f:
        header, *rows = ([cell.strip() for cell in row] for row in csv.reader(f))
    keep = [i for i, name in enumerate(header) if name != "time"]
    return [header[i] for i in keep], [[row[i] for i in keep] for row in rows]


# --- kill -9 -------------------------------------------------------------------------------------------------------

PROCESSES = multiprocessing.get_context("forkserver")  # imports ultralytics once, and has computed nothing before
PROCESSES.set_forkserver_preload(
    ["ultralytics.models.yolo.detect", "ultralytics.utils.callbacks.raytune", "torch._inductor", "ultralytics_diffattn"]
)


def momenta(trainer):
    """Return what the optimizer knows of each parameter of ours, by the parameter's name."""
    return {
        name: {k: v.clone() for k, v in trainer.optimizer.state[p].items() if isinstance(v, torch.Tensor)}
        for name, p in trainer.model.named_parameters()
        if "lam" in name or "diff_norm" in name or ".q2." in name
    }


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def die_when(moment, trainer):
    """Arrange that the process is killed at a moment of the epoch that is to be hurt."""
    if trainer.epoch != HURT:
        return
    replace, write_bytes = os.replace, Path.write_bytes

    def torn(path, data):
        """Write as stock does, and die within last.pt or behind it."""
        if moment == "within last.pt":
            write_bytes(path, data[: len(data) // 2])
        else:
            write_bytes(path, data)
        die()

    if moment == "within lambda.csv":
        os.replace = lambda source, target: die() if Path(target).name == "lambda.csv" else replace(source, target)
    elif moment == "before the checkpoint":
        trainer.save_model = die
    elif moment in {"within last.pt", "before best.pt"}:
        Path.write_bytes = torn
    else:
        trainer.add_callback(moment, lambda trainer: die())


def first(moment, kind, data, cwd, optimizer):
    """Train in this process, which dies, and note at each checkpoint what it leaves out of its float16 tensors."""
    torch.set_num_threads(1)
    yaml, args = arguments(kind, data, cwd, optimizer)
    model = YOLO(yaml)
    model.add_callback("on_train_epoch_start", lambda trainer: die_when(moment, trainer))
    model.add_callback("on_train_epoch_end", lambda t: torch.save(momenta(t), cwd / f"momenta{t.epoch}.pt"))
    model.train(**args)


def second(checkpoint, cwd):
    """Resume in this process, and note what it starts with and what it ends with."""
    torch.set_num_threads(1)
    model = YOLO(checkpoint)
    start = {}

    def note(trainer):
        start.update(epoch=trainer.epoch if hasattr(trainer, "epoch") else trainer.start_epoch)
        for name, m in (("model", trainer.model), ("ema", trainer.ema.ema)):
            start[name] = {k: v.clone() for k, v in m.state_dict().items()}
        start.update(momenta=momenta(trainer), updates=trainer.ema.updates)

    model.add_callback("on_train_start", note)
    model.train(resume=True)
    torch.save(start, cwd / "start.pt")


def process(target, *arguments, kill_after=None):
    """Run a function in a process of its own; return how it ended."""
    child = PROCESSES.Process(target=target, args=arguments)
    child.start()
    if kill_after is not None:
        folder, delay = kill_after
        while child.is_alive() and not (folder / "epoch0.pt").exists():
            time.sleep(0.002)
        time.sleep(delay)
        child.kill()
    child.join(300)
    return child.exitcode


def loads(file):
    try:
        return torch.load(file, weights_only=False)
    except Exception:
        return None


def whole_checkpoint(weights):
    """Return the newest checkpoint that can be read."""
    return next(f for f in (weights / "last.pt", *sorted(weights.glob("epoch*.pt"), reverse=True)) if loads(f))


def resumed(kind, cwd, seen):
    """Resume a killed run from its last whole checkpoint; hold what has to be the same."""
    run = cwd / kind
    weights = run / "weights"
    whole = whole_checkpoint(weights)
    checkpoint = torch.load(whole, weights_only=False)
    epoch = checkpoint["epoch"]
    lambda_before = rows_of(run / "lambda.csv") if kind != "stock" else None
    results_before = rows_of(run / "results.csv")
    if not loads(weights / "last.pt"):  # torn; stock itself does not write it in one step, and says so
        with pytest.raises(Exception, match=r"(?i)resume checkpoint not found|archive|ran out of input|zip"):
            YOLO(weights / "last.pt").train(resume=True)
    assert process(second, str(whole), cwd) == 0, seen
    start = torch.load(cwd / "start.pt", weights_only=False)

    stored = {k: v.float() if v.is_floating_point() else v for k, v in checkpoint["ema"].state_dict().items()}
    for name in ("model", "ema"):
        assert start[name].keys() == stored.keys()
        assert all(torch.equal(v, stored[k]) for k, v in start[name].items()), (name, seen)
    assert start["updates"] == checkpoint["updates"]
    known = torch.load(cwd / f"momenta{epoch}.pt")
    assert known.keys() == start["momenta"].keys()
    for name, buffers in known.items():
        assert buffers.keys() == start["momenta"][name].keys() != set(), (name, seen)
        for key, value in buffers.items():
            found = start["momenta"][name][key]
            assert torch.equal(found, value) or torch.equal(found, value.half().float()), (name, key, seen)

    found = rows_of(run / "results.csv")
    assert found[1][: len(results_before[1])] == results_before[1], seen
    assert [int(row[0]) for row in found[1]][-(EPOCHS - epoch - 1) :] == list(range(epoch + 2, EPOCHS + 1)), seen
    if kind != "stock":
        header, rows = rows_of(run / "lambda.csv")
        assert header == lambda_before[0]
        assert [int(row[0]) for row in rows] == list(range(1, EPOCHS + 1)), seen
        assert rows[: epoch + 1] == lambda_before[1][: epoch + 1], seen
        final = lambda_log.scalars(torch.load(weights / "last.pt", weights_only=False)["model"].float())
        assert [float(x) for x in rows[-1][1:]] == pytest.approx(list(final.values()), abs=2e-3), seen
    return found, torch.load(weights / "last.pt", weights_only=False)["model"].float().state_dict()


@pytest.mark.parametrize(
    ("moment", "kind", "optimizer", "last"),  # the last whole checkpoint is of that epoch
    [
        ("on_train_batch_end", "split", "SGD", 0),
        ("within lambda.csv", "paired", "AdamW", 0),
        ("on_train_epoch_end", "token", "AdamW", 0),  # behind lambda.csv, which then is an epoch ahead
        ("before the checkpoint", "split", "AdamW", 0),  # and behind results.csv
        ("within last.pt", "paired", "SGD", 0),
        ("before best.pt", "split", "SGD", 1),
    ],
)
def test_killed_at_a_moment(moment, kind, optimizer, last, tiny, tmp_path):
    assert process(first, moment, kind, tiny, tmp_path, optimizer) == -signal.SIGKILL
    weights = tmp_path / kind / "weights"
    whole = loads(weights / "last.pt") or torch.load(weights / "epoch0.pt", weights_only=False)
    assert whole["epoch"] == last
    assert (loads(weights / "last.pt") is None) == (moment == "within last.pt")
    before = len(rows_of(tmp_path / kind / "lambda.csv")[1])
    assert before == (1 if moment in {"on_train_batch_end", "within lambda.csv"} else 2)
    resumed(kind, tmp_path, moment)


@pytest.mark.parametrize("kind", ["split", "paired"])
def test_killed_from_outside_at_a_random_moment(kind, tiny, tmp_path):
    seed = random.SystemRandom().randrange(2**32)
    delay = random.Random(seed).uniform(0, 0.5)
    for attempt in range(8):
        cwd, seconds = tmp_path / str(attempt), delay / 2**attempt
        cwd.mkdir()
        seen = f"seed {seed}: killed {seconds:.4f} s behind the first checkpoint"
        print(seen)
        ended = process(first, None, kind, tiny, cwd, "SGD", kill_after=(cwd / kind / "weights", seconds))
        epoch = loads(whole_checkpoint(cwd / kind / "weights"))["epoch"]
        if ended == -signal.SIGKILL and epoch in range(EPOCHS - 1):
            break  # else the training was over already, perhaps in the midst of its last last.pt
    else:
        pytest.skip(f"{seen}, and the training was over")
    resumed(kind, cwd, seen)


@pytest.fixture(scope="module")
def ends(tiny, tmp_path_factory):
    """Return of each kind how an uninterrupted training ends, and how a killed one does both times it is resumed."""
    found = {}
    for kind in ("stock", "split"):
        cwd = tmp_path_factory.mktemp("whole")
        assert process(first, None, kind, tiny, cwd, "SGD") == 0
        state = torch.load(cwd / kind / "weights" / "last.pt", weights_only=False)["model"].float().state_dict()
        found[kind] = [(rows_of(cwd / kind / "results.csv"), state)]
        cwd = tmp_path_factory.mktemp("killed")
        assert process(first, "on_model_save", kind, tiny, cwd, "SGD") == -signal.SIGKILL
        shutil.copytree(cwd, f"{cwd}-again")
        found[kind].append(resumed(kind, cwd, "on_model_save"))
        shutil.rmtree(cwd)  # the checkpoint names this folder, so the copy has to be resumed here, too
        shutil.move(f"{cwd}-again", cwd)
        found[kind].append(resumed(kind, cwd, "on_model_save"))
    return found


def exact(a, b):
    """Return what two trainings have in common to the last bit: tensors, and columns of the last epoch."""
    (header, rows), (_, others) = a[0], b[0]
    cells = {h for h, x, y in zip(header, rows[-1], others[-1], strict=True) if x == y}
    return cells | {name for name, value in a[1].items() if torch.equal(value, b[1][name])}


@pytest.mark.parametrize("kind", ["stock", "split"])
def test_a_resumed_training_depends_on_the_checkpoint_alone(kind, ends):
    _, once, again = ends[kind]
    assert once[0] == again[0]
    assert exact(once, again) == {*once[0][0], *once[1]}


def test_ours_resumes_as_exactly_as_stock(ends):
    """In ultralytics 8.4.190 that is not exactly: weights go through float16, and the order of images starts anew."""
    for kind, (whole, cut, _) in ends.items():
        assert cut[0][1][: HURT + 1] == whole[0][1][: HURT + 1], kind
        furthest = max((v - whole[1][n]).abs().max().item() for n, v in cut[1].items() if n.endswith("weight"))
        print(f"{kind}: {len(exact(whole, cut))} of {len(whole[1])} as uninterrupted, weights within {furthest:.3g}")
    of_stock = exact(*ends["stock"][:2])
    if {"train/box_loss", "model.0.conv.weight"} <= of_stock:
        whole, cut, _ = ends["split"]
        assert exact(whole, cut) == {*whole[0][0], *whole[1]}


# --- full disk, read-only folder -----------------------------------------------------------------------------------


def train(kind, data, cwd, *callbacks, trainer=None, **changes):
    """Train in this process; return what happened."""
    yaml, args = arguments(kind, data, cwd)
    seen = SimpleNamespace(warnings=[], error=None, visited=[], lambdas=[], folder=cwd / kind)
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: seen.warnings.append(record.getMessage())
    model = YOLO(yaml)
    model.add_callback("on_train_epoch_start", lambda t: seen.visited.append(t.epoch))
    for event, callback in callbacks:
        model.add_callback(event, callback)
    LOGGER.addHandler(handler)
    try:
        model.train(trainer=trainer, **{**args, **changes})
    except Exception as error:
        seen.error = type(error), getattr(error, "errno", None)
    finally:
        LOGGER.removeHandler(handler)
    seen.ours = [w for w in seen.warnings if "diffattn" in w]
    seen.recoveries = len([w for w in seen.warnings if "recovering from last.pt" in w])
    return seen


@pytest.fixture
def disk(tmp_path):
    """Return a small file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not shutil.which("mount"):
        pytest.skip("needs the command mount")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"may not mount a file system here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def hurt(disk, fault):
    if fault == "read-only":
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        return
    for file in disk.glob("*/weights/*.pt"):  # writing one again would free its pages, and whether they do is luck
        file.unlink()
    with open(disk / "filler", "wb", buffering=0) as f, contextlib.suppress(OSError):
        while True:
            f.write(bytes(4096))


def mend(disk, fault):
    if fault == "read-only":
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    else:
        (disk / "filler").unlink(missing_ok=True)


SAID = {"full": "No space left on device", "read-only": "Read-only file system"}


@pytest.mark.parametrize("fault", SAID)
def test_what_hits_lambda_alone_costs_lambda_alone(fault, tiny, disk):
    before = ("on_train_batch_end", lambda t: t.epoch == HURT and hurt(disk, fault))
    behind = ("on_train_epoch_end", lambda t: t.epoch == HURT and mend(disk, fault))  # ours, a default, runs first
    run = train("split", tiny, disk, before, behind, save_period=-1)
    assert run.error is None
    (warning,) = run.ours
    assert SAID[fault] in warning
    assert "The training goes on" in warning
    assert len(rows_of(run.folder / "results.csv")[1]) == EPOCHS
    assert [row[0] for row in rows_of(run.folder / "lambda.csv")[1]] == ["1"]
    assert not list(run.folder.glob("*.tmp"))
    assert loads(run.folder / "weights" / "last.pt")["epoch"] == -1  # finished


@pytest.mark.parametrize(("fault", "epoch"), [("full", 0), ("full", HURT), ("read-only", HURT)])
def test_a_disk_that_stays_so_ends_ours_as_it_ends_stock(fault, epoch, tiny, disk):
    runs = {}
    for kind in ("stock", "split"):
        runs[kind] = train(
            kind, tiny, disk, ("on_train_batch_end", lambda t: t.epoch == epoch and hurt(disk, fault)), save_period=-1
        )
        mend(disk, fault)
        if kind == "stock":
            shutil.rmtree(disk / kind)
    stock, ours = runs.values()
    assert (ours.error, ours.visited) == (stock.error, stock.visited)
    assert stock.error in {(OSError, errno.ENOSPC), (OSError, errno.EROFS), (RuntimeError, None)}
    assert len(ours.ours) == 1
    if epoch:
        assert [row[0] for row in rows_of(ours.folder / "lambda.csv")[1]] == ["1"]
    else:
        assert not (ours.folder / "lambda.csv").exists()
    assert not list(ours.folder.glob("*.tmp"))


# --- NaN and infinity ----------------------------------------------------------------------------------------------


def poisoned(where, value, epoch):
    """Return a trainer with a number that is not finite in the first batch of an epoch, once."""

    class Trainer(DetectionTrainer):
        done = False

        def preprocess_batch(self, batch):
            batch = super().preprocess_batch(batch)
            if where == "images" and self.epoch == epoch and not self.done:
                batch["img"].fill_(value)
                self.done = True
            return batch

        def optimizer_step(self):
            if where == "gradients" and self.epoch == epoch and not self.done:
                for p in self.model.model[3].parameters():
                    p.grad.fill_(value)
                self.done = True
            super().optimizer_step()

    return Trainer


POISONS = [
    ("images", math.nan, HURT, ("split", "paired", "token")),
    ("images", math.inf, HURT, ("split",)),
    ("gradients", math.nan, HURT, ("split", "paired")),
    ("gradients", math.inf, HURT, ("paired",)),
    ("images", math.nan, 0, ("split", "paired")),  # stock has no checkpoint to go back to
]


@pytest.mark.parametrize(("where", "value", "epoch", "kinds"), POISONS)
def test_nan_ends_in_ours_as_in_stock(where, value, epoch, kinds, tiny, tmp_path):
    restored = []

    def compare(trainer):
        """At the epoch that is trained again, the model is that of the checkpoint."""
        if trainer.nan_recovery_attempts:
            stored = torch.load(trainer.last, weights_only=False)["ema"].float().state_dict()
            restored.append(all(torch.equal(v, stored[n]) for n, v in trainer.model.state_dict().items()))

    recovers = hasattr(BaseTrainer, "_handle_nan_recovery")
    callbacks = [("on_train_epoch_start", compare)] if recovers else []
    stock, *runs = (
        train(kind, tiny, tmp_path, *callbacks, trainer=poisoned(where, value, epoch), save_period=-1)
        for kind in ("stock", *kinds)
    )
    # In the first epoch stock goes on with weights of NaN, saves zeros in their place, and gives up on those later.
    assert stock.recoveries == (recovers and (1 if epoch else 3)), "the poison must have worked"
    assert (stock.error is None) == bool(epoch or not recovers)
    assert all(restored)
    for run in runs:
        outcome = run.error, run.visited, run.recoveries
        assert outcome == (stock.error, stock.visited, stock.recoveries)
        assert not run.ours
        epochs = sorted({epoch + 1 for epoch in run.visited})
        assert [int(row[0]) for row in rows_of(run.folder / "lambda.csv")[1]] == epochs
        if recovers and epoch == HURT:
            assert len(restored) == len(kinds) + 1
            rows = rows_of(run.folder / "lambda.csv")[1]
            assert all(math.isfinite(float(x)) for row in rows for x in row)
            model = torch.load(run.folder / "weights" / "last.pt", weights_only=False)["model"]
            assert all(v.isfinite().all() for v in model.state_dict().values())


def test_picture_of_lambdas_that_are_not_finite(tmp_path):
    curves = {"a": {1: 0.8, 2: math.nan, 3: math.inf}, "b": {1: math.nan, 2: math.nan, 3: math.nan}}
    lambda_plot.draw(tmp_path / "lambda.png", curves, {"a": 0.8, "b": 0.8})
    assert (tmp_path / "lambda.png").stat().st_size > 1000


# --- float16 -------------------------------------------------------------------------------------------------------

BLOCKS = {  # how it is built, channels
    "split": (lambda: C2PSA_Diff(64, 64), 64),
    "paired": (lambda: C2PSA_Diff(64, 64, kind="paired"), 64),
    "token": (lambda: C2PSA_Diff(128, 128, e=1.0, kind="token"), 128),
    "row": (lambda: DiffAttention(16, 4), 16),
    "c3k2": (lambda: C3k2_Diff(64, 64), 64),
    "area": (lambda: A2C2f_Diff(32, 32, e=1.0), 32),
    "aifi": (lambda: AIFI_Diff(16, 32, 4), 16),
}
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))]


def built(kind, device="cpu"):
    """Return a block with lambda off its start, and an input."""
    torch.manual_seed(0)
    build, channels = BLOCKS[kind]
    block = build().to(device)
    with torch.no_grad():
        for p in block.parameters():
            p.add_(0.02 * torch.randn_like(p))
    return block, torch.randn(2, channels, 4, 4, device=device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("overflow", ["activations", "scale"])
@pytest.mark.parametrize("kind", BLOCKS)
def test_a_step_that_overflows_float16_is_skipped(kind, overflow, device):
    """As the trainer steps: scale, backward, unscale, clip, step, update."""
    block, x = built(kind, device)
    scaler = torch.amp.GradScaler(device, init_scale=2.0**10)
    optimizer = torch.optim.SGD(block.parameters(), lr=0.01, momentum=0.9)
    ours = [n for n, _ in block.named_parameters() if "lam" in n]
    for step in range(4):
        hit = step == 1
        if hit and overflow == "scale":
            scaler.update(2.0**60)
        with torch.autocast(device, dtype=torch.float16):
            loss = block(x * 1e6 if hit and overflow == "activations" else x).square().mean()
        before = {n: p.detach().clone() for n, p in block.named_parameters()}
        scale = scaler.get_scale()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(block.parameters(), max_norm=10.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        assert scaler.get_scale() == (scale / 2 if hit else scale)
        if hit:
            scaler.update(2.0**10)
        now = dict(block.named_parameters())
        assert all(torch.equal(now[n], p) for n, p in before.items()) == hit
        assert all(p.isfinite().all() and p.dtype == torch.float32 for p in now.values())
        assert hit or any(not torch.equal(now[n], before[n]) for n in ours)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", [1e3, 2e4])
@pytest.mark.parametrize("kind", ["split", "token", "stock"])
def test_large_activations_stay_finite_where_stocks_do_not(kind, size, device):
    torch.manual_seed(0)
    attention = {
        "stock": lambda: Attention(32, num_heads=1),
        "split": lambda: C2PSA_Diff(64, 64).m[0].attn,
        "token": lambda: DiffAttention(32, 4),
    }[kind]().to(device)
    x = (torch.rand(1, 32, 8, 8, device=device) * 2 - 1) * size
    norms = []
    if kind != "stock":
        attention.diff_norm.register_forward_hook(lambda m, x, y: norms.append((x[0], y)))
    with torch.autocast(device, dtype=torch.float16):
        y = attention.eval()(x)
        assert y.dtype == torch.float16
        assert kind == "stock" or attention.compute_lambda().dtype == torch.float32
    if kind != "stock":
        assert y.isfinite().all()
        ((before, normed),) = norms
        assert before.square().mean(-1).isinf().any(), "of which a norm in float16 would make zeros"
        torch.testing.assert_close(
            normed.float().square().mean(-1), torch.ones(before.shape[:-1], device=device), rtol=1e-2, atol=0
        )
    elif device == "cpu":
        assert not y.isfinite().all()


# --- copies --------------------------------------------------------------------------------------------------------

STATES = {
    "trained": lambda block: block,
    "folded": lambda block: fold(block),
    "folded, inference mode": lambda block: torch.inference_mode()(fold)(block),
    "float16": lambda block: block.half(),
}


def fold(block):
    from ultralytics_diffattn.plugin import folding

    folding.fold(block)
    return block


def saved(block, path, **how):
    torch.save(block, path)
    return torch.load(path, **how)


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("state", STATES)
def test_copies_compute_the_same(kind, state, tmp_path):
    block, x = built(kind)
    block = STATES[state](block.eval())
    x = x.to(next(block.parameters()).dtype)
    names = {type(m) for m in block.modules()} | {nn.Identity, torch._C._nn.gelu}
    with torch.no_grad():
        expected = block(x)
        copies = [copy.deepcopy(block), copy.deepcopy(copy.deepcopy(block))]
    copies += [copy.deepcopy(block), pickle.loads(pickle.dumps(block, protocol=2))]
    copies.append(saved(block, tmp_path / "a.pt", weights_only=False))
    if hasattr(torch.serialization, "safe_globals"):
        stock = [n for n in names if not n.__module__.startswith("ultralytics_diffattn")]  # ours are on the list
        with torch.serialization.safe_globals(stock):
            copies.append(saved(block, tmp_path / "b.pt", weights_only=True))
    fresh = STATES[state.partition(",")[0]](built(kind)[0].eval())  # nothing writes into what inference mode has made
    for p in fresh.state_dict().values():
        p.data.zero_()
    fresh.load_state_dict(block.state_dict(), strict=True)
    for twin in (*copies, fresh):
        with torch.no_grad():
            assert torch.equal(twin(x), expected)
        if twin is not fresh:
            assert [p.requires_grad for p in twin.parameters()] == [p.requires_grad for p in block.parameters()]
        assert not {p.data_ptr() for p in twin.parameters()} & {p.data_ptr() for p in block.parameters()}


def elsewhere(block, x, file):
    torch.set_num_threads(1)
    torch.save(block(x), file)


@pytest.mark.parametrize("kind", BLOCKS)
@torch.no_grad()
def test_another_process_computes_the_same(kind, tmp_path):
    block, x = built(kind)
    block.eval()
    assert process(elsewhere, block, x, tmp_path / "out.pt") == 0
    torch.testing.assert_close(torch.load(tmp_path / "out.pt"), block(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", BLOCKS)
def test_ema_follows_its_formula(kind):
    block, _ = built(kind)
    ema = ModelEMA(block)
    expected = {n: v.double() for n, v in block.state_dict().items()}
    for step in range(1, 4):
        with torch.no_grad():
            for p in block.parameters():
                p.add_(torch.randn_like(p))
        ema.update(block)
        decay = 0.9999 * (1 - math.exp(-step / 2000))
        expected = {n: decay * v + (1 - decay) * block.state_dict()[n] for n, v in expected.items()}
    found = ema.ema.state_dict()
    assert found.keys() == block.state_dict().keys()
    ours = {n for n in found if "lam" in n}
    assert ours >= {n for n, _ in block.named_parameters() if n.rpartition(".")[2] in {*LAMBDA, "lam"}} != set()
    for name, value in found.items():
        if value.is_floating_point():
            torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)
    assert not any(p.requires_grad for p in ema.ema.parameters())
    assert all(torch.equal(v, lambda_log.read(copy.deepcopy(ema.ema))[n]) for n, v in lambda_log.read(ema.ema).items())
