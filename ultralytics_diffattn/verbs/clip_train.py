# Ultralytics DiffAttn - AGPL-3.0 License
"""`diffattn clip-train`: train CLIP or DiffCLIP on images and captions, with Lightning's trainer."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from ultralytics.utils import LOGGER

from ultralytics_diffattn.clip import pairs
from ultralytics_diffattn.clip.hardware import choose_hardware
from ultralytics_diffattn.clip.training import Arguments, fit
from ultralytics_diffattn.errors import MissingFileError, UserError
from ultralytics_diffattn.output.files import write_json
from ultralytics_diffattn.output.run_folder import run_folder
from ultralytics_diffattn.verbs.arguments import check_known

OWN = {
    "model": "diffclip-tiny.yaml",
    "data": "",
    "val_data": "",
    "epochs": 30,
    "batch": 128,
    "lr0": 1e-3,
    "weight_decay": 0.1,
    "warmup": 0.1,
    "seed": 0,
    "amp": True,
    "workers": 0,
    "device": "",
    "project": "",
    "name": "",
    "exist_ok": False,
    "resume": False,
}


def clip_train(**arguments: Any) -> dict[str, float]:
    """Train a model on images and captions.

    Args:
        **arguments (Any): `model` (as for `build.build`), `data` and `val_data` (as for `pairs.read`), `epochs`,
            `batch` (on each GPU), `lr0`, `weight_decay`, `warmup` (share of all steps), `seed`, `amp`, `device`,
            `workers`, `project`, `name`, `exist_ok` and `resume` (goes on in the folder that `project` and `name` say;
            all else as before).

    Returns:
        (dict[str, float]): The last epoch's row of `metrics.csv`.

    Raises:
        UserError: If an argument is missing or out of range.
        MissingFileError: If there is no such model or data.

    Examples:
        >>> clip_train(data="captions.csv", model="diffclip-tiny.yaml", epochs=3)  # doctest: +SKIP

    References:
        CLIP, section 2; https://lightning.ai.
    """
    check_known("clip-train", arguments, OWN)
    args = {**OWN, **arguments}
    if not args["data"]:
        raise UserError("data= is missing; give a CSV with the columns image and caption.")
    train = pairs.read(args["data"])
    held_out = pairs.read(args["val_data"]) if args["val_data"] else None
    training = Arguments(**{field.name: args[field.name] for field in fields(Arguments)})
    if training.batch < 2 or len(train.files) < training.batch:
        raise UserError(f"batch={training.batch} must be from 2 to the number of pairs, {len(train.files)}.")
    hardware, resume = choose_hardware(args["device"], args["amp"]), bool(args["resume"])
    reuse = bool(args["exist_ok"]) or resume
    folder = run_folder("classify", "train", args["name"] or "clip-train", args["project"], reuse)
    if resume and not (folder / "last.ckpt").is_file():
        raise MissingFileError(f"there is no {folder / 'last.ckpt'} to go on from; leave resume out to begin.")
    metrics, is_first = fit(training, train, held_out, folder, hardware, resume)
    if is_first:
        write_json(folder / "clip-train.json", {"arguments": args, "metrics": metrics})
        scores = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items() if name != "lr")
        LOGGER.info(f"clip-train: {scores}, {folder}")
    return metrics
