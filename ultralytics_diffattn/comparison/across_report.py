# Ultralytics DiffAttn - AGPL-3.0 License
"""What a comparison on several data sets leaves beside theirs: `across.json`, `across.md` and `report.html`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from markupsafe import Markup

from ultralytics_diffattn.comparison import charts, typed_json
from ultralytics_diffattn.comparison.across import compare_across
from ultralytics_diffattn.comparison.page_tables import costs, model_rows
from ultralytics_diffattn.comparison.schema import Across, AcrossModel, Results, read_results
from ultralytics_diffattn.comparison.tables import model_table, split_in_words
from ultralytics_diffattn.evaluation import intervals
from ultralytics_diffattn.output.files import write_text
from ultralytics_diffattn.output.formatting import interval, number, signed
from ultralytics_diffattn.output.html import template
from ultralytics_diffattn.output.markdown import table

TEMPLATE = Path(__file__).with_name("across.html.j2")


def write_across(folder: Path, data_sets: Mapping[str, Path], margin: float) -> None:
    """Write what the finished data sets say together, and log it; of fewer than two there is nothing to write.

    Args:
        folder (Path): Of the whole comparison.
        data_sets (Mapping[str, Path]): Folder of each data set's comparison, by its name.
        margin (float): Difference that does not matter.
    """
    from ultralytics.utils import LOGGER

    files = {name: path / "results.json" for name, path in data_sets.items()}
    results = {name: read_results(file) for name, file in files.items() if file.exists()}
    if len(results) < 2:
        LOGGER.error(
            "compare: fewer than two data sets have results so far, so there is no report over all of them yet."
        )
        return
    across = compare_across(results, {name: str(data_sets[name].relative_to(folder)) for name in results}, margin)
    typed_json.write(folder / "across.json", across)
    missing = [name for name in data_sets if name not in results]
    markdown = as_markdown(across, results, missing)
    write_text(folder / "across.md", markdown)
    write_text(folder / "report.html", render(across, results, missing))
    LOGGER.info(f"\n{markdown}\ncompare: {folder / 'report.html'}")


def sentence(model: AcrossModel, across: Across) -> str:
    """Return what all data sets say of a model, in one sentence.

    Args:
        model (AcrossModel): The model.
        across (Across): All results.

    Returns:
        (str): The average with its interval, and how far the data sets are apart.
    """
    text = f"{intervals.in_words(across.first, model.verdict, model.model)} in {across.metric} on average over "
    text += f"{len(across.folders)} data sets"
    if model.verdict == "equal":
        text += f", within ±{across.margin:g}"
    if model.difference is None or model.interval is None:
        return f"{text}: at least one data set has no verdict of its own."
    differences = {name: found.difference for name, found in model.sets.items()}
    low, high = min(differences, key=differences.__getitem__), max(differences, key=differences.__getitem__)
    weights = "" if any(found.seeds for found in model.sets.values()) else ", for these weights"
    return (
        f"{text}: {signed(model.difference)}, 95 % interval {interval(model.interval)}{weights}; from "
        f"{signed(differences[low])} on {low} to {signed(differences[high])} on {high}"
        + (f", standard deviation between data sets {model.spread:.3f}." if model.spread is not None else ".")
    )


def as_markdown(across: Across, results: Mapping[str, Results], missing: list[str]) -> str:
    """Return the sentences, the differences and a table for each data set.

    Args:
        across (Across): What the data sets say together.
        results (Mapping[str, Results]): Of each data set.
        missing (list[str]): Names of data sets without results.

    Returns:
        (str): Markdown.
    """
    rows = [
        [model.model, name, signed(found.difference), interval(found.interval), found.verdict]
        for model in across.models
        for name, found in model.sets.items()
    ]
    head = [f"model minus {across.first}", "data set", across.metric, "95 % interval", "verdict"]
    lines = [*(f"- {sentence(model, across)}" for model in across.models), "", *table(head, rows)]
    for name, found in results.items():
        images = f"{found.data.images:,} {split_in_words(found.data)}"
        seeds = f", seeds {', '.join(map(str, found.seeds))}" if found.seeds else ""
        lines += ["", f"{name}: {images}{seeds}", "", *model_table(found)]
    lines += [f"\nNot finished: {', '.join(missing)}."] * bool(missing)
    return "\n".join(lines) + "\n"


def render(across: Across, results: Mapping[str, Results], missing: list[str]) -> str:
    """Return the page.

    Args:
        across (Across): What the data sets say together.
        results (Mapping[str, Results]): Of each data set.
        missing (list[str]): Names of data sets without results.

    Returns:
        (str): HTML, with everything that it shows inside; it links to the report of each data set.
    """
    page = template(TEMPLATE, split_in_words=split_in_words, signed=signed, number=number)
    return page.render(
        across=across,
        results=results,
        missing=missing,
        sentences={model.model: sentence(model, across) for model in across.models},
        charts={model.model: _chart(i, model, across) for i, model in enumerate(across.models)},
        rows={name: model_rows(found) for name, found in results.items()},
        columns={name: [*next(iter(found.models.values())).metrics, *costs(found)] for name, found in results.items()},
    )


def _chart(number: int, model: AcrossModel, across: Across) -> Markup:
    """Return the differences of a model, the average first, with the margin shaded."""
    sets = [(name, found.difference, found.interval) for name, found in model.sets.items()]
    mean = [] if model.difference is None else [("average", model.difference, model.interval)]
    rows = [*mean, *sets]
    title = f"{across.metric} of {model.model} minus that of {across.first}: "
    title += ", ".join(f"{label} {value:+.3f}" for label, value, _ in rows)
    return Markup(charts.differences(f"across-{number}", title, across.metric, rows, across.margin, bool(mean)))
