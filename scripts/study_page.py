# Ultralytics DiffAttn - AGPL-3.0 License
"""Write what the runs in docs/study/ say into docs/study.md, and draw it: `python scripts/study_page.py`.

The questions, the pairs and the rules are those of the protocol in docs/study.md; the statistics are those of
`diffattn compare`, by the same functions.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from matplotlib.figure import Figure

from ultralytics_diffattn.comparison.effects import effects
from ultralytics_diffattn.comparison.pairs import estimate_difference
from ultralytics_diffattn.comparison.schema import EffectResult, RunKey
from ultralytics_diffattn.comparison.teachers import Taught
from ultralytics_diffattn.comparison.verdicts import Verdict, adjusted, verdicts
from ultralytics_diffattn.evaluation.estimates import Estimate
from ultralytics_diffattn.evaluation.student import Student, average
from ultralytics_diffattn.output.formatting import interval, signed
from ultralytics_diffattn.output.markdown import table

DOCS = Path(__file__).resolve().parents[1] / "docs"
MARKS = "<!-- scripts/study_page.py: {} -->\n", "<!-- end of {} -->"
PICTURE = "![Each difference with its interval; the grey band is the margin of equality](study.png)"
MARGIN = 0.005
RUNS = {"a-bccd": 16, "a-deeppcb": 16, "a-coco356": 16, "bc-bccd": 20, "d-coco356": 8}  # what the protocol asks for
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
    "inside": ("share of attention inside boxes", "more"),
}
WORDS = {
    "better": "helps",
    "worse": "harms",
    "equal": f"equal within {MARGIN}",
    "not distinguishable": "not distinguishable",
    "no verdict": "too few seeds yet",
}
COLOURS = {"helps": "#0072b2", "harms": "#d55e00", WORDS["equal"]: "#009e73"}

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


def read(folder: Path) -> dict[str, dict[RunKey, dict[str, Any]]]:
    """Return the contents of the files by experiment, and in it by model and seed."""
    runs: dict[str, dict[RunKey, dict[str, Any]]] = {name: {} for name in RUNS}
    for file in sorted(folder.glob("*.json")):
        content = json.loads(file.read_text())
        runs[content["experiment"]][RunKey(content["model"], content["seed"])] = content
    return runs


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
    """Return the differences of one question, whose p-values are corrected together."""
    asked = {
        "a": [(name, STOCK, kind) for name in SETS for kind in KINDS],
        "b": [("bc-bccd", SAME_PLACES, model) for model in ("yolo11n-diffattn-p4", "yolo11n-p4-l08")],
        "c": [("bc-bccd", SAME_PLACES, model) for model in (STOCK, "yolo11n-diffattn-p4", "yolo11n-p4-c3k2")],
    }[question]
    found = [difference(runs[name], first, model, "mAP50-95") for name, first, model in asked]
    said = verdicts([estimate for _, estimate in found], MARGIN)
    return [
        Row(question, name.partition("-")[2], model, first, len(values[0]), values[1], values[0], estimate, verdict)
        for (name, first, model), (values, estimate), verdict in zip(asked, found, said, strict=True)
    ]


def answer(of_a: Sequence[Row]) -> str:
    """Return the answer to question a, by the rule of the protocol."""
    if any(row.verdict.word == "no verdict" for row in of_a):
        return "**There is no answer yet**: the runs are under way."
    words = {kind: Counter(row.verdict.word for row in of_a if row.model == kind) for kind in KINDS}
    for good, bad, verb in (("better", "worse", "helps"), ("worse", "better", "harms")):
        kinds = [NAMES[kind] for kind, count in words.items() if count[good] >= 2 and not count[bad]]
        if kinds:
            return f"**Differential attention {verb}**, as {' and '.join(kinds)}, on at least two of three data sets."
    if all(count["equal"] == len(SETS) for count in words.values()):
        return (
            "**Differential attention changes nothing that matters**: "
            f"all kinds are equal to stock within {MARGIN} on all data sets."
        )
    total = sum(words.values(), Counter())
    parts = [f"{WORDS[w]} ({total[w]})" for w in total]
    single = [
        f" {NAMES[row.model]} {said(row.verdict.word, row.found.difference, f' on {row.data}')}."
        for row in of_a
        if row.found and row.verdict.word in ("better", "worse")
    ]
    return (
        "**The study cannot say whether differential attention helps a trained detector.** "
        f"The {len(of_a)} verdicts (three kinds, three data sets): {', '.join(parts)}.{''.join(single)}"
    )


def said(word: str, difference: float, where: str = "") -> str:
    """Return a verdict in the words of the protocol."""
    small = word in ("better", "worse") and abs(difference) < MARGIN
    return f"{WORDS[word]}{where}{', by too little to matter' if small else ''}"


def pair_table(found: Sequence[Row]) -> list[str]:
    """Return the table of one question."""
    head = ["data", "model", "seeds", "mAP50-95", f"of {NAMES[found[0].first]}", "difference", "95 %", "p", "verdict"]
    return table([*head, "seeds needed"], [_cells(row, len(found)) for row in found])


def _cells(row: Row, tests: int) -> list[str]:
    """Return a row of the table."""
    begin = [row.data, NAMES[row.model], str(row.seeds), _spread(row.scores), _spread(row.of_first)]
    if row.found is None:
        return [*begin, *["-"] * 3, WORDS[row.verdict.word], "-"]
    needed = row.found.seeds_needed(tests)
    return [
        *begin,
        signed(row.found.difference),
        interval(row.found.student.interval()),
        _p(row.verdict.p_different),
        said(row.verdict.word, row.found.difference),
        "more than 1,000" if needed is None else str(needed),
    ]


def claims(runs: Mapping[str, Experiment]) -> list[str]:
    """Return the table of question e: averages over the data sets, corrected together."""
    asked = [(kind, value) for kind in KINDS for value in CLAIMS]
    found: list[Student | None] = []
    for kind, value in asked:
        each = [difference(runs[name], STOCK, kind, value)[1] for name in SETS]
        known = [e.student for e in each if e and e.suffices]
        found.append(average(known) if len(known) == len(SETS) else None)
    lines = []
    for (kind, value), student, verdict in zip(asked, found, adjusted(found, MARGIN), strict=True):
        name, predicted = CLAIMS[value]
        said = {"better": "more", "worse": "less", "no verdict": "too few seeds yet"}.get(
            verdict.word, "neither could be shown"
        )
        figures = [signed(student.difference), interval(student.interval())] if student else ["-", "-"]
        lines.append([NAMES[kind], name, predicted, *figures, _p(verdict.p_different), said])
    return table(["model", "figure", "the claim predicts", "difference", "95 %", "p", "found"], lines)


def teacher_effects(runs: Mapping[str, Experiment]) -> list[EffectResult]:
    """Return the effects of question d."""
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
    return effects(taught, {key: v["value"] for key, v in values.items()}, resampled, images, MARGIN)


def effect_table(found: Sequence[EffectResult]) -> list[str]:
    """Return the table of question d."""
    what = {
        "model": "`split` instead of yolo11n, mean with and without the teacher",
        "teacher": "the teacher instead of none, mean of both models",
        "interaction": "what `split` gains from the teacher, minus what yolo11n gains",
    }
    return table(
        ["effect", "seeds", "difference", "95 %", "p", "verdict"],
        [
            [
                what[e.kind],
                str(len(e.seeds)),
                signed(e.difference),
                interval(e.interval) if e.interval else "-",
                _p(e.p_different),
                said(e.verdict, e.difference),
            ]
            for e in found
        ],
    )


def _spread(values: Sequence[float]) -> str:
    """Return mean and standard deviation."""
    if len(values) < 2:
        return f"{values[0]:.3f}" if values else "-"
    return f"{mean(values):.3f} ± {stdev(values):.3f}"


def _p(value: float | None) -> str:
    """Return a p-value, or a dash."""
    return "-" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def page(runs: Mapping[str, Experiment]) -> dict[str, str]:
    """Return the two parts of docs/study.md that stand between marks."""
    of = {question: rows(runs, question) for question in "abc"}
    finished, asked = sum(map(len, runs.values())), sum(RUNS.values())
    files = [file for part in runs.values() for file in part.values()]
    hours = sum(file["record"]["seconds_last_process"] for file in files) / 3600
    figures = f"{hours:.1f} hours of one core"
    versions = sorted({", ".join(f"{k} {v}" for k, v in file["versions"].items()) for file in files})
    return {
        "answer": "\n".join(
            [
                answer(of["a"]),
                "",
                f"{finished} of {asked} runs are finished ({'; '.join([figures, *versions])}).",
                "",
                *([PICTURE, ""] if any(row.found for found in of.values() for row in found) else []),
            ]
        ),
        "tables": "\n".join(
            [
                "### a. A trained detector",
                "",
                *pair_table(of["a"]),
                "",
                "### b. A new detector",
                "",
                *pair_table(of["b"]),
                "",
                "### c. The place, or parameters",
                "",
                *pair_table(of["c"]),
                "",
                "### d. A teacher",
                "",
                *effect_table(teacher_effects(runs)),
                "",
                "### e. The claim",
                "",
                *claims(runs),
                "",
            ]
        ),
    }


def draw(runs: Mapping[str, Experiment]) -> Figure:
    """Draw each difference of a to d with its interval, the margin of equality behind them."""
    found = [
        (
            f"{row.question}. {row.data}: {NAMES[row.model].replace('`', '')}, {row.seeds} seeds",
            row.found.difference,
            row.found.student.interval(),
            said(row.verdict.word, row.found.difference),
        )
        for question in "abc"
        for row in rows(runs, question)
        if row.found
    ]
    short = {"model": "split, with and without", "teacher": "the teacher, both models", "interaction": "interaction"}
    found += [
        (f"d. coco356: {short[e.kind]}, {len(e.seeds)} seeds", e.difference, e.interval, said(e.verdict, e.difference))
        for e in teacher_effects(runs)
        if e.interval
    ]
    figure = Figure((9, 0.36 * max(len(found), 1) + 1.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.axvspan(-MARGIN, MARGIN, color="#e6e6e6")
    axes.axvline(0, color="#444444", linewidth=1)
    for i, (_, difference, ends, verdict) in enumerate(found):
        colour = COLOURS.get(verdict, "#444444")
        axes.plot(ends, [i, i], color=colour, linewidth=3, solid_capstyle="butt")
        axes.plot(difference, i, "o", color=colour, markersize=7)
        axes.annotate(verdict, (1.01, i), xycoords=("axes fraction", "data"), va="center", color=colour)
    axes.set_yticks(range(len(found)), [label for label, *_ in found])
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_xlabel(
        "difference in mAP50-95 with its 95 % interval\na: from yolo11n; b, c: from C2PSA at strides 16 and 32"
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure


def main(words: list[str]) -> int:
    """Rewrite the page and the picture, and return the exit status."""
    if words:
        raise SystemExit("study_page.py takes no arguments: python scripts/study_page.py")
    runs, file = read(DOCS / "study"), DOCS / "study.md"
    parts, text = page(runs), file.read_text(encoding="utf-8")
    for name, part in parts.items():
        first, last = (mark.format(name) for mark in MARKS)
        before, _, rest = text.partition(first)
        text = f"{before}{first}{part}{last}{rest.partition(last)[2]}"
    file.write_text(text, encoding="utf-8")
    if PICTURE in parts["answer"]:  # with one seed nothing has an interval yet
        draw(runs).savefig(DOCS / "study.png")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
