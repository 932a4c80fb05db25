# Ultralytics DiffAttn - AGPL-3.0 License
"""`diffattn robustness`: what common corruptions of the images leave of a model's mAP."""

from __future__ import annotations

import os
import tempfile
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import numpy as np

from ultralytics_diffattn import bootstrap, intervals, predictions
from ultralytics_diffattn.cli import chosen, listed
from ultralytics_diffattn.corruptions import CORRUPTIONS, corrupt
from ultralytics_diffattn.output.files import write_json, write_text
from ultralytics_diffattn.tables import interval, signed

OWN = {"models": "", "corruptions": ",".join(CORRUPTIONS), "severities": (1, 2, 3, 4, 5)}


def robustness(**given: Any) -> dict[str, Any]:
    """Validate checkpoints on corrupted images, and say how they differ.

    Args:
        **given (Any): `models` (checkpoints with commas between), `data` (whatever `catalogue.resolve` takes),
            `corruptions` (names, by default all), `severities` (1 to 5), `project` and `name` (the folder), and any
            argument of ultralytics' validation.

    Returns:
        (dict): What `robustness.json` holds.

    Raises:
        ValueError: If an argument is out of range, or a model has other classes than the data set.

    Examples:
        >>> robustness(models="a/best.pt,b/best.pt", data="shapes", severities=3)  # doctest: +SKIP

    References:
        Hendrycks and Dietterich, arXiv 1903.12261; for detection Michaelis et al., arXiv 1907.07484.
    """
    if "model" in given:
        raise ValueError(f"model={given['model']}: give models=, one or more checkpoints with commas between.")
    names = parse_names(given.pop("corruptions", OWN["corruptions"]))
    severities = parse_severities(given.pop("severities", OWN["severities"]))
    from ultralytics.cfg import get_save_dir
    from ultralytics.utils import LOGGER, IterableSimpleNamespace

    from ultralytics_diffattn.data import catalogue
    from ultralytics_diffattn.data.check import check

    if "data" not in given:
        raise ValueError("data= is missing; give a name of the catalogue, as data=shapes, or a data YAML of your own.")
    dataset = catalogue.resolve(given.pop("data"))
    data = check(dataset.data, dataset.classes)
    models = load(given.pop("models", ""), data)
    where = {"project": given.pop("project", None), "name": given.pop("name", None) or "robustness"}
    folder = get_save_dir(IterableSimpleNamespace(task="detect", mode="val", exist_ok=False, save_dir=None, **where))
    folder.mkdir(parents=True, exist_ok=True)

    conditions = [("clean", 0), *((name, severity) for name in names for severity in severities)]
    scores, resampled = {}, {}
    with tempfile.TemporaryDirectory(dir=folder) as room:
        for n, (name, severity) in enumerate(conditions, 1):
            LOGGER.info(f"\nrobustness: {n} of {len(conditions)}, {name} {severity or ''}")
            yaml = write_corrupted(Path(room), data, name, severity)
            kept = [predict(model, yaml, Path(room), given) for model in models.values()]
            prepared = [bootstrap.prepare(p) for p in kept]
            scores[name, severity] = np.array([bootstrap.mean_ap(p) for p in prepared])  # (models, 2)
            resampled[name, severity] = bootstrap.resample(prepared)  # (resamples, models, 2), the same images
    found = summarise(list(models), scores, resampled)
    write_json(folder / "robustness.json", found)
    write_text(folder / "robustness.md", as_markdown(found))
    LOGGER.info(f"\n{as_markdown(found)}\nrobustness: {folder}")
    return found


def parse_names(names: str | list | tuple) -> list[str]:
    """Return the corruptions by name.

    Args:
        names (str | list | tuple): Some of `CORRUPTIONS`, in a text with commas between.

    Returns:
        (list[str]): In the order given.

    Raises:
        ValueError: If one is unknown, with the nearest.

    Examples:
        >>> parse_names("fog,snow")
        ['fog', 'snow']
    """
    return chosen(names, CORRUPTIONS, "corruption NAME is unknown.")


def parse_severities(severities: int | str | list | tuple) -> list[int]:
    """Return the severities as a list.

    Args:
        severities (int | str | list | tuple): Whole numbers from 1 to 5.

    Returns:
        (list[int]): In the order given.

    Raises:
        ValueError: If one is out of range.

    Examples:
        >>> parse_severities((1, 3))
        [1, 3]
    """
    found = listed(severities)
    if not found or any(s not in ("1", "2", "3", "4", "5") for s in found):
        raise ValueError(f"severities={severities!r} must be whole numbers from 1 to 5, with commas between.")
    return [int(s) for s in dict.fromkeys(found)]


def load(models: str | list | tuple, data: dict[str, Any]) -> dict[str, Path]:
    """Return the checkpoints by name, after a look at their classes.

    Args:
        models (str | list | tuple): Paths, in a text with commas between.
        data (dict): From `data.check.check`.

    Returns:
        (dict[str, Path]): A checkpoint best.pt or last.pt is named by its run.

    Raises:
        ValueError: If none is given, one has other classes than the data set, or is not a detector.
        FileNotFoundError: If one does not exist.
    """
    from ultralytics import YOLO

    files = [Path(file) for file in listed(models) if file]
    if not files:
        raise ValueError("models= is missing; give checkpoints with commas between, as models=a.pt,b.pt.")
    labels = [label(f) for f in files]
    if len(set(labels)) < len(labels):
        labels = [str(f) for f in files]
    for file in files:
        if not file.exists():
            raise FileNotFoundError(f"models={file} does not exist; give trained checkpoints, such as weights/best.pt.")
        model = YOLO(file)
        if model.task != "detect":
            raise ValueError(f"{file} is for {model.task}; corruptions are evaluated for detectors.")
        known, there = list(model.names.values()), list(data["names"].values())
        if known != there:
            raise ValueError(
                f"{file} knows {len(known)} classes ({', '.join(known[:3])}, ...), the data set has {len(there)} "
                f"({', '.join(there[:3])}, ...); give the data set that it was trained for."
            )
    return dict(zip(labels, files, strict=True))


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


def write_corrupted(room: Path, data: dict[str, Any], name: str, severity: int) -> Path:
    """Write the validation images corrupted, their labels beside them, and a data YAML.

    Args:
        room (Path): An empty folder, or the one of the condition before, which is overwritten.
        data (dict): From `data.check.check`.
        name (str): The corruption, or "clean".
        severity (int): 1 to 5; 0 for clean.

    Returns:
        (Path): The data YAML.
    """
    import cv2
    from ultralytics.data.utils import img2label_paths
    from ultralytics.utils import NUM_THREADS, YAML
    from ultralytics.utils.patches import imread, imwrite

    from ultralytics_diffattn.data.check import list_images

    files = list_images(data, "val")
    images, labels = room / "images", room / "labels"
    images.mkdir(exist_ok=True)
    labels.mkdir(exist_ok=True)

    def one(job: tuple[int, tuple[str, str]]) -> None:
        n, (image, label) = job
        pixels = imread(image)
        if name != "clean":
            pixels = corrupt(pixels, name, severity, seed=n)  # by place: every model sees the same noise
        if not imwrite(str(images / f"{n:07d}.png"), pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1]):
            raise OSError(f"could not write {images / f'{n:07d}.png'}; is the disk full?")
        if os.path.exists(label):
            (labels / f"{n:07d}.txt").write_bytes(Path(label).read_bytes())

    with ThreadPool(NUM_THREADS) as pool:
        pool.map(one, enumerate(zip(files, img2label_paths(files), strict=True)), 8)
    (room / "labels.cache").unlink(missing_ok=True)
    YAML.save(room / "data.yaml", {"path": str(room), "train": "images", "val": "images", "names": data["names"]})
    return room / "data.yaml"


def predict(model: Path, yaml: Path, room: Path, args: dict[str, Any]) -> predictions.Predictions:
    """Return the predictions of a checkpoint on a data set.

    Args:
        model (Path): The checkpoint.
        yaml (Path): The data YAML.
        room (Path): Where ultralytics may save.
        args (dict): Further arguments of its validation.

    Returns:
        (Predictions): Image by image.
    """
    from ultralytics import YOLO

    kept = []
    built = YOLO(model)
    predictions.listen(built)
    built.add_callback("on_val_end", lambda validator: kept.append(predictions.gather(validator)))
    built.val(
        **{"plots": False, "verbose": False, **args}, data=str(yaml), project=str(room), name="val", exist_ok=True
    )
    return kept[0]


def summarise(labels: list[str], scores: dict, resampled: dict) -> dict[str, Any]:
    """Return mAP50-95 per corruption, the means, and how each model differs from the first.

    Args:
        labels (list[str]): The models.
        scores (dict): (models, 2) mAP50-95 and mAP50 by corruption and severity.
        resampled (dict): (resamples, models, 2) likewise.

    Returns:
        (dict): `models` (clean, by corruption and severity, mean), `pairs` (differences with intervals).
    """
    names = list(dict.fromkeys(name for name, _ in scores if name != "clean"))

    def over(values: dict, name: str | None) -> np.ndarray:
        """Average over the severities of a corruption, or of all."""
        return np.mean([v for (n, _), v in values.items() if (n == name if name else n != "clean")], axis=0)

    found = {}
    for m, label in enumerate(labels):
        by = {n: {str(s): float(v[m, 0]) for (k, s), v in scores.items() if k == n} for n in names}
        clean, mean = float(scores["clean", 0][m, 0]), float(over(scores, None)[m, 0])
        found[label] = {
            "clean": clean,
            "mean": mean,
            "relative": mean / clean if clean else None,
            "corruptions": {n: {"mean": float(over(scores, n)[m, 0]), "severities": by[n]} for n in names},
        }
    pairs = []
    for m, label in enumerate(labels[1:], 1):
        for name in ["clean", *names, None]:
            point, spread = over(scores, name)[:, 0], over(resampled, name)[:, :, 0]
            difference = float(point[m] - point[0])
            interval = intervals.over_resamples(spread[:, m] - spread[:, 0])
            verdict = intervals.verdict(difference, interval)
            pairs.append(
                {
                    "first": labels[0],
                    "second": label,
                    "corruption": name or "mean",
                    "difference": difference,
                    "over_images": interval,
                    "verdict": verdict,
                }
            )
    return {"models": found, "pairs": pairs, "left_out": ["frost"]}


def as_markdown(found: dict[str, Any]) -> str:
    """Return the table, and the differences below it.

    Args:
        found (dict): From `summarise`.

    Returns:
        (str): Markdown.
    """
    models = found["models"]
    names = list(next(iter(models.values()))["corruptions"])
    rows = [("mAP50-95", *models), ("clean", *(f"{m['clean']:.3f}" for m in models.values()))]
    rows += [(name, *(f"{m['corruptions'][name]['mean']:.3f}" for m in models.values())) for name in names]
    rows += [("mean of corruptions", *(f"{m['mean']:.3f}" for m in models.values()))]
    relative = ("-" if m["relative"] is None else f"{m['relative']:.1%}" for m in models.values())
    rows += [("of clean", *relative)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|---" * len(rows[0]) + "|")
    lines.append("")
    for pair in found["pairs"]:
        than = "from" if pair["verdict"] == "not distinguishable" else "than"
        lines.append(
            f"- {pair['corruption']}: {pair['second']} is {pair['verdict']} {than} {pair['first']}, "
            f"{signed(pair['difference'])}, 95 % interval over images {interval(pair['over_images'])}."
        )
    if found["pairs"]:
        lines.append("\nThe intervals tell these checkpoints apart; other seeds of the same models may differ as much.")
    lines.append(f"\nNot covered: {', '.join(found['left_out'])}, which needs photographs of frost.")
    return "\n".join(lines) + "\n"
