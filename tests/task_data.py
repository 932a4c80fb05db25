"""A small data set for each of ultralytics' tasks, made of the tiny one with boxes."""

import shutil
from pathlib import Path

import cv2
import numpy as np
from ultralytics.data.utils import img2label_paths

from ultralytics_diffattn.data import shapes

MODELS = {  # of stock, and of ours
    "detect": ("yolo11n.yaml", "yolo11n-diffattn.yaml"),
    "segment": ("yolo11n-seg.yaml", "yolo11n-diffattn-seg.yaml"),
    "pose": ("yolo11n-pose.yaml", "yolo11n-diffattn-pose.yaml"),
    "obb": ("yolo11n-obb.yaml", "yolo11n-diffattn-obb.yaml"),
    "classify": ("yolo11n-cls.yaml", "yolo11n-diffattn-cls.yaml"),
    "semantic": ("yolo26n-sem.yaml", "yolo26n-diffattn-paired-sem.yaml"),
    "depth": ("yolo26n-depth.yaml", "yolo26n-diffattn-paired-depth.yaml"),
}


def make(task, tiny, folder):
    """Return what to give ultralytics as `data`, written below a folder."""
    if task == "detect":
        return tiny
    for split in ("train", "val"):
        for file in sorted((tiny.parent / "images" / split).iterdir()):
            rows = np.loadtxt(img2label_paths([str(file)])[0], ndmin=2)
            image = cv2.imread(str(file))
            if task == "classify":
                _crops(folder, split, file, image, rows)
            else:
                (folder / "images" / split).mkdir(parents=True, exist_ok=True)
                shutil.copy(file, folder / "images" / split)
                _label(task, folder, split, file.stem, image.shape[:2], rows)
    if task == "classify":
        return folder
    more = {"pose": "kpt_shape: [2, 3]\n", "semantic": "masks_dir: masks\n"}.get(task, "")
    names = ["depth"] if task == "depth" else shapes.NAMES
    listed = "".join(f"  {i}: {name}\n" for i, name in enumerate(names))
    yaml = Path(folder) / "data.yaml"
    yaml.write_text(f"path: {folder}\ntrain: images/train\nval: images/val\n{more}names:\n{listed}")
    return yaml


def _crops(folder, split, file, image, rows):
    """Write each box as an image in the folder of its class."""
    height, width = image.shape[:2]
    for i, (cls, x, y, w, h) in enumerate(rows):
        left, right = int((x - w / 2) * width), int(np.ceil((x + w / 2) * width))
        top, bottom = int((y - h / 2) * height), int(np.ceil((y + h / 2) * height))
        target = folder / split / shapes.NAMES[int(cls)]
        target.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(target / f"{file.stem}-{i}.png"), image[max(top, 0) : bottom, max(left, 0) : right])


def _label(task, folder, split, stem, shape, rows):
    """Write the label of an image: rows of text, a mask of classes, or a map of depths in metres."""
    kind = {"semantic": "masks", "depth": "depth"}.get(task, "labels")
    (folder / kind / split).mkdir(parents=True, exist_ok=True)
    target = folder / kind / split / stem
    height, width = shape
    values = np.zeros(shape, np.uint8) if task == "semantic" else np.full(shape, 5.0, np.float32)
    lines = []
    for cls, x, y, w, h in rows:
        left, top, right, bottom = x - w / 2, y - h / 2, x + w / 2, y + h / 2
        inside = slice(int(top * height), int(bottom * height)), slice(int(left * width), int(right * width))
        values[inside] = cls if task == "semantic" else 2.0 + cls
        corners = [left, top, right, top, right, bottom, left, bottom]
        numbers = [x, y, w, h, left, top, 2, right, bottom, 2] if task == "pose" else corners
        lines.append(" ".join([str(int(cls)), *(f"{min(max(n, 0), 1) if n != 2 else 2:.6f}" for n in numbers)]))
    if task == "semantic":
        cv2.imwrite(str(target.with_suffix(".png")), values)
    elif task == "depth":
        np.save(target.with_suffix(".npy"), values)
    else:
        target.with_suffix(".txt").write_text("\n".join(lines) + "\n")
