"""scripts/page_pictures.py: what it reads from the pages and draws, and what README.md says of the same figures."""

import re
import runpy

import pytest
from PIL import Image

from tests.pages import PAGES, README
from tests.places import ROOT

SCRIPT = runpy.run_path(str(ROOT / "scripts" / "page_pictures.py"))
ROWS = SCRIPT["differences"](PAGES["docs/results.md"])


def test_every_difference_from_stock_is_read():
    titles = re.findall(r"^## (.*(?:scratch|weights))$", PAGES["docs/results.md"], re.M)
    assert [(title, kind) for title, kind, *_ in ROWS] == [(t, k) for t in titles for k in ("split", "token")]
    assert ROWS[0][2:] == (-0.016, -0.105, 0.074)
    assert ROWS[-1][2:] == (-0.064, -0.177, 0.050)


def test_the_answers_are_the_figures_of_the_tables():
    """Lowest and highest difference in README.md; the table at the head of docs/results.md; zero in each interval."""
    (span,) = re.findall(r"from stock yolo11n by (\S+) to (\S+)\s+mAP50-95", README)
    pattern = r"^- yolo11n-diffattn(?:-token)? is not distinguishable from yolo11n in mAP50-95: ([+-][\d.]+), "
    later = [float(d) for d in re.findall(pattern, PAGES["docs/defaults.md"], re.M)]
    assert len(later) == 4  # two kinds on two data sets
    found = [*later, *(r[2] for r in ROWS)]
    assert tuple(map(float, span)) == (min(found), max(found))
    assert all(low < 0 < high for *_, low, high in ROWS)
    short = re.findall(r"^\| (\w+, from .+?) \| ([+-]\S+) \| ([+-]\S+) \|$", PAGES["docs/results.md"], re.M)
    assert [
        (title, kind, float(d)) for title, *both in short for kind, d in zip(("split", "token"), both, strict=True)
    ] == [(title, kind, difference) for title, kind, difference, *_ in ROWS]


def test_results_are_drawn_as_read():
    (axes,) = SCRIPT["draw_results"](PAGES["docs/results.md"]).axes
    segments = [tuple(line.get_xdata()) for line in axes.get_lines()[1::2]]
    points = [float(line.get_xdata()[0]) for line in axes.get_lines()[2::2]]
    assert segments == [(low, high) for *_, low, high in ROWS]
    assert points == [difference for _, _, difference, *_ in ROWS]


@pytest.mark.parametrize(("heading", "first", "last"), [("coco356", 0.348, 0.307), ("BCCD", 0.013, 0.610)])
def test_curves_are_those_of_the_section(heading, first, last):
    curves = SCRIPT["curves"](PAGES["docs/warmstart.md"], heading)
    assert curves.keys() == SCRIPT["LINES"].keys()
    assert (curves["yolo11n"][0], curves["yolo11n"][-1]) == ((0, first), (20, last))


def test_pictures_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["page_pictures.py", str(tmp_path)])
    runpy.run_path(str(ROOT / "scripts" / "page_pictures.py"), run_name="__main__")
    for name in ("results.png", "warmstart.png"):
        new, committed = Image.open(tmp_path / name), Image.open(ROOT / "docs" / name)
        assert new.size == committed.size
