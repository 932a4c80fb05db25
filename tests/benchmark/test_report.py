"""The page and the picture of a benchmark, from made-up results."""

import cv2
import numpy as np
import pytest

from ultralytics_diffattn.benchmark import picture, report
from ultralytics_diffattn.benchmark.groups import GROUPS


def row(what="core", ours="ours", other="plain", ratio=0.5, target=None, **more):
    met = None if ratio is None or target is None else ratio <= target
    spread = {"low": None, "high": None} if ratio is None else {"low": ratio - 0.01, "high": ratio + 0.02}
    times = {"ours_ms": None, "other_ms": None} if ratio is None else {"ours_ms": ratio * 2000, "other_ms": 2000.0}
    row = {"what": what, "device": "cpu", "threads": 2, "ours": ours, "other": other, "ratio": ratio, "target": target}
    return {**row, **spread, **times, "repeats": 7, "met": met, **more}


def curve(end, factor):
    return [
        {"tokens": n, "ms": factor * n**2 / 1e5, "mb": factor * n**2 / 1e6} for n in (100, 400, 1600, 6400) if n <= end
    ]


def results(**groups):
    return {
        "date": "2026-01-02",
        "command": "diffattn bench project=. name=docs",
        "versions": {"torch": "2.0", "timm": "not installed"},
        "hardware": {"cpu": "a processor", "cores": 2, "gpu": "none", "system": "Linux"},
        "groups": {name: {"seconds": 60.0, "rows": [], **group} for name, group in groups.items()},
    }


@pytest.fixture
def measured():
    rows = [
        row(target=0.6),
        row(other="timm", target=0.5),
        row(other="published", ratio=0.5001, target=0.5),
        row("free"),
    ]
    rows += [row(ratio=None, target=1.0, why="timm is not installed", repeats=0)]
    ours = [*curve(6400, 0.1), {"tokens": 25600, "ms": 900.0, "mb": 65.5}]
    curves = {"ours": ours, "plain": curve(6400, 32), "timm": [{"tokens": 100, "why": "timm is not installed"}]}
    memory = row("memory", ratio=0.25, ours_ms=None, other_ms=None, ours_mb=10.0, other_mb=40.0, low=None, high=None)
    start = {"ms": 0.4, "low": 0.3, "high": 0.5, "repeats": 15, "modules": ["a", "a.b"]}
    return results(
        core={"rows": rows},
        memory={"rows": [memory], "curves": curves},
        export={"nodes": {"ours": 301, "stock": 290}},
        start={"rows": [row("python -c pass", "with", "without", 1.1, threads=None)], "at_start": start},
        cuda={"note": "no CUDA GPU on this machine: not measured"},
    )


def targets_at(measured):
    """Return where the lines of the targets are: the sentence, and within the fold below it the table."""
    page = lines(measured)
    start = page.index("## Targets") + 2
    assert page[start + 2 : start + 4] == ['<details markdown="1">', "<summary>Each target</summary>"]
    return [start, start + 1, *range(start + 5, page.index("</details>", start) - 1)]


def lines(measured):
    return report.as_markdown(measured).splitlines()


def test_targets(measured):
    text = report.as_markdown(measured)
    assert "Of 4 ratios with a target 2 meet it, 1 miss it, 1 could not be measured." in text
    rows = [line for line in text.splitlines() if "| ≤ " in line]
    assert rows == [
        "| core: ours / plain | cpu, 2 threads | 0.500 [0.490 to 0.520] | ≤ 0.6 | met |",
        "| core: ours / timm | cpu, 2 threads | 0.500 [0.490 to 0.520] | ≤ 0.5 | met |",
        "| core: ours / published | cpu, 2 threads | 0.500 [0.490 to 0.520] | ≤ 0.5 | **missed** |",
        "| core: ours / plain | cpu, 2 threads | timm is not installed | ≤ 1 | not measured |",
    ]
    assert report.summary(measured).splitlines() == [lines(measured)[i] for i in targets_at(measured)]


def test_the_answer_stands_first():
    rows = [
        row(other="stock", ratio=0.9),
        row(other="stock", ratio=1.204),
        row(ours="again", other="stock", ratio=0.98),
        row(other="stock", ratio=None),
        row(other="timm", ratio=5.0),
    ]
    page = lines(results(core={"rows": [row()]}, model={"rows": rows}, train={"rows": rows[:1]}))
    assert page[4:9] == [
        "| part | ours / stock | a copy of stock / stock |",
        "|---|---|---|",
        "| the whole model | 0.90 to 1.20 | 0.98 to 0.98 |",
        "| a training step | 0.90 to 0.90 | - |",
        "",
    ]
    assert lines(results(core={"rows": [row()]}))[2] == "## How it was measured"


def test_every_row_is_in_its_group(measured):
    text = lines(measured)
    assert (
        "| free: ours / plain | cpu, 2 threads | 1,000.00 | 2,000.00 | 0.500 [0.490 to 0.520] | -1,000.00 | 7 |" in text
    )
    assert "| memory: ours / plain | cpu, 2 threads | 10.0 | 40.0 | 0.250 | -30.0 | 7 |" in text
    assert "| what | on | first, MB | second, MB | ratio | difference, MB | turns |" in text
    assert (
        "| python -c pass: with / without | cpu | 2,200.00 | 2,000.00 | 1.100 [1.090 to 1.120] | +200.00 | 7 |" in text
    )


def test_what_a_reader_needs_to_repeat_it(measured):
    text = report.as_markdown(measured)
    assert "    diffattn bench project=. name=docs\n" in text
    assert "2026-01-02" in text
    assert "in 5 minutes" in text
    assert "Machine: a processor, 2 cores, GPU none, Linux. Versions: torch 2.0, timm not installed." in text


def test_notes_nodes_and_start(measured):
    text = report.as_markdown(measured)
    assert "\nNo CUDA GPU on this machine: not measured.\n" in text
    assert "Nodes of the ONNX graph: ours 301, stock 290." in text
    assert "0.40 ms [0.30 to 0.50] over 15 starts for our import, 2 modules: a, a.b." in text


def test_figures_of_the_curves(measured):
    text = lines(measured)
    assert "| N | ours, ms | plain, ms | ours, MB | plain, MB |" in text  # of timm there is none
    assert "| 25,600 | 900.00 | - | 65.5 | - |" in text
    assert "| 100 | 0.01 | 3.20 | 0.0 | 0.3 |" in text
    assert any("performance.png" in line for line in text)
    gb = 32 * 25600**2 / 1e6 / 1e3
    assert f"Left out at N = 25,600, as with N² memory would grow to: plain {gb:.3g} GB." in text


def test_nothing_measured():
    text = report.as_markdown(results())
    assert "No ratio with a target was measured." in text
    assert picture.as_png(results()) is None
    assert "performance.png" not in text


def test_every_group_has_a_section():
    assert report.SECTIONS.keys() == GROUPS.keys()


def test_a_bar_in_a_message_does_not_break_the_table(measured):
    measured["groups"]["core"]["rows"][-1]["why"] = "a | b"
    assert any("a \\| b" in line for line in lines(measured))


def test_picture(measured):
    image = cv2.imdecode(np.frombuffer(picture.as_png(measured), np.uint8), cv2.IMREAD_COLOR)
    assert image.shape[0] > 400
    assert image.shape[1] > 1000
    for name, there in (("ours", True), ("plain", True), ("timm", False)):
        red, green, blue = (int(picture.LOOK[name][1][i : i + 2], 16) for i in (1, 3, 5))
        near = (abs(image.astype(int) - (blue, green, red)) < 8).all(-1)
        assert (near.sum() > 300) is np.bool_(there), name


def test_axes_are_logarithmic_and_the_legend_follows_the_lines(measured, monkeypatch):
    drawn = []
    stock = picture.Figure.savefig
    monkeypatch.setattr(picture.Figure, "savefig", lambda self, *a, **k: drawn.append(self) or stock(self, *a, **k))
    picture.as_png(measured)
    for axes, key in zip(drawn[0].axes, ("ms", "mb"), strict=True):
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        assert [text.get_text() for text in axes.get_legend().get_texts()] == ["plain attention, eager", "ours"]
        (ours,) = (line for line in axes.get_lines() if line.get_label() == "ours")
        assert list(ours.get_ydata()) == [p[key] for p in measured["groups"]["memory"]["curves"]["ours"]]
