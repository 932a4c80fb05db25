# Ultralytics DiffAttn - AGPL-3.0 License
"""`diffattn compare`: several models, several seeds, one budget; then the statistics and the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ultralytics_diffattn.output.files import write_json
from ultralytics_diffattn.verbs.arguments import listed

OWN = {"models": "yolo11n.yaml,yolo11n-diffattn.yaml", "seeds": (0, 1, 2), "ray": False}
NOT_OURS = {  # what differs between the runs, or says where a run goes
    "model": "models=a.yaml,b.yaml",
    "seed": "seeds=0,1,2",
    "save_dir": "project= and name=",
    "resume": "the same command again; it continues by itself",
    "exist_ok": "the same command again; it continues by itself",
    "mode": "nothing",
}


def compare(**given: Any) -> bool:
    """Train every model with every seed, alike in everything else, and report how they differ.

    Args:
        **given (Any): `models` (names or paths with commas between), `seeds` (integers), `data` (whatever
            `catalogue.resolve` takes), `ray` (spread the runs over a Ray cluster), `project` and `name` (the folder,
            by default compare/<data set> below ultralytics' runs), and any argument of ultralytics' training.

    Returns:
        (bool): True if every run is finished.

    Raises:
        ValueError: If an argument is out of range, a model does not build, or the folder holds another comparison.
        RuntimeError: If another comparison is at work in the folder.

    Examples:
        >>> compare(data="shapes", seeds=(0, 1))  # doctest: +SKIP
    """
    for key in NOT_OURS.keys() & given.keys():
        raise ValueError(f"{key}= is not an argument of a comparison; use {NOT_OURS[key]}.")
    own = {key: given.pop(key, default) for key, default in OWN.items()}
    models, seeds = parse_models(own["models"]), parse_seeds(own["seeds"])

    from ultralytics.utils import LOGGER

    from ultralytics_diffattn.comparison import results, schedule
    from ultralytics_diffattn.comparison.specification import (
        check_specification,
        comparison_folder,
        model_digest,
        training_arguments,
    )
    from ultralytics_diffattn.data import catalogue
    from ultralytics_diffattn.data.check import check, fingerprint
    from ultralytics_diffattn.evaluation.environment import versions

    dataset = catalogue.resolve(given.pop("data", "shapes"))
    folder = comparison_folder(given.pop("project", None), given.pop("name", None) or dataset.name)
    args = training_arguments({**dataset.budget, **given, "data": dataset.data})
    data_digest = fingerprint(check(args["data"], dataset.classes))
    digests = {label: model_digest(model, args.get("pretrained")) for label, model in models.items()}

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RuntimeError(
            f"another comparison is at work in {folder}; wait for it, or choose another name=."
        ) from None
    with lock:
        # Seed by seed, so that what the machine does meanwhile falls on all models alike.
        runs = {(label, seed): folder / label / f"seed{seed}" for seed in seeds for label in models}
        specs = {
            (label, seed): {
                "model": models[label],
                "model_digest": digests[label],
                "args": {**args, "seed": seed},
                "data": data_digest,
                "versions": versions(),
            }
            for label, seed in runs
        }
        for key, run in runs.items():
            check_specification(run, specs[key])
        for key, run in runs.items():
            if not (run / "spec.json").exists():
                run.mkdir(parents=True, exist_ok=True)
                write_json(run / "spec.json", specs[key])
        LOGGER.info(f"compare: {len(runs)} runs ({len(models)} models x {len(seeds)} seeds) in {folder}")
        failed = schedule.over_ray(list(runs.values())) if own["ray"] else schedule.one_by_one(list(runs.values()))
        results.report(folder, runs)
    return not failed


def parse_models(models: str | list | tuple) -> dict[str, str]:
    """Return the models by the name under which they stand in the results.

    Args:
        models (str | list | tuple): YAMLs or checkpoints, in a text with commas between.

    Returns:
        (dict[str, str]): Name to file; a file that exists as an absolute path.

    Raises:
        ValueError: If there are fewer than two, or two of one name.

    Examples:
        >>> parse_models("yolo11n.yaml,yolo11n-diffattn.yaml")
        {'yolo11n': 'yolo11n.yaml', 'yolo11n-diffattn': 'yolo11n-diffattn.yaml'}
    """
    files = [file for file in listed(models) if file]
    names = [Path(file).stem for file in files]
    if len(files) < 2:
        raise ValueError(f"models={models!r} names {len(files)}; a comparison takes two or more, with commas between.")
    if len(set(names)) < len(names):
        raise ValueError(f"models={models!r}: two have the same name, and so the same folder; rename one file.")
    return {n: str(Path(f).resolve()) if Path(f).exists() else f for n, f in zip(names, files, strict=True)}


def parse_seeds(seeds: Any) -> list[int]:
    """Return the seeds as a list.

    Args:
        seeds (int | str | list | tuple): Whole numbers from 0 on.

    Returns:
        (list[int]): In the order given.

    Raises:
        ValueError: If one is not a whole number, negative, or given twice.

    Examples:
        >>> parse_seeds("0,1,2")
        [0, 1, 2]
    """
    found = listed(seeds)
    if not found or not all(s.isdecimal() for s in found):
        raise ValueError(f"seeds={seeds!r} must be whole numbers from 0 on, with commas between: seeds=0,1,2.")
    found = [int(s) for s in found]
    if len(set(found)) < len(found):
        raise ValueError(f"seeds={seeds!r} holds a seed twice, which would count one training as two.")
    return found
