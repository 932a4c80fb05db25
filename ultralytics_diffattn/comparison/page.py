# Ultralytics DiffAttn - AGPL-3.0 License
"""The results of a comparison as one page that needs nothing else: `page.html.j2` filled with tables and charts."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from ultralytics_diffattn.comparison import retention_tables, tables
from ultralytics_diffattn.comparison.confusion_matrices import LARGEST
from ultralytics_diffattn.comparison.effect_table import effect_rows
from ultralytics_diffattn.comparison.headline import headline
from ultralytics_diffattn.comparison.image_grid import PairImages
from ultralytics_diffattn.comparison.page_charts import (
    MOST_CLASSES,
    class_charts,
    confidence_charts,
    lambda_charts,
    learning_charts,
    precision_recall_charts,
)
from ultralytics_diffattn.comparison.page_tables import costs, difference_rows, model_rows
from ultralytics_diffattn.comparison.schema import Results
from ultralytics_diffattn.comparison.warnings import warnings
from ultralytics_diffattn.evaluation.tasks import TASKS
from ultralytics_diffattn.output.formatting import number, percent, signed
from ultralytics_diffattn.output.html import template

TEMPLATE = Path(__file__).with_name("page.html.j2")
MOST_MATRIX = 12  # classes of a confusion matrix that is drawn, the background among them


def render(results: Results, image_grid: Sequence[PairImages]) -> str:
    """Return the report.

    Args:
        results (Results): Of the comparison.
        image_grid (Sequence[PairImages]): The images on which models differ most.

    Returns:
        (str): HTML, with everything that it shows inside.
    """
    filters = {f.__name__: f for f in (number, percent, signed, tables.sentence, warnings, tables.split_in_words)}
    page = template(TEMPLATE, average=mean, remarks=retention_tables.remarks, **filters)
    return page.render(
        results=results,
        headline=headline(results),
        dataset=dataset_name(results.data.file),
        pairs=[pair for pair in results.pairs if pair.metric == results.main],
        compared=TASKS[results.task].compared,
        columns=[*next(iter(results.models.values())).metrics, *costs(results)],
        model_rows=model_rows(results),
        difference_rows=difference_rows(results),
        effects=effect_rows(results),
        charts=[
            *learning_charts(results),
            *precision_recall_charts(results),
            *confidence_charts(results),
            *lambda_charts(results),
        ],
        class_charts=class_charts(results),
        most_classes=MOST_CLASSES,
        most_matrix=MOST_MATRIX,
        most_confusions=LARGEST,
        image_grid=image_grid,
        command=command(results),
    )


def dataset_name(file: str) -> str:
    """Return what a data set is called.

    Args:
        file (str): Its data YAML.

    Returns:
        (str): The file's name, or the folder's where the file's says nothing.

    Examples:
        >>> dataset_name("/data/bccd/data.yaml"), dataset_name("coco.yaml")
        ('bccd', 'coco')
    """
    path = Path(file)
    return path.parent.name if path.stem in ("data", "dataset") and path.parent.name else path.stem


def command(results: Results) -> str:
    """Return the command that makes the comparison again.

    Args:
        results (Results): Of the comparison.

    Returns:
        (str): For a shell.
    """
    arguments = {
        "models": ",".join(dict.fromkeys(model.model for model in results.models.values())),
        **({} if results.only_evaluated else {"seeds": ",".join(map(str, results.seeds))}),
        "margin": results.margin,
        **results.arguments,
    }
    return shlex.join(
        [
            "diffattn",
            "compare",
            *(f"{key}={value}" for key, value in arguments.items() if key != "distill_model" or value),
        ]
    )
