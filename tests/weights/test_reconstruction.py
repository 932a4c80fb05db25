"""weights/reconstruction.py and block_inputs.py: our attention learns to give what stock's gives."""

import numpy as np
import pytest
import torch
from PIL import Image
from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel, yaml_model_load

from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.weights import block_inputs, reconstruction
from ultralytics_diffattn.weights.reconstruction import counterparts, reconstruct
from ultralytics_diffattn.weights.transfer import transfer


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return 20 images that are not alike."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for i in range(20):
        small = Image.fromarray(rng.integers(0, 255, (6, 8, 3), np.uint8))
        small.resize((80, 60), Image.Resampling.BICUBIC).save(folder / f"{i:02}.png")
    return [str(f) for f in sorted(folder.iterdir())]


@pytest.fixture
def short(monkeypatch):
    """Train for a few steps."""
    monkeypatch.setattr(reconstruction, "STEPS", 40)
    monkeypatch.setattr(reconstruction, "CHECK", 10)


def pair(ours, stock="yolo11n.yaml"):
    """Return a stock model whose norms have seen data, and one of ours with its weights."""
    torch.manual_seed(0)
    kind = RTDETRDetectionModel if "rtdetr" in stock else DetectionModel
    source, target = (kind(yaml_model_load(name), verbose=False) for name in (stock, ours))
    with torch.no_grad():  # so that what reaches the attention has a spread
        for _ in range(20 if "yolo11" in stock else 0):
            source.train()(torch.rand(4, 3, 64, 64))
    transfer(source, target)
    return source.eval(), target.eval()


@pytest.mark.parametrize("ours", ["yolo11n-diffattn.yaml", "yolo11n-diffattn-token.yaml"])
@pytest.mark.usefixtures("short")
def test_the_error_falls_and_all_else_stays(ours, files):
    source, target = pair(ours)
    before = {n: v.clone() for n, v in target.state_dict().items()}
    stock = {n: v.clone() for n, v in source.state_dict().items()}
    (block,) = reconstruct(source, target, files, 64)
    assert block.name == "model.10.m.0.attn"
    assert block.images == 20
    assert block.after < 0.8 * block.before
    after = target.state_dict()
    changed = {n for n, v in after.items() if not torch.equal(v, before[n])}
    assert changed
    assert all(n.startswith("model.10.m.0.attn.") for n in changed)
    assert not any("lam" in n or "running" in n for n in changed), "lambda is held, and so are statistics"
    assert all(torch.equal(v, stock[n]) for n, v in source.state_dict().items())
    assert all(p.requires_grad for p in target.model[10].parameters())


@pytest.mark.usefixtures("short")
def test_the_same_seed_gives_the_same_weights(files):
    states = []
    for seed in (0, 0, 1):
        source, target = pair("yolo11n-diffattn.yaml")
        reconstruct(source, target, files, 64, seed)
        states.append(target.model[10].m[0].attn.qkv.conv.weight.detach().clone())
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_what_starts_as_stock_is_left_alone(files):
    source, target = pair("yolo11n-diffattn-paired.yaml")
    before = {n: v.clone() for n, v in target.state_dict().items()}
    (block,) = reconstruct(source, target, files, 64)
    assert block.before == block.after < 1e-9
    assert all(torch.equal(v, before[n]) for n, v in target.state_dict().items())


@pytest.mark.parametrize(
    ("ours", "stock", "count"),
    [
        ("yolo11n-diffattn.yaml", "yolo11n.yaml", 1),
        ("yolo12n-diffattn-paired.yaml", "yolo12n.yaml", 8),
        ("yolo26n-diffattn-paired.yaml", "yolo26n.yaml", 2),
        ("rtdetr-l-diffattn-paired.yaml", "rtdetr-l.yaml", 1),
    ],
)
def test_counterparts_give_what_is_recorded_of_them(ours, stock, count, files, tmp_path):
    source, target = pair(ours, stock)
    pairs = list(counterparts(source, target))
    assert len(pairs) == count
    name, attention, module = pairs[-1]
    assert isinstance(attention, type(module))
    batches = list(block_inputs.letterboxed(files[:3], 64, 3, []))
    recorded = block_inputs.record(target, attention, module, batches, tmp_path)
    seen = []
    handle = source.get_submodule(name).register_forward_hook(lambda m, i, o: seen.append(block_inputs.first(o)))
    with torch.no_grad():
        source(batches[0])
    handle.remove()
    torch.testing.assert_close(recorded.output, seen[0], rtol=1e-4, atol=1e-5)  # paired starts as stock
    with torch.no_grad():
        again = recorded.call(module, torch.tensor([4, 1]), torch.device("cpu"))
    torch.testing.assert_close(again, seen[0][[4, 1]], rtol=1e-4, atol=1e-5)


def test_later_blocks_see_what_earlier_ones_give(files, monkeypatch):
    """The inputs of a block are those of the model as it is by then."""
    monkeypatch.setattr(reconstruction, "STEPS", 5)
    source, target = pair("yolo12n-diffattn-paired.yaml", "yolo12n.yaml")
    for _, attention, _ in counterparts(source, target):
        attention.lam.data.fill_(0.5)
    first_inputs = []
    record = block_inputs.record

    def watched(*args):
        inputs = record(*args)
        first_inputs.append(inputs.arguments[0][:1].clone())
        return inputs

    monkeypatch.setattr(block_inputs, "record", watched)
    blocks = reconstruct(source, target, files, 64)
    assert len(blocks) == len(first_inputs) == 8
    final = []
    _, attention, _ = list(counterparts(source, target))[-1]
    handle = attention.register_forward_pre_hook(lambda m, args: final.append(args[0]))
    order = torch.randperm(len(files), generator=torch.Generator().manual_seed(0)).tolist()
    with torch.no_grad():
        target(next(block_inputs.letterboxed([files[order[0]]], 64, 3, [])))
    handle.remove()
    torch.testing.assert_close(first_inputs[-1], final[0][:1], rtol=1e-4, atol=1e-5)


def test_mirror_images_follow_their_images(files):
    (batch,) = block_inputs.letterboxed(files[:2], 64, 3, [])
    assert batch.shape == (4, 3, 64, 64)
    assert 0 <= batch.min() < batch.max() <= 1
    assert torch.equal(batch[1], batch[0].flip(-1))
    assert not torch.equal(batch[0], batch[2])


def test_grey_images(files):
    (batch,) = block_inputs.letterboxed(files[:1], 64, 1, [])
    assert batch.shape == (2, 1, 64, 64)


@pytest.mark.usefixtures("short")
def test_a_recording_is_bounded(files, monkeypatch):
    source, target = pair("yolo11n-diffattn.yaml")
    each = 2 * (2 * 128 * 2 * 2) * 4  # bytes of an image with its mirror image: inputs and outputs of 128 channels
    monkeypatch.setattr(block_inputs, "MOST_BYTES", 16 * each + 1)
    (block,) = reconstruct(source, target, files, 64)
    assert block.images == 16


def test_interrupted_the_best_so_far_is_kept(files, monkeypatch, short):
    source, target = pair("yolo11n-diffattn.yaml")
    errors, look = [], reconstruction._error

    def error(*args):
        errors.append(look(*args))
        if len(errors) == 3:
            raise KeyboardInterrupt
        return errors[-1]

    monkeypatch.setattr(reconstruction, "_error", error)
    (block,) = reconstruct(source, target, files, 64)
    assert block.after == min(errors[:2]) <= block.before == errors[0]


def broken_images(folder):
    for i in range(20):
        (folder / f"{i}.jpg").write_bytes(b"not an image")
    return [str(f) for f in sorted(folder.iterdir())]


def test_images_that_cannot_be_read_are_left_out(files, tmp_path, short):
    source, target = pair("yolo11n-diffattn.yaml")
    (block,) = reconstruct(source, target, [*files, *broken_images(tmp_path)], 64)
    assert block.images == 20


@pytest.mark.parametrize("count", [0, 15])
def test_too_few_images(files, tmp_path, count):
    source, target = pair("yolo11n-diffattn.yaml")
    with pytest.raises(UserError, match=f"has {count} images that can be read: give at least 16"):
        reconstruct(source, target, [*files[:count], *broken_images(tmp_path)], 64)


def test_nothing_to_reconstruct(files):
    source, target = pair("yolo11n.yaml")
    with pytest.raises(UserError, match="no attention of the model has a counterpart"):
        reconstruct(source, target, files, 64)


def test_rows_without_a_counterpart_are_named(files, short, monkeypatch):
    from tests.places import ROOT

    said = []
    monkeypatch.setattr(reconstruction.LOGGER, "warning", said.append)
    source, target = pair(str(ROOT / "cfg" / "yolo11n-diffattn-p4.yaml"))
    blocks = reconstruct(source, target, files, 64)
    assert [b.name for b in blocks] == ["model.11.m.0.attn"]
    assert "model.7.m.0.attn has no counterpart" in said[0]


@pytest.mark.parametrize("moment", ["before", "later"])
def test_nan(files, short, monkeypatch, moment):
    source, target = pair("yolo11n-diffattn.yaml")
    if moment == "before":
        with torch.no_grad():
            target.model[10].m[0].attn.diff_norm.weight[0] = torch.nan
    else:
        monkeypatch.setattr(reconstruction, "LEARNING_RATE", 1e30)
    with pytest.raises(UserError, match="is not finite"):
        reconstruct(source, target, files, 64)


def test_a_full_disk():
    class Full:
        name = "/tmp/x/0"

        def write(self, _):
            raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"No space left on device\. Free some space there, or set TMPDIR"):
        block_inputs._write([Full()], [torch.zeros(1)])
