# Ultralytics DiffAttn - AGPL-3.0 License
"""What a comparison trains: its folder, and for each run a specification that must not change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ultralytics_diffattn.comparison import evaluated
from ultralytics_diffattn.comparison.schema import RunKey, RunSpec, TrainingArguments
from ultralytics_diffattn.comparison.teachers import NONE, Taught, check_teacher, located
from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.evaluation.tasks import TASKS

WEIGHTS = "pretrained", "distill_model"  # arguments that name a file of weights


@dataclass(frozen=True)
class Specification:
    """What a comparison trains, and where.

    Attributes:
        folder (Path): Of the comparison.
        runs (dict[RunKey, RunSpec]): Each run, in the order of training.
        files (dict[Path, str]): What else is to be written: the data YAML and the lists of a holdout.
    """

    folder: Path
    runs: dict[RunKey, RunSpec]
    files: dict[Path, str] = field(default_factory=dict)

    def run_folders(self) -> dict[RunKey, Path]:
        """Return the folder of each run, in the order of training.

        Returns:
            (dict[RunKey, Path]): Model's label, then seed.

        Examples:
            >>> spec = RunSpec("a.yaml", "", {}, {}, "", {})
            >>> Specification(Path("shapes"), {RunKey("a", 0): spec}).run_folders()[RunKey("a", 0)].as_posix()
            'shapes/a/seed0'
        """
        return {
            key: self.folder / key.model / ("evaluated" if key.seed is None else f"seed{key.seed}") for key in self.runs
        }


def specify(
    models: dict[str, str],
    seeds: Sequence[int | None],
    data: str | Path,
    arguments: TrainingArguments,
    project: str | None = None,
    name: str | None = None,
    reconstruct: bool = False,
    holdout: float | None = None,
    teachers: Mapping[str, str | None] | None = None,
) -> Specification:
    """Return what a comparison trains, after every model was built and the data set was checked; write nothing.

    Args:
        models (dict[str, str]): YAMLs or checkpoints by label; with `epochs=0` what `evaluated.open_given` takes.
        seeds (list[int]): Of the trainings of each model.
        data (str | Path): Whatever `catalogue.resolve` takes.
        arguments (dict[str, Any]): Of ultralytics' training; those that are missing are the catalogue's budget.
        project (str, optional): Folder above the comparison's.
        name (str, optional): Of the comparison's folder, by default that of the data set.
        reconstruct (bool): Whether attention of ours first learns what stock's does in the weights of `pretrained`.
        holdout (float, optional): Share of the validation images that is set apart, for every figure to come from.
        teachers (Mapping[str, str | None], optional): Files by name, to train every model with every one; None for a
            training without.

    Returns:
        (Specification): Seed by seed, so that what the machine does meanwhile falls on all models alike.

    Raises:
        UserError: If an argument is out of range, the data set cannot be used, or a model does not build.
    """
    from ultralytics_diffattn.data import catalogue
    from ultralytics_diffattn.data.check import check, fingerprint, has_test, list_images
    from ultralytics_diffattn.data.conversion import source_of
    from ultralytics_diffattn.data.holdout import hold_out
    from ultralytics_diffattn.evaluation.environment import versions
    from ultralytics_diffattn.weights.conversion import check_reconstruct

    untrained = arguments.get("epochs") == 0
    if untrained:
        evaluated.check_arguments(arguments, models.values())
    built = {label: evaluated.open_given(model) if untrained else _build(model) for label, model in models.items()}
    task = task_of(built)
    dataset = catalogue.resolve(data, task)
    folder = comparison_folder(project, name or dataset.name)
    budget = {key: value for key, value in dataset.budget.items() if not untrained or key in evaluated.ARGUMENTS}
    args = training_arguments({**budget, **arguments, "data": dataset.data})
    checked = check(args["data"], dataset.classes, task)
    set_apart = {} if holdout is None else hold_out(checked, holdout, folder / "holdout", task)
    own_test = has_test(checked, task)
    data_digest = fingerprint(checked, task, ("train", "val", "test") if own_test else ("train", "val"))
    source = args["data"]
    if set_apart:
        args["data"] = str(next(iter(set_apart)))
    split = "test" if own_test or set_apart else "val"
    if untrained:
        evaluated.check_classes(built, checked["names"], bool(args.get("single_cls")))
        evaluated.warn_of_padding(built, args.get("rect"))
        args["imgsz"] = evaluated.image_size(built, arguments.get("imgsz"), args["imgsz"])
        images = [*set_apart.values()][-1].splitlines() if set_apart else list_images(checked, split)
        evaluated.check_predictions(built, images, checked, source_of(Path(source)))
        models, reconstruct, seeds = {label: given.ckpt_path for label, given in built.items()}, False, [None]
    taught = (
        {name: {**args, **({} if file is None else {"distill_model": file})} for name, file in teachers.items()}
        if teachers
        else {NONE: args}
    )
    files = {name: file_digests(own, task) for name, own in taught.items()}
    digests = {label: model_digest(model, built[label], args.get("pretrained")) for label, model in models.items()}
    if reconstruct:
        for model in models.values():
            check_reconstruct(model, args)
    fixed = data_digest, versions(), reconstruct, task, split, holdout, source
    specs = {
        RunKey(Taught(label, name).label, seed): RunSpec(
            model, digests[label], {**own, "seed": seed}, files[name], *fixed
        )
        for seed in seeds
        for name, own in taught.items()
        for label, model in models.items()
    }
    if len(specs) < len(seeds) * len(taught) * len(models):
        raise UserError(
            "a model has the name of another one with its teacher (MODEL+TEACHER), so both would have the same folder: "
            "rename its file."
        )
    return Specification(folder, specs, set_apart)


def comparison_folder(project: str | None, name: str) -> Path:
    """Return the folder of a comparison, the same for the same command.

    Args:
        project (str, optional): Folder above; a relative one lies below ultralytics' `runs_dir`. By default "compare".
        name (str): Of the folder.

    Returns:
        (Path): Absolute; it is not created.

    Examples:
        >>> comparison_folder("/tmp/none", "shapes").name
        'shapes'
    """
    from ultralytics.utils import SETTINGS

    return (Path(SETTINGS["runs_dir"]) / (project or "compare")).resolve() / name


def training_arguments(args: TrainingArguments) -> TrainingArguments:
    """Return the arguments of the trainings, checked by ultralytics, with paths that hold in every process.

    Args:
        args (dict[str, Any]): Of ultralytics' training.

    Returns:
        (dict[str, Any]): With `epochs`, `batch` and `imgsz`.

    Raises:
        UserError: If an argument would not be the same for all models, or is out of range.
    """
    from ultralytics.cfg import get_cfg
    from ultralytics.utils import DEFAULT_CFG_DICT

    args = {key: DEFAULT_CFG_DICT[key] for key in ("epochs", "batch", "imgsz")} | args
    try:
        ours = {"augmentations", *(["epochs"] if args["epochs"] == 0 else [])}  # which it refuses, or does not know
        get_cfg(overrides={key: value for key, value in args.items() if key not in ours})
    except (TypeError, ValueError, SyntaxError) as error:
        raise UserError(str(error).strip()) from error
    if not isinstance(args["batch"], int) or args["batch"] < 1:
        raise UserError(
            f"batch={args['batch']} could give each model another batch size; give a whole number, as batch=16."
        )
    if isinstance(args["imgsz"], int) and args["imgsz"] < 32:
        raise UserError(f"imgsz={args['imgsz']} is too small; give at least 32 pixels.")
    if args.get("time"):
        raise UserError(f"time={args['time']} would give a faster model more epochs; give epochs= instead.")
    for key in ("data", *WEIGHTS):
        if isinstance(args.get(key), str):
            args[key] = located(args[key]) if key in WEIGHTS else _absolute(args[key])
    return args


def file_digests(args: TrainingArguments, task: str) -> dict[str, str]:
    """Return a hash of each file of weights that the arguments name, after loading the teacher.

    Args:
        args (dict[str, Any]): From `training_arguments`.
        task (str): Of the models.

    Returns:
        (dict[str, str]): SHA-256 by argument; without weights that ultralytics is still to download.

    Raises:
        UserError: If the teacher does not load, or is for another task.
    """
    if args.get("distill_model"):
        check_teacher(args["distill_model"], task)
    files = {key: Path(args[key]) for key in WEIGHTS if isinstance(args.get(key), str)}
    return {key: _digest(file) for key, file in files.items() if file.is_file()}


def model_digest(model: str, yolo: Any, pretrained: str | bool | None) -> str:
    """Return a hash of a model.

    Args:
        model (str): A YAML, a checkpoint, or another file of a model that is only evaluated.
        yolo (ultralytics.YOLO | Given): The model that it makes.
        pretrained (str | bool, optional): Weights that the training is to start from.

    Returns:
        (str): SHA-256 of the file, or of the YAML as ultralytics reads it; with a user's modules in it, of their files,
            too.

    Raises:
        UserError: If the weights do not fit.
    """
    from ultralytics_diffattn.plugin import needs, user_files
    from ultralytics_diffattn.weights.transfer import check_pretrained

    if Path(model).suffix not in (".yaml", ".yml"):
        digest = _digest(Path(yolo.ckpt_path))
    else:
        if isinstance(pretrained, str):
            check_pretrained(pretrained, yolo.model)
        digest = hashlib.sha256(json.dumps(yolo.model.yaml, sort_keys=True, default=str).encode()).hexdigest()
    network = getattr(yolo, "model", None)  # of an export the file's name, of predictions nothing
    network = network if hasattr(network, "modules") else None
    code = sorted({(n.source, user_files.digest(n.source)) for n in needs.of(network)}) if network is not None else []
    return hashlib.sha256(json.dumps([digest, code]).encode()).hexdigest() if code else digest


def task_of(models: dict[str, Any]) -> str:
    """Return the task of all models.

    Args:
        models (dict[str, ultralytics.YOLO]): By label.

    Returns:
        (str): One of `TASKS`.

    Raises:
        UserError: If they are for different tasks, or theirs is none that is measured.
    """
    tasks = {label: model.task for label, model in models.items()}
    if len(set(tasks.values())) > 1:
        listed = ", ".join(f"{label} is for {task}" for label, task in tasks.items())
        raise UserError(f"{listed}: a comparison takes models of one task.")
    task: str = next(iter(tasks.values()))
    if task not in TASKS:
        raise UserError(f"models for {task} cannot be compared; allowed tasks: {', '.join(TASKS)}.")
    return task


def _absolute(file: str) -> str:
    """Return a path that holds in every process, of a file that exists."""
    return str(Path(file).resolve()) if Path(file).exists() else file


def _build(model: str) -> Any:
    """Return a model, so that a mistake shows before hours of training."""
    from ultralytics import YOLO

    if Path(model).exists() and Path(model).suffix not in (".pt", ".yaml", ".yml"):
        raise UserError(f"{model} cannot be trained; to evaluate all models as they are, give epochs=0.")
    try:
        return YOLO(model)
    except Exception as e:
        raise UserError(f"model {model} does not build: {type(e).__name__}: {e}") from e


def _digest(file: Path) -> str:
    """Return the SHA-256 of a file's content, or of all files of a folder with their names."""
    if not file.is_dir():
        return hashlib.sha256(file.read_bytes()).hexdigest()
    inside = {f.relative_to(file).as_posix(): _digest(f) for f in sorted(file.rglob("*")) if f.is_file()}
    return hashlib.sha256(json.dumps(inside).encode()).hexdigest()
