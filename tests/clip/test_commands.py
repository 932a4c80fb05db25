"""The commands for DiffCLIP that README.md and docs/ show, run on a stand-in for the hub and on small data."""

import re
import shlex

import cv2
import numpy as np
import pytest

from tests.interpreters import ENTRY, forked, script
from tests.interpreters import command as command_of
from tests.pages import CLIP_COMMANDS, WORDS_BLOCKS
from tests.places import ROOT

pytest.importorskip("lightning")
SAID = {
    "zeroshot source": "zeroshot: ",
    "zeroshot data": "top-1",
    "retrieve": "image to text: R@1",
    "clip-train": "clip-train: ",
}
CLASSES = 40  # in place of ImageNet's 1,000, each of which has 80 sentences
FEWER = "import open_clip as o; o.IMAGENET_CLASSNAMES = o.IMAGENET_CLASSNAMES[800:840]; "  # two of one name among them


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """Return a folder with what the commands name: photographs, captions, classes, and the first of the drawings."""
    cwd = tmp_path_factory.mktemp("clip")
    rng = np.random.default_rng(0)
    folders = [f"animals/{name}" for name in ("cat", "dog", "red_fox")] + ["photos"]
    folders += [f"imagenet/val/n{i:08}" for i in range(CLASSES)]
    for folder in folders:
        (cwd / folder).mkdir(parents=True)
        cv2.imwrite(str(cwd / folder / "a.png"), rng.integers(0, 255, (32, 40, 3), np.uint8))
    (cwd / "captions.csv").write_text("image,caption\nphotos/a.png,a cat\nanimals/dog/a.png,a dog\n")
    script("captions.py", "captions", 0, 1, cwd=cwd, preloaded="torch")
    for file, rows in (("train", 33), ("val", 21)):
        table = cwd / "captions" / f"{file}.csv"
        table.write_text("\n".join(table.read_text().splitlines()[:rows]) + "\n")
    return cwd


def hub_at(hub):
    """Return the environment in which the hub is the stand-in, and two ranks meet where no other test's do."""
    return {
        "HF_ENDPOINT": hub[0], "HF_HOME": "hub", "HF_HUB_DISABLE_XET": "1", "no_proxy": "*", "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1", "PET_MASTER_PORT": "29631",
    }  # fmt: skip


@pytest.mark.parametrize("command", CLIP_COMMANDS)
def test_commands(command, workplace, hub, tmp_path):
    program, *arguments = shlex.split(command)
    verb = next(word for word in arguments if word in ("zeroshot", "retrieve", "clip-train"))
    if verb == "zeroshot":
        verb += " source" if any(word.startswith("source=") for word in arguments) else " data"
    if verb == "clip-train":
        arguments += ["epochs=1", "batch=16"]  # overrule what stands before them
    options = {"cwd": workplace, "preloaded": "clip", **hub_at(hub)}
    if "names=imagenet" in arguments:
        done = forked(FEWER + ENTRY[program], *arguments, f"project={tmp_path}", **options)
    else:
        done = command_of(program, *arguments, f"project={tmp_path}", **options)
    assert SAID[verb] in done.stdout + done.stderr


@pytest.mark.parametrize("block", WORDS_BLOCKS)
def test_words_blocks(block, workplace, hub, tiny):
    from ultralytics import YOLO
    from ultralytics.utils import ROOT as STOCK
    from ultralytics.utils import YAML

    text_model = {"scale": "n", "text_model": "diffclip:DiffCLIP_ViTB16_CC12M"}
    for name, source in (
        ("yoloe-11n-words.yaml", ROOT / "cfg" / "yoloe-11-diffattn.yaml"),
        ("yolov8n-worldv2-words.yaml", STOCK / "cfg" / "models" / "v8" / "yolov8-worldv2.yaml"),
    ):
        YAML.save(workplace / name, {**YAML.load(source), **text_model})
    data = {**YAML.load(tiny), "path": str(tiny.parent)}
    YAML.save(workplace / "data.yaml", data)
    names = [*data["names"].values(), *(f"thing {i}" for i in range(74))]
    YAML.save(workplace / "coco.yaml", {**data, "names": dict(enumerate(names))})
    YOLO("yolo11n.yaml").save(workplace / "yolo11n.pt")
    cv2.imwrite(str(workplace / "image.jpg"), np.zeros((64, 64, 3), np.uint8))
    small = "epochs=1, imgsz=64, batch=4, workers=0, plots=False, device='cpu'"
    forked(re.sub(r"epochs=\d+", small, block), cwd=workplace, preloaded="clip", **hub_at(hub))
