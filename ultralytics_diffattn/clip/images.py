# Ultralytics DiffAttn - AGPL-3.0 License
"""Images for CLIP: which there are, how they are prepared, and where a model places them."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from ultralytics.data.utils import IMG_FORMATS
from ultralytics.utils import LOGGER, TQDM

from ultralytics_diffattn.clip.model import CLIP
from ultralytics_diffattn.nn.arguments import check_count

OWN = {"batch": 64, "workers": 0, "device": "", "project": "", "name": ""}  # arguments of what embeds images
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, in RGB, as DiffCLIP was trained


def find(source: str | Path) -> list[Path]:
    """Return the images of a source.

    Args:
        source (str | Path): An image, a folder (with those below it), or a pattern such as `photos/*.jpg`.

    Returns:
        (list[Path]): In the order of their names.

    Raises:
        FileNotFoundError: If there are none.
    """
    path = Path(source)
    inside = path.rglob("*") if path.is_dir() else map(Path, glob.glob(str(source), recursive=True))
    files = sorted(p for p in inside if p.suffix[1:].lower() in IMG_FORMATS and p.is_file())
    if path.is_file():
        files = [path]
    if not files:
        raise FileNotFoundError(
            f"there are no images in {source}; give an image, a folder or a pattern, with files ending in "
            f"{', '.join(sorted(IMG_FORMATS))}."
        )
    return files


def transform(size: int) -> Callable[[Image.Image], Tensor]:
    """Return what makes of an image in RGB the input of a model, (3, size, size): its middle square, normalised.

    Args:
        size (int): Height and width in pixels.

    Returns:
        (Callable): From `PIL.Image` to a float tensor.
    """
    steps = transforms.Resize(size), transforms.CenterCrop(size), transforms.ToTensor(), transforms.Normalize(MEAN, STD)
    return transforms.Compose(steps)


def parse_load(given: dict) -> tuple[int, int]:
    """Return `batch` and `workers` of the arguments of a verb, or raise where they are no such numbers."""
    batch, workers = (OWN[name] if given.get(name) is None else given[name] for name in ("batch", "workers"))
    check_count("batch", batch)
    if workers != 0:
        check_count("workers", workers)
    return batch, workers


class Images(Dataset):
    """Images of files, prepared; one that cannot be read is the reason why.

    Args:
        files (Sequence[Path]): The images.
        prepare (Callable): Such as `transform` gives.
        change (Callable, optional): From an image, (H, W, 3), uint8, BGR, to another, before it is prepared.
    """

    def __init__(self, files: Sequence[Path], prepare: Callable, change: Callable | None = None):
        """Keep the arguments."""
        self.files, self.prepare, self.change = files, prepare, change

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self.files)

    def __getitem__(self, i: int) -> Tensor | str:
        """Return an image, (3, size, size), or why there is none."""
        try:  # not by Pillow: ultralytics has it install a package when it meets what is no image
            pixels = cv2.imdecode(np.fromfile(self.files[i], np.uint8), cv2.IMREAD_COLOR)  # (H, W, 3), BGR
        except OSError as e:
            return str(e)
        except cv2.error:
            return "it is empty"
        if pixels is None:
            return "it is cut off, or in no format that OpenCV knows"
        pixels = self.change(pixels) if self.change else pixels
        image = Image.fromarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
        return self.prepare(image)


@torch.no_grad()
def embed(
    model: CLIP,
    files: Sequence[Path],
    batch: int = 64,
    workers: int = 0,
    change: Callable | None = None,
    desc: str = "images",
) -> tuple[Tensor, list[int]]:
    """Return the places of images, and which of the files they are; a warning names those that cannot be read.

    Args:
        model (CLIP): On the device on which it is to run.
        files (Sequence[Path]): The images.
        batch (int): Images at a time.
        workers (int): Processes that read images beside this one.
        change (Callable, optional): As for `Images`.
        desc (str): Words beside the progress bar.

    Returns:
        (tuple[Tensor, list[int]]): (n, embed_dim) of length 1, float32, on the CPU, and n numbers of files.

    Raises:
        ValueError: If none can be read.
    """
    device = model.logit_scale.device
    data = Images(files, transform(model.sizes["image_size"]), change)
    loader = DataLoader(data, batch, num_workers=workers, collate_fn=list)
    places, kept, seen = [], [], 0
    for items in TQDM(loader, desc=desc, total=len(loader)):
        good = [(seen + i, item) for i, item in enumerate(items) if isinstance(item, Tensor)]
        for i, item in enumerate(items):
            if not isinstance(item, Tensor):
                LOGGER.warning(f"{files[seen + i]} cannot be read as an image and is left out: {item}")
        seen += len(items)
        if good:
            numbers, tensors = zip(*good, strict=True)
            kept += numbers
            places.append(model.encode_image(torch.stack(tensors).to(device), normalize=True).float().cpu())
    if not kept:
        raise ValueError(f"none of the {len(files)} images can be read; the first is {files[0]}.")
    return torch.cat(places), kept
