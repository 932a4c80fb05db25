"""The boxes of an exported detector as ultralytics predicts them, by ONNX Runtime, OpenCV and NumPy alone.

python client.py best.onnx image.jpg ...
"""

import sys
from ast import literal_eval

import cv2
import numpy as np
import onnxruntime


def prepare(image, height, width, stride, stretch):
    """Return a BGR image on grey as RGB in 0 to 1, (3, height, width), and x, y, x, y of its origin and scale there."""
    h, w = image.shape[:2]
    gain = min(height / h, width / w)
    new_h, new_w = (height, width) if stretch else (max(round(h * gain), 1), max(round(w * gain), 1))
    dy, dx = (height - new_h) % stride / 2, (width - new_w) % stride / 2
    top, bottom, left, right = round(dy - 0.1), round(dy + 0.1), round(dx - 0.1), round(dx + 0.1)
    image = cv2.resize(image, (new_w, new_h), interpolation=cv2.INTER_LINEAR)
    image = cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(114, 114, 114))
    x = image[..., ::-1].transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    return x, np.float32([left, top] * 2), np.float32([new_w / w, new_h / h] * 2)


def suppress(rows, iou):
    """Return the rows (x1, y1, x2, y2, score, class) that overlap no better one of their class, the best first."""
    rows = rows[np.argsort(-rows[:, 4], kind="stable")]
    boxes, left, kept = rows[:, :4] + rows[:, 5:] * np.float32(7680), np.arange(len(rows)), []  # classes lie apart
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    while len(left):
        best, left = left[0], left[1:]
        sides = np.minimum(boxes[best, 2:], boxes[left, 2:]) - np.maximum(boxes[best, :2], boxes[left, :2])
        shared = sides.clip(0).prod(1)
        left = left[~(shared > iou * (area[best] + area[left] - shared))]
        kept.append(best)
    return rows[kept]


def predict(images, infer, meta, shape, conf=0.25, iou=0.7, imgsz=None):
    """Return the rows (x1, y1, x2, y2 in pixels, score, class) for each BGR image of a batch; see `load`."""
    if meta.get("task") != "detect":
        raise ValueError(f"The metadata say task={meta.get('task')}: give a detector that ultralytics exported.")
    batch, _, *sides = shape  # numbers, or names where any number will do
    free = isinstance(sides[0], str)
    height, width = (imgsz or literal_eval(str(meta["imgsz"]))) if free else sides
    stride, batch = int(meta["stride"]), len(images) if isinstance(batch, str) else batch
    if height % stride or width % stride or not 0 < len(images) <= batch:
        raise ValueError(
            f"{len(images)} images, {height}x{width}: the file takes {shape}, sides in multiples of {stride}."
        )
    stretch = meta.get("head") == "RTDETRDecoder"
    least = free and len({image.shape for image in images}) == 1  # then ultralytics adds no more grey than it must
    inputs = [prepare(image, height, width, stride if least else 2**30, stretch) for image in images]
    output = infer(np.stack([x for x, *_ in inputs] + [inputs[0][0]] * (batch - len(images)))).astype(np.float32)
    results = []
    for image, (_, origin, scale), rows in zip(images, inputs, output, strict=False):
        final = rows.shape[-1] == 6  # NMS is in the graph, or the model needs none
        if not final:
            rows = np.c_[rows[:4].T, rows[4:].max(0), rows[4:].argmax(0)]
        rows = rows[rows[:, 4] > conf]
        if stretch or not final:  # centre, width and height
            rows[:, :4] = np.c_[rows[:, :2] - rows[:, 2:4] / 2, rows[:, :2] + rows[:, 2:4] / 2]
        size = np.float32(image.shape[1::-1] * 2)
        rows = (rows if final else suppress(rows, iou))[:300]
        rows[:, :4] = rows[:, :4] * size if stretch else ((rows[:, :4] - origin) / scale).clip(0, size)
        results.append(rows)
    return results


def load(file):
    """Return a function from input to output, the metadata and the input's shape of an ONNX file."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    node = session.get_inputs()[0]
    kind = np.float16 if "float16" in node.type else np.float32

    def infer(x):
        return session.run(None, {node.name: x.astype(kind)})[0]

    return infer, session.get_modelmeta().custom_metadata_map, node.shape


if __name__ == "__main__":
    model = load(sys.argv[1])
    for file in sys.argv[2:]:
        picture = cv2.imread(file)
        if picture is None:
            sys.exit(f"{file} is missing, or no image.")
        for *box, score, label in predict([picture], *model)[0].tolist():
            print(file, int(label), f"{score:.3f}", *(f"{side:.1f}" for side in box))
