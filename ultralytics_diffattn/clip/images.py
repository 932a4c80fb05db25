# Ultralytics DiffAttn - AGPL-3.0 License
"""Images for CLIP: finding them, preparing them and embedding them."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from ultralytics.data.utils import IMG_FORMATS
from ultralytics.utils import LOGGER, TQDM

from ultralytics_diffattn.clip.model import CLIP
from ultralytics_diffattn.errors import MissingFileError, UserError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, in RGB, as DiffCLIP was trained

Pixels = NDArray[np.uint8]  # (H, W, 3), BGR


class ImageEmbeddings(NamedTuple):
    """Embeddings of the images that could be read.

    Attributes:
        embeddings (Tensor): (n, embed_dim) of length 1, float32, on the CPU.
        indices (list[int]): Which of the files they are, n of them, ascending.
    """

    embeddings: Tensor
    indices: list[int]


def find(source: str | Path) -> list[Path]:
    """Return the images of a source.

    Args:
        source (str | Path): An image, a folder (with those below it), or a pattern such as `photos/*.jpg`.

    Returns:
        (list[Path]): In the order of their names.

    Raises:
        MissingFileError: If there are none.
    """
    path = Path(source)
    inside = path.rglob("*") if path.is_dir() else map(Path, glob.glob(str(source), recursive=True))
    files = sorted(p for p in inside if p.suffix[1:].lower() in IMG_FORMATS and p.is_file())
    if path.is_file():
        files = [path]
    if not files:
        raise MissingFileError(
            f"there are no images in {source}; give an image, a folder or a pattern, with files ending in "
            f"{', '.join(sorted(IMG_FORMATS))}."
        )
    return files


def transform(size: int) -> Callable[[Image.Image], Tensor]:
    """Return the function that turns an image in RGB into the input of a model: its middle square, normalised.

    Args:
        size (int): Height and width in pixels.

    Returns:
        (Callable): From `PIL.Image` to a tensor, (3, size, size), float32.

    Examples:
        >>> transform(32)(Image.new("RGB", (96, 64))).shape
        torch.Size([3, 32, 32])
    """
    steps = [
        transforms.Resize(size),
        transforms.CenterCrop(size),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ]
    prepare: Callable[[Image.Image], Tensor] = transforms.Compose(steps)
    return prepare


def check_loading(batch: int, workers: int) -> None:
    """Raise unless images can be read in batches of `batch` by `workers` processes beside this one.

    Args:
        batch (int): From 1 on.
        workers (int): From 0 on.

    Raises:
        UserError: If one is no such number.
    """
    for name, value, least in (("batch", batch, 1), ("workers", workers, 0)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise UserError(f"{name}={value!r} must be an integer >= {least}.")


class Images(Dataset[Tensor | str]):
    """Images of files, prepared; for one that cannot be read, the reason why.

    Args:
        files (Sequence[Path]): The images.
        prepare (Callable): From `PIL.Image` in RGB to a tensor, such as `transform` returns.
        alter (Callable, optional): From an image, (H, W, 3), uint8, BGR, to another, before it is prepared.
    """

    def __init__(
        self,
        files: Sequence[Path],
        prepare: Callable[[Image.Image], Tensor],
        alter: Callable[[Pixels], Pixels] | None = None,
    ):
        """Store the arguments."""
        self.files, self.prepare, self.alter = files, prepare, alter

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self.files)

    def __getitem__(self, i: int) -> Tensor | str:
        """Return an image, (3, size, size), or the reason why it cannot be read."""
        try:  # not by Pillow: ultralytics has it install a package when it meets what is no image
            pixels = cv2.imdecode(np.fromfile(self.files[i], np.uint8), cv2.IMREAD_COLOR)  # (H, W, 3), BGR
        except OSError as e:
            return str(e)
        except cv2.error:
            return "it is empty"
        if pixels is None:
            return "it is cut off, or in no format that OpenCV knows"
        bgr = pixels.astype(np.uint8, copy=False)
        bgr = self.alter(bgr) if self.alter else bgr
        return self.prepare(Image.fromarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)))


@torch.no_grad()
def embed(
    model: CLIP,
    files: Sequence[Path],
    batch: int = 64,
    workers: int = 0,
    alter: Callable[[Pixels], Pixels] | None = None,
    desc: str = "images",
) -> ImageEmbeddings:
    """Return the embeddings of images; a warning names each that cannot be read.

    Args:
        model (CLIP): On the device on which it is to run.
        files (Sequence[Path]): The images.
        batch (int): Images at a time.
        workers (int): Processes that read images beside this one.
        alter (Callable, optional): As for `Images`.
        desc (str): Words beside the progress bar.

    Returns:
        (ImageEmbeddings): Of the images that can be read, in the order of the files.

    Raises:
        UserError: If none can be read.
    """
    dataset = Images(files, transform(model.sizes.image_size), alter)
    loader = DataLoader(dataset, batch, num_workers=workers, collate_fn=list)
    embeddings: list[Tensor] = []
    indices: list[int] = []
    start = 0  # index of the batch's first file
    for items in TQDM(loader, desc=desc, total=len(loader)):
        readable: list[Tensor] = []
        for i, item in enumerate(items, start):
            if isinstance(item, Tensor):
                readable.append(item)
                indices.append(i)
            else:
                LOGGER.warning(f"{files[i]} cannot be read as an image and is left out: {item}")
        start += len(items)
        if readable:
            images = torch.stack(readable).to(model.logit_scale.device)  # (B, 3, size, size)
            embeddings.append(model.encode_image(images, normalize=True).float().cpu())
    if not indices:
        raise UserError(f"none of the {len(files)} images can be read; the first is {files[0]}.")
    return ImageEmbeddings(torch.cat(embeddings), indices)
