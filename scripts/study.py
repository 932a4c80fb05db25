# Ultralytics DiffAttn - AGPL-3.0 License
"""Train the runs of docs/study.md, and write what the page needs of each to docs/study/.

`python scripts/study.py data=../shared/data weights=yolo11n_coco.pt project=/tmp/study workers=2`: runs that are in
docs/study/ are not trained again, one that was interrupted goes on if its folder below project= is still there. The
data sets are bccd, deeppcb and coco356 below data=. What git cannot hold stays below project=.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml

from ultralytics_diffattn.comparison.run_files import is_finished
from ultralytics_diffattn.comparison.run_folders import prepare_run_folders
from ultralytics_diffattn.comparison.schedule import train
from ultralytics_diffattn.comparison.schema import RunKey
from ultralytics_diffattn.comparison.specification import specify
from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.output.formatting import duration
from ultralytics_diffattn.verbs.arguments import parse

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "docs" / "study"
OWN = {"data": None, "weights": None, "project": None, "workers": 1}
GPU = torch.cuda.is_available()
SEEDS = list(range(10, 18 if GPU else 14))
NEW_SEEDS = list(range(14, 22))  # of question f
KINDS = "yolo11n.yaml", "yolo11n-diffattn-paired.yaml", "yolo11n-diffattn.yaml", "yolo11n-diffattn-token.yaml"
ALIKE = {"batch": 8, "nbs": 8, "warmup_epochs": 1, "workers": 0, "plots": False}
FINE = {**ALIKE, "imgsz": 640, "epochs": 100 if GPU else 3}
SCRATCH = {**ALIKE, "imgsz": 640 if GPU else 320, "epochs": 300 if GPU else 15, "pretrained": False}


class Experiment(NamedTuple):
    """Runs that are alike but for model and seed: question, data set, models, arguments of the training, seeds."""

    question: str
    data: str
    models: tuple[str, ...]
    arguments: dict[str, Any]
    reconstruct: bool = False
    seeds: list[int] | None = None  # else those of all


def experiments(weights: str) -> dict[str, Experiment]:
    """Return the experiments of the protocol by name."""
    fine = {**FINE, "pretrained": weights}
    bccd, coco = ({} if GPU else {"fraction": part} for part in (0.6, 0.7))  # 123 and 125 images
    p4 = *(f"yolo11n-{name}.yaml" for name in ("c2psa-p4", "diffattn-p4", "p4-l08", "p4-c3k2")), "yolo11n.yaml"
    asked = {
        "a-bccd": Experiment("a", "bccd", KINDS, {**fine, **bccd}, True),
        "a-deeppcb": Experiment("a", "deeppcb", KINDS, fine, True),
        "a-coco356": Experiment("a", "coco356", KINDS, {**fine, **coco}, True),
        "bc-bccd": Experiment("b, c", "bccd", p4, SCRATCH),
        "d-coco356": Experiment("d", "coco356", KINDS[::2], {**fine, **coco, "distill_model": weights}, True),
    }
    if not GPU:  # f asks about what was found with the budgets of a CPU
        asked["f1-bccd"] = Experiment("f", "bccd", KINDS[::2], {**fine, **bccd}, True, NEW_SEEDS)
        asked["f2-bccd"] = Experiment("f", "bccd", p4[:2], SCRATCH, False, NEW_SEEDS)
    return asked


def write_models(folder: Path) -> None:
    """Write the two models of b and c that the package does not bring."""
    rows = yaml.safe_load((ROOT / "cfg" / "yolo11-diffattn-p4.yaml").read_text())
    for row in rows["backbone"]:
        if row[2] == "C2PSA_Diff":
            row[3] = [row[3][0], 0.5, "split", 0.8]
    (folder / "yolo11n-p4-l08.yaml").write_text(yaml.safe_dump(rows))
    rows = yaml.safe_load((ROOT / "cfg" / "controls" / "yolo11-c3k2-p4.yaml").read_text())
    if not GPU:
        rows["backbone"][6][1] = 6  # the FLOPs of attention at 320 px, not at 640 px
    (folder / "yolo11n-p4-c3k2.yaml").write_text(yaml.safe_dump(rows))


def data_yaml(name: str, data: Path, folder: Path) -> str:
    """Return the data YAML of a data set; on a CPU that of deeppcb lists a part of its images."""
    shutil.copytree(data / name, folder / "data" / name, dirs_exist_ok=True)  # ultralytics writes into it
    data = folder / "data"
    content = yaml.safe_load((data / name / "data.yaml").read_text())
    if name == "deeppcb" and not GPU:
        for split, step in (("train", 8), ("val", 6)):
            files = sorted((data / name / "images" / split).iterdir())[::step]
            (folder / f"deeppcb-{split}.txt").write_text("".join(f"{file}\n" for file in files))
            content[split] = str(folder / f"deeppcb-{split}.txt")
    content["path"] = str(data / name)
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return str(folder / f"{name}.yaml")


def prepare(name: str, experiment: Experiment, data: Path, project: Path) -> dict[RunKey, Path]:
    """Return the folder of each run of an experiment, with what it trains written into it."""
    models = {Path(m).stem: str(project / m) if (project / m).exists() else m for m in experiment.models}
    yaml_file, reconstruct = data_yaml(experiment.data, data, project), experiment.reconstruct
    arguments, seeds = dict(experiment.arguments), experiment.seeds or SEEDS
    specification = specify(models, seeds, yaml_file, arguments, str(project), name, reconstruct=reconstruct)
    prepare_run_folders(specification)
    return specification.run_folders()


def main(words: list[str]) -> int:
    """Train what is missing and return the exit status."""
    given = {**OWN, **parse(words, OWN)}
    if None in given.values():
        raise UserError(
            "give data= (folder of the data sets), weights= (yolo11n of COCO) and project= (where runs go)."
        )
    data, weights, project = (Path(given[key]).resolve() for key in ("data", "weights", "project"))
    project.mkdir(parents=True, exist_ok=True)
    OUT.mkdir(exist_ok=True)
    os.environ["OMP_NUM_THREADS"] = "1"  # of each training, which stands beside another
    write_models(project)
    jobs = []
    for name, experiment in experiments(str(weights)).items():
        runs = prepare(name, experiment, data, project)
        jobs += [(name, key, run) for key, run in runs.items() if not result_file(name, key).exists()]
    jobs.sort(key=lambda job: job[1].seed)  # each question gets its first seeds before one gets its last
    start, failed = time.time(), 0
    print(f"study: {len(jobs)} runs to go", flush=True)
    with ThreadPoolExecutor(int(given["workers"])) as pool:
        for number, future in enumerate(as_completed([pool.submit(one, *job) for job in jobs]), 1):
            name, key, seconds, error = future.result()
            failed += error is not None
            left = (time.time() - start) / number * (len(jobs) - number)
            said = f"took {duration(seconds)}" if error is None else f"failed: {error}"
            print(f"study: {name} {key.title} {said}; {len(jobs) - number} left, about {duration(left)}", flush=True)
    return int(failed > 0)


def one(name: str, key: RunKey, run: Path) -> tuple[str, RunKey, float, str | None]:
    """Train one run, and write its result in a process of its own, whose memory is then free again."""
    start = time.time()
    error = None if is_finished(run) else train(run)
    if error is None:
        result = [sys.executable, Path(__file__).with_name("study_result.py"), run, result_file(name, key), name]
        error = None if subprocess.run(result).returncode == 0 else "its result could not be written"
    return name, key, time.time() - start, error


def result_file(name: str, key: RunKey) -> Path:
    """Return the file of a run's result."""
    return OUT / f"{name}-{key.model}-{key.seed}.json"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
