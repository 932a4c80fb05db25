# Ultralytics DiffAttn - AGPL-3.0 License
"""What a comparison trains: the folder, the arguments, and for each run a specification that must not change."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ultralytics_diffattn.output.files import read_json


def comparison_folder(project: str | None, name: str) -> Path:
    """Return the folder of a comparison: the same for the same command, in the same place if `runs_dir` is relative."""
    from ultralytics.utils import SETTINGS

    project = Path(project or "compare")
    return (project if project.is_absolute() else Path(SETTINGS["runs_dir"]) / project).resolve() / name


def training_arguments(args: dict) -> dict:
    """Return the arguments of the trainings, checked by ultralytics, with paths that hold in every process."""
    from ultralytics.cfg import get_cfg
    from ultralytics.utils import DEFAULT_CFG_DICT

    args = {key: DEFAULT_CFG_DICT[key] for key in ("epochs", "batch", "imgsz")} | args
    get_cfg(overrides={key: value for key, value in args.items() if key != "augmentations"})
    if not isinstance(args["batch"], int) or args["batch"] < 1:
        raise ValueError(f"batch={args['batch']} would be chosen for each model by itself; give a number, as batch=16.")
    if isinstance(args["imgsz"], int) and args["imgsz"] < 32:
        raise ValueError(f"imgsz={args['imgsz']} is too small; give pixels, at least 32.")
    if args.get("time"):
        raise ValueError(f"time={args['time']} would give a faster model more epochs; give epochs= in its place.")
    for key in ("data", "pretrained"):
        if isinstance(args.get(key), str) and Path(args[key]).exists():
            args[key] = str(Path(args[key]).resolve())
    return args


def model_digest(model: str, pretrained: str | bool | None) -> str:
    """Build the model, so that a mistake shows before hours of training; return a hash of what it is."""
    from ultralytics import YOLO

    from ultralytics_diffattn.weights.transfer import check_pretrained

    try:
        built = YOLO(model)
    except Exception as e:
        raise ValueError(f"model {model} does not build: {type(e).__name__}: {e}") from e
    if built.task != "detect":
        raise ValueError(f"model {model} is for {built.task}; a comparison is of detectors.")
    if Path(model).suffix == ".pt":
        return hashlib.sha256(Path(built.ckpt_path).read_bytes()).hexdigest()
    if isinstance(pretrained, str):
        check_pretrained(pretrained, built.model)
    return hashlib.sha256(json.dumps(built.model.yaml, sort_keys=True, default=str).encode()).hexdigest()


def check_specification(run: Path, spec: dict) -> None:
    """Refuse a run's folder that holds something else."""
    if not run.exists():
        return
    old = read_json(run / "spec.json") if (run / "spec.json").exists() else None
    if old is None and any(run.iterdir()):
        raise ValueError(
            f"{run} holds something that is not a run of a comparison; move it away or choose another name=."
        )
    if old is None:
        return
    old, spec = (json.loads(json.dumps({**s.pop("args"), **s})) for s in (dict(old), dict(spec)))
    changes = [f"{k}: {old.get(k)} there, {spec.get(k)} now" for k in old | spec if old.get(k) != spec.get(k)]
    if changes:
        raise ValueError(
            f"{run} belongs to a comparison with another setting ({'; '.join(changes)}). Choose another name=, or move "
            "that folder away; nothing was changed."
        )
