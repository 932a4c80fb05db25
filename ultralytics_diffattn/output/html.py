# Ultralytics DiffAttn - AGPL-3.0 License
"""Pages that need nothing but themselves: templates with page.css inside, which escape what is put into them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template


def template(file: Path, **filters: Callable[..., Any]) -> Template:
    """Return a template, which may include page.css.

    Args:
        file (Path): The template.
        **filters (Callable): What it calls behind a bar, by name.

    Returns:
        (jinja2.Template): To be rendered.
    """
    environment = Environment(
        loader=FileSystemLoader([file.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters)
    return environment.get_template(file.name)
