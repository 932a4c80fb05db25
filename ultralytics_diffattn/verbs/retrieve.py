# Ultralytics DiffAttn - AGPL-3.0 License
"""`diffattn retrieve`: how often a caption finds its image among all, and an image one of its captions."""

from __future__ import annotations

from typing import Any

from ultralytics_diffattn.clip import images, pairs, weights
from ultralytics_diffattn.clip.retrieval import measure
from ultralytics_diffattn.output.files import write_json
from ultralytics_diffattn.output.run_folder import run_folder
from ultralytics_diffattn.verbs.arguments import check_known

OWN = {"weights": "DiffCLIP_ViTB16_CC12M", "data": "", **images.OWN}


def retrieve(**given: Any) -> dict[str, Any]:
    """Measure image-text retrieval: R@1, R@5 and R@10, both ways.

    Args:
        **given (Any): `weights` (a checkpoint or a name on the hub), `data` (as for `pairs.read`), `batch`, `workers`,
            `device`, `project` and `name`.

    Returns:
        (dict): What `retrieve.json` holds.

    Raises:
        ValueError: If an argument is missing, or nothing can be read.
        FileNotFoundError: If there are no data or weights.

    Examples:
        >>> retrieve(weights="checkpoint_best.pt", data="captions.csv")  # doctest: +SKIP

    References:
        CLIP, section 3.1; Karpathy and Fei-Fei 2015, https://arxiv.org/abs/1412.2306.
    """
    from ultralytics.utils import LOGGER
    from ultralytics.utils.torch_utils import select_device

    check_known("retrieve", given, OWN)
    batch, workers = images.parse_load(given)
    if not given.get("data"):
        raise ValueError("data= is missing; give a CSV with the columns image and caption.")
    files, captions = pairs.read(given["data"])
    folder = run_folder("classify", "val", given.get("name") or "retrieve", given.get("project"))
    model = weights.load(given.get("weights") or OWN["weights"]).to(select_device(given.get("device"), verbose=False))
    found = measure(model, files, captions, batch, workers)
    found = {"weights": str(given.get("weights") or OWN["weights"]), **found}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "retrieve.json", found)
    for way in ("text_to_image", "image_to_text"):
        scores = ", ".join(f"{name} {value:.4f}" for name, value in found[way].items())
        LOGGER.info(f"{way.replace('_', ' ')}: {scores}")
    LOGGER.info(f"retrieve: {found['images']} images, {found['captions']} captions, {folder}")
    return found
