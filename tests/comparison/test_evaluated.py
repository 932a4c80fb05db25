"""Models that are not trained: a checkpoint, its exports and its predictions, compared from the command line."""

import json
import shutil

import pytest
import torch
from ultralytics import YOLO

from tests import interpreters
from tests.samples import small_models, stir
from tests.task_data import make
from ultralytics_diffattn import cli
from ultralytics_diffattn.comparison import evaluated
from ultralytics_diffattn.comparison.evaluated import Given
from ultralytics_diffattn.comparison.run_files import is_finished
from ultralytics_diffattn.comparison.run_folders import prepare_run_folders
from ultralytics_diffattn.comparison.schema import read_results
from ultralytics_diffattn.comparison.specification import specify
from ultralytics_diffattn.errors import MissingPackageError, UserError
from ultralytics_diffattn.verbs.compare_arguments import parse_models

SMALL = ("epochs=0", "batch=4", "workers=0", "device=cpu")


def untrained(model, data, folder, name):
    """Save a checkpoint that knows the classes of a data set and finds something."""
    torch.manual_seed(0)
    yolo = YOLO(model)
    yolo.train(
        data=str(data), epochs=1, imgsz=64, batch=4, workers=0, plots=False, val=False, project=str(folder), name=name
    )
    file = folder / f"{name}.pt"
    stir(YOLO(yolo.trainer.last)).save(file)
    shutil.rmtree(folder / name)
    return file


@pytest.fixture(scope="module")
def tiny(tiny, tmp_path_factory):
    """Return the small data set with boxes that an untrained model finds as its labels, so that no metric is zero."""
    folder = tmp_path_factory.mktemp("labelled")
    model = YOLO(untrained(small_models(folder)[1], tiny, folder, "best"))
    for branch in model.model.model[-1].cv2:  # each box reaches 1 from its centre, in strides
        branch[-1].weight.data.zero_()
        branch[-1].bias.data.view(4, -1)[:, 1] = 20
    model.save(folder / "best.pt")
    data = shutil.copytree(tiny.parent, folder / "data", ignore=shutil.ignore_patterns("*.cache"))
    for image in (data / "images" / "val").iterdir():
        boxes = model.predict(image, imgsz=64, conf=0.001, max_det=4, device="cpu", verbose=False)[0].boxes
        rows = [f"{int(c)} {x} {y} {w} {h}\n" for c, (x, y, w, h) in zip(boxes.cls, boxes.xywhn.tolist(), strict=True)]
        (data / "labels" / "val" / f"{image.stem}.txt").write_text("".join(rows[::2]))
    return data / "data.yaml"


@pytest.fixture(scope="module")
def given(tiny, tmp_path_factory):
    """Return a folder with a checkpoint, its export and its predictions as ultralytics writes them."""
    folder = tmp_path_factory.mktemp("given")
    file = shutil.copy(tiny.parents[1] / "best.pt", folder)
    YOLO(file).export(format="onnx", imgsz=64, device="cpu", verbose=False)
    (folder / "best_openvino_model").mkdir()
    val = dict(data=str(tiny), imgsz=64, batch=4, workers=0, plots=False, device="cpu", project=str(folder))
    YOLO(file).val(**val, name="json", save_json=True)
    shutil.copy(folder / "json" / "predictions.json", folder)
    return folder


def compare(given, tiny, folder, *models, more=()):
    listed = ",".join(str(given / model) for model in models)
    return ["compare", f"data={tiny}", f"models={listed}", *SMALL, f"project={folder}", "name=c", *more]


KINDS = "best.pt", "best.onnx", "predictions.json"


@pytest.fixture(scope="module")
def compared(given, tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    before = {f: f.stat().st_mtime_ns for f in given.rglob("*")}
    done = interpreters.command("diffattn", *compare(given, tiny, folder, *KINDS), cwd=folder)
    assert {f: f.stat().st_mtime_ns for f in given.rglob("*")} == before, "models stay as they are"
    return {"folder": folder, "said": done.stdout + done.stderr, "results": read_results(folder / "c" / "results.json")}


def test_each_has_the_map_of_yolo_val(compared, given, tiny, tmp_path):
    val = dict(data=str(tiny), imgsz=64, batch=4, workers=0, plots=False, device="cpu", project=str(tmp_path))
    results = compared["results"]
    assert [*results.models] == [*KINDS]
    for label in KINDS[:2]:
        expected = YOLO(given / label, task="detect").val(**val).results_dict
        for metric, theirs in (("mAP50-95", "metrics/mAP50-95(B)"), ("recall", "metrics/recall(B)")):
            assert expected[theirs] > 0.01
            assert results.models[label].metrics[metric].mean == pytest.approx(expected[theirs], abs=1e-6), label


def test_what_it_says_is_of_these_weights(compared):
    results = compared["results"]
    assert (results.seeds, results.only_evaluated, results.data.split) == ([], True, "val")
    assert "3 models, evaluated as they are" in compared["said"]
    assert "seeds; give more" not in compared["said"]
    for pair in results.pairs:
        assert (pair.seeds, len(pair.per_seed), pair.over_seeds, pair.seeds_needed) == ([], 1, None, None)
        assert pair.verdict == "no verdict"  # of four images
        assert pair.interval[0] <= pair.difference <= pair.interval[1]
    page = (compared["folder"] / "c" / "report.html").read_text(encoding="utf-8")
    assert "3 models as they are, without a training" in page
    assert "epochs=0" in page
    assert results.facets[0].pairs[0].intervals


def test_what_only_a_training_has_is_empty(compared):
    results = compared["results"]
    assert [run.seed for run in results.runs] == [None] * 3
    assert all(not run.curve.epoch and not run.lambdas and run.peak_memory_mb is None for run in results.runs)
    parameters = [results.models[label].parameters for label in KINDS]
    assert parameters[0] > 1e5
    assert parameters[1:] == [None] * 2
    latency = [results.models[label].latency_ms for label in KINDS]
    assert latency[0].pytorch > 0
    assert latency[1].onnxruntime > 0
    assert (latency[1].pytorch, latency[2].pytorch, latency[2].onnxruntime) == (None, None, None)


def test_again_keeps_what_is_finished_and_refuses_what_has_changed(compared, given, tiny):
    folder = compared["folder"]

    def again():
        arguments = {"epochs": 0, "batch": 4, "workers": 0, "device": "cpu"}
        specification = specify({k: str(given / k) for k in KINDS}, [0], tiny, arguments, str(folder), "c")
        prepare_run_folders(specification)
        return [*specification.run_folders().values()]

    assert again() == [folder / "c" / label / "evaluated" for label in KINDS]
    assert all(map(is_finished, again()))
    before = (given / "predictions.json").read_bytes()
    (given / "predictions.json").write_text(json.dumps(json.loads(before)[1:]))
    with pytest.raises(UserError, match=r"predictions\.json.evaluated belongs to .* other settings \(model_digest: "):
        again()
    (given / "predictions.json").write_bytes(before)
    assert all(map(is_finished, again()))


@pytest.mark.parametrize(
    ("models", "more", "message"),
    [
        (["best.pt", "yolo11n.yaml"], [], "yolo11n.yaml has no weights to evaluate with epochs=0: give a checkpoint"),
        (["best.pt", "predictions.json"], ["epochs=1"], "predictions.json cannot be trained"),
        (["best.pt", "best_openvino_model"], ["epochs=1"], "best_openvino_model cannot be trained"),
        (
            ["best.pt", "best.onnx"],
            ["imgsz=96"],
            "best.onnx was exported for 64 pixels, but the comparison is at imgsz=96",
        ),
        (["best.pt", "gone.onnx"], [], "gone.onnx does not exist"),
        (["best.pt", "gone.json"], [], "gone.json does not exist"),
        (["best.pt", "torn.onnx"], [], "torn.onnx does not load"),
        (["best.pt", "torn.json"], [], "torn.json is not readable as JSON"),
        (["best.pt", "other.json"], [], "image_id 'elsewhere' is no image of the data set"),
        (["best.pt", "best.onnx"], ["seeds=0,1"], "seeds=(0, 1) is for training"),
        (["best.pt", "best.onnx"], ["reconstruct=True"], "reconstruct=True is for training"),
        (["best.pt", "best.onnx"], ["distill_model=yolo11n.pt"], "distill_model=yolo11n.pt is for training"),
        (["best.pt", "best.onnx"], ["teacher=none,x.pt"], "teacher=none,x.pt is for training"),
        (["best.pt", "best.onnx"], ["lr0=0.1"], "lr0=0.1 is for training"),
        (["best.pt", "pose.pt"], [], "best is for detect, pose is for pose"),
        (["pose.pt", "predictions.json"], [], "pose is for pose, predictions is for detect"),
        (
            ["best.pt", "eighty.pt"],
            [],
            "eighty was trained for other classes than the data set has: class 0 is '0' in",
        ),
    ],
)
def test_bad_input_is_refused_before_anything_is_made(given, tiny, tmp_path, capsys, models, more, message):
    made = {
        "torn.json": lambda f: f.write_text("{torn"),
        "torn.onnx": lambda f: f.write_bytes(b"torn"),
        "other.json": lambda f: f.write_text(
            json.dumps([{"image_id": "elsewhere", "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}])
        ),
        "pose.pt": lambda f: YOLO(small_models(f.parent, "pose")[0]).save(f),
        "eighty.pt": lambda f: YOLO("yolo11n.yaml").save(f),
    }
    for model in models:
        if model in made and not (given / model).exists():
            made[model](given / model)
    assert cli.main(compare(given, tiny, tmp_path, *models, more=more)) == 1
    assert message in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


def test_held_out_images(given, tiny, tmp_path):
    """Predictions of the whole split serve for a part of it."""
    words = compare(given, tiny, tmp_path, "best.pt", "predictions.json", more=["holdout=0.5"])
    interpreters.command("diffattn", *words, cwd=tmp_path)
    results = read_results(tmp_path / "c" / "results.json")
    assert (results.data.split, results.data.images) == ("test", 2)
    ap = [model.metrics["mAP50-95"].mean for model in results.models.values()]
    assert ap[0] == pytest.approx(ap[1], abs=0.02)


def test_one_image(given, tiny, tmp_path):
    shutil.copytree(tiny.parent, tmp_path / "d", ignore=shutil.ignore_patterns("*.cache"))
    for extra in sorted((tmp_path / "d" / "images" / "val").iterdir())[1:]:
        extra.unlink()
    stem = next((tmp_path / "d" / "images" / "val").iterdir()).stem
    one = int(stem) if stem.isdecimal() else stem
    rows = [row for row in json.loads((given / "predictions.json").read_text()) if row["image_id"] == one]
    (tmp_path / "one.json").write_text(json.dumps(rows))
    words = compare(given, tmp_path / "d" / "data.yaml", tmp_path, "best.pt", tmp_path / "one.json")
    interpreters.command("diffattn", *words, cwd=tmp_path)
    results = read_results(tmp_path / "c" / "results.json")
    assert {pair.verdict for pair in results.pairs} == {"no verdict"}
    assert {pair.interval for pair in results.pairs} == {None}
    assert "there is 1 image, and a verdict" in (tmp_path / "c" / "results.md").read_text()


def test_images_as_a_whole(tiny, tmp_path):
    """Of a checkpoint and its export, each with the accuracy of `yolo val`."""
    data = make("classify", tiny, tmp_path / "data")
    file = untrained(small_models(tmp_path, "classify")[1], data, tmp_path, "best")
    YOLO(file).export(format="torchscript", imgsz=64, device="cpu", verbose=False)
    words = compare(tmp_path, data, tmp_path, "best.pt", "best.torchscript")
    interpreters.command("diffattn", *words, cwd=tmp_path)
    results = read_results(tmp_path / "c" / "results.json")
    assert results.task == "classify"
    for label in ("best.pt", "best.torchscript"):
        val = dict(data=str(data), imgsz=64, batch=4, workers=0, plots=False, device="cpu", project=str(tmp_path))
        expected = YOLO(tmp_path / label, task="classify").val(**val).results_dict["metrics/accuracy_top1"]
        assert results.models[label].metrics["top-1"].mean == pytest.approx(expected, abs=1e-6)


def test_of_a_catalogues_budget_only_what_means_something_is_taken(given, tiny, tmp_path, monkeypatch):
    """Else the page would show a command that is refused."""
    budget = "{epochs: 8, lr0: 0.1, nbs: 8, batch: 2, imgsz: 320}"
    (tmp_path / "datasets.yaml").write_text(f"mine: {{data: {tiny}, task: detect, budget: {budget}}}\n")
    monkeypatch.chdir(tmp_path)
    specification = specify({k: str(given / k) for k in KINDS}, [0], "mine", {"epochs": 0}, str(tmp_path))
    for spec in specification.runs.values():
        assert spec.args.keys() == {"epochs", "batch", "imgsz", "data", "seed"}
        assert (spec.args["batch"], spec.args["imgsz"]) == (2, 64)  # the models' own size


def test_a_package_that_is_missing(given, monkeypatch):
    monkeypatch.setattr(evaluated, "find_spec", lambda name: None)
    for model, package in (("best.onnx", "onnxruntime"), ("best_openvino_model", "openvino")):
        with pytest.raises(MissingPackageError, match=rf"needs {package}: pip install {package}"):
            evaluated.open_given(str(given / model))


MODEL = Given("a.pt", "detect", ["cat"], 640, fixed=False)


@pytest.mark.parametrize(
    ("sizes", "asked", "expected"),
    [
        ([(640, False), (640, True)], None, 640),
        ([(640, False), (320, True)], 320, 320),
        ([(640, False), (320, True)], None, r"different image sizes \(0 640, 1 320\): say which one to use"),
        ([(640, False), (320, True)], 640, "1 was exported for 320 pixels, but the comparison is at imgsz=640"),
        ([(None, False), (None, False)], None, 96),
        ([(640, False), (320, False)], 480, 480),
    ],
)
def test_image_size(sizes, asked, expected):
    models = {str(i): Given("", "detect", [], size, fixed) for i, (size, fixed) in enumerate(sizes)}
    if isinstance(expected, int):
        assert evaluated.image_size(models, asked, 96) == expected
    else:
        with pytest.raises(UserError, match=expected):
            evaluated.image_size(models, asked, 96)


@pytest.mark.parametrize(
    ("names", "single", "message"),
    [
        ({0: "cat"}, False, None),
        ({0: "dog"}, True, None),
        ({0: "dog"}, False, "class 0 is 'cat' in the model and 'dog' in the data"),
        ({0: "cat", 1: "dog"}, False, "class 1 is None in the model and 'dog' in the data"),
    ],
)
def test_classes(names, single, message):
    if message is None:
        evaluated.check_classes({"a": MODEL}, names, single)
    else:
        with pytest.raises(UserError, match=message):
            evaluated.check_classes({"a": MODEL}, names, single)


@pytest.mark.parametrize(
    ("files", "labels"),
    [
        ("a/best.pt,b/last.pt", ["best", "last"]),
        ("a/best.pt,a/best.onnx", ["best.pt", "best.onnx"]),
        ("r/a/weights/best.pt,r/b/weights/best.pt", ["a-best", "b-best"]),
        ("r/a/best.pt,r/b/best.pt,r/b/best.onnx", ["a-best.pt", "b-best.pt", "b-best.onnx"]),
        ("r/a/b/best.pt,r/b/b/best.pt", ["a-best", "b-best"]),
        ("r/a/a/best.pt,r/a/best.pt", ["a-best", "best"]),
        ("best.pt,best.pt", "two have the same name"),
    ],
)
def test_labels(files, labels):
    if isinstance(labels, list):
        assert [*parse_models(files, untrained=True)] == labels
    else:
        with pytest.raises(UserError, match=labels):
            parse_models(files, untrained=True)
