# Ultralytics DiffAttn - AGPL-3.0 License
"""`diffattn retrieve`: how often a caption finds its image among all, and an image one of its captions."""

from __future__ import annotations

from typing import Any

from ultralytics.utils import LOGGER
from ultralytics.utils.torch_utils import select_device

from ultralytics_diffattn.clip import images, pairs
from ultralytics_diffattn.clip.model import CLIP
from ultralytics_diffattn.clip.retrieval import RetrievalResults, measure
from ultralytics_diffattn.errors import UserError, as_user_errors
from ultralytics_diffattn.output.files import write_json
from ultralytics_diffattn.output.run_folder import run_folder
from ultralytics_diffattn.verbs.arguments import check_known

OWN = {
    "weights": "DiffCLIP_ViTB16_CC12M",
    "data": "",
    "batch": 64,
    "workers": 0,
    "device": "",
    "project": "",
    "name": "",
}


def retrieve(**arguments: Any) -> RetrievalResults:
    """Measure image-text retrieval: R@1, R@5 and R@10, both ways.

    Args:
        **arguments (Any): `weights` (a checkpoint or a name on the hub), `data` (as for `pairs.read`), `batch`,
            `workers`, `device`, `project` and `name`.

    Returns:
        (RetrievalResults): What `retrieve.json` holds.

    Raises:
        UserError: If an argument is missing, or nothing can be read.
        MissingFileError: If there are no data or weights.

    Examples:
        >>> retrieve(weights="checkpoint_best.pt", data="captions.csv")  # doctest: +SKIP

    References:
        CLIP, section 3.1; Karpathy and Fei-Fei 2015, https://arxiv.org/abs/1412.2306.
    """
    check_known("retrieve", arguments, OWN)
    args: dict[str, Any] = OWN | {name: value for name, value in arguments.items() if value not in (None, "")}
    images.check_loading(args["batch"], args["workers"])
    if not args["data"]:
        raise UserError("data= is missing; give a CSV with the columns image and caption.")
    data = pairs.read(args["data"])
    folder = run_folder("classify", "val", args["name"] or "retrieve", args["project"])
    with as_user_errors(ValueError):
        device = select_device(args["device"], verbose=False)
    model = CLIP.from_pretrained(args["weights"]).to(device)
    with as_user_errors():
        folder.mkdir(parents=True, exist_ok=True)
    metrics = measure(model, data.files, data.captions, args["batch"], args["workers"])
    results: RetrievalResults = {"weights": str(args["weights"]), **metrics}
    write_json(folder / "retrieve.json", results)
    for way, recalls in (("text to image", results["text_to_image"]), ("image to text", results["image_to_text"])):
        LOGGER.info(f"{way}: {', '.join(f'{name} {value:.4f}' for name, value in recalls.items())}")
    LOGGER.info(f"retrieve: {results['images']} images, {results['captions']} captions, {folder}")
    return results
