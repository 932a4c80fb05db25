# Ultralytics DiffAttn - AGPL-3.0 License
"""`diffattn convert`: a trained stock checkpoint becomes one of a model of ours, ready to be fine-tuned."""

from __future__ import annotations

import csv
import io
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ultralytics_diffattn.output.files import write_text
from ultralytics_diffattn.weights.checkpoints import load, new_file, save

OWN: dict[str, Any] = {"weights": "", "model": "", "out": ""}
SAME = 1e-5  # float rounding
TRAINING = "ema", "updates", "optimizer", "scaler", "best_fitness", "train_metrics", "train_results"  # not carried over
PLACES = "weights", "out"  # may be given without their names: diffattn convert in.pt model=... out.pt


def convert(weights: str = "", model: str = "", out: str = "", **args: Any) -> dict[str, Any]:
    """Carry the weights of a trained checkpoint over into a model of ours, and report tensor by tensor.

    Classes, task and scale are the checkpoint's. Rows that the model has on top of the checkpoint's are passed over, so
    weights find their rows even where `YOLO(yaml).load(weights)`, which goes by the number of the row, loses them.

    Args:
        weights (str): Checkpoint of a stock model, or of one of ours.
        model (str): YAML, with the checkpoint's scale or without one.
        out (str): Where the new checkpoint goes, by default into the present folder, named after both; a `.csv` beside
            it lists the fate of each tensor.
        **args (Any): None; here to be refused by name.

    Returns:
        (dict): `file`, `fates` (of each tensor, see `transfer.Tensors`) and `difference`: how far the raw outputs of
            the two models are apart on a random image, as a part of the largest output.

    Raises:
        FileNotFoundError: If a file does not exist.
        FileExistsError: If `out` does.
        ValueError: If an argument is missing, the checkpoint cannot be read, or less is carried over than all that the
            stock model knows outside of our modules.

    Examples:
        >>> convert("yolo11n.pt", model="yolo11n-diffattn-paired.yaml", out="paired.pt")  # doctest: +SKIP
    """
    from ultralytics.utils import LOGGER

    from ultralytics_diffattn.weights.transfer import summary, transfer

    if args:
        raise ValueError(f"{', '.join(args)} is not an argument of convert: diffattn convert in.pt model=x.yaml out.pt")
    source, checkpoint = load(weights)
    file = new_file(out or f"{Path(weights).stem}-{Path(model).stem}.pt", ".pt")
    new_file(str(file.with_suffix(".csv")), ".csv")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # what is new is the same each time
        target = build(model, source, weights)
    try:
        fates = transfer(source, target)
    except ValueError as e:
        raise ValueError(f"{weights} does not become {model}: {e}") from None
    gap = difference(source, target)
    stays = {"train_args": checkpoint.get("train_args") or {}, "epoch": -1}
    dtype = next(checkpoint["ema" if checkpoint.get("ema") else "model"].parameters()).dtype
    save({**checkpoint, **stays, **dict.fromkeys(TRAINING), "model": target.to(dtype).requires_grad_(False)}, file)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerows([["fate", "tensor", "shape"], *((f, name, " ".join(map(str, s))) for f, name, s in fates)])
    write_text(file.with_suffix(".csv"), table.getvalue())
    same = "predicts as" if gap < SAME else "does not predict, before it is trained, as"
    LOGGER.info(
        f"{summary(fates)}\nevery tensor in {file.with_suffix('.csv')}\n{file} {same} {weights} (on a random image "
        f"outputs differ by {gap:.1g} of the largest); fine-tune it with yolo train model={file} data=..."
    )
    return {"file": str(file), "fates": fates, "difference": gap}


def build(model: str, source: nn.Module, weights: str) -> nn.Module:
    """Build the model of a YAML for the classes, the task and the scale of a trained one.

    Args:
        model (str): The YAML.
        source (nn.Module): The trained model.
        weights (str): Its file, for messages.

    Returns:
        (nn.Module): The new model, with the other's names and arguments.

    Raises:
        ValueError: If there is no `model`, or its scale or task is another.
    """
    from ultralytics.nn.tasks import guess_model_task, yaml_model_load

    if not model:
        raise ValueError("model= is missing; give a model YAML, such as model=yolo11-diffattn-paired.yaml.")
    if Path(model).suffix not in {".yaml", ".yml"}:
        raise ValueError(f"model={model!r} must be a model YAML, such as model=yolo11n-diffattn-paired.yaml.")
    d, old = yaml_model_load(model), source.yaml
    scale, task = old.get("scale"), guess_model_task(source)
    if d.get("scales") and not d["scale"] and scale in d["scales"]:
        d["scale"] = scale
    if scale and d["scale"] and d["scale"] != scale:
        raise ValueError(
            f"{weights} is of scale {scale!r}, model={model} of {d['scale']!r}: give both in one scale, or the YAML "
            "without one."
        )
    if guess_model_task(d) not in {task, None}:  # it does not know RT-DETR's YAMLs
        raise ValueError(f"{weights} is for {task}, model={model} for {guess_model_task(d)}: give both for one task.")
    d |= {"kpt_shape": old["kpt_shape"]} if "kpt_shape" in old else {}
    d["nc"] = getattr(source.model[-1], "nc", len(source.names))  # a published checkpoint's own YAML may say another
    target = type(source)(d, ch=old.get("channels", 3), verbose=False)
    _widen_class_branches(target.model[-1], source.model[-1])
    for name in ("names", "args", "task", "pe", "kpt_shape"):
        if hasattr(source, name):
            setattr(target, name, deepcopy(getattr(source, name)))
    return target.eval()


def _widen_class_branches(head: nn.Module, old: nn.Module) -> None:
    """Give a head the class branches of another: fine-tuned on other classes, they keep the width of the first ones."""
    shapes = ([p.shape for p in h.cv2.parameters()] if hasattr(h, "cv2") else None for h in (head, old))
    if type(head) is type(old) and len({str(s) for s in shapes}) == 1:
        for name in ("cv3", "one2one_cv3"):
            if getattr(old, name, None) is not None:
                setattr(head, name, deepcopy(getattr(old, name)))


@torch.no_grad()
def difference(source: nn.Module, target: nn.Module, size: int = 128) -> float:
    """Return how far the raw outputs of two models are apart on a random image.

    Args:
        source (nn.Module): One model, in evaluation mode.
        target (nn.Module): The other.
        size (int): Height and width of the image in pixels.

    Returns:
        (float): The largest difference, as a part of the largest output.
    """
    ch = source.yaml.get("channels", 3)
    x = torch.rand(1, ch, size, size, generator=torch.Generator().manual_seed(0))
    a, b = (_first(model(x)) for model in (source, target))
    return float((a - b).abs().max() / a.abs().max())


def _first(y: Any) -> torch.Tensor:
    return y if isinstance(y, torch.Tensor) else _first(next(iter(y.values())) if isinstance(y, dict) else y[0])
