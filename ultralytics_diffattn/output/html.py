# Ultralytics DiffAttn - AGPL-3.0 License
"""Self-contained HTML pages: templates that can include page.css and escape the values put into them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template


def template(file: Path, **filters: Callable[..., Any]) -> Template:
    """Return a template that may include page.css and any file beside it.

    Args:
        file (Path): The template, for Jinja.
        **filters (Callable): Filters that the template uses, by name.

    Returns:
        (jinja2.Template): It escapes values, and raises if one that it uses is missing.

    Raises:
        jinja2.TemplateNotFound: If there is no such file.

    Examples:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "page.html.j2"
        >>> _ = file.write_text("<p>{{ name | shout }}</p>")
        >>> template(file, shout=str.upper).render(name="a < b")
        '<p>A &lt; B</p>'
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
