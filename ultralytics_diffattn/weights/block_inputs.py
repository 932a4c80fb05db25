# Ultralytics DiffAttn - AGPL-3.0 License
"""What a module gets and what it is to give, for many images: recorded in files that are read as they are needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from ultralytics.data.augment import LetterBox
from ultralytics.utils.patches import imread

from ultralytics_diffattn.errors import UserError

# Bytes of inputs and outputs of one block. They are read again in each pass over the images, which costs less than
# the backbone's pass; beyond this size further images have nothing new to say about one block.
MOST_BYTES = 2**30
BATCH = 16
Place: TypeAlias = int | str | tuple[int, int]  # index or keyword in a call; that of a list, and the index within it


class BlockInputs(NamedTuple):
    """Inputs of a module and the outputs that it is to give, in files that PyTorch maps into memory.

    Attributes:
        arguments (list[Tensor]): Each of the module's tensor arguments, (N, ...), float32.
        positions (list[list[Place]]): For each of them, where it stands in the call.
        output (Tensor): (N, ...), float32.
    """

    arguments: list[Tensor]
    positions: list[list[Place]]
    output: Tensor

    def call(self, module: nn.Module, index: Tensor, device: torch.device) -> Tensor:
        """Return the output of a module for some images, (n, ...).

        Args:
            module (nn.Module): The module.
            index (Tensor): (n,) of the images.
            device (torch.device): Where the module is.

        Returns:
            (Tensor): The first of its outputs.
        """
        args: dict[int, Any] = {}
        kwargs: dict[str, Tensor] = {}
        for tensor, places in zip(self.arguments, self.positions, strict=True):
            value = tensor[index].to(device)
            for place in places:
                if isinstance(place, str):
                    kwargs[place] = value
                elif isinstance(place, int):
                    args[place] = value
                else:
                    args.setdefault(place[0], {})[place[1]] = value
        in_order = (args[i] for i in sorted(args))
        return first(module(*([a[k] for k in sorted(a)] if isinstance(a, dict) else a for a in in_order), **kwargs))


class _ReachedError(Exception):
    """The module has got its input: nothing behind it needs to run."""


def letterboxed(files: Iterable[str], imgsz: int, channels: int, unreadable: list[str]) -> Iterator[Tensor]:
    """Yield images, each followed by its mirror image, in batches, (n, channels, imgsz, imgsz), in [0, 1].

    Args:
        files (Iterable[str]): Images.
        imgsz (int): Height and width in pixels.
        channels (int): 3, or 1 for grey.
        unreadable (list[str]): Gets the files that cannot be read.

    Yields:
        (Tensor): A batch, float32.
    """
    letterbox = LetterBox((imgsz, imgsz), auto=False)
    images: list[Any] = []
    for file in files:
        pixels = _read(file, channels)
        if pixels is None:
            unreadable.append(file)
            continue
        image: Any = letterbox(image=pixels)
        image = image[..., None] if image.ndim == 2 else image  # OpenCV drops a single channel
        images += [image, image[:, ::-1]]
        if len(images) == BATCH:
            yield _batch(images)
            images = []
    if images:
        yield _batch(images)


def _batch(images: Sequence[Any]) -> Tensor:
    """Return images, (H, W, channels) in BGR, as a batch, (n, channels, H, W), in RGB."""
    batch = np.stack([image[..., ::-1].transpose(2, 0, 1) for image in images])
    return torch.from_numpy(np.ascontiguousarray(batch)).float() / 255


def _read(file: str, channels: int) -> Any:
    """Return an image as ultralytics reads it, (H, W, channels), or None if it cannot be read."""
    try:
        image = imread(file, cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR)
    except Exception:  # OpenCV and Pillow raise what they like
        return None
    return image[..., None] if image is not None and image.ndim == 2 else image


def record(
    model: nn.Module, module: nn.Module, stock: nn.Module, batches: Iterable[Tensor], folder: Path
) -> BlockInputs | None:
    """Return what a module of a model gets for each image, and what its stock counterpart makes of it.

    It ends with the batches, or where the files reach `MOST_BYTES`.

    Args:
        model (nn.Module): In evaluation mode; it runs up to the module only.
        module (nn.Module): One of its modules.
        stock (nn.Module): What stands in its place in the stock model.
        batches (Iterable[Tensor]): Images, (n, channels, H, W).
        folder (Path): An empty folder for the files.

    Returns:
        (BlockInputs | None): For N images in the order of the batches; None without batches.

    Raises:
        UserError: If the disk is full.
    """
    device = next(model.parameters()).device
    shapes: list[torch.Size] = []
    positions: list[list[Place]] = []
    count = size = 0
    with ExitStack() as stack, _watched(module) as calls:
        for batch in batches:
            with torch.no_grad(), suppress(_ReachedError):
                model(batch.to(device))
            tensors, positions = calls.pop()
            with torch.no_grad():
                output = BlockInputs(tensors, positions, tensors[0]).call(stock, torch.arange(len(batch)), device)
            values = [value.float().cpu().contiguous() for value in (*tensors, output)]
            size += sum(value.nbytes for value in values)
            if shapes and size > MOST_BYTES:
                break
            if not shapes:
                shapes = [value.shape[1:] for value in values]
                files = [stack.enter_context(open(folder / str(i), "wb")) for i in range(len(values))]
            _write(files, values)
            count += len(batch)
    mapped = [
        torch.from_file(str(folder / str(i)), size=count * shape.numel()).view(count, *shape)
        for i, shape in enumerate(shapes)
    ]
    return BlockInputs(mapped[:-1], positions, mapped[-1]) if mapped else None


def _write(files: Sequence[BinaryIO], values: Sequence[Tensor]) -> None:
    """Append each tensor to its file."""
    try:
        for file, value in zip(files, values, strict=True):
            file.write(value.numpy().tobytes())
            file.flush()  # a full disk is to be an error here
    except OSError as error:
        raise UserError(
            f"{Path(files[0].name).parent}: {error.strerror}. Free some space there, or set TMPDIR to another disk."
        ) from error


@contextmanager
def _watched(module: nn.Module) -> Iterator[list[tuple[list[Tensor], list[list[Place]]]]]:
    """Yield a list that gets the tensors of each call of a module, which then ends the forward pass."""
    calls: list[tuple[list[Tensor], list[list[Place]]]] = []

    def keep(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append(_distinct(args, kwargs))
        raise _ReachedError

    handle = module.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        yield calls
    finally:
        handle.remove()


def _distinct(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Tensor], list[list[Place]]]:
    """Return the tensors of a call, each once, and where each stands in it."""
    tensors: list[Tensor] = []
    positions: list[list[Place]] = []
    within = [((i, k), value) for i, a in enumerate(args) if isinstance(a, list) for k, value in enumerate(a)]
    places: list[tuple[Place, Any]] = [*enumerate(args), *within, *kwargs.items()]
    for place, value in places:
        if not isinstance(value, Tensor):
            continue
        same = next((i for i, t in enumerate(tensors) if t is value), None)
        if same is None:
            tensors.append(value)
            positions.append([place])
        else:
            positions[same].append(place)
    return tensors, positions


def first(output: Any) -> Tensor:
    """Return the first tensor of an output: `nn.MultiheadAttention` returns its weights, too."""
    value: Tensor = output if isinstance(output, Tensor) else output[0]
    return value
