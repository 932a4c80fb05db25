# Ultralytics DiffAttn - AGPL-3.0 License
"""Print time and memory of what `diffattn compare` does after its trainings: statistics and report.

`python scripts/comparison_speed.py images=5000 models=2 seeds=3`: predictions are random, in COCO's numbers: 200 for
each image, 7 objects, 80 classes of which few are frequent. The models' latency and the drawings of images, which do
not grow with these numbers, are left out; `again=FOLDER` times the whole command for a comparison that is finished, and
gives its share of the trainings' time: what `compare` adds to them.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ultralytics_diffattn.comparison import page
from ultralytics_diffattn.comparison.confusion_matrices import confusion_result
from ultralytics_diffattn.comparison.epochs import peak_memory
from ultralytics_diffattn.comparison.facet_differences import facet_results
from ultralytics_diffattn.comparison.metrics import scores_of_runs
from ultralytics_diffattn.comparison.pairs import compare_pairs, resample_metrics
from ultralytics_diffattn.comparison.schema import RunKey, read_results
from ultralytics_diffattn.evaluation import recording
from ultralytics_diffattn.evaluation.predictions import Predictions
from ultralytics_diffattn.output.markdown import table
from ultralytics_diffattn.verbs.arguments import parse

OWN = {"images": 5000, "models": 2, "seeds": 3, "again": None}
DETECTIONS, OBJECTS, CLASSES = 200, 7, 80


def random_predictions(images: int, seed: int) -> Predictions:
    """Return predictions of which one lies near each object, right up to a random IoU."""
    rng, truth = np.random.default_rng(seed), np.random.default_rng(0)

    def boxes(rng: np.random.Generator, count: int) -> np.ndarray:
        return np.concatenate([rng.uniform(0, 400, (count, 2)), rng.uniform(8, 200, (count, 2))], 1)

    target_image = np.repeat(np.arange(images), OBJECTS)
    target_cls = np.minimum(truth.geometric(0.1, len(target_image)) - 1, CLASSES - 1)
    target_box = boxes(truth, len(target_image))
    image, cls = np.repeat(np.arange(images), DETECTIONS), rng.integers(0, CLASSES, images * DETECTIONS)
    box = boxes(rng, len(image))
    near = (np.arange(images)[:, None] * DETECTIONS + np.arange(OBJECTS)).ravel()
    cls[near], box[near] = target_cls, target_box + rng.normal(0, 4, target_box.shape)
    level = np.zeros(len(image), int)
    level[near] = rng.integers(0, 11, len(near))
    return Predictions(
        names=[str(c) for c in range(CLASSES)],
        files=[str(i) for i in range(images)],
        shape=np.full((images, 2), 640),
        tp=level[:, None] > np.arange(10),
        conf=(rng.random(len(image)) * (1 + level) / 11).astype(np.float32),
        cls=cls,
        box=box,
        image=image,
        target_cls=target_cls,
        target_box=target_box,
        target_image=target_image,
        tp_task=None,
        brightness=truth.random(images),
    )


def timed(what: str, do: Callable[[], Any]) -> tuple[list[str], Any]:
    """Return a row of the table, and what was returned."""
    start = time.perf_counter()
    result = do()
    return [what, f"{time.perf_counter() - start:.1f}"], result


def time_again(folder: Path) -> None:
    """Print how long the command of a finished comparison takes once more, beside the trainings' own time."""
    results = read_results(folder / "results.json")
    words = shlex.split(page.command(results))[1:]
    start = time.perf_counter()
    subprocess.run(["diffattn", *words, f"project={folder.parent}", f"name={folder.name}"], check=True)
    seconds, trainings = time.perf_counter() - start, sum(run.seconds_last_process for run in results.runs)
    print(f"{len(results.runs)} trainings took {trainings:.0f} s, all else {seconds:.1f} s: {seconds / trainings:.1%}")


def main(words: list[str]) -> int:
    """Print the table and return the exit status."""
    given = {**OWN, **parse(words, OWN)}
    if given["again"]:
        time_again(Path(given["again"]).resolve())
        return 0
    images, seeds = int(given["images"]), range(int(given["seeds"]))
    keys = [RunKey(f"model{m}", s) for m in range(int(given["models"])) for s in seeds]
    with tempfile.TemporaryDirectory() as folder:
        files = {key: Path(folder) / f"{n}.npz" for n, key in enumerate(keys, 1)}
        for n, file in enumerate(files.values(), 1):
            recording.write(file, random_predictions(images, n))
        zeroth, runs = timed("reading", lambda: {key: recording.read(file) for key, file in files.items()})
    first, found = timed("metrics of each run", lambda: scores_of_runs(runs, "detect"))
    second, _ = timed(
        "verdicts: 1,000 resamples",
        lambda: compare_pairs(found, resample_metrics(runs, "detect"), images, "detect", 0.005),
    )
    third, _ = timed("where it comes from: 200 resamples", lambda: facet_results(runs, "detect"))
    fourth, _ = timed("confusion matrices: 200 resamples", lambda: confusion_result(runs, "detect"))
    rows = [zeroth, first, second, third, fourth]
    rows.append(["all", f"{sum(float(row[1]) for row in rows):.1f}"])
    print(f"{images:,} images, {len(runs)} runs, peak memory {peak_memory(torch.device('cpu')) / 1e3:.2f} GB\n")
    print("\n".join(table(["what", "seconds"], rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
