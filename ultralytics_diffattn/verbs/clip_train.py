# Ultralytics DiffAttn - AGPL-3.0 License
"""`diffattn clip-train`: train CLIP or DiffCLIP on images and captions, with Lightning's trainer."""

from __future__ import annotations

from typing import Any

from ultralytics.utils import LOGGER

from ultralytics_diffattn.clip import pairs
from ultralytics_diffattn.clip.training import fit, hardware
from ultralytics_diffattn.nn.arguments import check_count, check_dropout, check_ratio
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


def clip_train(**given: Any) -> dict[str, Any]:
    """Train a model on images and captions.

    Args:
        **given (Any): `model` (as for `build`), `data` and `val_data` (as for `pairs.read`), `epochs`, `batch` (on each
            GPU), `lr0`, `weight_decay`, `warmup` (share of all steps), `seed`, `amp`, `device`, `workers`, `project`,
            `name`, `exist_ok` and `resume` (goes on in the folder that `project` and `name` say; all else as before).

    Returns:
        (dict): The last epoch's row of `metrics.csv`.

    Raises:
        ValueError: If an argument is missing or out of range.
        FileNotFoundError: If there is no such model or data.

    Examples:
        >>> clip_train(data="captions.csv", model="diffclip-tiny.yaml", epochs=3)  # doctest: +SKIP

    References:
        CLIP, section 2; https://lightning.ai.
    """
    check_known("clip-train", given, OWN)
    args = {**OWN, **given}
    if not args["data"]:
        raise ValueError("data= is missing; give a CSV with the columns image and caption.")
    files, captions = pairs.read(args["data"])
    held_out = pairs.read(args["val_data"]) if args["val_data"] else None
    for name in ("epochs", "batch"):
        check_count(name, args[name])
    if args["batch"] < 2 or len(files) < args["batch"]:
        raise ValueError(f"batch={args['batch']} must be from 2 to the number of pairs, {len(files)}.")
    for name in ("lr0", "weight_decay"):
        check_ratio(name, args[name])
    check_dropout("warmup", args["warmup"])
    if not isinstance(args["seed"], int) or args["seed"] < 0:
        raise ValueError(f"seed={args['seed']!r} must be an integer >= 0.")
    machine, resume = hardware(args["device"], args["amp"]), bool(args["resume"])
    reuse = bool(args["exist_ok"]) or resume
    folder = run_folder("classify", "train", args["name"] or "clip-train", args["project"], reuse)
    last = folder / "last.ckpt"
    if resume and not last.is_file():
        raise FileNotFoundError(f"there is no {last} to go on from; leave resume out to begin.")
    found, is_first = fit(args, files, captions, held_out, folder, machine)
    if is_first:
        write_json(folder / "clip-train.json", {"arguments": args, "metrics": found})
        scores = ", ".join(f"{name} {value:.4f}" for name, value in found.items() if name != "lr")
        LOGGER.info(f"clip-train: {scores}, {folder}")
    return found
