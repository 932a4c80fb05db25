# Ultralytics DiffAttn - AGPL-3.0 License
"""How much mAP a detector keeps on corrupted images: copies of the images, predictions, differences."""

from __future__ import annotations

import os
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from ultralytics_diffattn.data.check import list_images
from ultralytics_diffattn.errors import MissingFileError, UserError
from ultralytics_diffattn.evaluation import intervals, recording
from ultralytics_diffattn.evaluation.corruptions import corrupt
from ultralytics_diffattn.evaluation.predictions import Predictions
from ultralytics_diffattn.output.formatting import interval, signed
from ultralytics_diffattn.output.markdown import table
from ultralytics_diffattn.weights.checkpoints import label as label_of

Floats = NDArray[np.float64]


class Condition(NamedTuple):
    """A corruption at a severity of 1 to 5; or the clean images, at 0."""

    corruption: str
    severity: int


ALL = None  # the mean over all corruptions
CLEAN = Condition("clean", 0)


class CorruptionScore(TypedDict):
    """mAP50-95 under one corruption: the mean, and by severity."""

    mean: float
    severities: dict[str, float]


class ModelScores(TypedDict):
    """mAP50-95 of one model.

    Attributes:
        clean (float): On the images as they are.
        mean (float): Mean over all corruptions and severities.
        relative (float | None): `mean` as a share of `clean`; None where `clean` is zero.
        corruptions (dict[str, CorruptionScore]): By name.
    """

    clean: float
    mean: float
    relative: float | None
    corruptions: dict[str, CorruptionScore]


class Pair(TypedDict):
    """How the mAP50-95 of a model differs from that of the first.

    Attributes:
        first (str): The first model.
        second (str): The other one.
        corruption (str): A name, "clean", or "mean" of all corruptions.
        difference (float): Second less first.
        over_images (tuple[float, float] | None): Its 95 % interval over resampled images; None from one image.
        verdict (str): From `intervals.verdict`.
    """

    first: str
    second: str
    corruption: str
    difference: float
    over_images: tuple[float, float] | None
    verdict: str


class Robustness(TypedDict):
    """What `robustness.json` holds.

    Attributes:
        models (dict[str, ModelScores]): By the name of the checkpoint.
        images (int): Number of validation images.
        pairs (list[Pair]): Every model but the first beside it, for each corruption.
        left_out (list[str]): Corruptions of the benchmark that are not covered.
    """

    models: dict[str, ModelScores]
    images: int
    pairs: list[Pair]
    left_out: list[str]


def check_detectors(files: list[Path], data: dict[str, Any]) -> dict[str, Path]:
    """Return the checkpoints by name, after a check that their classes are those of the data set.

    Args:
        files (list[Path]): The checkpoints.
        data (dict): From `data.check.check`.

    Returns:
        (dict[str, Path]): A checkpoint best.pt or last.pt is named by its run.

    Raises:
        UserError: If there are none, one has other classes than the data set, or is not a detector.
        MissingFileError: If one does not exist.
    """
    from ultralytics import YOLO

    if not files:
        raise UserError("models= is missing; give checkpoints with commas between, as models=a.pt,b.pt.")
    labels = [label_of(f) for f in files]
    if len(set(labels)) < len(labels):
        labels = [str(f) for f in files]
    for file in files:
        if not file.exists():
            raise MissingFileError(f"models={file} does not exist; give trained checkpoints, such as weights/best.pt.")
        model = YOLO(file)
        if model.task != "detect":
            raise UserError(
                f"{file} is for {model.task}, but corruptions are evaluated only for detectors; leave it out."
            )
        of_model, of_data = list(model.names.values()), list(data["names"].values())
        if of_model != of_data:
            raise UserError(
                f"{file} has {len(of_model)} classes ({', '.join(of_model[:3])}, ...), the data set has "
                f"{len(of_data)} ({', '.join(of_data[:3])}, ...); give the data set that it was trained for."
            )
    return dict(zip(labels, files, strict=True))


def write_corrupted(folder: Path, data: dict[str, Any], condition: Condition) -> Path:
    """Return the data YAML of corrupted copies of the validation images, written with their labels.

    Args:
        folder (Path): An empty folder, or that of the previous condition, which is overwritten.
        data (dict): From `data.check.check`.
        condition (Condition): The corruption and its severity.

    Returns:
        (Path): The data YAML.

    Raises:
        UserError: If an image cannot be read or written.
    """
    import cv2
    from ultralytics.data.utils import img2label_paths
    from ultralytics.utils import NUM_THREADS, YAML
    from ultralytics.utils.patches import imread, imwrite

    files = list_images(data, "val")
    images, labels = folder / "images", folder / "labels"
    images.mkdir(exist_ok=True)
    labels.mkdir(exist_ok=True)

    def one(job: tuple[int, tuple[str, str]]) -> None:
        n, (image, label) = job
        pixels = imread(image)
        if pixels is None:
            raise UserError(f"{image} cannot be read as an image; replace it, or remove it from the data set.")
        if condition != CLEAN:
            pixels = corrupt(pixels, *condition, seed=n)  # by index: every model sees the same noise
        if not imwrite(str(images / f"{n:07d}.png"), pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1]):
            raise UserError(f"could not write {images / f'{n:07d}.png'}; is the disk full?")
        if os.path.exists(label):
            (labels / f"{n:07d}.txt").write_bytes(Path(label).read_bytes())

    with ThreadPool(NUM_THREADS) as pool:
        pool.map(one, enumerate(zip(files, img2label_paths([*files]), strict=True)), 8)
    (folder / "labels.cache").unlink(missing_ok=True)
    YAML.save(folder / "data.yaml", {"path": str(folder), "train": "images", "val": "images", "names": data["names"]})
    return folder / "data.yaml"


def predict(model: Path, yaml: Path, folder: Path, args: dict[str, Any]) -> Predictions:
    """Return the predictions of a checkpoint on a data set.

    Args:
        model (Path): The checkpoint.
        yaml (Path): The data YAML.
        folder (Path): Where ultralytics may save.
        args (dict): Further arguments of its validation.

    Returns:
        (Predictions): Image by image.
    """
    from ultralytics import YOLO

    yolo = YOLO(model)
    collected = recording.collect(yolo)
    quiet = {"plots": False, "verbose": False}
    yolo.val(**{**quiet, **args}, data=str(yaml), project=str(folder), name="val", exist_ok=True)
    recorded: Predictions = collected[0]
    return recorded


def summarise(
    labels: list[str], scores: dict[Condition, Floats], resampled: dict[Condition, Floats], images: int
) -> Robustness:
    """Return mAP50-95 per corruption, the means, and how each model differs from the first.

    Args:
        labels (list[str]): The models.
        scores (dict[Condition, np.ndarray]): (models, 2), mAP50-95 and mAP50.
        resampled (dict[Condition, np.ndarray]): (resamples, models, 2), the same of resampled images.
        images (int): Number of validation images.

    Returns:
        (Robustness): What `robustness.json` holds.
    """
    names = list(dict.fromkeys(c.corruption for c in scores if c != CLEAN))
    return {
        "models": {label: _model_scores(m, names, scores) for m, label in enumerate(labels)},
        "images": images,
        "pairs": [
            _pair(labels, m, name, scores, resampled, images)
            for m in range(1, len(labels))
            for name in ["clean", *names, ALL]
        ],
        "left_out": ["frost"],
    }


def _mean_over_conditions(values: dict[Condition, Floats], name: str | None) -> Floats:
    """Return the mean over the severities of a corruption, or over those of all corruptions (None)."""
    chosen = [v for c, v in values.items() if (c.corruption == name if name else c != CLEAN)]
    return np.asarray(np.mean(chosen, axis=0))


def _model_scores(m: int, names: list[str], scores: dict[Condition, Floats]) -> ModelScores:
    """Return the scores of model `m`."""
    clean, mean = float(scores[CLEAN][m, 0]), float(_mean_over_conditions(scores, None)[m, 0])
    by_name: dict[str, CorruptionScore] = {
        name: {
            "mean": float(_mean_over_conditions(scores, name)[m, 0]),
            "severities": {str(c.severity): float(v[m, 0]) for c, v in scores.items() if c.corruption == name},
        }
        for name in names
    }
    return {"clean": clean, "mean": mean, "relative": mean / clean if clean else None, "corruptions": by_name}


def _pair(
    labels: list[str],
    m: int,
    name: str | None,
    scores: dict[Condition, Floats],
    resampled: dict[Condition, Floats],
    images: int,
) -> Pair:
    """Return how model `m` differs from the first under a corruption, or in the mean of all."""
    observed, resamples = _mean_over_conditions(scores, name)[:, 0], _mean_over_conditions(resampled, name)[:, :, 0]
    difference = float(observed[m] - observed[0])
    over_images = intervals.over_resamples(resamples[:, m] - resamples[:, 0])
    return {
        "first": labels[0],
        "second": labels[m],
        "corruption": name or "mean",
        "difference": difference,
        "over_images": over_images,
        "verdict": intervals.verdict(difference, over_images, images),
    }


def as_markdown(results: Robustness) -> str:
    """Return the table of scores, and the differences below it.

    Args:
        results (Robustness): From `summarise`.

    Returns:
        (str): Markdown.
    """
    models = results["models"]
    names = list(next(iter(models.values()))["corruptions"])
    rows = [("clean", *(f"{m['clean']:.3f}" for m in models.values()))]
    rows += [(name, *(f"{m['corruptions'][name]['mean']:.3f}" for m in models.values())) for name in names]
    rows += [("mean of corruptions", *(f"{m['mean']:.3f}" for m in models.values()))]
    rows += [("mean / clean", *("-" if m["relative"] is None else f"{m['relative']:.1%}" for m in models.values()))]
    lines = [*table(("mAP50-95", *models), rows), ""]
    for pair in results["pairs"]:
        verdict = intervals.in_words(pair["first"], pair["verdict"], pair["second"])
        spread = "no interval over one image"
        if pair["over_images"]:
            spread = f"95 % interval over images {interval(pair['over_images'])}"
        lines.append(f"- {pair['corruption']}: {verdict}, {signed(pair['difference'])}, {spread}.")
    if results["pairs"] and results["images"] < intervals.LEAST_IMAGES:
        lines.append(f"\nNo verdicts: {intervals.too_few(results['images'])}.")
    if results["pairs"]:
        lines.append("\nThe intervals hold only for these checkpoints; two seeds of one model may differ as much.")
    lines.append(f"\nNot covered: {', '.join(results['left_out'])}, which needs photographs of frost.")
    return "\n".join(lines) + "\n"
