# Ultralytics DiffAttn - AGPL-3.0 License
"""`diffattn convert`: a trained stock checkpoint becomes one of a model of ours, ready to be fine-tuned."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import torch

from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.output.files import write_text
from ultralytics_diffattn.weights.build import build, difference
from ultralytics_diffattn.weights.checkpoints import load, new_file, save

OWN: dict[str, Any] = {"weights": "", "model": "", "out": ""}
SAME = 1e-5  # float rounding
TRAINING = "ema", "updates", "optimizer", "scaler", "best_fitness", "train_metrics", "train_results"  # not carried over
POSITIONAL = "weights", "out"  # may be given without their names: diffattn convert in.pt model=... out.pt


def convert(weights: str = "", model: str = "", out: str = "", **args: Any) -> dict[str, Any]:
    """Carry the weights of a trained checkpoint over into a model of ours, and report tensor by tensor.

    Classes, task and scale are the checkpoint's. Rows that the model has on top of the checkpoint's are passed over, so
    weights find their rows even where `YOLO(yaml).load(weights)`, which goes by the number of the row, loses them.

    Args:
        weights (str): Checkpoint of a stock model, or of one of ours.
        model (str): YAML, with the checkpoint's scale or without one.
        out (str): Where the new checkpoint goes, by default into the present folder, named after both; a `.csv` beside
            it lists the status of each tensor.
        **args (Any): None; here to be refused by name.

    Returns:
        (dict): `file`, `tensors` (the status of each, see `transfer.TransferredTensor`) and `difference`: the largest
            difference between the raw outputs of the two models on a random image, as a part of the largest output.

    Raises:
        MissingFileError: If a file does not exist.
        ExistingFileError: If `out` does.
        UserError: If an argument is missing, the checkpoint cannot be read, or less is carried over than all that the
            stock model knows outside of our modules.

    Examples:
        >>> convert("yolo11n.pt", model="yolo11n-diffattn-paired.yaml", out="paired.pt")  # doctest: +SKIP
    """
    from ultralytics.utils import LOGGER

    from ultralytics_diffattn.weights.transfer import summary, transfer

    if args:
        raise UserError(f"{', '.join(args)} is not an argument of convert: diffattn convert in.pt model=x.yaml out.pt")
    source, checkpoint = load(weights)
    file = new_file(out or f"{Path(weights).stem}-{Path(model).stem}.pt", ".pt")
    new_file(str(file.with_suffix(".csv")), ".csv")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # what is new is the same each time
        target = build(model, source, weights)
    try:
        tensors = transfer(source, target)
    except UserError as e:
        raise UserError(f"{weights} does not become {model}: {e}") from None
    gap = difference(source, target)
    stays = {"train_args": checkpoint.get("train_args") or {}, "epoch": -1}
    dtype = next(checkpoint["ema" if checkpoint.get("ema") else "model"].parameters()).dtype
    save({**checkpoint, **stays, **dict.fromkeys(TRAINING), "model": target.to(dtype).requires_grad_(False)}, file)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerows(
        [["status", "tensor", "shape"], *((status, name, " ".join(map(str, shape))) for status, name, shape in tensors)]
    )
    write_text(file.with_suffix(".csv"), table.getvalue())
    same = "predicts as" if gap < SAME else "does not predict, before it is trained, as"
    LOGGER.info(
        f"{summary(tensors)}\nevery tensor in {file.with_suffix('.csv')}\n{file} {same} {weights} (on a random image "
        f"outputs differ by {gap:.1g} of the largest); fine-tune it with yolo train model={file} data=..."
    )
    return {"file": str(file), "tensors": tensors, "difference": gap}
