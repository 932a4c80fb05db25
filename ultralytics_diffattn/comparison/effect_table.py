# Ultralytics DiffAttn - AGPL-3.0 License
"""What models and teachers change, as rows of a table."""

from __future__ import annotations

from pathlib import Path

from ultralytics_diffattn.comparison.schema import EffectResult, Results
from ultralytics_diffattn.comparison.teachers import JOINT, NONE
from ultralytics_diffattn.output.formatting import interval, signed

MORE = {"better": "more", "worse": "less"}  # what a verdict means of an interaction


def effect_rows(results: Results) -> list[tuple[str, str, str, str]]:
    """Return what each effect is called, its size, its interval and its verdict.

    Args:
        results (Results): Of the comparison.

    Returns:
        (list[tuple[str, str, str, str]]): Empty for a comparison without several teachers.
    """
    return [(_name(e, results), signed(e.difference), interval(e.interval), _verdict(e)) for e in results.effects]


def _name(effect: EffectResult, results: Results) -> str:
    """Return what is compared."""
    without = Path(results.arguments["teacher"].split(",")[0]).stem
    first = next(iter(results.models)).removesuffix(f"{JOINT}{without}")
    if effect.kind == "model":
        return f"{effect.model} instead of {first}, mean over the teachers"
    if effect.kind == "teacher":
        other = "no teacher" if without == NONE else f"{without} as teacher"
        return f"{effect.teacher} as teacher instead of {other}, mean over the models"
    return f"what {effect.model} gains from {effect.teacher}, minus what {first} gains"


def _verdict(effect: EffectResult) -> str:
    """Return the verdict in words that fit the effect."""
    return MORE.get(effect.verdict, effect.verdict) if effect.kind == "interaction" else effect.verdict
