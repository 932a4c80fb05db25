# Ultralytics DiffAttn - AGPL-3.0 License
"""The types of `results.json` and of the JSON files in a run's folder; docs/reference/results.md describes each field.

AP and mAP are fractions from 0 to 1. A number that could not be measured is None.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from ultralytics_diffattn.comparison import typed_json
from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.evaluation.environment import Hardware
from ultralytics_diffattn.evaluation.tasks import TASKS
from ultralytics_diffattn.version import __version__

SCHEMA = 3  # of results.json; raised whenever a field is renamed, removed or changes its meaning

Interval: TypeAlias = tuple[float, float]  # low and high
TrainingArguments: TypeAlias = dict[str, Any]  # ultralytics' own, as `YOLO.train` takes them


class RunKey(NamedTuple):
    """Which of a comparison's runs."""

    model: str  # the label of the model
    seed: int | None  # None for a model that is only evaluated

    @property
    def title(self) -> str:
        """Return how messages and tables call the run."""
        return self.model if self.seed is None else f"{self.model} seed {self.seed}"


@dataclass(frozen=True)
class RunSpec:
    """`spec.json` in the folder of a run: what is trained.

    `files` holds SHA-256 of weights and teacher in `args`; `reconstruct` says that attention of ours first learns what
    stock's does in these weights. The final model is scored on `split`: "test" where the data set has one,
    or `holdout` of the validation images of `source` were set apart.
    """

    model: str
    model_digest: str
    args: TrainingArguments
    files: dict[str, str]
    data: str
    versions: dict[str, str]
    reconstruct: bool = False
    task: str = "detect"
    split: str = "val"
    holdout: float | None = None
    source: str = ""

    @property
    def only_evaluated(self) -> bool:
        """Return whether the model is evaluated as it is, and not trained."""
        return self.args.get("epochs") == 0


@dataclass(frozen=True)
class RunRecord:
    """`run.json` in the folder of a run, written when it is finished: what the training took."""

    epochs: int
    seconds_per_epoch: float | None
    seconds: float
    peak_memory_mb: float | None
    resumed_after: list[int]
    seconds_last_process: float


@dataclass(frozen=True)
class RunFailure:
    """`error.txt` in the folder of a run: why it failed."""

    error: str
    errno: int | None


@dataclass(frozen=True)
class Curve:
    """The learning curve of a run: the task's first metric, and ultralytics' training losses."""

    epoch: list[int]
    metric: list[float | None]
    losses: dict[str, list[float | None]]


@dataclass(frozen=True)
class RunResult:
    """One finished training, and its final model on the validation images; without a training, the model alone."""

    model: str
    seed: int | None
    metrics: dict[str, float | None]
    per_class: dict[str, float | None]
    pr_curve: list[float | None]
    by_confidence: dict[str, list[float | None]]
    epochs: int
    seconds_per_epoch: float | None
    seconds: float
    peak_memory_mb: float | None
    resumed_after: list[int]
    seconds_last_process: float
    step0: float | None
    reconstruction: dict[str, float] | None
    curve: Curve
    lambdas: dict[str, list[float | None]]

    @property
    def key(self) -> RunKey:
        """Return which of the comparison's runs it is."""
        return RunKey(self.model, self.seed)


@dataclass(frozen=True)
class Spread:
    """A value over the seeds of a model."""

    mean: float | None
    sd: float | None
    values: list[float | None]


@dataclass(frozen=True)
class Latency:
    """The time that a model takes for one image."""

    pytorch: float | None
    onnxruntime: float | None


@dataclass(frozen=True)
class ModelResult:
    """A model over its seeds, and what it costs."""

    model: str
    parameters: int | None
    gflops: float | None
    latency_ms: Latency
    seeds: int
    metrics: dict[str, Spread]
    per_class: dict[str, Spread]
    seconds_per_epoch: float | None
    peak_memory_mb: float | None
    resumed_runs: int


@dataclass(frozen=True)
class ClassDifference:
    """The difference of two models in one class."""

    difference: float | None
    over_seeds: Interval | None


@dataclass(frozen=True)
class PairResult:
    """The difference of two models in one metric, second minus first."""

    first: str
    second: str
    metric: str
    seeds: list[int]
    difference: float
    per_seed: list[float]
    interval: Interval | None
    error: float | None
    df: float | None
    over_seeds: Interval | None
    over_images: Interval | None
    p_different: float | None
    p_unequal: float | None
    verdict: str
    seeds_needed: int | None
    per_class: dict[str, ClassDifference] | None


@dataclass(frozen=True)
class FacetDifference:
    """How two models differ in the values of a facet, second minus first."""

    first: str
    second: str
    differences: list[float | None]
    intervals: list[Interval | None]


@dataclass(frozen=True)
class FacetResult:
    """One view of where a difference comes from."""

    title: str
    note: str
    names: list[str]
    models: dict[str, list[float | None]]
    pairs: list[FacetDifference]


@dataclass(frozen=True)
class ConfusionResult:
    """What the objects of each class are taken for; the last class is the background.

    `models` holds each model's matrix by true, then by predicted class; `largest` the confusions that differ most.
    """

    classes: list[str]
    models: dict[str, list[list[float]]]
    largest: FacetResult


@dataclass(frozen=True)
class Retention:
    """What an export keeps of a model's main metric, seed by seed; `failures` says which are missing, and why."""

    model: str
    format: str
    precision: str
    seeds: list[int]
    pytorch: list[float]
    exported: list[float]
    difference: float | None
    interval: Interval | None
    kept: float | None
    kept_interval: Interval | None
    failures: list[str]

    @property
    def title(self) -> str:
        """Return how tables call the export."""
        return f"{self.format} {self.precision}"


@dataclass(frozen=True)
class EffectResult:
    """What models, teachers or both together change in the task's first metric."""

    kind: str
    model: str | None
    teacher: str | None
    seeds: list[int]
    difference: float
    per_seed: list[float]
    interval: Interval | None
    p_different: float | None
    p_unequal: float | None
    verdict: str


@dataclass(frozen=True)
class DataSummary:
    """The data set of a comparison."""

    file: str
    sha256: str
    split: str
    holdout: float | None
    images: int
    objects: int | None
    classes: list[str]


@dataclass(frozen=True)
class Results:
    """`results.json`: all results of a comparison."""

    schema: int
    task: str
    created: str
    versions: dict[str, str]
    hardware: Hardware
    data: DataSummary
    arguments: TrainingArguments
    runs: list[RunResult]
    models: dict[str, ModelResult]
    margin: float
    pairs: list[PairResult]
    effects: list[EffectResult]
    facets: list[FacetResult]
    confusion: ConfusionResult | None
    retention: list[Retention]
    missing: list[str]

    @property
    def main(self) -> str:
        """Return the metric that the task is about."""
        return TASKS[self.task].main

    @property
    def seeds(self) -> list[int]:
        """Return the seeds of all runs, in order."""
        return sorted({run.seed for run in self.runs if run.seed is not None})

    @property
    def only_evaluated(self) -> bool:
        """Return whether the models were evaluated as they are, and not trained."""
        return self.arguments.get("epochs") == 0

    def runs_of(self, label: str) -> list[RunResult]:
        """Return the runs of one model."""
        return [run for run in self.runs if run.model == label]


@dataclass(frozen=True)
class AcrossSet:
    """How a model differs from the first on one data set."""

    difference: float
    interval: Interval | None
    seeds: list[int]
    p_different: float | None
    p_unequal: float | None
    verdict: str


@dataclass(frozen=True)
class AcrossModel:
    """How a model differs from the first on all data sets."""

    model: str
    difference: float | None
    interval: Interval | None
    p_different: float | None
    p_unequal: float | None
    verdict: str
    spread: float | None
    sets: dict[str, AcrossSet]


@dataclass(frozen=True)
class Across:
    """`across.json`: what the results of several data sets say together."""

    schema: int
    metric: str
    margin: float
    first: str
    folders: dict[str, str]
    models: list[AcrossModel]


def parse_results(value: object, name: str = "results.json") -> Results:
    """Return the results of a comparison from their JSON.

    Args:
        value (object): As `json.loads` returns it.
        name (str): Of the file, for the message of an error.

    Returns:
        (Results): All results.

    Raises:
        UserError: If they are of another schema, or a field is missing, unknown or of another type.

    Examples:
        >>> parse_results({"schema": 1})
        Traceback (most recent call last):
        ...
        ultralytics_diffattn.errors.UserError: results.json has schema 1, but this version of ... reads schema 3. ...
    """
    version = value.get("schema") if isinstance(value, dict) else None
    if version != SCHEMA:
        raise UserError(
            f"{name} has schema {version}, but this version of ultralytics-diffattn reads schema {SCHEMA}. "
            f"{_way_out(value)}"
        )
    return typed_json.parse(Results, value, name)


def _way_out(value: object) -> str:
    """Return what to do with results of another schema: only the version that made the runs goes on with them."""
    versions = value.get("versions") if isinstance(value, dict) else None
    writer = versions.get("ultralytics-diffattn") if isinstance(versions, dict) else None
    if writer is None or writer == __version__:
        return "Give the comparison's command again: finished runs are kept, and the results are written anew."
    return f"Version {writer} wrote it: read it with that version, or compare again under another name=."


def read_results(file: Path) -> Results:
    """Read the `results.json` of a comparison.

    Args:
        file (Path): The file.

    Returns:
        (Results): All results.

    Raises:
        MissingFileError: If there is no such file.
        UserError: If it is of another schema, or a field is missing, unknown or of another type.

    Examples:
        >>> results = read_results(Path("compare/shapes/results.json"))  # doctest: +SKIP
        >>> [(pair.second, pair.verdict, pair.difference) for pair in results.pairs]  # doctest: +SKIP
    """
    return parse_results(typed_json.load(file), str(file))
