# Ultralytics DiffAttn - AGPL-3.0 License
"""Write what the runs in docs/study/ say into docs/study.md, and draw it: `python scripts/study_page.py`."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

from matplotlib.figure import Figure
from study_answers import (
    BETTER,
    CLAIMS,
    HELPS,
    KINDS,
    LEFT_OUT,
    MARGIN,
    MORE,
    NAMES,
    RUNS,
    SETS,
    STOCK,
    Claim,
    Experiment,
    Row,
    answer,
    claims,
    finished,
    read,
    repeated,
    rows,
    small,
    teacher_effects,
)

from ultralytics_diffattn.comparison.schema import EffectResult
from ultralytics_diffattn.output.formatting import interval, number, signed
from ultralytics_diffattn.output.markdown import table

DOCS = Path(__file__).resolve().parents[1] / "docs"
MARKS = "<!-- scripts/study_page.py: {} -->\n", "<!-- end of {} -->"
PICTURE = "![Each difference with its own interval; the grey band is the margin of equality](study.png)"
EDGE = 0.1  # of the picture
COLOURS = {"better": "#0072b2", "worse": "#d55e00", "equal": "#009e73"}
OWN, CORRECTED = "95 %, uncorrected", "p, corrected"
LAMBDA = "largest λ after the last epoch, mean of both heads, without sign"
WITHOUT = f"{NAMES[STOCK]}: no attention at stride 16"  # question c
EFFECTS = {  # of question d: in the table, in the picture
    "model": ("`split` instead of yolo11n, mean with and without the teacher", "split, with and without a teacher"),
    "teacher": ("the teacher instead of none, mean of both models", "the teacher, both models"),
    "interaction": ("what `split` gains from the teacher, minus what yolo11n gains", "interaction of the two"),
}

WORDS = {"a": HELPS, "b": HELPS, "f": HELPS, "c": BETTER, "model": BETTER, "teacher": BETTER, "interaction": MORE}


def said(asked: str, word: str, difference: float) -> str:
    """Return a verdict in the words of a question, or of an effect of question d."""
    return WORDS[asked][word] + small(word, difference)


def pair_table(found: Sequence[Row]) -> list[str]:
    """Return the table of question a, b, c or f."""
    firsts = "; ".join(dict.fromkeys(NAMES[row.first] for row in found))
    head = ["data", "model", "seeds", "mAP50-95", f"of {firsts}", "difference", OWN, CORRECTED]
    return table([*head, "verdict", "seeds that might settle it"], [_cells(row, len(found)) for row in found])


def _cells(row: Row, tests: int) -> list[str]:
    """Return a row of the table."""
    name = WITHOUT if row.model == STOCK else NAMES[row.model]
    begin = [row.data, name, str(row.seeds), _spread(row.scores), _spread(row.of_first)]
    if row.found is None:
        return [*begin, *["-"] * 3, HELPS[row.verdict.word], "-"]
    needed = row.found.seeds_needed(tests) or "more than 1,000"
    return [
        *begin,
        signed(row.found.difference),
        interval(row.found.student.interval()),
        _p(row.verdict.p_different),
        said(row.question, row.verdict.word, row.found.difference),
        str(needed) if row.verdict.word == "not distinguishable" else "-",
    ]


def exploratory(runs: Mapping[str, Experiment]) -> list[str]:
    """Return what is added to question a without a verdict: mAP before training, the best epoch, where λ ends."""
    models = (STOCK, *KINDS)
    lines = []
    for name in SETS:
        files = {m: [file for key, file in runs[name].items() if key.model == m] for m in models}
        before = [[f["step0"] for f in files[m] if f.get("step0") is not None] for m in models]
        ends = [abs(values[-1]) for f in files[KINDS[0]] for values in f.get("lambdas", {}).values()]
        cells = [number(mean(values), 3) if values else "-" for values in before]
        curves = [file["curve"]["metric"] for file in runs[name].values()]
        first = f"{sum(curve[0] == max(curve) for curve in curves)} of {len(curves)}"
        lines.append([name.partition("-")[2], *cells, first, f"{max(ends):.4f}" if ends else "-"])
    head = ["data", *(f"{NAMES[m]} before training" for m in models), "runs that are best after epoch 1", LAMBDA]
    title = "Exploratory: mAP50-95 before training, mean over the seeds; the best epoch; λ of `paired`."
    return [title, "", *table(head, lines)]


def claim_table(found: Sequence[Claim]) -> list[str]:
    """Return the table of question e."""
    head = ["model", "figure", "the claim predicts", *(name.partition("-")[2] for name in SETS), "mean", OWN, CORRECTED]
    lines = []
    for c in found:
        name, predicted = CLAIMS[c.value]
        figures = [signed(c.found.difference), interval(c.found.interval())] if c.found else ["-", "-"]
        by_set = ["-" if d is None else signed(d) for d in c.by_set]
        lines.append(
            [NAMES[c.kind], name, predicted, *by_set, *figures, _p(c.verdict.p_different), MORE[c.verdict.word]]
        )
    return table([*head, "found"], lines)


def effect_table(found: Sequence[EffectResult]) -> list[str]:
    """Return the table of question d."""
    return table(
        ["effect", "seeds", "difference", OWN, CORRECTED, "verdict"],
        [
            [
                EFFECTS[e.kind][0],
                str(len(e.seeds)),
                signed(e.difference),
                interval(e.interval) if e.interval else "-",
                _p(e.p_different),
                said(e.kind, e.verdict, e.difference),
            ]
            for e in found
        ],
    )


def _spread(values: Sequence[float]) -> str:
    """Return mean and standard deviation over the seeds."""
    if len(values) < 2:
        return f"{values[0]:.3f}" if values else "-"
    return f"{mean(values):.3f} ± {stdev(values):.3f}"


def _p(value: float | None) -> str:
    """Return a p-value, or a dash."""
    return "-" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def page(runs: Mapping[str, Experiment]) -> dict[str, str]:
    """Return the two parts of docs/study.md that stand between marks."""
    of = {question: rows(runs, question) for question in "abcf"}
    taught, claimed = teacher_effects(runs), claims(runs)
    files = [file for part in runs.values() for file in part.values()]
    hours = sum(file["record"]["seconds"] for file in files) / 3600
    versions = sorted({", ".join(f"{k} {v}" for k, v in file["versions"].items()) for file in files})
    made = "; ".join([f"{hours:.1f} hours of epochs, one thread each", *versions])
    return {
        "answer": "\n".join(
            [
                f"{answer(of['a'])} {repeated(of['f'])}".strip(),
                "",
                *([f"The other questions: {others(of, taught, claimed)}.", ""] if finished(runs, *RUNS) else []),
                f"{len(files)} of {sum(RUNS.values())} runs are finished ({made}).",
                *(f"{run} is left out: {why}." for run, why in LEFT_OUT.items()),
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
                *exploratory(runs),
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
                *effect_table(taught),
                "",
                "### e. The claim",
                "",
                *claim_table(claimed),
                "",
                "### f. Once more, with new seeds",
                "",
                *pair_table(of["f"]),
                "",
            ]
        ),
    }


def others(of: Mapping[str, Sequence[Row]], taught: Sequence[EffectResult], claimed: Sequence[Claim]) -> str:
    """Return how often each verdict was given in questions b to e."""
    words = {
        "b, a new detector": [WORDS["b"][row.verdict.word] for row in of["b"]],
        "c, the place": [WORDS["c"][row.verdict.word] for row in of["c"]],
        "d, a teacher": [WORDS[effect.kind][effect.verdict] for effect in taught],
        "e, the claim": [_of_figure(claim) for claim in claimed],
    }
    return "; ".join(
        f"{question}: {', '.join(f'{word} ({n})' for word, n in Counter(found).items())}"
        for question, found in words.items()
    )


def _of_figure(claim: Claim) -> str:
    """Return a verdict of question e, and where it is more or less, of which figure."""
    word = MORE[claim.verdict.word]
    return f"{word}: {CLAIMS[claim.value][0]}" if word in ("more", "less") else word


def draw(runs: Mapping[str, Experiment]) -> Figure:
    """Draw each difference of a to d and f with its interval, the margin of equality behind them."""
    found = [
        (
            f"{row.question}. {row.data}: {NAMES[row.model].replace('`', '')}, {row.seeds} seeds",
            row.found.difference,
            row.found.student.interval(),
            row.verdict.word,
            said(question, row.verdict.word, row.found.difference),
        )
        for question in "abcf"
        for row in rows(runs, question)
        if row.found
    ]
    found += [
        (
            f"d. coco356: {EFFECTS[e.kind][1]}, {len(e.seeds)} seeds",
            e.difference,
            e.interval,
            e.verdict,
            said(e.kind, e.verdict, e.difference),
        )
        for e in teacher_effects(runs)
        if e.interval
    ]
    found.sort(key=lambda line: line[0][0])  # by question
    figure = Figure((9, 0.36 * max(len(found), 1) + 1.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.axvspan(-MARGIN, MARGIN, color="#e6e6e6")
    axes.axvline(0, color="#444444", linewidth=1)
    for i, (_, difference, ends, word, text) in enumerate(found):
        colour = COLOURS.get(word, "#444444")
        axes.plot(ends, [i, i], color=colour, linewidth=3, solid_capstyle="butt")
        axes.plot(difference, i, "o", color=colour, markersize=7)
        axes.annotate(text, (1.01, i), xycoords=("axes fraction", "data"), va="center", color=colour)
    axes.set_yticks(range(len(found)), [label for label, *_ in found])
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_xticks([-EDGE, -EDGE / 2, 0, EDGE / 2, EDGE])
    axes.set_xlim(-EDGE, EDGE)  # of intervals that are wider the tables have the ends
    axes.set_xlabel(
        "difference in mAP50-95, each with its own 95 % interval;\n"
        "verdicts are corrected for a whole question; bars that end at an edge are longer\n"
        "a, first of f: from yolo11n; b, c, second of f: from C2PSA at strides 16 and 32"
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
