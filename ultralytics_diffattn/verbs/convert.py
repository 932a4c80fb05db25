# Ultralytics DiffAttn - AGPL-3.0 License
"""`diffattn convert`: a trained stock checkpoint becomes one of a model with other modules, ours or yours."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.output.files import write_text
from ultralytics_diffattn.weights.checkpoints import load, new_file, save

if TYPE_CHECKING:
    from ultralytics_diffattn.data.unlabelled import Unlabelled

OWN: dict[str, Any] = {"weights": "", "model": "", "out": "", "reconstruct": ""}
SAME = 1e-5  # float rounding
POSITIONAL = "weights", "out"  # may be given without their names: diffattn convert in.pt model=... out.pt


def convert(
    weights: str = "", model: str = "", out: str = "", reconstruct: str = "", imgsz: int = 0, seed: int = 0, **args: Any
) -> dict[str, Any]:
    """Carry the weights of a trained checkpoint over into a model with other modules, and report tensor by tensor.

    The modules are ours, or yours that are registered. Classes, task and scale are the checkpoint's. Rows that the
    model has on top of the checkpoint's are passed over, so weights find their rows even where
    `YOLO(yaml).load(weights)`, which goes by the number of the row, loses them.

    With `reconstruct`, each attention of ours is then trained, alone and without labels, to give what the stock module
    in its place gives: kinds whose attention is new start as a detector, too.

    Args:
        weights (str): Checkpoint of a stock model, or of one of ours.
        model (str): YAML, with the checkpoint's scale or without one.
        out (str): Where the new checkpoint goes, by default into the present folder, named after both; a `.csv` beside
            it lists the status of each tensor.
        reconstruct (str): Images for the reconstruction: a folder, a text file that lists them, or a data set as
            `catalogue.resolve` takes it, whose train images serve.
        imgsz (int): Size in pixels that they are letterboxed to, by default that of the checkpoint's training.
        seed (int): Of the reconstruction.
        **args (Any): None; here to be refused by name.

    Returns:
        (dict): `file`, `tensors` (the status of each, see `transfer.TransferredTensor`), `difference`: the largest
            difference between the raw outputs of the two models on a random image, as a part of the largest output,
            and `blocks`, the outcome of the reconstruction (see `reconstruction.ReconstructedBlock`).

    Raises:
        MissingFileError: If a file does not exist.
        ExistingFileError: If `out` does.
        UserError: If an argument is missing, the checkpoint cannot be read, or less is carried over than all that the
            stock model knows outside of our modules.

    Examples:
        >>> convert("yolo11n.pt", model="yolo11n-diffattn-paired.yaml", out="paired.pt")  # doctest: +SKIP
    """
    from ultralytics.nn.tasks import guess_model_task
    from ultralytics.utils import LOGGER

    from ultralytics_diffattn.data.unlabelled import find_images
    from ultralytics_diffattn.weights import reconstruction
    from ultralytics_diffattn.weights.conversion import IMGSZ, convert_model
    from ultralytics_diffattn.weights.transfer import summary

    if args:
        raise UserError(f"{', '.join(args)} is not an argument of convert: diffattn convert in.pt model=x.yaml out.pt")
    if not isinstance(imgsz, int) or imgsz < 0 or not isinstance(seed, int):
        raise UserError(f"imgsz={imgsz}, seed={seed} must be whole numbers, such as imgsz=640.")
    source, checkpoint = load(weights)
    file = new_file(out or f"{Path(weights).stem}-{Path(model).stem}.pt", ".pt")
    new_file(str(file.with_suffix(".csv")), ".csv")
    images = find_images(reconstruct, guess_model_task(source)) if reconstruct else None
    size = imgsz or int((checkpoint.get("train_args") or {}).get("imgsz") or IMGSZ)
    made = convert_model(weights, model, images.files if images else (), size, seed)
    save(made.checkpoint, file)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerows(
        [
            ["status", "tensor", "shape"],
            *((t.status, t.name, " ".join(map(str, t.shape))) for t in made.tensors),
        ]
    )
    write_text(file.with_suffix(".csv"), table.getvalue())
    same = "predicts as" if made.difference < SAME else "does not predict, before it is trained, as"
    LOGGER.info(
        f"{summary(made.tensors)}\nevery tensor in {file.with_suffix('.csv')}\n{file} {same} {weights} (on a random "
        f"image outputs differ by {made.difference:.1g} of the largest); fine-tune it with yolo train model={file} "
        "data=..."
    )
    if images:
        LOGGER.info(reconstruction.summary(made.blocks))
        _report(weights, str(file), images, size)
    return {"file": str(file), "tensors": made.tensors, "difference": made.difference, "blocks": made.blocks}


def _report(weights: str, file: str, images: Unlabelled, imgsz: int) -> None:
    """Log how far the predictions of a reconstructed detector differ, and with labels mAP of both."""
    from ultralytics import YOLO
    from ultralytics.utils import LOGGER

    from ultralytics_diffattn.evaluation.box_map import box_map
    from ultralytics_diffattn.evaluation.export_check import compare_predictions
    from ultralytics_diffattn.evaluation.sample_images import spread

    stock, ours = YOLO(weights), YOLO(file)
    options = {"imgsz": [imgsz, imgsz], "batch": 1, "conf": 0.25, "verbose": False}
    found = compare_predictions(stock, ours, spread(images.files), options, "int8")
    LOGGER.info(
        f"on {found['images']} of these images {weights} finds {found['boxes']} boxes, of which {file} finds "
        f"{found['pairs']}; {found['alone']} are found by one of the two alone."
    )
    if images.data and stock.task != "classify":
        scores = [box_map(yolo, images.data, imgsz) for yolo in (stock, ours)]
        LOGGER.info(f"mAP50-95 of boxes on val of {images.data}: {weights} {scores[0]:.3f}, {file} {scores[1]:.3f}.")
