# Ultralytics DiffAttn - AGPL-3.0 License
"""Write what the page of the study needs of one finished run: `study_result.py RUN FILE EXPERIMENT`.

Metrics and what the run recorded; and, resampled over the same draws of images in every run, so that any two can be
paired later without their predictions: mAP50-95, AP50 lost to background errors, and, for question a, mAP50-95 under
corruptions and the share of attention inside labelled boxes.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ultralytics_diffattn.comparison import run_files
from ultralytics_diffattn.comparison.metrics import measure, scores
from ultralytics_diffattn.data.check import check
from ultralytics_diffattn.evaluation import bootstrap, facets, recording
from ultralytics_diffattn.evaluation.environment import hardware
from ultralytics_diffattn.evaluation.robustness import Condition, predict, write_corrupted
from ultralytics_diffattn.maps.attention_maps import load_copy
from ultralytics_diffattn.maps.measurement import validate
from ultralytics_diffattn.output.files import write_json

CORRUPTIONS = "gaussian_noise", "motion_blur", "fog", "jpeg_compression"  # one of each of the benchmark's families
SEVERITY = 3
QUIET = {"plots": False, "verbose": False, "workers": 0, "batch": 8}


def result(run: Path, experiment: str) -> dict[str, Any]:
    """Return the content of the file."""
    spec, recorded = run_files.read_spec(run), recording.read(run / run_files.PREDICTIONS)
    found = scores(recorded, spec.task)
    values = {
        "mAP50-95": _resampled(measure(recorded, spec.task), len(recorded.files)),
        "background": _resampled(facets.errors(recorded), len(recorded.files)),  # the first kind of error
    }
    if experiment.startswith("a-"):
        values["corrupted"] = _corrupted(run, spec.args)
        values["inside"] = _inside(run, spec.args)
    return {
        "experiment": experiment,
        "model": Path(spec.model).stem,
        "seed": spec.args["seed"],
        "images": len(recorded.files),
        "objects": len(recorded.target_cls),
        "data_sha256": spec.data,
        "arguments": {k: Path(v).name if isinstance(v, str) else v for k, v in spec.args.items()},
        "files": spec.files,
        "versions": spec.versions,
        "hardware": hardware(),
        "metrics": found.metrics,
        "per_class": found.per_class,
        "step0": run_files.read_step0(run, spec.task),
        "reconstruction": run_files.read_reconstruction(run),
        "curve": asdict(run_files.read_curve(run, spec.task)),
        "lambdas": run_files.read_lambdas(run),
        "record": asdict(run_files.read_record(run)),
        "values": values,
    }


def _resampled(measure: bootstrap.Measure, images: int) -> dict[str, Any]:
    """Return the first value of a measure on the images, and on each resample of them."""
    samples = bootstrap.resample([measure], images)[:, 0, 0]
    return {"value": float(measure(np.ones(images, np.int64))[0]), "resampled": samples.round(5)}


def _corrupted(run: Path, args: dict[str, Any]) -> dict[str, Any]:
    """Return the mean of mAP50-95 over the corruptions, with its resamples, and mAP50-95 under each."""
    data, parts = check(args["data"]), {}
    with tempfile.TemporaryDirectory() as folder:
        for name in CORRUPTIONS:
            yaml = write_corrupted(Path(folder), data, Condition(name, SEVERITY))
            found = predict(run / run_files.BEST, yaml, Path(folder), {**QUIET, "imgsz": args["imgsz"]})
            parts[name] = _resampled(measure(found, "detect"), len(found.files))
    return {
        "value": float(np.mean([part["value"] for part in parts.values()])),
        "resampled": np.mean([part["resampled"] for part in parts.values()], axis=0).round(5),
        "by_corruption": {name: part["value"] for name, part in parts.items()},
    }


def _inside(run: Path, args: dict[str, Any]) -> dict[str, Any]:
    """Return the share of attention inside the box of the object that looks, mean over objects and blocks."""
    seen = validate(load_copy(run / run_files.BEST), args["data"], {**QUIET, "imgsz": args["imgsz"]})
    maps = [block.maps.get("difference", block.maps["A1"])[:, 0] for block in seen.blocks.values()]
    share, images = np.mean(maps, axis=0), int(seen.images.max()) + 1  # (objects,)

    def mean(weight: bootstrap.Ints) -> NDArray[np.float64]:
        of_object = weight[..., seen.images]
        return (share * of_object).sum(-1, keepdims=True) / of_object.sum(-1, keepdims=True)

    return _resampled(mean, images)


if __name__ == "__main__":
    write_json(Path(sys.argv[2]), result(Path(sys.argv[1]), sys.argv[3]))
