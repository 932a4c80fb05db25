# Ultralytics DiffAttn - AGPL-3.0 License
"""What the benchmark measures, as performance.json holds it."""

from __future__ import annotations

from typing import TypedDict

from ultralytics_diffattn.evaluation.environment import Hardware


class About(TypedDict):
    """What a row measures, on which device and, on a CPU, with how many threads."""

    what: str
    device: str
    threads: int | None


class _Measured(About):
    ours: str
    other: str
    ratio: float | None
    low: float | None
    high: float | None
    ours_ms: float | None
    other_ms: float | None
    repeats: int
    target: float | None
    met: bool | None


class Row(_Measured, total=False):
    """A ratio of ours to another implementation.

    Attributes:
        what (str): The operation.
        device (str): "cpu", or the name of a GPU.
        threads (int | None): Threads of the CPU; None where their number does not count.
        ours (str): Name of the numerator.
        other (str): Name of the denominator.
        ratio (float | None): Median over the turns, of memory the ratio of the peaks; None if not measured.
        low (float | None): Lower quartile.
        high (float | None): Upper quartile.
        ours_ms (float | None): Median time of the numerator, in milliseconds.
        other_ms (float | None): Median time of the denominator.
        repeats (int): Number of turns; 0 if not measured.
        target (float | None): The largest ratio to accept; None for no target.
        met (bool | None): Whether `ratio` is at most `target`; None without one of them.
        ours_mb (float): Peak memory of the numerator in megabytes, in place of its time.
        other_mb (float): Peak memory of the denominator.
        why (str): The reason, if not measured.
        group (str): The group, in performance.json.
    """

    ours_mb: float
    other_mb: float
    why: str
    group: str


class _Tokens(TypedDict):
    tokens: int


class Point(_Tokens, total=False):
    """Time forward in milliseconds and peak memory in megabytes at a number of tokens; or the reason for none."""

    ms: float
    mb: float
    why: str


class ImportTime(TypedDict):
    """Cost of our import at the start of an interpreter.

    Attributes:
        ms (float): Median time in milliseconds.
        low (float): Lower quartile.
        high (float): Upper quartile.
        repeats (int): Number of starts.
        modules (list[str]): The modules that it loads.
    """

    ms: float
    low: float
    high: float
    repeats: int
    modules: list[str]


class Reading(TypedDict):
    """How well one trained block reads marked tokens; see `retrieval.Read`."""

    variant: str
    noise: float
    seed: int
    tokens: int
    accuracy: float


class _Rows(TypedDict):
    rows: list[Row]


class Group(_Rows, total=False):
    """The measurements of one group.

    Attributes:
        rows (list[Row]): The ratios.
        note (str): Why something could not be measured.
        curves (dict[str, list[Point]]): Of the group `memory`: time and memory by name of the implementation.
        nodes (dict[str, int]): Of the group `export`: nodes of the ONNX graphs.
        at_start (ImportTime): Of the group `start`.
        retrieval (list[Reading]): Of the group `retrieval`.
        seconds (float): Duration of the whole group, in performance.json.
    """

    note: str
    curves: dict[str, list[Point]]
    nodes: dict[str, int]
    at_start: ImportTime
    retrieval: list[Reading]
    seconds: float


class Performance(TypedDict):
    """What performance.json holds.

    Attributes:
        date (str): ISO date, UTC.
        command (str): The command that measured.
        versions (dict[str, str]): By name of the package.
        hardware (Hardware): `cpu`, `cores`, `gpu` and `system`.
        groups (dict[str, Group]): By name.
    """

    date: str
    command: str
    versions: dict[str, str]
    hardware: Hardware
    groups: dict[str, Group]
