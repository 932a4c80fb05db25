# Ultralytics DiffAttn - AGPL-3.0 License
"""What the runs in docs/study/ say, by the rules of the protocol in docs/study.md; `study_page.py` writes it down.

The statistics are those of `diffattn compare`, by the same functions.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ultralytics_diffattn.comparison.effects import effects
from ultralytics_diffattn.comparison.pairs import estimate_difference
from ultralytics_diffattn.comparison.schema import EffectResult, RunKey
from ultralytics_diffattn.comparison.teachers import Taught
from ultralytics_diffattn.comparison.verdicts import Verdict, adjusted, verdicts
from ultralytics_diffattn.evaluation.estimates import Estimate
from ultralytics_diffattn.evaluation.intervals import NO_VERDICT
from ultralytics_diffattn.evaluation.student import Student, average
from ultralytics_diffattn.output.formatting import signed

MARGIN = 0.005
RUNS = {"a-bccd": 16, "a-deeppcb": 16, "a-coco356": 16, "bc-bccd": 20, "d-coco356": 8}  # what the protocol asks for
RUNS |= {"f1-bccd": 16, "f2-bccd": 16}
LEFT_OUT: dict[str, str] = {}  # by experiment, model and seed, as in the name of its file: why it cannot be finished
STOCK, SAME_PLACES = "yolo11n", "yolo11n-c2psa-p4"
NAMES = {
    STOCK: "yolo11n",
    "yolo11n-diffattn-paired": "`paired`",
    "yolo11n-diffattn": "`split`",
    "yolo11n-diffattn-token": "`token`",
    SAME_PLACES: "`C2PSA` at strides 16 and 32",
    "yolo11n-diffattn-p4": "`split`, λ_init 0.2",
    "yolo11n-p4-l08": "`split`, λ_init 0.8",
    "yolo11n-p4-c3k2": "convolutions",
}
SETS = ("a-bccd", "a-deeppcb", "a-coco356")
KINDS = tuple(NAMES)[1:4]
CLAIMS = {  # question e: value in the files, its name, what the claim predicts
    "background": ("AP50 lost to background errors", "less"),
    "corrupted": ("mAP50-95 under corruptions", "more"),
    "inside": ("share of attention inside the object's box", "more"),
}
SAME = {"equal": f"equal within {MARGIN}", "not distinguishable": "not distinguishable", NO_VERDICT: "not finished"}
HELPS = {"better": "helps", "worse": "harms", **SAME}
BETTER = {"better": "better", "worse": "worse", **SAME}
MORE = {"better": "more", "worse": "less", **SAME}

Experiment: TypeAlias = Mapping[RunKey, dict[str, Any]]  # the files' contents by model and seed


class Row(NamedTuple):
    """One difference from the model that a question compares with."""

    question: str
    data: str
    model: str
    first: str
    seeds: int
    scores: list[float]
    of_first: list[float]
    found: Estimate | None
    verdict: Verdict


class Claim(NamedTuple):
    """How a kind differs from yolo11n in one figure of question e: on each data set, and on average."""

    kind: str
    value: str
    by_set: list[float | None]
    found: Student | None
    verdict: Verdict


def read(folder: Path) -> dict[str, dict[RunKey, dict[str, Any]]]:
    """Return the contents of the files by experiment, and in it by model and seed.

    Args:
        folder (Path): With the JSON files of `study.py`.

    Returns:
        (dict[str, dict[RunKey, dict[str, Any]]]): Of every experiment, also of one that has no run yet.

    Raises:
        ValueError: If the runs of an experiment were not made alike.
    """
    runs: dict[str, dict[RunKey, dict[str, Any]]] = {name: {} for name in RUNS}
    for file in sorted(folder.glob("*.json")):
        content = json.loads(file.read_text())
        part = runs[content["experiment"]]
        if _made(next(iter(part.values()), content)) != _made(content):
            raise ValueError(f"{file} was made with other arguments, data or versions than the runs before it")
        part[RunKey(content["model"], content["seed"])] = content
    return runs


def _made(content: Mapping[str, Any]) -> list[Any]:
    """Return what is alike for all runs of an experiment."""
    arguments = {key: value for key, value in content.get("arguments", {}).items() if key != "seed"}
    return [arguments, *(content.get(key) for key in ("data_sha256", "images", "versions"))]


def finished(runs: Mapping[str, Experiment], *names: str) -> bool:
    """Return whether all runs of some experiments are there, but for those that are left out with a reason.

    Args:
        runs (dict[str, Experiment]): From `read`.
        *names (str): Of experiments.

    Returns:
        (bool): Before that, nothing is said: a verdict that is looked at early errs more often.

    Raises:
        ValueError: If no model has learned anything on the data.
    """
    for name in names:
        if len(runs[name]) + sum(run.startswith(f"{name}-") for run in LEFT_OUT) < RUNS[name]:
            return False
        if all(file["metrics"]["mAP50"] < 0.01 for file in runs[name].values()):
            raise ValueError(f"{name}: nothing was learned, so the protocol takes it out of its question; do that here")
    return True


def difference(runs: Experiment, first: str, second: str, value: str) -> tuple[list[list[float]], Estimate | None]:
    """Return a value of both models, seed by seed, and the estimate of its difference."""
    seeds = sorted(key.seed for key in runs if key.model == second and RunKey(first, key.seed) in runs)
    both = [[runs[RunKey(model, seed)]["values"][value] for seed in seeds] for model in (first, second)]
    if not seeds:
        return [[], []], None
    values = [[v["value"] for v in of_model] for of_model in both]
    samples = [np.stack([v["resampled"] for v in of_model], 1) for of_model in both]  # (resamples, seeds)
    images = runs[RunKey(second, seeds[0])]["images"]
    per_seed = [b - a for a, b in zip(*values, strict=True)]
    return values, estimate_difference(seeds, per_seed, samples[1] - samples[0], images)


def rows(runs: Mapping[str, Experiment], question: str) -> list[Row]:
    """Return the differences of question a, b, c or f, whose p-values are corrected together."""
    asked = {
        "a": [(name, STOCK, kind) for name in SETS for kind in KINDS],
        "b": [("bc-bccd", SAME_PLACES, model) for model in ("yolo11n-diffattn-p4", "yolo11n-p4-l08")],
        "c": [("bc-bccd", SAME_PLACES, model) for model in (STOCK, "yolo11n-diffattn-p4", "yolo11n-p4-c3k2")],
        "f": [("f1-bccd", STOCK, "yolo11n-diffattn"), ("f2-bccd", SAME_PLACES, "yolo11n-diffattn-p4")],
    }[question]
    found = [difference(runs[name], first, model, "mAP50-95") for name, first, model in asked]
    complete = finished(runs, *{name for name, *_ in asked})
    given = verdicts([estimate if complete else None for _, estimate in found], MARGIN)
    return [
        Row(question, name.partition("-")[2], model, first, len(values[0]), values[1], values[0], estimate, verdict)
        for (name, first, model), (values, estimate), verdict in zip(asked, found, given, strict=True)
    ]


def answer(of_a: Sequence[Row]) -> str:
    """Return the answer to question a in one sentence, by the rule of the protocol."""
    if any(row.verdict.word == NO_VERDICT for row in of_a):
        return "**There is no answer yet**: the runs are under way."
    told = [row for row in of_a if row.found and row.verdict.word in ("better", "worse")]
    found = []
    for good, bad in (("better", "worse"), ("worse", "better")):
        for kind in KINDS:
            on = [row for row in told if row.model == kind and row.verdict.word == good]
            if len(on) >= 2 and not [row for row in told if row.model == kind and row.verdict.word == bad]:
                found.append(f"{HELPS[good]} as {NAMES[kind]} ({', '.join(f'{row.data}{_small(row)}' for row in on)})")
    if found:
        return f"**Differential attention {' and '.join(found)}.**"
    if all(row.verdict.word == "equal" for row in of_a):
        return (
            "**Differential attention changes nothing that matters**: "
            f"all kinds are equal to stock within {MARGIN} on all data sets."
        )
    total = Counter(HELPS[row.verdict.word] for row in of_a)
    single = [
        f" {NAMES[row.model]} {HELPS[row.verdict.word]} on {row.data} ({signed(row.found.difference)}){_small(row)}."
        for row in told
        if row.found
    ]
    return (
        "**The study cannot say whether differential attention helps a trained detector.** The "
        f"{len(of_a)} verdicts (three kinds, three data sets): {', '.join(f'{w} ({n})' for w, n in total.items())}."
        f"{''.join(single)}"
    )


def repeated(of_f: Sequence[Row]) -> str:
    """Return what question f found, in one sentence."""
    told = [
        f"{NAMES[row.model]} on {row.data} {signed(row.found.difference)}, {HELPS[row.verdict.word]}{_small(row)}"
        for row in of_f
        if row.found and row.verdict.word != NO_VERDICT
    ]
    return f"Once more with eight new seeds (question f): {'; '.join(told)}." if told else ""


def _small(row: Row) -> str:
    """Return what the protocol adds to a difference below the margin."""
    return small(row.verdict.word, row.found.difference) if row.found else ""


def small(word: str, difference: float) -> str:
    """Return what the protocol adds to a verdict, if its difference is below the margin."""
    return ", by too little to matter" if word in ("better", "worse") and abs(difference) < MARGIN else ""


def claims(runs: Mapping[str, Experiment]) -> list[Claim]:
    """Return question e: averages over the data sets, each with the same weight, corrected together."""
    asked = [(kind, value) for kind in KINDS for value in CLAIMS]
    each = [[difference(runs[name], STOCK, kind, value)[1] for name in SETS] for kind, value in asked]
    known = [[e.student for e in estimates if e and e.suffices] for estimates in each]
    complete = finished(runs, *SETS)
    found = [average(students) if complete and len(students) == len(SETS) else None for students in known]
    return [
        Claim(kind, value, [e and e.difference for e in estimates], student, verdict)
        for (kind, value), estimates, student, verdict in zip(asked, each, found, adjusted(found, MARGIN), strict=True)
    ]


def teacher_effects(runs: Mapping[str, Experiment]) -> list[EffectResult]:
    """Return question d: what the model does, what the teacher does, and whether one depends on the other."""
    models = (STOCK, "yolo11n-diffattn")
    parts = {"none": runs["a-coco356"], "COCO yolo11n": runs["d-coco356"]}
    files = {
        RunKey(Taught(key.model, name).label, key.seed): file
        for name, part in parts.items()
        for key, file in part.items()
        if key.model in models
    }
    taught = [Taught(model, name) for name in parts for model in models]
    values = {key: file["values"]["mAP50-95"] for key, file in files.items()}
    images = next((file["images"] for file in files.values()), 0)
    resampled = {key: np.array(v["resampled"]) for key, v in values.items()}
    found = effects(taught, {key: v["value"] for key, v in values.items()}, resampled, images, MARGIN)
    if finished(runs, "a-coco356", "d-coco356"):
        return found
    return [replace(effect, verdict=NO_VERDICT, p_different=None, p_unequal=None) for effect in found]
