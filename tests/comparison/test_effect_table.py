"""What models and teachers change, in words: in the table, in Markdown and on the page."""

from dataclasses import replace

import pytest

from tests.comparison.samples import make_results
from ultralytics_diffattn.comparison import page, tables
from ultralytics_diffattn.comparison.effect_table import effect_rows
from ultralytics_diffattn.comparison.schema import EffectResult

LABELS = "stock", "ours", "stock+large", "ours+large"


def results(teacher="none,/w/large.pt"):
    def effect(kind, model, teacher, verdict):
        return EffectResult(kind, model, teacher, [0, 1, 2], 0.02, [0.02] * 3, (0.01, 0.03), 0.01, 0.5, verdict)

    found = make_results(labels=LABELS)
    return replace(
        found,
        arguments={**found.arguments, "teacher": teacher, "distill_model": None},
        effects=[
            effect("model", "ours", None, "better"),
            effect("teacher", None, "large", "worse"),
            effect("interaction", "ours", "large", "worse"),
        ],
    )


def test_rows():
    assert effect_rows(results()) == [
        ("ours instead of stock, mean over the teachers", "+0.020", "+0.010 to +0.030", "better"),
        ("large as teacher instead of no teacher, mean over the models", "+0.020", "+0.010 to +0.030", "worse"),
        ("what ours gains from large, minus what stock gains", "+0.020", "+0.010 to +0.030", "less"),
    ]


def test_a_first_teacher_that_is_one():
    labels = "stock+small", "ours+small", "stock+large", "ours+large"
    found = results("/w/small.pt,/w/large.pt")
    found = replace(found, models=dict(zip(labels, found.models.values(), strict=True)))
    names = [row[0] for row in effect_rows(found)]
    assert names[0] == "ours instead of stock, mean over the teachers"
    assert names[1] == "large as teacher instead of small as teacher, mean over the models"


@pytest.mark.parametrize("written", [tables.as_markdown, lambda found: page.render(found, [])], ids=["md", "page"])
def test_they_stand_where_people_read(written):
    assert "ours instead of stock, mean over the teachers" in written(results())
    assert "mean over the teachers" not in written(make_results(labels=LABELS))


def test_the_command_names_each_model_once():
    found = results()
    command = page.command(replace(found, models=dict.fromkeys(LABELS, found.models["stock"])))
    assert "models=stock.yaml " in command
    assert "teacher=none,/w/large.pt" in command
    assert "distill_model" not in command
