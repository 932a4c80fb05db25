# Ultralytics DiffAttn - AGPL-3.0 License
"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    r"""Return the lines of a table; a vertical bar within a cell is escaped.

    Args:
        head (Sequence[str]): Titles of the columns.
        rows (Iterable[Sequence[str]]): Cells of each row, as many as there are columns.

    Returns:
        (list[str]): Lines without line breaks.

    Examples:
        >>> table(["model", "mAP"], [["a|b", "0.1"]])
        ['| model | mAP |', '|---|---|', '| a\\|b | 0.1 |']
    """
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (head, *rows)]
    return [lines[0], "|---" * len(head) + "|", *lines[1:]]


def folded(summary: str, lines: Iterable[str]) -> list[str]:
    """Return the lines in a block that GitHub and the site show folded.

    Args:
        summary (str): What is shown of it; plain text.
        lines (Iterable[str]): Markdown.

    Returns:
        (list[str]): Lines without line breaks.

    Examples:
        >>> folded("Rows", ["| a |"])
        ['<details markdown="1">', '<summary>Rows</summary>', '', '| a |', '', '</details>']
    """
    return ['<details markdown="1">', f"<summary>{summary}</summary>", "", *lines, "", "</details>"]
