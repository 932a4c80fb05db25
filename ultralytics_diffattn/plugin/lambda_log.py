# Ultralytics DiffAttn - AGPL-3.0 License
"""Lambda during training: at each epoch into `lambda.csv` and ultralytics' loggers, at the end into `lambda.png`.

Each of ultralytics' integrations, TensorBoard, Weights & Biases, MLflow and the others, logs what `trainer.metrics`
holds at "on_fit_epoch_end". Ours are default callbacks, which run before theirs: they add lambda to those metrics and
take it out again before ultralytics writes the next row of `results.csv` or a checkpoint. `DIFFATTN_LOG=0` in the
environment turns all of it off.
"""

from __future__ import annotations

import csv
import functools
import io
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ultralytics_diffattn.output.files import write_text
from ultralytics_diffattn.plugin.lambda_plot import draw

PREFIX = "lambda/"  # of the metrics' names; loggers put what has the same first part beside each other


def attach() -> None:
    """Add the callbacks to those that every trainer of ultralytics in this process begins with.

    It may be called any number of times; a model that was made before keeps the callbacks that it has.
    """
    from ultralytics.utils.callbacks import base

    defaults = getattr(base, "default_callbacks", {})
    for event in CALLBACKS.keys() & defaults.keys():
        listed = defaults[event]
        named = [(getattr(f, "__module__", ""), getattr(f, "__name__", "")) for f in listed]
        if (__name__, event) in named:
            listed[named.index((__name__, event))] = CALLBACKS[event]  # another object where this module was reloaded
        else:
            listed.append(CALLBACKS[event])


def read(model: nn.Module) -> dict[str, Tensor]:
    """Return the present lambda of each differential attention in a model.

    Args:
        model (nn.Module): Any model.

    Returns:
        (dict[str, Tensor]): By the module's name, () for one that all heads share or (heads,); empty for a stock model.

    Examples:
        >>> from ultralytics_diffattn.nn.paired import PairedAttention_Diff
        >>> read(nn.Sequential(nn.ReLU(), PairedAttention_Diff(128, num_heads=2)))
        {'1': tensor([0., 0.])}
    """
    return {name: module.compute_lambda().detach() for name, module in _modules(model)}


def scalars(model: nn.Module) -> dict[str, float]:
    """Return the present lambdas of a model as numbers, each under a unique name.

    Args:
        model (nn.Module): Any model.

    Returns:
        (dict[str, float]): By `module` for a lambda that all heads share, by `module/head` for others.

    Examples:
        >>> from ultralytics_diffattn.nn.paired import PairedAttention_Diff
        >>> scalars(nn.Sequential(PairedAttention_Diff(128, num_heads=2)))
        {'0/0': 0.0, '0/1': 0.0}
    """
    values: dict[str, float] = {}
    for name, value in read(model).items():
        if value.ndim == 0:
            values[name] = value.item()
        else:  # one transfer from the GPU for all heads
            values |= {f"{name}/{head}": x for head, x in enumerate(value.tolist())}
    return values


def _modules(model: nn.Module) -> Iterable[tuple[str, Any]]:
    """Yield name and module of each differential attention, without what torch.compile and distillation add."""
    model = getattr(model, "student_model", model)  # beside it, a teacher may have such modules, too
    for name, module in model.named_modules():
        if hasattr(module, "compute_lambda"):
            yield ".".join(part for part in name.split(".") if part != "_orig_mod"), module


def _harmless(callback: Callable[[Any], None]) -> Callable[[Any], None]:
    """Return the callback such that its first error becomes a warning, and none follows in that training."""

    @functools.wraps(callback)
    def guarded(trainer: Any) -> None:
        from ultralytics.utils import LOGGER, RANK

        if RANK not in {-1, 0} or getattr(trainer, "diffattn_log_failed", False):
            return
        try:
            callback(trainer)
        except Exception as error:  # whatever it is, it must not cost anybody a training
            trainer.diffattn_log_failed = True
            LOGGER.warning(
                f"diffattn: {callback.__name__} failed to log lambda ({type(error).__name__}: {error}). The training "
                "goes on, and lambda is not logged any more. DIFFATTN_LOG=0 in the environment turns this off."
            )

    return guarded


@_harmless
def on_train_epoch_start(trainer: Any) -> None:
    """Take the lambda of the epoch before out of the metrics.

    Args:
        trainer (ultralytics.engine.trainer.BaseTrainer): The trainer.
    """
    _hide(trainer)


@_harmless
def on_train_epoch_end(trainer: Any) -> None:
    """Write the epoch's row of `lambda.csv`: before its checkpoint, so that a resume finds a row for each epoch.

    Args:
        trainer (ultralytics.engine.trainer.BaseTrainer): The trainer.
    """
    values = scalars(trainer.ema.ema) if _is_on() else {}
    if not values:
        return
    file, epoch = Path(trainer.save_dir) / "lambda.csv", trainer.epoch + 1
    columns = ["epoch", *values]
    rows = [row for row in _read_rows(file, columns) if int(row["epoch"]) < epoch]  # after a resume, later ones go
    rows.append({"epoch": str(epoch), **{name: f"{value:.6g}" for name, value in values.items()}})
    _write_rows(file, columns, rows)
    trainer.diffattn_unseen = {f"{PREFIX}{name}": value for name, value in values.items()}


@_harmless
def on_fit_epoch_end(trainer: Any) -> None:
    """Show the epoch's lambda to the loggers, once: the final validation calls this again, with best.pt's metrics.

    Args:
        trainer (ultralytics.engine.trainer.BaseTrainer): The trainer.
    """
    unseen = vars(trainer).pop("diffattn_unseen", None)
    if unseen:
        trainer.metrics.update(unseen)
        trainer.diffattn_shown = tuple(unseen)


@_harmless
def on_train_end(trainer: Any) -> None:
    """Take lambda out of the metrics, and draw `lambda.png` if the training draws plots.

    Args:
        trainer (ultralytics.engine.trainer.BaseTrainer): The trainer.
    """
    _hide(trainer)
    if not (_is_on() and trainer.args.plots):
        return
    columns = ["epoch", *scalars(trainer.ema.ema)]
    rows = _read_rows(Path(trainer.save_dir) / "lambda.csv", columns)
    if rows and len(columns) > 1:
        file = Path(trainer.save_dir) / "lambda.png"
        starts = {name: getattr(module, "lambda_init", None) or None for name, module in _modules(trainer.ema.ema)}
        draw(file, {name: {int(row["epoch"]): float(row[name]) for row in rows} for name in columns[1:]}, starts)
        trainer.on_plot(file)  # the integrations that upload plots run behind this


CALLBACKS = {f.__name__: f for f in (on_train_epoch_start, on_train_epoch_end, on_fit_epoch_end, on_train_end)}


def _is_on() -> bool:
    return os.environ.get("DIFFATTN_LOG", "").strip().lower() not in {"0", "false", "off", "no"}


def _hide(trainer: Any) -> None:
    """Take out of the metrics what `on_fit_epoch_end` added; others may have added to them since."""
    for name in vars(trainer).pop("diffattn_shown", ()):
        trainer.metrics.pop(name, None)


def _read_rows(file: Path, columns: list[str]) -> list[dict[str, str]]:
    """Return the existing rows, none if they are of another model."""
    if not file.exists():
        return []
    with open(file, newline="", encoding="utf-8") as f:
        reader = csv.DictReader(f)
        return list(reader) if reader.fieldnames == columns else []


def _write_rows(file: Path, columns: list[str], rows: list[dict[str, str]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(file, text.getvalue())
