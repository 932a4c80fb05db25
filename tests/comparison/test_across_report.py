"""What several data sets leave together: a sentence, a chart, a table for each, and links to their reports."""

import re

import pytest

from tests.browser import BROWSER, Page, look
from tests.comparison.samples import make_json, typed
from ultralytics_diffattn.comparison import typed_json
from ultralytics_diffattn.comparison.across_report import write_across
from ultralytics_diffattn.comparison.schema import Across, read_results

SEEDS = 0, 1, 2, 3


@pytest.fixture
def folders(tmp_path):
    """Return the folders of two data sets with results."""
    folders = {name: tmp_path / name for name in ("bccd", "<b>bold</b>")}
    for folder, gain in zip(folders.values(), (0.0, 0.05), strict=True):
        folder.mkdir(parents=True)
        typed_json.write(folder / "results.json", typed(make_json(seeds=SEEDS, gain=gain)))
        (folder / "report.html").touch()
    return folders


def test_what_is_written(tmp_path, folders):
    write_across(tmp_path, folders, 0.005)
    across = typed_json.read(Across, tmp_path / "across.json")
    (model,) = across.models
    text, page = ((tmp_path / name).read_text(encoding="utf-8") for name in ("across.md", "report.html"))
    assert "in mAP50-95 on average over 2 data sets" in text
    assert f"standard deviation between data sets {model.spread:.3f}" in text
    for name, folder in folders.items():
        found = read_results(folder / "results.json")
        assert f"| yolo11n-diffattn | {name} | {found.pairs[0].difference:+.3f} |" in text
    assert "<b>bold</b>" not in page
    assert [(tmp_path / link).exists() for link in re.findall(r'<a href="(bccd[^"]+)"', page)] == [True]


def test_models_as_they_are(tmp_path, folders):
    for folder in folders.values():
        results = make_json(seeds=SEEDS, arguments={"epochs": 0})
        for run in results["runs"]:
            run["seed"] = None
        for pair in results["pairs"]:
            pair["seeds"] = []
        typed_json.write(folder / "results.json", typed(results))
    write_across(tmp_path, folders, 0.005)
    text, page = ((tmp_path / name).read_text(encoding="utf-8") for name in ("across.md", "report.html"))
    assert ", for these weights; from " in text
    assert "seeds" not in text
    assert "seeds" not in Page(page).text


def test_one_data_set_says_nothing_of_several(tmp_path, folders):
    (folders["bccd"] / "results.json").unlink()
    write_across(tmp_path, folders, 0.005)
    assert not (tmp_path / "across.json").exists()


def test_a_data_set_that_is_not_finished_is_named(tmp_path, folders):
    write_across(tmp_path, {**folders, "third": tmp_path / "third"}, 0.005)
    assert "Not finished: third." in (tmp_path / "across.md").read_text(encoding="utf-8")
    assert "third" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome on PATH")
@pytest.mark.parametrize("width", [360, 1280])
def test_in_a_browser(width, tmp_path, folders):
    write_across(tmp_path, folders, 0.005)
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<b>bold</b>" in Page(source).text
    seen = look(source, tmp_path, width, 800, dark=False)
    assert seen["scroll"] <= width
    assert seen["outside"] == []
