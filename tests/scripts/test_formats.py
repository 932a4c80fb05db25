"""scripts/formats.py: what it measures, what it makes of a converter that crashes, and the page it writes."""

import json
import re
import runpy
import sys
from pathlib import Path

import pytest
import yaml
from ultralytics.engine.exporter import export_formats

from tests.places import ROOT

SCRIPT = runpy.run_path(str(ROOT / "scripts" / "formats.py"))
FORMATS, ABSENT, OURS = SCRIPT["FORMATS"], SCRIPT["ABSENT"], SCRIPT["OURS"]


@pytest.fixture
def options(tiny, tmp_path):
    return {
        "images": str(tiny.parent / "images" / "val"),
        "weights": None,
        "data": None,
        "imgsz": 64,
        "folder": str(tmp_path),
    }


def test_every_format_of_ultralytics_is_built_or_has_a_reason():
    formats = export_formats()["Argument"][1:]
    assert {*FORMATS, *ABSENT} >= {*formats}
    assert not {*FORMATS} & {*ABSENT}


def test_a_format_that_runs_here(options):
    rows = [SCRIPT["attempt"]("onnx", name, options) for name in ("yolo11n-cls", "yolo11n-diffattn-cls")]
    assert all(row["builds"] and row["agrees"] and row["score"] < 1e-4 for row in rows)
    assert "beside_stock" not in rows[0]
    assert rows[1]["beside_stock"]["ours"] > 0
    assert rows[1]["versions"].keys() == {"ultralytics", "torch", "onnx", "onnxruntime"}
    assert not SCRIPT["worse"](rows[1], rows[0])


def test_the_next_model_is_tried_after_a_crash(options, monkeypatch):
    monkeypatch.setitem(SCRIPT["run"].__globals__, "interpreter", lambda kind, folder: Path(sys.executable))
    crashed, built = SCRIPT["run"]("torchscript", ["no-such-model", "yolo11n-cls"], options)
    assert (crashed["model"], crashed["builds"], crashed["reason"]) == (
        "no-such-model",
        False,
        "the process ended with 1",
    )
    assert (built["model"], built["builds"], built["agrees"]) == ("yolo11n-cls", True, True)
    assert "no-such-model" in (Path(options["folder"]) / "torchscript.log").read_text()


@pytest.mark.parametrize(
    ("row", "expected", "reasons"),
    [
        (dict(builds=True, agrees=True, corner=0.00012, score=1e-6), "0.0001 px", []),
        (dict(builds=True, agrees=True, corner=0.02, score=0, mask=0.997), "0.02 px, IoU 1.00", []),
        (dict(builds=True, agrees=True, corner=0.02, score=0, keypoint=0.5), "0.02 px, 0.5 px", []),
        (dict(builds=True, agrees=True, corner=None, score=3e-7), "3e-07", []),
        (dict(builds=True, agrees=True, corner=None, score=0, pixels=0.001), "0.1%", []),
        (dict(builds=True, agrees=False, reason="a"), "differs (1)", ["a"]),
        (dict(builds=True, agrees=None, reason="needs a phone"), "builds (1)", ["needs a phone"]),
        (dict(builds=False, reason="no operator"), "no (1)", ["no operator"]),
    ],
)
def test_cell(row, expected, reasons):
    found = []
    assert SCRIPT["cell"](row, found) == expected
    assert found == reasons
    SCRIPT["cell"](row, found)
    assert found == reasons, "a reason comes once"


GOOD, ODD, UNRUN, NONE = (
    dict(builds=True, agrees=True), dict(builds=True, agrees=False), dict(builds=True, agrees=None), dict(builds=False)
)  # fmt: skip


@pytest.mark.parametrize(
    ("ours", "stock", "expected"),
    [
        (GOOD, GOOD, False),
        (ODD, GOOD, True),
        (NONE, GOOD, True),
        (NONE, UNRUN, True),
        (UNRUN, UNRUN, False),
        (NONE, NONE, False),
        (GOOD, NONE, False),
        (ODD, ODD, False),
        (GOOD, {}, False),
    ],
)
def test_worse(ours, stock, expected):
    assert SCRIPT["worse"](ours, stock) is expected


def test_page_is_what_was_measured():
    rows = json.loads((ROOT / "docs" / "formats.json").read_text())
    page = (ROOT / "docs" / "how-to" / "export.md").read_text(encoding="utf-8")
    start, end = SCRIPT["MARKS"]
    assert page.partition(start)[2].partition(end)[0].strip() == "\n".join(SCRIPT["tables"](rows)).strip()
    kept = {(row["format"], row["model"]): row for row in rows}
    assert not [
        key
        for key, row in kept.items()
        if key[1] in OURS and SCRIPT["worse"](row, kept.get((key[0], OURS[key[1]]), {}))
    ]


def test_ci_builds_every_format():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "formats.yml").read_text())
    assert sorted(workflow["jobs"]["build"]["strategy"]["matrix"]["format"]) == sorted(FORMATS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "images= is missing"),
        (["images=x", "formats=onxx"], "onxx: unknown"),
        (["images=x", "colour=red"], "colour: unknown"),
    ],
)
def test_bad_arguments(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=message):
        SCRIPT["main"](arguments)
    assert not [*tmp_path.iterdir()]


def test_reasons_hold_no_paths():
    assert SCRIPT["_short"](ValueError("/tmp/a/b.onnx is\nbroken")) == "ValueError: b.onnx is"
    text = "m.onnx does not find it. On 8 images, corners differ by up to 3 px. It is not to be trusted: mend it."
    assert SCRIPT["_short"](ValueError(text)) == "corners differ by up to 3 px"
    assert not re.search(r"/(tmp|home|root)/", (ROOT / "docs" / "formats.json").read_text())
