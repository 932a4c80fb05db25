"""scripts/study_answers.py and study_page.py: the protocol's rules on made-up runs; the page beside the runs' files."""

import json
import re
import runpy

import numpy as np
import pytest

from tests.pages import README
from tests.places import ROOT
from ultralytics_diffattn.comparison.schema import RunKey
from ultralytics_diffattn.evaluation.estimates import Estimate

KINDS = ("yolo11n-diffattn-paired", "yolo11n-diffattn", "yolo11n-diffattn-token")
SEEDS = range(10, 14)


@pytest.fixture
def study_page(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return runpy.run_path(str(ROOT / "scripts" / "study_page.py"))


def made_up(gains, seeds=SEEDS, chance=0.0005):
    """Return runs of an experiment: models by name, with how much each has more than the first."""
    rng = np.random.default_rng(0)
    images = rng.normal(0, 0.01, 1000)  # the same resamples for all, so that a difference has little chance
    runs = {}
    for model, gain in gains.items():
        for seed in seeds:
            value = 0.4 + gain + rng.normal(0, chance)
            values = {"value": value, "resampled": value + images + rng.normal(0, chance, 1000)}
            runs[RunKey(model, seed)] = {
                "images": 100,
                "values": dict.fromkeys(("mAP50-95", "background", "corrupted", "inside"), values),
                "record": {"seconds": 360.0},
                "versions": {"torch": "2"},
                "metrics": {"mAP50": 0.5},
                "step0": 0.1,
                "curve": {"metric": [0.3, 0.2] if seed == 13 else [0.2, 0.3]},
                "lambdas": {"attn": [0.1, -0.02]},
            }
    return runs


def three_sets(*gains, **more):
    """Return the runs of question a: of each data set the gains of the three kinds."""
    sets = ("a-bccd", "a-deeppcb", "a-coco356")
    runs = {
        name: made_up({"yolo11n": 0.0, **dict(zip(KINDS, g, strict=True))}, **more)
        for name, g in zip(sets, gains, strict=True)
    }
    return {**runs, "bc-bccd": {}, "d-coco356": {}, "f1-bccd": {}, "f2-bccd": {}}


SAME = (0.0, 0.0, 0.0)
ANSWERS = {
    "**Differential attention helps as `token` (bccd, deeppcb).**": ((0, 0, 0.05), (0, 0, 0.05), SAME),
    "harms as `paired` (bccd, deeppcb, coco356) and harms as `split` (bccd, deeppcb, coco356).**": ((-0.05, -0.05, 0),)
    * 3,
    "helps as `paired` (bccd, coco356) and harms as `token` (bccd, deeppcb, by too little to matter).**": (
        (0.05, 0, -0.05),
        (0, 0, -0.004),
        (0.05, 0, 0),
    ),
    "Differential attention changes nothing that matters": (SAME,) * 3,
    "equal within 0.005 (8), helps (1). `token` helps on bccd (+0.050).\n": ((0, 0, 0.05), SAME, SAME),
    "helps (3), equal within 0.005 (6). `paired` helps on bccd (+0.004), by too little to matter.": (
        (0.004, 0.004, 0.004),
        SAME,
        SAME,
    ),
    "The 9 verdicts (three kinds, three data sets): equal within 0.005 (7), helps (1), harms (1).": (
        (0, 0, 0.05),
        (0, 0, -0.05),
        SAME,
    ),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_answer_by_the_rule_of_the_protocol(study_page, answer):
    assert answer in study_page["page"](three_sets(*ANSWERS[answer]))["answer"]


def test_helping_twice_and_harming_once_is_no_answer(study_page):
    page = study_page["page"](three_sets((0, 0, 0.05), (0, 0, 0.05), (0, 0, -0.05)))
    assert "The study cannot say" in page["answer"]


@pytest.mark.parametrize("seeds", [[], [10], [10, 11], [10, 11, 12]])
def test_nothing_is_said_before_all_runs_are_there(study_page, seeds):
    page = study_page["page"](three_sets((0.1, 0.1, 0.1), SAME, SAME, seeds=seeds))
    assert "There is no answer yet" in page["answer"]
    assert ("study.png" in page["answer"]) == (len(seeds) > 1)  # of one, nothing is drawn
    assert "helps" not in page["answer"] + page["tables"]


def test_a_run_that_is_left_out_is_named(study_page, monkeypatch):
    runs = three_sets((0.1, 0.1, 0.1), SAME, SAME)
    del runs["a-bccd"][RunKey("yolo11n", 12)]
    assert "There is no answer yet" in study_page["page"](runs)["answer"]
    monkeypatch.setitem(study_page["LEFT_OUT"], "a-bccd-yolo11n-12", "its disk was lost")
    page = study_page["page"](runs)["answer"]
    assert "`paired` helps on bccd (+0.100)" in page
    assert "\na-bccd-yolo11n-12 is left out: its disk was lost.\n" in page


def test_a_set_on_which_nothing_is_learned_is_not_passed_over(study_page):
    runs = three_sets(SAME, SAME, SAME)
    for file in runs["a-deeppcb"].values():
        file["metrics"] = {"mAP50": 0.004}
    with pytest.raises(ValueError, match="a-deeppcb: nothing was learned"):
        study_page["page"](runs)


def test_figures_of_a_pair(study_page):
    runs = three_sets((0.02, 0, 0), SAME, SAME)
    found = study_page["rows"](runs, "a")[0]
    of = {model: [runs["a-bccd"][RunKey(model, s)]["values"]["mAP50-95"]["value"] for s in SEEDS] for model in KINDS}
    stock = [runs["a-bccd"][RunKey("yolo11n", s)]["values"]["mAP50-95"]["value"] for s in SEEDS]
    assert found.found.difference == pytest.approx(np.subtract(of[KINDS[0]], stock).mean())
    low, high = found.found.student.interval()
    assert low < 0.02 < high
    assert (found.seeds, found.verdict.word) == (4, "better")


def test_the_claim_is_an_average_over_the_sets(study_page):
    lines = study_page["claim_table"](study_page["claims"](three_sets((0.03, 0, 0), (0.06, 0, 0), (0.09, 0, 0))))
    assert "| `paired` | AP50 lost to background errors | less | +0.030 | +0.060 | +0.090 | +0.060 |" in lines[2]
    assert lines[2].endswith("| more |")
    assert lines[5].endswith("| equal within 0.005 |")


def test_a_teacher_adds_to_all(study_page):
    runs = three_sets(SAME, SAME, (0, 0.02, 0))
    runs["d-coco356"] = made_up({"yolo11n": 0.1, "yolo11n-diffattn": 0.12})
    model, teacher, interaction = study_page["effect_table"](study_page["teacher_effects"](runs))[2:]
    assert "| 4 | +0.020 |" in model
    assert model.endswith("| better |")
    assert "| 4 | +0.100 |" in teacher
    assert interaction.endswith("equal within 0.005 |")
    labels = [label.get_text()[0] for label in study_page["draw"](runs).axes[0].get_yticklabels()]
    assert labels == ["a"] * 9 + ["d"] * 3


def test_a_new_detector_and_the_place(study_page):
    models = {
        "yolo11n-c2psa-p4": 0,
        "yolo11n-diffattn-p4": 0.05,
        "yolo11n-p4-l08": 0,
        "yolo11n-p4-c3k2": 0,
        "yolo11n": -0.05,
    }
    runs = {**three_sets(SAME, SAME, SAME), "bc-bccd": made_up(models)}
    assert [row.verdict.word for row in study_page["rows"](runs, "b")] == ["better", "equal"]
    assert [row.verdict.word for row in study_page["rows"](runs, "c")] == ["worse", "better", "equal"]
    assert "| yolo11n: no attention at stride 16 | 4 |" in study_page["page"](runs)["tables"]
    assert study_page["pair_table"](study_page["rows"](runs, "c"))[2].endswith("| worse | - |")
    assert len(study_page["draw"](runs).axes[0].get_yticks()) == 9 + 2 + 3


def test_two_differences_once_more(study_page):
    runs = three_sets(SAME, SAME, SAME)
    assert "Once more" not in study_page["page"](runs)["answer"]
    assert "The other questions" not in study_page["page"](runs)["answer"]
    new = range(14, 22)
    runs["f1-bccd"] = made_up({"yolo11n": 0.0, "yolo11n-diffattn": 0.02}, new)
    runs["f2-bccd"] = made_up({"yolo11n-c2psa-p4": 0.0, "yolo11n-diffattn-p4": -0.004}, new)
    page = study_page["page"](runs)
    # The answer is that of question a, whatever f finds.
    assert page["answer"].startswith("**Differential attention changes nothing that matters**")
    found = "`split` on bccd +0.020, helps; `split`, λ_init 0.2 on bccd -0.004, harms, by too little to matter."
    assert f"Once more with eight new seeds (question f): {found}\n" in page["answer"]
    assert "| of yolo11n; `C2PSA` at strides 16 and 32 |" in page["tables"]
    labels = [label.get_text()[0] for label in study_page["draw"](runs).axes[0].get_yticklabels()]
    assert labels == ["a"] * 9 + ["f"] * 2
    del runs["f2-bccd"][RunKey("yolo11n-diffattn-p4", 21)]
    assert "Once more with" not in study_page["page"](runs)["answer"]


def test_the_other_questions_in_a_sentence(study_page):
    runs = three_sets(*[(0, 0, 0.05)] * 3)
    p4 = {"yolo11n-c2psa-p4": 0, "yolo11n-diffattn-p4": 0.05, "yolo11n-p4-l08": 0, "yolo11n-p4-c3k2": 0, "yolo11n": 0}
    runs["bc-bccd"] = made_up(p4)
    runs["d-coco356"] = made_up({"yolo11n": 0.1, "yolo11n-diffattn": 0.1})
    runs["f1-bccd"] = made_up({"yolo11n": 0.0, "yolo11n-diffattn": 0.02}, range(14, 22))
    runs["f2-bccd"] = made_up({"yolo11n-c2psa-p4": 0.0, "yolo11n-diffattn-p4": 0.0}, range(14, 22))
    answer = study_page["page"](runs)["answer"]
    b_and_c = "b, a new detector: helps (1), equal within 0.005 (1); c, the place: equal within 0.005 (2), better (1);"
    assert b_and_c in answer
    assert "d, a teacher: equal within 0.005 (2), better (1); e, the claim: equal within 0.005 (6), more: " in answer


def test_the_page_is_what_the_files_say(study_page):
    runs = study_page["read"](ROOT / "docs" / "study")
    assert sum(map(len, runs.values())) == len([*(ROOT / "docs" / "study").glob("*.json")])
    text = (ROOT / "docs" / "study.md").read_text(encoding="utf-8")
    for name, part in study_page["page"](runs).items():
        first, last = (mark.format(name) for mark in study_page["MARKS"])
        assert text.partition(first)[2].partition(last)[0] == part


def test_readme_quotes_the_study(study_page):
    runs = study_page["read"](ROOT / "docs" / "study")
    found = study_page["rows"](runs, "a")
    words = [row.verdict.word for row in found]
    assert (words.count("not distinguishable"), words.count("equal"), words.count("worse")) == (7, 1, 1)
    equal, worse = (found[words.index(word)] for word in ("equal", "worse"))
    assert (equal.model, equal.data, worse.model, worse.data) == (KINDS[0], "coco356", KINDS[2], "coco356")
    difference, *ends = (f"{x:+.3f}" for x in (worse.found.difference, *worse.found.student.interval()))
    text = " ".join(README.split())
    assert "Of nine differences from a fine-tuned stock yolo11n, seven are not distinguishable from zero. " in text
    assert "`paired` on COCO images is equal within 0.005 mAP50-95, and `token` on COCO images" in text
    assert f"loses ({difference}, 95 % {' to '.join(ends)})" in text
    of_f = study_page["rows"](runs, "f")
    of_a_and_b = {(r.data, r.model): r for question in "ab" for r in study_page["rows"](runs, question)}
    of_both = [of_a_and_b[r.data, r.model] for r in of_f], of_f
    before, after = ([f"{r.found.difference:+.3f}" for r in of] for of in of_both)
    assert f"stood out, {' and '.join(before)}; with eight new seeds they are {' and '.join(after)}." in text
    claims = [(c.kind, c.value, c.verdict.word) for c in study_page["claims"](runs)]
    told = [claim for claim in claims if claim[2] != "not distinguishable"]
    assert told == [(kind, "inside", "worse") for kind in KINDS[1:]]


THREE = r"([\d.]+), ([\d.]+) or ([\d.]+)"


def test_the_page_says_what_four_seeds_can_find():
    text = (ROOT / "docs" / "study.md").read_text(encoding="utf-8")
    said = re.search(rf"find a true difference of {THREE} if the difference\s+scatters by {THREE}", text)
    for difference, scatter in zip(said.groups()[:3], said.groups()[3:], strict=True):
        of_nine = [
            Estimate(d / 1000, float(scatter) ** 2, 0.005**2, 0.0, 4, images=159).seeds_needed(tests=9)
            for d in range(1, 200)
        ]
        assert (of_nine.index(4) + 1) / 1000 == pytest.approx(float(difference), abs=0.005)


def test_the_limits_are_figures_of_the_files(study_page):
    text = " ".join((ROOT / "docs" / "study.md").read_text(encoding="utf-8").split())
    runs = study_page["read"](ROOT / "docs" / "study")
    of_a, (of_b, _) = (study_page["rows"](runs, question) for question in "ab")
    scatter = {
        name: sorted(r.found.of_seed**0.5 for r in of_a if r.data == name) for name in ("bccd", "deeppcb", "coco356")
    }
    said = re.search(
        r"scatter by ([\d.]+) on bccd, by ([\d.]+) to ([\d.]+) on deeppcb, and by ([\d.]+) to ([\d.]+) on coco", text
    )
    bccd, low, high, least, most = map(float, said.groups())
    assert {round(x, 2) for x in scatter["bccd"]} == {bccd}
    assert [round(scatter["deeppcb"][i], 2) for i in (0, -1)] == [low, high]
    assert [round(scatter["coco356"][0], 4), round(scatter["coco356"][-1], 3)] == [least, most]
    curves = [file["curve"]["metric"] for name in ("a-coco356", "d-coco356") for file in runs[name].values()]
    assert f"best.pt is that of the first epoch in all {len(curves)} runs of a and d." in text
    assert all(curve[0] == max(curve) for curve in curves)
    split = next(r for r in of_a if (r.data, r.model) == ("bccd", KINDS[1]))
    found = [
        next(d for d in range(1, 60) if (row.found._replace(difference=d / 1000).seeds_needed(2) or 99) <= 8)
        for row in (split, of_b)
    ]
    assert "eight seeds find {:.3f} and {:.3f} in 80 % of studies".format(*(d / 1000 for d in found)) in text


def test_a_file_is_found_by_its_experiment(study_page, tmp_path):
    content = {"experiment": "a-bccd", "model": "yolo11n", "seed": 10, "arguments": {"epochs": 3, "seed": 10}}
    (tmp_path / "x.json").write_text(json.dumps(content))
    assert list(study_page["read"](tmp_path)["a-bccd"]) == [RunKey("yolo11n", 10)]
    content["arguments"] = {"epochs": 100, "seed": 11}  # as on a GPU
    (tmp_path / "y.json").write_text(json.dumps({**content, "seed": 11}))
    with pytest.raises(ValueError, match=r"y\.json was made with other arguments"):
        study_page["read"](tmp_path)


def test_before_training_and_lambda_are_shown_without_a_verdict(study_page):
    lines = study_page["exploratory"](three_sets(SAME, SAME, SAME))
    assert lines[-1] == "| coco356 | 0.100 | 0.100 | 0.100 | 0.100 | 4 of 16 | 0.0200 |"
