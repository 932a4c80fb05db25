"""page.py, its tables and charts: one page that needs nothing else, right with awkward values, in a browser."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from tests.browser import BROWSER, Page, brightness, look
from tests.comparison.samples import NASTY, make_json, make_retention, over_seeds, typed
from ultralytics_diffattn.comparison import charts, page_charts, page_tables
from ultralytics_diffattn.comparison import page as report_page
from ultralytics_diffattn.comparison.image_grid import ImageDifference, PairImages, Panel
from ultralytics_diffattn.comparison.page_tables import DifferenceCell
from ultralytics_diffattn.evaluation.tasks import TASKS

PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"


def make_grid(labels=("yolo11n", "yolo11n-diffattn")):
    panels = [Panel(title, PIXEL) for title in ("truth", *labels)]
    image = ImageDifference("<img src=x>.jpg", "F1", dict.fromkeys(labels, 0.5), panels)
    return [PairImages(labels[0], labels[1], 0, [image], ["gone.jpg"])]


def render(results, image_grid=()):
    return report_page.render(typed(results), image_grid)


def one_seed():
    results = make_json(seeds=(0,))
    results["runs"][0]["resumed_after"] = [3, 5]
    results["missing"] = ["yolo11n seed 1", "yolo11n-diffattn seed <1>"]
    return results


def nothing_known():
    results = make_json()
    for run in results["runs"]:
        run.update(seconds_per_epoch=None, peak_memory_mb=None, lambdas={})
        run["metrics"] = dict.fromkeys(TASKS["detect"].metrics, 0.0) | {"AP small": None}
        run["curve"] = {"epoch": [1], "metric": [None], "losses": {"box_loss": [float("nan")], "cls_loss": [0.5]}}
    for label, model in results["models"].items():
        model.update(over_seeds([run for run in results["runs"] if run["model"] == label]), gflops=None)
        model.update(latency_ms={"pytorch": None, "onnxruntime": None}, seconds_per_epoch=None, peak_memory_mb=None)
    for pair in results["pairs"]:
        pair.update(seeds_needed=None, difference=0.0, interval=None, p_different=None, p_unequal=None)
        for gap in (pair["per_class"] or {}).values():
            gap.update(difference=None, over_seeds=None)
    return results


def with_exports():
    none = dict.fromkeys(("difference", "interval", "kept", "kept_interval"))
    failed = make_retention(LABELS[1], seeds=[], pytorch=[], exported=[], failures=["seed 0: <b>no</b>"], **none)
    one_seed = make_retention(LABELS[1], "float16", seeds=[0], pytorch=[0.5], exported=[0.4], interval=None)
    one_seed |= {"kept": None, "kept_interval": None}
    return make_json(retention=[make_retention(LABELS[0]), failed, one_seed])


def only_evaluated():
    results = make_json(seeds=(0,), arguments={"epochs": 0, "imgsz": 320, "data": "data.yaml"})
    for run in results["runs"]:
        run.update(seed=None, epochs=0, seconds_per_epoch=None, seconds=0.0, peak_memory_mb=None, lambdas={})
        run["curve"] = {"epoch": [], "metric": [], "losses": {}}
    for model in results["models"].values():
        model.update(seconds_per_epoch=None, peak_memory_mb=None)
    results["models"]["yolo11n-diffattn"].update(
        model="/p/predictions.json",
        parameters=None,
        gflops=None,
        latency_ms={"pytorch": None, "onnxruntime": None},
    )
    for pair in results["pairs"]:
        pair.update(seeds=[], interval=(-0.01, 0.03), over_seeds=None, verdict="not distinguishable", seeds_needed=None)
    return results


LABELS = ["yolo11n", "yolo11n-diffattn", "yolo11n-diffattn-token", "m4", "m5", "m6", "m7"]
CASES = {
    "usual": make_json,
    "one seed": one_seed,
    "nothing known": nothing_known,
    "80 classes, 7 models": lambda: make_json(LABELS, (0, 1), [f"class {i}" for i in range(80)], 300),
    "validated at the end": lambda: make_json(arguments={"val": False}),
    "only evaluated": only_evaluated,
    "no pair": lambda: make_json(pairs=[]),
    "one class": lambda: make_json(classes=["cell"]),
    "wide": lambda: make_json(
        [*LABELS[:2], "yolo11n-diffattn-of-a-checkpoint-that-bears-a-long-and-telling-name"],
        classes=[*NASTY, *(f"class {i}" for i in range(77))],
        epochs=40,
    ),
    "another task": lambda: make_json(confusion=None, facets=[]),
    "exports": with_exports,
}


@cache
def rendered(case):
    """Return the page of a case, which is drawn once."""
    return render(CASES[case](), make_grid())


@pytest.mark.parametrize("case", CASES)
def test_a_sound_page_that_needs_nothing_else(case):
    source = rendered(case)
    page = Page(source)
    assert source.startswith("<!DOCTYPE html>")
    assert page.all("html") == [{"lang": "en"}]
    assert "width=device-width" in str(page.all("meta"))
    headings = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(headings))
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    named = {attrs[key] for _, attrs in page.tags for key in ("aria-labelledby",) if key in attrs}
    inside = {ref for _, a in page.tags for v in a.values() for ref in re.findall(r"(?:url\(|^)#([^)]+)\)?$", v or "")}
    assert named | inside <= set(ids)
    assert all(attrs.get("scope") for attrs in page.all("th"))
    assert all(attrs["alt"] and attrs["src"].startswith("data:") for attrs in page.all("img"))
    assert not {"script", "link", "iframe", "object", "base", "form"} & {tag for tag, _ in page.tags}
    assert not [a for _, a in page.tags for k, v in a.items() if k in ("href", "src") and not re.match("#|data:", v)]
    assert not [key for _, attrs in page.tags for key in attrs if key.startswith("on")]
    assert not re.search(r"url\(|@import|@font-face", page.css)
    assert not re.search(r"\bnan\b|\bNone\b|#fe0", page.text.replace("augment=None", ""))
    assert "#fe0" not in source.lower()


@pytest.mark.parametrize("case", CASES)
def test_every_chart_is_xml_with_a_title(case):
    charts = re.findall(r"<svg.*?</svg>", rendered(case), re.DOTALL)
    assert len(charts) >= (2 if case == "only evaluated" else 4)
    for chart in charts:
        root = ET.fromstring(chart)
        space = "{http://www.w3.org/2000/svg}"
        assert root.attrib["role"] == "img"
        assert root[0].tag == f"{space}title"
        assert root[0].text
        assert root.attrib["aria-labelledby"] == root[0].attrib["id"]
        assert all(element.tag.startswith(space) for element in root.iter())


def test_names_are_text_wherever_they_stand():
    page = Page(render(make_json(), make_grid()))
    for name in (*NASTY[:2], "<b>bold</b>", "<img src=x>.jpg"):
        assert name in page.text
    assert "b" not in {tag for tag, _ in page.tags}
    assert "x" not in [attrs["src"] for attrs in page.all("img")]
    assert "diffattn compare models=yolo11n.yaml,yolo11n-diffattn.yaml seeds=0,1,2 margin=0.005 epochs=8" in page.text


def test_what_exports_keep():
    text = Page(render(with_exports())).text
    assert "yolo11n, onnx int8 96.5 % 92.0 % to 101.0 % 0.550 0.530 -0.020 -0.050 to +0.010 2" in text
    assert "yolo11n-diffattn, onnx int8 not measured" in text
    assert "With fewer than 3 seeds, what exports keep may be chance" in text
    assert "Not measured, and not counted: onnx int8 of yolo11n-diffattn, seed 0: <b>no</b>" in text
    assert "yolo11n-diffattn, onnx float16 - - 0.500 0.400 -0.020 - 1" in text
    assert "After export" not in Page(render(make_json())).text


def test_confusion_matrices_are_shares_of_the_true_class():
    results = make_json(classes=["cell", "cyst"])
    results["confusion"]["models"] = {LABELS[0]: [[90, 9.5, 0.5], [0, 0, 10], [3, 0, 0]], LABELS[1]: [[0] * 3] * 3}
    text = Page(render(results)).text
    assert f"{LABELS[0]} true number cell cyst background" in text
    assert "cell 100 0.90 0.10 0.01 cyst 10 1.00 background 3 1.00" in text
    assert f"{LABELS[1]} true number cell cyst background cell 0 cyst 0 background 0 Where they differ most" in text
    assert "cell taken for x 100.0 87.5 -12.5 cyst taken for x 100.0 101.0 +1.0 +0.0 to +2.0" in text
    assert "Chosen for their size" not in text


def test_of_many_classes_the_confusions_that_differ_most():
    text = Page(render(make_json(classes=[f"class {i}" for i in range(80)]))).text
    assert "true number" not in text
    assert "chosen for their size, so their intervals are too narrow" in text
    results = make_json()
    results["confusion"]["largest"] |= {"names": [], "pairs": []}
    assert "Their confusions do not differ." in Page(render(results)).text


def test_one_seed_and_what_went_wrong():
    text = Page(render(one_seed(), make_grid())).text
    assert "one seed is too few to rule out chance" in text
    assert "±" not in text
    assert "Not finished, and not counted here: 2 of 4 trainings" in text
    assert "yolo11n seed 1, yolo11n-diffattn seed <1>" in text
    assert "resumed after epoch 3, 5" in text
    assert text.count("not finished") == 2  # in the table of trainings
    assert "could no longer be read, and are left out (1): gone.jpg" in text


def test_models_as_they_are_have_nothing_of_a_training():
    grid = [replace(pair, seed=None) for pair in make_grid()]
    text = Page(render(only_evaluated(), grid)).text
    assert "2 models as they are, without a training" in text
    assert "for these weights; trained again, the models may compare differently" in text
    assert "Nothing was trained and nothing chosen here." in text
    assert "/p/predictions.json" in text
    assert not re.search(r"s / epoch|peak MB|seeds? \d|over (the )?seeds|ONNX Runtime ms|Lambda|best epoch", text)


def test_of_many_classes_the_largest_are_drawn_and_all_are_listed():
    names = [f"class {i}" for i in range(80)]
    results = make_json(classes=names, gain=0.01)
    gaps = {name: gap["difference"] for name, gap in results["pairs"][0]["per_class"].items()}
    largest = sorted(gaps, key=lambda name: -abs(gaps[name]))[:20]
    (chart,) = page_charts.class_charts(typed(results))
    drawn = [e.text for e in ET.fromstring(chart.svg).iter("{http://www.w3.org/2000/svg}text")]
    assert {name for name in drawn if name and name.startswith("class")} == set(largest)
    page = Page(render(results))
    assert "the 20 of 80 classes that differ most" in page.text
    assert all(f"{name} 0." in page.text for name in names)


def test_a_best_value_is_marked_only_if_it_can_be_told():
    for gain, second in ((0.2, "better"), (-0.2, "worse"), (0.0, "not distinguishable")):
        results = typed(make_json(LABELS[:3], gain=gain))
        assert {pair.verdict for pair in results.pairs} == {second}
        rows = page_tables.model_rows(results)
        marked = [row.label for row in rows if any(cell.best for cell in row.cells)]
        assert marked == {"better": [LABELS[2]], "worse": [LABELS[0]], "not distinguishable": []}[second]
        columns = [i for row in rows for i, cell in enumerate(row.cells) if cell.best]
        assert columns == ([0, 1] if marked else [])  # those that are tested
    better = replace(results.pairs[0], verdict="better")  # than the first, but not than the third
    assert page_tables.best(replace(results, pairs=[better, *results.pairs[1:]]), "mAP50-95") is None


def test_differences_are_of_seeds_that_both_have():
    results = make_json(seeds=(0, 1))
    values = {("yolo11n", 0): 0.5, ("yolo11n", 1): 0.6, ("yolo11n-diffattn", 0): 0.53}
    results["runs"] = [run for run in results["runs"] if (run["model"], run["seed"]) in values]
    for run in results["runs"]:
        run["metrics"]["recall"] = values[run["model"], run["seed"]]
    results["models"]["yolo11n-diffattn"]["latency_ms"]["pytorch"] = 12.6
    (row,) = page_tables.difference_rows(typed(results))
    cells = dict(zip([*TASKS["detect"].metrics, *page_tables.COSTS], row.cells, strict=True))
    assert cells["recall"] == DifferenceCell("+0.030", None, None, None)
    assert cells["mAP50"].images == pytest.approx(results["pairs"][1]["over_images"])
    assert cells["PyTorch ms"].text == "+20.0 %"
    assert cells["ONNX Runtime ms"].text == "-"


def test_epochs_without_validation_are_gaps():
    def map_chart(early, **arguments):
        results = make_json()
        results["arguments"] |= arguments
        for run in results["runs"]:
            run["curve"]["metric"] = [early] * 7 + [run["curve"]["metric"][-1]]
        return page_charts.learning_charts(typed(results))[0].svg

    assert map_chart(None) == map_chart(0.0, val=False) != map_chart(0.0)


def test_a_gap_interrupts_the_line_and_a_lone_point_has_a_mark():
    def drawn(ys):
        root = ET.fromstring(charts.lines("c", "t", {"a": [dict(enumerate(ys, 1))]}, "epoch"))
        paths = [e.attrib for e in root.iter("{http://www.w3.org/2000/svg}path") if "clip-path" in e.attrib]
        line = [p["d"] for p in paths if "fill: none" in p["style"] and "--series-0" in p["style"]]
        marks = [e for e in root.iter("{http://www.w3.org/2000/svg}use") if "--series-0" in e.attrib["style"]]
        return line[0].count("M") if line else 0, len(marks)

    whole, broken, lone = drawn([1, 2, 3, 4, 5]), drawn([1, 2, None, 4, 5]), drawn([None, 2, None, None])
    assert whole[0] == 1
    assert broken[0] == 2
    assert whole[1] - broken[1] == 1
    assert lone[1] >= 1


def test_colours_stand_out_in_light_and_dark():
    def luminance(colour):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in np.array(list(colour)) / 255]
        return np.dot(linear, (0.2126, 0.7152, 0.0722))  # WCAG 2

    light, dark = re.findall(r":root \{(.*?)\}", Page(render(make_json())).css, re.DOTALL)
    for block in (light, dark):
        colours = {name: luminance(bytes.fromhex(c)) for name, c in re.findall(r"--([\w-]+): #(\w{6})", block)}
        series = [name for name in colours if name.startswith("series")]
        assert len(series) == charts.COLOURS
        for name in ("ink", "soft", *series):
            for behind in ("page", "panel"):
                low, high = sorted((colours[name], colours[behind]))
                assert (high + 0.05) / (low + 0.05) > 4.5, (name, behind)


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome on PATH")
@pytest.mark.parametrize(("width", "height"), [(360, 800), (1280, 900)])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_in_a_browser(width, height, dark, tmp_path):
    seen = look(rendered("wide"), tmp_path, width, height, dark)
    assert seen["inner"] == width
    assert seen["scroll"] <= width
    assert seen["height"] > height
    assert seen["images"] == 3
    assert seen["broken"] == 0
    assert seen["outside"] == []
    assert seen["smallest"] > 10
    light = brightness(seen["background"]) - brightness(seen["text"])
    assert light < -150 if dark else light > 150


def test_curves_over_confidence_where_the_task_has_them():
    results = typed(make_json())
    names = [f"{name} over confidence at IoU 0.5, mean of classes" for name in ("Precision", "Recall", "F1")]
    assert [chart.title for chart in page_charts.confidence_charts(results)] == names
    assert all(name in report_page.render(results, []) for name in names)
    without = replace(results, runs=[replace(run, by_confidence={}) for run in results.runs])
    assert page_charts.confidence_charts(without) == []
