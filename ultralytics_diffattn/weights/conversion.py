# Ultralytics DiffAttn - AGPL-3.0 License
"""From a trained stock checkpoint to a model with other modules, reconstructed where images are given."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from ultralytics.utils import LOGGER

from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.weights.build import build, difference
from ultralytics_diffattn.weights.checkpoints import load, save, with_student
from ultralytics_diffattn.weights.reconstruction import ReconstructedBlock, counterparts, reconstruct, summary
from ultralytics_diffattn.weights.transfer import TransferredTensor, transfer

TRAINING = "ema", "updates", "optimizer", "scaler", "best_fitness", "train_metrics", "train_results"  # not carried over
IMGSZ = 640  # where the checkpoint does not say


class Converted(NamedTuple):
    """A model with other modules and the weights of a trained one.

    Attributes:
        model (nn.Module): Of ours, in evaluation mode.
        checkpoint (dict): As ultralytics writes it.
        tensors (list[TransferredTensor]): The status of each tensor.
        difference (float): Between the raw outputs of both on a random image, as a part of the largest.
        blocks (list[ReconstructedBlock]): The outcome of the reconstruction.
    """

    model: nn.Module
    checkpoint: dict[str, Any]
    tensors: list[TransferredTensor]
    difference: float
    blocks: list[ReconstructedBlock]


def convert_model(
    weights: str, model: str, files: Sequence[str] = (), imgsz: int | None = None, seed: int = 0
) -> Converted:
    """Carry the weights of a trained checkpoint over into a model with other modules, ours or a user's.

    Args:
        weights (str): Checkpoint of a stock model, or of one of ours.
        model (str): YAML, with the checkpoint's scale or without one.
        files (Sequence[str]): Images for the reconstruction; without any there is none.
        imgsz (int, optional): Size in pixels that they are letterboxed to, by default the checkpoint's.
        seed (int): Of the reconstruction.

    Returns:
        (Converted): The model, and how it came about.

    Raises:
        MissingFileError: If a file does not exist.
        UserError: If the checkpoint cannot be read, or less is carried over than all that the stock model knows
            outside of our modules, or the reconstruction fails.

    Examples:
        >>> convert_model("yolo11n.pt", "yolo11n-diffattn-paired.yaml").difference  # doctest: +SKIP
        0.0
    """
    carried = _carry(weights, model)
    size = imgsz or int((carried.checkpoint.get("train_args") or {}).get("imgsz") or IMGSZ)
    return _finish(carried, reconstruct(carried.source, carried.target, files, size, seed) if files else [])


class _Carried(NamedTuple):
    """Both models after the transfer, before any reconstruction."""

    source: Any
    checkpoint: dict[str, Any]
    target: Any
    tensors: list[TransferredTensor]


def _carry(weights: str, model: str) -> _Carried:
    """Return a trained model and one of ours with its weights."""
    source, checkpoint = load(weights)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # what is new is the same each time
        target = build(model, source, weights)
    try:
        tensors = transfer(source, target)
    except UserError as e:
        raise UserError(f"{weights} cannot be converted to {model}: {e}") from None
    return _Carried(source, checkpoint, target, tensors)


def _finish(carried: _Carried, blocks: list[ReconstructedBlock]) -> Converted:
    """Return the outcome, with a checkpoint as ultralytics writes it."""
    source, checkpoint, target, tensors = carried
    gap = difference(source, target)
    dtype = next(checkpoint["ema" if checkpoint.get("ema") else "model"].parameters()).dtype
    stays = {"train_args": checkpoint.get("train_args") or {}, "epoch": -1}
    stays["model"] = target.to(dtype).requires_grad_(False)
    return Converted(target, {**checkpoint, **dict.fromkeys(TRAINING), **stays}, tensors, gap, blocks)


@contextmanager
def starting_weights(
    model: str, args: Mapping[str, Any], reconstruct_first: bool, task: str = "detect"
) -> Iterator[tuple[dict[str, Any], list[ReconstructedBlock]]]:
    """Yield the arguments of a training with the weights that it starts from, in a temporary file if need be.

    For a reconstruction the training's own images serve, at its own size, with its seed. A model without attention of
    ours, such as stock's in a comparison, starts from the weights themselves.

    Args:
        model (str): What is to be trained.
        args (Mapping[str, Any]): Of ultralytics' training; for a reconstruction with `pretrained` and `data`.
        reconstruct_first (bool): Whether attention of ours first learns what stock's does in `pretrained`.
        task (str): Of the model.

    Yields:
        (tuple): The same arguments but for `pretrained`, and the outcome of each reconstructed block.

    Raises:
        UserError: If `model` is no YAML or `pretrained` no file where there is to be a reconstruction, or it fails.
    """
    from ultralytics.cfg import DEFAULT_CFG

    from ultralytics_diffattn.data.unlabelled import find_images

    if not reconstruct_first:
        with with_student(args) as arguments:
            yield arguments, []
        return
    check_reconstruct(model, args)
    carried = _carry(args["pretrained"], model)
    if not any(stock is not None for _, _, stock in counterparts(carried.source, carried.target)):
        yield {**args}, []
        return
    files = find_images(args["data"], task).files
    size, seed = int(args.get("imgsz") or DEFAULT_CFG.imgsz), int(args.get("seed") or 0)
    made = _finish(carried, reconstruct(carried.source, carried.target, files, size, seed))
    LOGGER.info(summary(made.blocks))
    with tempfile.TemporaryDirectory(prefix="diffattn-") as folder:
        file = Path(folder) / f"{Path(model).stem}.pt"
        save(made.checkpoint, file)
        yield {**args, "pretrained": str(file)}, made.blocks


def check_reconstruct(model: str, args: Mapping[str, Any]) -> None:
    """Raise unless a training can start with a reconstruction.

    Args:
        model (str): What is to be trained.
        args (Mapping[str, Any]): Of ultralytics' training.

    Raises:
        UserError: If `model` is no YAML, or `pretrained` no file.

    Examples:
        >>> check_reconstruct("yolo11n-diffattn.yaml", {"pretrained": True})
        Traceback (most recent call last):
        ...
        ultralytics_diffattn.errors.UserError: reconstruct=True needs the weights of a stock model in a file, ...
    """
    weights = args.get("pretrained")
    if not isinstance(weights, str) or not Path(weights).is_file():
        raise UserError(
            f"reconstruct=True needs the weights of a stock model in a file, and pretrained={weights} is none: give "
            "pretrained=yolo11n.pt, downloaded as `yolo predict model=yolo11n.pt` does."
        )
    if Path(model).suffix not in {".yaml", ".yml"}:
        raise UserError(f"reconstruct=True makes a model from a YAML, such as yolo11n-diffattn.yaml, not from {model}.")
