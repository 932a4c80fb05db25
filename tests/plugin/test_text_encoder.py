"""plugin/text_encoder.py and clip/words.py: YOLO-World and YOLOE embed words by DiffCLIP, in every step."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.interpreters import yolo

pytest.importorskip("open_clip")
import ultralytics
from ultralytics import YOLO, YOLOE, YOLOWorld
from ultralytics.models.yolo.world import WorldTrainer
from ultralytics.models.yolo.yoloe import YOLOEPETrainer, YOLOETrainerFromScratch
from ultralytics.utils import YAML

from tests.samples import TINY
from ultralytics_diffattn import DiffCLIP
from ultralytics_diffattn.bundled import path as bundled_path
from ultralytics_diffattn.clip import classes, words
from ultralytics_diffattn.errors import MissingFileError, UserError
from ultralytics_diffattn.plugin import text_encoder

SIZES = {**TINY, "embed_dim": 24, "vocab_size": 49408, "transformer_width": 16, "transformer_heads": 2}
SIZES["context_length"] = 8
YOLOE_YAML = bundled_path("cfg") / "yoloe-11-diffattn.yaml"
WORLD_YAML = Path(ultralytics.__file__).parent / "cfg/models/v8/yolov8-worldv2.yaml"
KINDS = {"yoloe": (YOLOE, YOLOE_YAML), "world": (YOLOWorld, WORLD_YAML)}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "diffclip.pt"
    model = DiffCLIP(**SIZES)
    torch.save({"state_dict": model.state_dict(), "sizes": model.sizes.as_dict()}, file)
    return str(file)


@pytest.fixture
def detector(request, file, tmp_path):
    """Return a detector of a kind whose YAML names the weights."""
    cls, source = KINDS[request.param]
    name = {"yoloe": "yoloe-11n-words.yaml", "world": "yolov8n-worldv2-words.yaml"}[request.param]
    YAML.save(tmp_path / name, {**YAML.load(source), "scale": "n", "text_model": f"diffclip:{file}"})
    return cls(tmp_path / name)


both = pytest.mark.parametrize("detector", list(KINDS), indirect=True)


def embeddings(network):
    return network.pe if hasattr(network, "pe") else network.txt_feats


@both
def test_set_classes(detector, file):
    names = ["cat", "traffic light", "zebra crossing"]
    detector.set_classes(names)
    encoded = words.encode(file, names, 512)[None]
    head = detector.model.model[-1]
    expected = head.get_tpe(encoded) if hasattr(head, "get_tpe") else encoded
    assert torch.equal(embeddings(detector.model), expected)
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    assert detector.predict(image, imgsz=64, verbose=False, device="cpu")[0].names == dict(enumerate(names))


@both
def test_other_words_other_predictions(detector):
    for head in detector.model.model[-1].cv4:  # which starts with a bias of -10 and a small scale
        torch.nn.init.zeros_(head.bias)
        torch.nn.init.constant_(head.logit_scale, 5.0)
    image = torch.rand(1, 3, 64, 64)
    scores = []
    for names in (["cat", "dog"], ["dog", "cat"], ["cat", "dog"]):
        detector.set_classes(names)
        with torch.no_grad():
            scores.append(detector.model.eval()(image)[0][:, 4:6])
    assert torch.equal(scores[0], scores[2])
    torch.testing.assert_close(scores[0], scores[1].flip(1), atol=1e-5, rtol=1e-4)
    assert not torch.equal(scores[0], scores[1])


@both
def test_set_words_says_the_same(detector, file):
    names = ["cat", "traffic light"]
    detector.set_classes(names)
    first = embeddings(detector.model)
    words.set_words(detector, ["dog"], file)
    assert detector.model.names == {0: "dog"}
    words.set_words(detector, names, file)
    torch.testing.assert_close(embeddings(detector.model), first)


def test_set_words_reads_names_and_sentences_as_the_command_does(file):
    model = YOLOE("yoloe-11n-diffattn.yaml")
    words.set_words(model, "cat,dog", file, templates="a photo of a {}.")
    one = embeddings(model.model)
    assert model.model.names == {0: "cat", 1: "dog"}
    assert not torch.allclose(one[:, 0], one[:, 1], atol=1e-3)
    words.set_words(model, ["cat", "dog"], file, templates=["a photo of a {}."])
    assert torch.equal(one, embeddings(model.model))
    with pytest.raises(UserError, match=r"has no \{\} for the name"):
        words.set_words(model, ["cat", "dog"], file, templates=["a photo"])
    assert torch.equal(one, embeddings(model.model))


def test_checkpoints_keep_their_encoder(file, tmp_path):
    YAML.save(
        tmp_path / "yoloe-11n-words.yaml", {**YAML.load(YOLOE_YAML), "scale": "n", "text_model": f"diffclip:{file}"}
    )
    model = YOLOE(tmp_path / "yoloe-11n-words.yaml")
    model.save(tmp_path / "yoloe-a.pt")
    again = YOLOE(tmp_path / "yoloe-a.pt")
    again.set_classes(["cat"])
    assert text_encoder.weights_of(again.model) == file


def test_width():
    embedded = torch.nn.functional.normalize(torch.rand(9, 24), dim=-1)
    wide = words.project(embedded, 512)
    torch.testing.assert_close(wide @ wide.T, embedded @ embedded.T)  # all angles
    assert torch.equal(words.project(embedded, 24), torch.nn.functional.normalize(embedded, dim=-1))
    narrow = words.project(embedded, 8)
    assert narrow.shape == (9, 8)
    torch.testing.assert_close(narrow.norm(dim=-1), torch.ones(9))


def test_names_are_embedded_once_until_the_file_changes(file, tmp_path, monkeypatch):
    copy = tmp_path / "a.pt"
    copy.write_bytes(Path(file).read_bytes())
    calls = []
    stock = classes.embed
    monkeypatch.setattr(classes, "embed", lambda *args: calls.append(args[1]) or stock(*args))
    first = words.encode(copy, ["cat"], 512)
    assert torch.equal(words.encode(copy, ["cat"], 512), first)
    words.encode(copy, ["dog"], 512)
    assert len(calls) == 2
    torch.manual_seed(1)
    model = DiffCLIP(**SIZES)
    torch.save({"state_dict": model.state_dict(), "sizes": model.sizes.as_dict()}, copy)
    assert not torch.equal(words.encode(copy, ["cat"], 512), first)


@pytest.mark.parametrize("cls", [WorldTrainer, YOLOETrainerFromScratch])
def test_stocks_caches_are_neither_read_nor_written(cls, file, tmp_path):
    """Stock keeps CLIP's embeddings beside the data in a file whose name says nothing of ours."""
    network = torch.nn.Module()
    network.model = torch.nn.ModuleList([torch.nn.Linear(1, 1)])
    network.text_model = f"diffclip:{file}"
    stock = ultralytics.nn.tasks.WorldModel
    network.get_text_pe = lambda *args, **kwargs: stock.get_text_pe(network, *args, **kwargs)
    trainer = cls.__new__(cls)
    trainer.model, trainer.device = network, torch.device("cpu")
    for name in ("clip_ViT-B_32", "mobileclip_blt"):
        torch.save({"cat": torch.zeros(512)}, tmp_path / f"text_embeddings_{name}.pt")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    embedded = trainer.generate_text_embeddings(["cat"], 1, tmp_path)
    assert torch.equal(embedded["cat"], words.encode(file, ["cat"], 512)[0])
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    network.text_model = "clip:ViT-B/32"  # control: stock's own reads its file
    if cls is WorldTrainer:
        assert trainer.generate_text_embeddings(["cat"], 1, tmp_path)["cat"].sum() == 0


@pytest.mark.parametrize(
    ("text_model", "expected"),
    [("diffclip:a.pt", "a.pt"), ("diffclip: a.pt", "a.pt"), ("mobileclip:blt", None), (None, None), (3, None)],
)
def test_weights_of(text_model, expected):
    network = torch.nn.Module()
    network.yaml = {"text_model": text_model}
    assert text_encoder.weights_of(network) == expected
    network.yaml, network.text_model = {}, text_model
    assert text_encoder.weights_of(network) == expected


@pytest.mark.parametrize(
    ("text_model", "names", "error", "match"),
    [
        ("diffclip:none.pt", ["cat"], MissingFileError, "no checkpoint none.pt"),
        ("diffclip:", ["cat"], MissingFileError, "no checkpoint"),
        ("diffclip:{file}", [], UserError, "no names"),
        ("diffclip:{file}", "cat", UserError, "'cat' must be a list of names"),
        ("diffclip:{file}", [1, 2], UserError, "must be a list of names"),
    ],
)
def test_bad_input(text_model, names, error, match, file):
    model = YOLOE("yoloe-11n-diffattn.yaml")
    model.model.text_model = text_model.replace("{file}", file)
    with pytest.raises(error, match=match):
        model.set_classes(names)


@pytest.mark.parametrize(
    ("model", "names", "error", "match"),
    [
        ("yolo11n.yaml", ["cat"], UserError, "YOLO has no classes by words"),
        (None, ["cat"], UserError, "NoneType has no classes by words"),
        ("yoloe-11n-diffattn.yaml", [], UserError, "holds no names"),
    ],
)
def test_set_words_refuses(model, names, error, match, file):
    detector = model and (YOLOE(model) if "yoloe" in model else YOLO(model))
    with pytest.raises(error, match=match):
        words.set_words(detector, names, file)


def exported_as_set(trained, classes):
    """Export a detector, and hold the graph against PyTorch."""
    import onnxruntime

    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = trained.model.eval()(image)[0]
    session = onnxruntime.InferenceSession(trained.export(format="onnx", imgsz=64, device="cpu"))
    outputs = session.run(None, {session.get_inputs()[0].name: image.numpy()})[0]
    assert outputs.shape == expected.shape == (1, 4 + classes, 84)  # boxes, and the classes that were set
    torch.testing.assert_close(torch.from_numpy(outputs), expected, atol=1e-2, rtol=1e-3)


@pytest.mark.parametrize("detector", ["yoloe"], indirect=True)
def test_yoloe_trains_exports_and_takes_new_words(detector, tiny, tmp_path):
    # Ultralytics 8.4.190's trainer from scratch needs 80 classes: a new head counts as many, whatever the data have.
    names = [*YAML.load(tiny)["names"].values(), *(f"thing {i}" for i in range(74))]
    wide = tmp_path / "wide.yaml"
    YAML.save(wide, {**YAML.load(tiny), "path": str(Path(tiny).parent), "names": dict(enumerate(names))})
    data = {split: {"yolo_data": [str(wide)]} for split in ("train", "val")}
    kwargs = dict(imgsz=64, epochs=1, batch=4, workers=0, device="cpu", plots=False, project=str(tmp_path))
    detector.train(data=data, trainer=YOLOETrainerFromScratch, name="a", **kwargs)
    assert not list(Path(tiny).parent.rglob("text_embeddings*"))
    trained = YOLOE(tmp_path / "a" / "weights" / "last.pt")
    trained.set_classes(["zebra", "cat"])  # neither was trained on
    exported_as_set(trained, classes=2)
    closed = YOLOE(tmp_path / "a" / "weights" / "last.pt")
    closed.train(data=str(tiny), trainer=YOLOEPETrainer, name="b", **kwargs)
    assert (tmp_path / "b" / "weights" / "last.pt").is_file()


@pytest.mark.parametrize("detector", ["world"], indirect=True)
def test_world_trains(detector, tiny, tmp_path):
    detector.train(
        data=str(tiny),
        imgsz=64,
        epochs=1,
        batch=4,
        workers=0,
        device="cpu",
        plots=False,
        project=str(tmp_path),
        name="a",
    )
    assert not list(Path(tiny).parent.rglob("text_embeddings*"))
    trained = YOLOWorld(tmp_path / "a" / "weights" / "last.pt")
    trained.set_classes(["zebra"])
    assert trained.model.txt_feats.shape == (1, 1, 512)
    exported_as_set(trained, classes=1)


def test_the_stock_command(file, tiny, tmp_path):
    """No import of ours: a YAML, and `yolo`."""
    YAML.save(
        tmp_path / "yolov8n-worldv2-words.yaml",
        {**YAML.load(WORLD_YAML), "scale": "n", "text_model": f"diffclip:{file}"},
    )
    yolo(
        "train", "model=yolov8n-worldv2-words.yaml", f"data={tiny}", "imgsz=64", "epochs=1", "batch=4", "workers=0",
        "device=cpu", "plots=False", f"project={tmp_path}", "name=a", cwd=tmp_path,
    )  # fmt: skip
    assert (tmp_path / "a" / "weights" / "last.pt").is_file()
