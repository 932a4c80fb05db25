# Ultralytics DiffAttn - AGPL-3.0 License
"""Reading ultralytics' checkpoints with an error that says what is wrong, and writing them whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ultralytics_diffattn.errors import ExistingFileError, MissingFileError, MissingPackageError, UserError
from ultralytics_diffattn.output.files import whole
from ultralytics_diffattn.plugin import user_modules


def load(weights: str) -> tuple[nn.Module, dict[str, Any]]:
    """Return the model of a checkpoint, in float32 and ready to predict, and the checkpoint.

    Args:
        weights (str): The file; nothing is downloaded.

    Returns:
        (tuple[nn.Module, dict]): Both.

    Raises:
        MissingFileError: If the file does not exist.
        UserError: If `weights` is missing, or the file is no whole checkpoint with weights that can be trained.
        MissingPackageError: If it holds classes of a package that is not installed, or of an unreleased version.
    """
    if not weights:
        raise UserError("the checkpoint is missing; give a .pt of ultralytics.")
    if not Path(weights).is_file():
        raise MissingFileError(
            f"{weights} is a folder; give a .pt file." if Path(weights).is_dir() else f"{weights} does not exist."
        )
    try:
        checkpoint = read(weights)
    except MissingPackageError:
        raise
    except ImportError as e:
        raise MissingPackageError(f"{weights} cannot be read: {e}") from e
    except Exception as e:
        reason = str(e).strip().partition("\n")[0].partition(". ")[0]
        raise UserError(
            f"{weights} cannot be read as a checkpoint ({type(e).__name__}: {reason}): it is cut off, or no .pt of "
            "ultralytics; if it is one, copy or download it again."
        ) from e
    model = student(checkpoint.get("ema") or checkpoint.get("model")) if isinstance(checkpoint, dict) else None
    if not isinstance(model, nn.Module) or not isinstance(getattr(model, "model", None), nn.Sequential):
        raise UserError(f"{weights} holds no model of ultralytics; give a .pt that `yolo train` has written.")
    network: Any = model
    if network.is_fused():
        raise UserError(f"{weights} is fused for prediction and cannot be trained; give the checkpoint of a training.")
    return deepcopy(model).float().eval(), checkpoint


def read(weights: str | Path) -> dict[str, Any]:
    """Return what a checkpoint holds; where `ULTRALYTICS_SAFE_LOAD=1` is set, only if it holds nothing but models.

    Args:
        weights (str | Path): The file.

    Returns:
        (dict): As ultralytics wrote it.

    Raises:
        MissingPackageError: If it holds modules of a user's whose package or file is missing.
    """
    from ultralytics.nn import tasks
    from ultralytics.utils.patches import torch_load

    user_modules.prepare(weights)
    if getattr(tasks, "SAFE_LOAD", False):
        checkpoint: dict[str, Any] = tasks.torch_safe_load(weights)[0]
        return checkpoint
    checkpoint = torch_load(weights, map_location="cpu")
    return checkpoint


def student(model: Any) -> Any:
    """Return the model itself, of an unfinished distillation the one that is trained.

    Args:
        model (nn.Module): What a checkpoint holds; written in the middle of a training with `distill_model=`, that is
            ultralytics' `DistillationModel`.

    Returns:
        (nn.Module): The student, with the arguments, the task and the path of the whole; or the same.
    """
    found = getattr(model, "student_model", model)
    if found is model:
        return model
    for name in {"args", "task", "pt_path"} & vars(model).keys():  # what ultralytics tells a model that it has loaded
        setattr(found, name, getattr(model, name))
    return found


@contextmanager
def student_file(weights: str) -> Iterator[str]:
    """Yield the path of a checkpoint without a teacher: the same file, or for as long as the context a temporary one.

    Args:
        weights (str): A checkpoint; what is no file here ultralytics will download.

    Yields:
        (str): The path.

    Raises:
        UserError: If the file cannot be read.
    """
    if not Path(weights).is_file():
        yield weights
        return
    model, checkpoint = load(weights)
    saved = checkpoint.get("ema") or checkpoint["model"]
    if student(saved) is saved:
        yield weights
        return
    with tempfile.TemporaryDirectory(prefix="diffattn-") as folder:
        file = Path(folder) / Path(weights).name
        save({**checkpoint, "ema": None, "model": model}, file)
        yield str(file)


@contextmanager
def with_student(args: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the arguments of a training with weights of `pretrained=` that hold no teacher.

    Args:
        args (Mapping[str, Any]): Of ultralytics' training; one that resumes reads no such weights.

    Yields:
        (dict[str, Any]): The same, with another path if need be.
    """
    if not isinstance(args.get("pretrained"), str) or args.get("resume"):
        yield dict(args)
        return
    with student_file(args["pretrained"]) as file:
        yield {**args, "pretrained": file}


def new_file(out: str, suffix: str) -> Path:
    """Return the path of a new file.

    Args:
        out (str): Its name.
        suffix (str): What the name must end with.

    Returns:
        (Path): The name as a path.

    Raises:
        UserError: If the name ends otherwise.
        ExistingFileError: If the file exists already.
    """
    file = Path(out)
    if file.suffix != suffix:
        raise UserError(f"{file} must end with {suffix}.")
    if file.exists():
        raise ExistingFileError(f"{file} exists already; move it away, or give another name.")
    return file


def save(checkpoint: dict[str, Any], file: Path) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        checkpoint (dict): As ultralytics writes it.
        file (Path): Its path.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole(file) as beside:
        torch.save(checkpoint, beside)


def label(file: Path) -> str:
    """Return the name of a checkpoint; best.pt and last.pt are named by their run.

    Args:
        file (Path): The checkpoint.

    Returns:
        (str): For tables and titles.

    Examples:
        >>> label(Path("yolo11n.pt")), label(Path("runs/detect/train/weights/best.pt"))
        ('yolo11n', 'detect/train')
    """
    if file.stem not in ("best", "last"):
        return file.stem
    run = file.resolve().parents[1]
    run = run.parent if (run.parent / "spec.json").exists() else run  # of a comparison: model/seed0/train
    return f"{run.parent.name}/{run.name}"
