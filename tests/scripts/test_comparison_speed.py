"""scripts/comparison_speed.py on few images."""

import re

import pytest

from tests.interpreters import script
from tests.places import ROOT


def test_a_row_for_each_part():
    output = script("comparison_speed.py", "images=12", "seeds=2", cwd=ROOT).stdout
    rows = dict(re.findall(r"^\| (.+) \| ([\d.]+) \|$", output, re.M))
    assert len(rows) == 6
    assert float(rows.pop("all")) == pytest.approx(sum(map(float, rows.values())))
    assert "12 images, 4 runs, peak memory" in output
