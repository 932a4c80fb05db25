# Ultralytics DiffAttn - AGPL-3.0 License
"""Every model with every teacher: their labels, the files of the teachers, and what a run's specification says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ultralytics_diffattn.comparison.schema import RunSpec
from ultralytics_diffattn.errors import UserError

NONE = "none"  # in place of a teacher
JOINT = "+"  # between model and teacher in a label


class Taught(NamedTuple):
    """A model, and its teacher or `NONE`."""

    model: str
    teacher: str

    @property
    def label(self) -> str:
        """Return the label under which it stands in the results."""
        return self.model if self.teacher == NONE else f"{self.model}{JOINT}{self.teacher}"


def name_teachers(teachers: Sequence[str]) -> dict[str, str | None]:
    """Return the files of teachers by name.

    Args:
        teachers (Sequence[str]): Checkpoints, and `none` for a training without a teacher.

    Returns:
        (dict[str, str | None]): Absolute where the file exists; None for `none`.

    Raises:
        UserError: If they are fewer than two, or two have the same name.

    Examples:
        >>> name_teachers(["none", "yolo11s.pt"])
        {'none': None, 'yolo11s': 'yolo11s.pt'}
    """
    names = [Path(teacher).stem for teacher in teachers]
    if any(name == NONE and teacher != NONE for name, teacher in zip(names, teachers, strict=True)):
        raise UserError(
            f"teacher={','.join(teachers)}: {NONE} stands for training without a teacher; rename that file."
        )
    if len(names) < 2 or len(set(names)) < len(names):
        raise UserError(
            f"teacher={','.join(teachers)} must list two or more teachers with different names, as "
            "teacher=none,yolo11s.pt; for the same teacher for every model, give distill_model=yolo11s.pt."
        )
    files = (None if t == NONE else located(t) for t in teachers)
    return dict(zip(names, files, strict=True))


def located(weights: str) -> str:
    """Return the path of weights, which ultralytics downloads if it knows them by name.

    What is trained is the same then for the same command, whether they were there before or not.

    Args:
        weights (str): A file, or a name such as yolo11n.pt.

    Returns:
        (str): Absolute if there is such a file now; else as it was given.
    """
    from ultralytics.utils.downloads import attempt_download_asset

    try:
        path = Path(
            weights if Path(weights).exists() or not weights.endswith(".pt") else attempt_download_asset(weights)
        )
    except Exception:  # without a network; what needs the file then says that it is missing
        return weights
    return str(path.resolve()) if path.exists() else weights


def check_teacher(teacher: str, task: str) -> None:
    """Raise if a teacher cannot be loaded, or is for another task.

    Args:
        teacher (str): A checkpoint.
        task (str): Of the models that it is to teach.

    Raises:
        UserError: If it does not load, or does not fit.
    """
    from ultralytics import YOLO

    try:
        model = YOLO(teacher)
    except Exception as e:
        raise UserError(f"the teacher {teacher} does not load: {type(e).__name__}: {e}") from e
    if model.task != task:
        raise UserError(
            f"the teacher {teacher} is for {model.task}, but the models are for {task}; give a teacher for {task}."
        )


def taught_by(specs: Mapping[str, RunSpec]) -> list[Taught]:
    """Return which model and which teacher each label stands for.

    Args:
        specs (Mapping[str, RunSpec]): A run's specification of each label.

    Returns:
        (list[Taught]): In the same order.
    """
    return [Taught(label.removesuffix(f"{JOINT}{_teacher(spec)}"), _teacher(spec)) for label, spec in specs.items()]


def teacher_arguments(specs: Iterable[RunSpec]) -> dict[str, str | None]:
    """Return the arguments of the command that name the teachers.

    Args:
        specs (Iterable[RunSpec]): Of all models.

    Returns:
        (dict[str, str | None]): `teacher` where there are several, else `distill_model`; empty without a teacher.
    """
    files = list(dict.fromkeys(spec.args.get("distill_model") for spec in specs))
    if len(files) > 1:
        return {"teacher": ",".join(file or NONE for file in files), "distill_model": None}
    return {"distill_model": files[0]} if files[0] else {}


def _teacher(spec: RunSpec) -> str:
    """Return the name of a run's teacher."""
    return Path(spec.args["distill_model"]).stem if spec.args.get("distill_model") else NONE
