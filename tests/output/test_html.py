"""output/html.py: pages escape what is put into them, include the style, and miss no value in silence."""

import jinja2
import pytest

from ultralytics_diffattn.output.html import template


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a template."""

    def written(text):
        (tmp_path / "page.html.j2").write_text(text, encoding="utf-8")
        return tmp_path / "page.html.j2"

    return written


def test_values_are_escaped(write):
    page = template(write("<p title='{{ x }}'>{{ x }}</p>")).render(x="<script>'\"&")
    assert "<script>" not in page
    assert page.count("&lt;script&gt;&#39;&#34;&amp;") == 2


def test_filters(write):
    """What a filter returns is escaped, too."""
    file = write("{{ 0.5 | bold }}")
    assert template(file, bold=lambda value: f"<b>{value}</b>").render() == "&lt;b&gt;0.5&lt;/b&gt;"


def test_the_style_is_inside(write):
    page = template(write("<style>{% include 'page.css' %}</style>")).render()
    assert "{" in page
    assert "http" not in page  # nothing is fetched


def test_a_missing_value_is_an_error(write):
    with pytest.raises(jinja2.UndefinedError, match="'model' is undefined"):
        template(write("{{ model }}")).render()


def test_no_such_template(tmp_path):
    with pytest.raises(jinja2.TemplateNotFound):
        template(tmp_path / "none.html.j2")
