"""output/markdown.py: tables that a Markdown reader reads back."""

import pytest

from ultralytics_diffattn.output.markdown import table


def cells(line):
    """Return the cells of a line, split at the bars that are not escaped."""
    parts, cell = [], ""
    for character, before in zip(line, " " + line, strict=False):
        if character == "|" and before != "\\":
            parts.append(cell)
            cell = ""
        else:
            cell += character
    return [part.strip().replace("\\|", "|") for part in parts[1:]]


@pytest.mark.parametrize(
    "rows", [[], [["a", "1"]], [["a|b", "|"], ["", "x"]], [("naïve", "λ")]], ids=["none", "one", "bars", "unicode"]
)
def test_rows_are_read_back(rows):
    head, line, *body = table(["model", "a|b"], iter(rows))
    assert cells(head) == ["model", "a|b"]
    assert line == "|---|---|"
    assert [cells(row) for row in body] == [list(row) for row in rows]
