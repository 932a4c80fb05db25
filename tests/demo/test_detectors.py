"""The models of the page: the bundled pair, lambda by hand in every kind, and uploads that execute nothing."""

import numpy as np
import pytest
import torch
from ultralytics import YOLO
from ultralytics.nn import tasks

from tests.samples import awake
from ultralytics_diffattn.demo import detectors, images
from ultralytics_diffattn.demo.passes import forward
from ultralytics_diffattn.errors import MissingFileError, UserError
from ultralytics_diffattn.maps.attention_maps import load_copy

safe = pytest.mark.skipif(not hasattr(tasks, "_SafeLoad"), reason="this ultralytics has no safe loading")
KINDS = (
    "yolo11n-diffattn.yaml",
    "yolo11n-diffattn-paired.yaml",
    "yolo11n-diffattn-token.yaml",
    "yolo12n-diffattn-paired.yaml",
)


def test_the_bundled_pair_is_small_and_finds_what_is_drawn(pair):
    files = detectors.BUNDLED
    assert sum(file.stat().st_size for file in files) <= 3_000_000
    found = {}
    for detector in (pair.model, pair.baseline):
        assert list(detector.yolo.names.values()) == ["disc", "square", "triangle"]
        found[detector.name] = forward(detector, images.example(0), 320).boxes()
        assert max(box["score"] for box in found[detector.name]) > 0.8
    assert pair.model.differential
    assert not pair.baseline.differential


def test_a_baseline_alone_stands_beside_the_bundled_model(tmp_path):
    YOLO("yolo11n.yaml").save(tmp_path / "mine.pt")
    pair = detectors.from_command("", str(tmp_path / "mine.pt"))
    assert (pair.model.name, pair.baseline.name) == ("shapes-split", "mine")
    alone = detectors.from_command(str(tmp_path / "mine.pt"), "")
    assert alone.baseline is None
    assert not alone.model.differential
    with pytest.raises(MissingFileError, match=r"gone.pt does not exist"):
        detectors.from_command("gone.pt", "")


@pytest.mark.parametrize("name", KINDS)
def test_lambda_by_hand_reaches_the_network_that_predicts(name):
    """The heads of the last forward pass have it, what the blocks put out follows it, and it leaves nothing behind."""
    torch.manual_seed(0)
    detector = detectors.Detector(load_copy(awake(YOLO(name))), name)
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    outputs = []
    for module in detector.differential:
        module.register_forward_hook(lambda m, x, y: outputs.append(y.clone()))
    seen = {lam: forward(detector, image, 64, lam) for lam in (None, 0.9, -0.5)}
    again = forward(detector, image, 64)
    blocks = len(detector.differential)
    learned, first, second, last = (outputs[i * blocks : (i + 1) * blocks] for i in range(4))
    for lam, one in seen.items():
        values = [heads.lam for heads in one.recording.heads.values() if heads.lam is not None]
        assert len(values) == blocks
        assert lam is None or all(torch.allclose(v, torch.full_like(v, lam)) for v in values)
    assert not torch.allclose(learned[0], first[0], rtol=1e-3)
    assert not torch.allclose(first[0], second[0], rtol=1e-3)
    for a, b in zip(learned, last, strict=True):
        assert torch.equal(a, b)
    for a, b in zip(seen[None].recording.heads.values(), again.recording.heads.values(), strict=True):
        assert a.lam is None or torch.equal(a.lam, b.lam)


@safe
def test_an_upload_is_the_same_model(pair):
    file = detectors.BUNDLED[0]
    before = tasks.SAFE_LOAD
    uploaded = detectors.from_upload(file.read_bytes(), "best.pt")
    assert (uploaded.name, tasks.SAFE_LOAD) == ("best", before)
    image = images.example(3)
    assert forward(uploaded, image, 320).boxes() == forward(pair.model, image, 320).boxes()


@safe
def test_a_bomb_does_not_go_off(bomb):
    file, canary = bomb
    with pytest.raises(UserError, match=r"bomb.pt was refused: safe loading takes checkpoints of ultralytics"):
        detectors.from_upload(file.read_bytes(), "bomb.pt")
    assert not canary.exists()
    torch.load(file, weights_only=False)  # the control
    assert canary.exists()


@safe
def test_uploads_that_are_no_model(tmp_path):
    whole = detectors.BUNDLED[0].read_bytes()
    YOLO("yolov8n.yaml").save(tmp_path / "v8.pt")
    torch.save({"model": {"weight": torch.zeros(3)}}, tmp_path / "state.pt")
    refused = {
        "text.pt": (b"these are words", r"^text.pt was refused"),
        "cut.pt": (whole[: len(whole) // 2], r"^cut.pt was refused"),
        "state.pt": ((tmp_path / "state.pt").read_bytes(), r"^state.pt was refused"),
        "v8.pt": ((tmp_path / "v8.pt").read_bytes(), r"^v8.pt has no attention over a feature map; YOLO11"),
    }
    for name, (data, message) in refused.items():
        with pytest.raises(UserError, match=message):
            detectors.from_upload(data, name)


def test_without_safe_loading_nothing_is_uploaded(monkeypatch):
    monkeypatch.delattr(tasks, "_SafeLoad", raising=False)
    with pytest.raises(UserError, match=r"uploads need ultralytics >= 8.4.67"):
        detectors.from_upload(detectors.BUNDLED[0].read_bytes(), "best.pt")
