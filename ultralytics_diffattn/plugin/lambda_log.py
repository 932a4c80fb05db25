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

from ultralytics_diffattn.output.files import whole, write_text

PREFIX = "lambda/"  # of the metrics' names; loggers put what has the same first part beside each other
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # of Okabe and Ito, for all eyes
DASHES = ("-", (0, (4, 1.5)), (0, (1, 1)))
START = "#7f7f7f"


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
    """Return the present lambdas of a model as numbers, each with a name of its own.

    Args:
        model (nn.Module): Any model.

    Returns:
        (dict[str, float]): By `module` for a lambda that all heads share, by `module/head` for others.

    Examples:
        >>> from ultralytics_diffattn.nn.paired import PairedAttention_Diff
        >>> scalars(nn.Sequential(PairedAttention_Diff(128, num_heads=2)))
        {'0/0': 0.0, '0/1': 0.0}
    """
    found: dict[str, float] = {}
    for name, value in read(model).items():
        numbers = value.tolist()  # one transfer from the GPU for all heads
        found |= {f"{name}/{head}": x for head, x in enumerate(numbers)} if value.ndim else {name: numbers}
    return found


def _modules(model: nn.Module) -> Iterable[tuple[str, Any]]:
    """Yield name and module of each differential attention; torch.compile leaves no trace in the names."""
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
        starts = {name: getattr(module, "lambda_init", None) for name, module in _modules(trainer.ema.ema)}
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
    """Return the rows that are there, none if they are of another model."""
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


def draw(file: Path, curves: dict[str, dict[int, float]], starts: dict[str, float | None]) -> None:
    """Draw lambda over the epochs: a panel for each block where heads have their own, else one panel for all.

    Args:
        file (Path): The PNG.
        curves (dict[str, dict[int, float]]): Lambda by epoch, by the names that `scalars` gives.
        starts (dict[str, float | None]): Of each module lambda_init, a dashed line; None where lambda starts at zero.
    """
    import matplotlib.style
    from matplotlib.figure import Figure  # without pyplot, so that a notebook keeps its backend and its figures

    panels: dict[str, dict[str, dict[int, float]]] = {}  # by title, then by what the legend calls the line
    per_head = any("/" in name for name in curves)
    for name, curve in curves.items():
        block, _, head = name.partition("/")
        panels.setdefault(block if per_head else "", {})[f"head {head}" if head else block] = curve
    across = min(len(panels), 4)
    down = -(-len(panels) // across)
    labels = list(dict.fromkeys(label for lines in panels.values() for label in lines))
    with matplotlib.style.context("default"):  # not in what the user has set for other pictures
        figure = Figure((2.5 + (5.5 if len(panels) == 1 else 2.9 * across), 1 + (3.6 if down == 1 else 2.2 * down)))
        figure.set_layout_engine("constrained")
        grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, (title, lines) in zip(grid, panels.items(), strict=False):
            for label, curve in lines.items():
                _line(axes, curve, label, labels.index(label), len(labels))
            for start in {starts[title]} if title else set(starts.values()):
                label = "start" if start is None else "lambda_init"
                axes.axhline(start or 0, color=START, linestyle="--", linewidth=1, label=label, zorder=1)
            axes.set_title(title, fontsize=10)
            axes.grid(alpha=0.3)
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        _scale(grid, sorted({epoch for curve in curves.values() for epoch in curve}))
        figure.supxlabel("epoch", fontsize=10)
        figure.supylabel("lambda", fontsize=10)
        named = {label: line for axes in grid for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
        beside = -(-len(named) // 18)  # columns of the legend
        figure.set_figwidth(figure.get_figwidth() + 1.9 * (beside - 1))
        figure.legend(named.values(), named.keys(), loc="outside right upper", fontsize=8, ncols=beside)
        with whole(file) as place:
            figure.savefig(place, format="png", dpi=200)


def _line(axes: Any, curve: dict[int, float], label: str, i: int, count: int) -> None:
    """Draw line `i` of `count`: few in colours that all eyes tell apart, more in the order of a scale."""
    import matplotlib

    colour = COLOURS[i] if count <= len(COLOURS) else matplotlib.colormaps["turbo"](0.05 + 0.9 * i / (count - 1))
    axes.plot(
        *(list(curve), list(curve.values())),
        color=colour,
        linestyle=DASHES[i % len(DASHES)] if count > len(COLOURS) else "-",
        marker="." if len(curve) <= 60 else None,
        linewidth=1.5,
        label=label,
    )


def _scale(grid: Any, epochs: list[int]) -> None:
    """Give the axes that all panels share whole epochs, plain numbers, and a hundredth of lambda at least."""
    from matplotlib.ticker import MaxNLocator

    axes = grid[0]
    axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=(1, 2, 5, 10), min_n_ticks=1))
    low, high = axes.get_ylim()
    if high - low < 0.01:  # else the axis would make a great thing of a step in the sixth digit
        axes.set_ylim((low + high) / 2 - 0.005, (low + high) / 2 + 0.005)
    axes.ticklabel_format(axis="y", useOffset=False)
