"""scripts/numerics.py prints tables and draws; docs/numerics.md says what its tables say."""

import re
import runpy
import sys

import pytest
from ultralytics.utils import LOGGER

from tests.pages import PAGES
from tests.places import ROOT
from ultralytics_diffattn.numerics.gradient_norms import PartSummary, Step, TrainingSummary, write_steps
from ultralytics_diffattn.verbs.arguments import parse

SCRIPT = runpy.run_path(str(ROOT / "scripts" / "numerics.py"))
PAGE = PAGES.get("docs/numerics.md", "")


def test_row_of_a_training():
    parts = {"total": PartSummary(14.0, 6.0, (1, 1, 1)), "attention": PartSummary(1.0, 1.0, (0, 0, 0))}
    parts |= {"lambda_vectors": None, "gain": None}
    cells = SCRIPT["row"](TrainingSummary(2, 0.5, parts, None, None))
    assert cells == ["2", "50%", "14; ×6.0; 1/1/1", "1; ×1.0; 0/0/0", "-", "-", "-", "-"]
    assert SCRIPT["row"](TrainingSummary(2, 0.5, parts, (0.2, 0.31), (0.004, 1.5)))[-2:] == [
        "0.200 → 0.310", "0.004 of 1.500"
    ]  # fmt: skip
    assert SCRIPT["row"](None) == ["0"]


def test_rows_and_picture_of_trainings_that_are_done(tmp_path, capsys):
    (tmp_path / "yolo11n-diffattn-3").mkdir()
    write_steps(tmp_path / "yolo11n-diffattn-3" / "norms.csv", [Step(0, 1.0, 0.5)] * 2)
    SCRIPT["norms"](["yolo11n-diffattn.yaml"], ["3"], str(tmp_path), plot=str(tmp_path / "norms.png"), data="none")
    assert "| yolo11n-diffattn | 3 | 0 |" in capsys.readouterr().out
    assert (tmp_path / "norms.png").stat().st_size > 10_000


def test_drift_of_a_model(tiny, capsys):
    """Each quantity of each model comes with a figure, and the first model's are once itself."""
    models = ["yolo11n.yaml", "yolo11n-diffattn.yaml"]
    SCRIPT["drift"](models, source=str(tiny.parent / "images" / "val"), imgsz=64)
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [r[1] for r in rows if r[0] == "yolo11n"] == [
        "projection", "output", "gradient of the input", "head of the model"
    ]  # fmt: skip
    assert len([r for r in rows if r[0] == "yolo11n-diffattn"]) == 7
    for name, key, *cells in rows:
        assert all(0 < float(c.split()[0]) < 0.5 for c in cells), (name, key)
        assert all(c.endswith("(×1.00)") for c in cells) or name != "yolo11n"
    assert not all(c.endswith("(×1.00)") for name, _, *cells in rows for c in cells if "(" in c)


COMMANDS = re.findall(r"`python scripts/numerics.py (\w+) ([^`]+)`", PAGE)


def test_commands_of_the_page():
    assert {verb for verb, _ in COMMANDS} == {"drift", "norms"}
    for verb, words in COMMANDS:
        assert parse(words.split(), SCRIPT["OWN"]).keys() >= SCRIPT["REQUIRED"][verb], words


def test_bad_arguments_print_the_usage(monkeypatch, caplog):
    caplog.set_level(LOGGER.level, LOGGER.name)  # puts back in the end what the script changes
    for words in ([], ["drift"], ["norm", "models=a"], ["norms", "models=a.yaml"]):
        monkeypatch.setattr(sys, "argv", ["numerics.py", *words])
        with pytest.raises(SystemExit, match="narrow types"):
            runpy.run_path(str(ROOT / "scripts" / "numerics.py"), run_name="__main__")


def cells(quantity):
    """Return the ratios to plain attention of a quantity, of our models, in all tables of the page."""
    rows = re.findall(rf"^\| \S*diffattn\S* \| {quantity} \| (.+) \|$", PAGE, re.M)
    return [float(x) for row in rows for x in re.findall(r"\(×([\d.]+)\)", row)]


@pytest.mark.parametrize("quantity", ["output", "gradient of the input", "head of the model"])
def test_summary_of_the_page_is_its_tables(quantity):
    ratios = cells(quantity)
    low, high = re.search(rf"^\| {quantity} \| ×([\d.]+) to ×([\d.]+) \|", PAGE, re.M).groups()
    assert (float(low), float(high)) == (min(ratios), max(ratios))


def test_spikes_of_the_page_are_its_tables():
    """The sentence that answers the question has the sums over the rows of the two tables of trainings."""
    sums, steps = {"yolo11n": 0, "yolo11n-diffattn": 0}, {"yolo11n": 0, "yolo11n-diffattn": 0}
    for name, n, over in re.findall(r"^\| (\S+) \| \d \| (\d+) \| \d+% \| [^|]+/(\d+) \|", PAGE, re.M):
        sums[name] += int(over)
        steps[name] += int(n)
    quoted = re.search(r"(\d+) of (\d+) steps of stock and (\d+) of (\d+) of `split`", PAGE).groups()
    assert tuple(map(int, quoted)) == (
        sums["yolo11n"], steps["yolo11n"], sums["yolo11n-diffattn"], steps["yolo11n-diffattn"]
    )  # fmt: skip
