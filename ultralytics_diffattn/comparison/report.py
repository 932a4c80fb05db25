# Ultralytics DiffAttn - AGPL-3.0 License
"""What a comparison leaves behind: `results.json`, `results.csv`, `results.md` and `report.html`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ultralytics_diffattn.comparison import page, tables, typed_json
from ultralytics_diffattn.comparison.image_grid import most_different_images
from ultralytics_diffattn.comparison.results import collect
from ultralytics_diffattn.comparison.run_files import is_finished
from ultralytics_diffattn.comparison.schema import RunKey, read_results
from ultralytics_diffattn.evaluation.export_formats import Export
from ultralytics_diffattn.output.files import write_text


def write_report(folder: Path, runs: Mapping[RunKey, Path], margin: float, exports: Sequence[Export] = ()) -> None:
    """Write the results of the finished runs and log them; with fewer than two models, log that it is too early.

    Args:
        folder (Path): Of the comparison.
        runs (Mapping[RunKey, Path]): Folders of all runs; those that are not finished are listed as missing.
        margin (float): Difference of mAP that does not matter.
        exports (Sequence[Export]): What was made of each run.

    Raises:
        UserError: If the runs were not trained or validated alike.
    """
    from ultralytics.utils import LOGGER

    labels = list(dict.fromkeys(key.model for key in runs))  # in the order of the command, whichever run has failed
    by_model = sorted(runs.items(), key=lambda item: labels.index(item[0].model))
    finished = {key: run for key, run in by_model if is_finished(run)}
    if len({key.model for key in finished}) < 2:
        LOGGER.error("compare: fewer than two models have a finished run, so there is nothing to compare yet.")
        return
    collected = collect(finished, margin, [key.title for key in runs if key not in finished], exports)
    typed_json.write(folder / "results.json", collected)
    results = read_results(folder / "results.json")  # what the report shows is what a reader of the file gets
    markdown = tables.as_markdown(results)
    write_text(folder / "results.csv", tables.as_csv(results))
    write_text(folder / "results.md", markdown)
    write_text(folder / "report.html", page.render(results, most_different_images(finished)))
    LOGGER.info(f"\n{markdown}\ncompare: {folder / 'report.html'}")
