"""scripts/lambda_decay.py prints the table of docs/models.md."""

import re

from tests.interpreters import script
from tests.places import ROOT


def test_the_table_has_a_row_for_each_start_and_decay():
    table = script("lambda_decay.py", "steps=2", "seeds=0,1").stdout.strip().splitlines()
    assert table[0] == "| λ starts at | its decay | seed 0 | seed 1 |"
    assert [row.split(" | ")[:2] for row in table[2:]] == [
        ["| 0", "0"],
        ["| 0", "0.0005"],
        ["| 0.5", "0"],
        ["| 0.5", "0.0005"],
    ]
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"\| λ starts at \|.*\n\|---.*\n((?:\|.*\n)+)", page)
    assert [row.split(" | ")[:2] for row in shown.splitlines()] == [row.split(" | ")[:2] for row in table[2:]]
