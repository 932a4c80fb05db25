# Ultralytics DiffAttn - AGPL-3.0 License
"""What corruptions leave of a detector's mAP: corrupted copies of the images, predictions on them, differences."""

from __future__ import annotations

import os
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import numpy as np

from ultralytics_diffattn.data.check import list_images
from ultralytics_diffattn.evaluation import intervals, predictions
from ultralytics_diffattn.evaluation.corruptions import corrupt
from ultralytics_diffattn.output.formatting import interval, signed
from ultralytics_diffattn.output.markdown import table
from ultralytics_diffattn.weights.checkpoints import label as label_of


def detectors(files: list[Path], data: dict[str, Any]) -> dict[str, Path]:
    """Return the checkpoints by name, after a look at their classes.

    Args:
        files (list[Path]): The checkpoints.
        data (dict): From `data.check.check`.

    Returns:
        (dict[str, Path]): A checkpoint best.pt or last.pt is named by its run.

    Raises:
        ValueError: If none is given, one has other classes than the data set, or is not a detector.
        FileNotFoundError: If one does not exist.
    """
    from ultralytics import YOLO

    if not files:
        raise ValueError("models= is missing; give checkpoints with commas between, as models=a.pt,b.pt.")
    labels = [label_of(f) for f in files]
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
    lines = [*table(rows[0], rows[1:]), ""]
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
