"""Small models, rows, predictions and maps that several tests need."""

import sys
from importlib import import_module

import numpy as np
import pytest
import torch
from ultralytics import YOLO
from ultralytics.engine.results import Results
from ultralytics.nn import tasks

TINY = dict(
    embed_dim=32, image_size=32, patch_size=8, vision_width=64, vision_layers=2, vision_heads=4, context_length=16,
    vocab_size=128, transformer_width=48, transformer_layers=2, transformer_heads=4,
)  # fmt: skip
VALIDATION = {"imgsz": 320, "batch": 2, "workers": 0, "rect": False, "device": "cpu"}
SMALL_RTDETR = """
nc: 3
backbone: [[-1, 1, Conv, [32, 3, 4]], [-1, 1, Conv, [64, 3, 4]], [-1, 1, AIFI_Diff, [96, 8]], [-1, 1, Conv, [64, 3, 2]]]
head: [[[2, 3], 1, RTDETRDecoder, [nc, 64, 40, 2, 4, 2]]]
"""
SMALL_YOLO = """
nc: 6
kpt_shape: [2, 3]
scales: {{n: [1.0, 1.0, 1024]}}
backbone: [[-1, 1, Conv, [16, 3, 4]], [-1, 1, Conv, [128, 3, 2]], [-1, 1, C3k2, [128]], [-1, 1, {block}, [128, 0.5]]]
head: [{head}]
"""
SMALL_HEADS = {
    "detect": "[[3], 1, Detect, [nc]]",
    "pose": "[[3], 1, Pose, [nc, kpt_shape]]",
    "classify": "[3, 1, Classify, [nc]]",
    "depth": "[[3], 1, Depth, [32]]",
}
SMALL_GROUPS = {
    "CORE": {16: (2, 1.0, 0.5)},
    "CORE_EXPORT": {16: (2, 1.6)},
    "BACKWARD": {16: (2, None, 0.6)},
    "CURVES": {"ours": {4: 2, 16: 2, 64: 2}, **{name: {4: 2, 16: 2} for name in ("timm", "published", "plain")}},
    "BLOCK": {4: (2, 1.1)},
    "MODEL": {64: (2, 1.01)},
    "TRAIN": {64: (2, 1.01)},
    "BATCH": 1,
    "EXPORT": {64: (2, 1.01)},
    "START": {"python -c pass": ("pass", 2)},
    "CUDA_CORE": {16: (2, 2.1, 0.5)},
    "CUDA_MODEL": {64: (2, 1.02)},
    "CUDA_BATCHES": (1, 2),
    "CUDA_DTYPES": (torch.float16, torch.bfloat16),
    "CUDA_MODES": ("eager",),
}


def randomize(module):
    """Give each parameter and BatchNorm statistic a random value, so that nothing hides behind a 0 or a 1."""
    for p in module.parameters():
        torch.nn.init.normal_(p, std=0.3)
    for name, b in module.named_buffers():
        if name.endswith("running_mean"):
            b.normal_(std=0.3)
        elif name.endswith("running_var"):
            b.uniform_(0.5, 2)
    return module.eval()


def build_rows(*rows, scale=None):
    """Build the rows as the backbone of a detector of width 1 (or the given scale) and return its layers."""
    d = {
        "nc": 3,
        "backbone": [[-1, 1, "Conv", [128, 3, 2]], *rows],
        "head": [[[-1], 1, "Detect", [3]]],
    }
    if scale:
        d |= {"scales": {"n": [0.5, 0.25, 1024], "x": [1.0, 1.5, 512]}, "scale": scale}
    return tasks.parse_model(d, ch=3, verbose=False)[0]


def tiny_clip(kind=None, **changes):
    """Return a DiffCLIP, or a model of the other kind, of the sizes TINY."""
    from ultralytics_diffattn import DiffCLIP  # needs timm

    torch.manual_seed(0)
    return (kind or DiffCLIP)(**{**TINY, **changes}).eval()


def awake(yolo):
    """Set BatchNorm from random images: untrained, nothing of an image reaches layer 10 and all maps are uniform."""
    norms = [m for m in yolo.model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        yolo.model.train()(torch.rand(4, 3, 128, 128))
    for norm in norms:
        norm.momentum = 0.03
    yolo.model.eval()
    return yolo


def stir(yolo):
    """Make an untrained model find something: its scores are far from zero, and the image has an effect on them."""
    for m in yolo.model.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.weight.data.fill_(2.0)
    for branch in getattr(yolo.model.model[-1], "cv3", []):
        branch[-1].bias.data.zero_()
    return yolo


def random_predictions(seed, images=30, classes=5, predicted=15, true=5):
    """Return predictions as a validator might match them: no more true positives than boxes in an image."""
    from ultralytics_diffattn.evaluation.predictions import Predictions

    rng = np.random.default_rng(seed)
    image = np.repeat(np.arange(images), rng.poisson(predicted, images))
    target_image = np.repeat(np.arange(images), rng.poisson(true, images))
    cls, target_cls = rng.integers(0, classes, len(image)), rng.integers(0, classes, len(target_image))
    conf = rng.random(len(image)).astype(np.float32)
    level = rng.integers(0, 11, len(image))
    free = np.zeros((images, classes), int)
    np.add.at(free, (target_image, target_cls), 1)
    for d in np.argsort(-conf):
        level[d] *= free[image[d], cls[d]] > 0
        free[image[d], cls[d]] -= level[d] > 0
    tp = level[:, None] > np.arange(10)
    return Predictions(
        names=[str(c) for c in range(classes)],
        files=[str(i) for i in range(images)],
        shape=np.full((images, 2), 100),
        tp=tp,
        conf=conf,
        cls=cls,
        box=np.zeros((len(cls), 4)),
        image=image,
        target_cls=target_cls,
        target_box=np.zeros((len(target_cls), 4)),
        target_image=target_image,
    )


def random_maps(
    shape=(60, 80), objects=2, heads=2, grid=(3, 4), baseline=True, plain=False, blocks=("model.10.m.0.attn",)
):
    """Return maps in which the second one looks at the last token alone."""
    from ultralytics_diffattn.maps.attention_maps import BlockMaps, ImageMaps

    torch.manual_seed(0)
    a1, base = (torch.rand(objects, heads, *grid).flatten(2).softmax(-1).unflatten(-1, grid) for _ in range(2))
    a2 = torch.zeros(objects, heads, *grid)
    a2[..., -1, -1] = 1
    window = (0.0, 0.0, float(grid[1]), float(grid[0]))
    lam = torch.tensor([0.5, 0.7, 0.9, 0.1][:heads])
    block = BlockMaps(a1, None if plain else a2, None if plain else lam, window)
    h, w = shape[:2]
    boxes = torch.tensor([[0.1 * w, 0.1 * h, 0.5 * w, 0.6 * h], [0.6 * w, 0.6 * h, 0.6 * w, 0.6 * h]])[:objects]
    image = np.random.default_rng(0).integers(0, 255, (*shape, 3) if len(shape) == 2 else shape, np.uint8)
    found = torch.cat([boxes, torch.tensor([[0.9, 0.0]]).expand(len(boxes), 2)], 1)
    result = Results(image, path="a/b.jpg", names={0: "cell"}, boxes=found)
    beside = {name: BlockMaps(base, None, None, window) for name in blocks} if baseline else {}
    return ImageMaps(result, boxes, ["cell 0.90", "48, 36"][:objects], dict.fromkeys(blocks, block), beside)


def prefixed(state):
    return {f"module.{name}": tensor for name, tensor in state.items()}


def small_models(folder, task="detect"):
    """Write the YAMLs of two models of five rows, small and small-diffattn, and return their paths.

    What a test holds of a command seldom depends on the hundred convolutions of a published model.
    """
    files = []
    for name, block in (("small", "C2PSA"), ("small-diffattn", "C2PSA_Diff")):
        files.append(folder / f"{name}.yaml")
        files[-1].write_text(SMALL_YOLO.format(block=block, head=SMALL_HEADS[task]))
    return [str(file) for file in files]


def old_checkpoint(file):
    """Save a checkpoint as an unreleased version did, which names `ultralytics_diffattn.blocks` and its like."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("aifi", "area", "attention", "blocks", "paired"):
            module = import_module(f"ultralytics_diffattn.nn.{name}")
            patch.setitem(sys.modules, f"ultralytics_diffattn.{name}", module)
            for cls in vars(module).values():
                if isinstance(cls, type) and cls.__module__ == module.__name__:
                    patch.setattr(cls, "__module__", f"ultralytics_diffattn.{name}")
        YOLO("yolo11n-diffattn.yaml").save(file)
    return file
