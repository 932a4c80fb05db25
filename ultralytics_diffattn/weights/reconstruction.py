# Ultralytics DiffAttn - AGPL-3.0 License
"""Block reconstruction: what stands in the place of a stock module is trained, alone, to give what that one gives.

No labels. All else stays as it is, bit for bit. As quantization knows it: BRECQ, https://arxiv.org/abs/2102.05426.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from ultralytics.utils import LOGGER, TQDM

from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.nn.protocol import DifferentialAttention
from ultralytics_diffattn.weights import block_inputs
from ultralytics_diffattn.weights.block_inputs import BlockInputs
from ultralytics_diffattn.weights.rows import match_rows, replaces
from ultralytics_diffattn.weights.transfer import attentions

# Measured on yolo11n and 178 images of COCO at 640 px: 30 passes at 1e-3 end at twice the error of 60 at 2e-3.
STEPS = 1200
LEARNING_RATE = 2e-3
HELD_OUT = 0.1  # share of the images, and at least four
LEAST_IMAGES = 16
CHECK = 50  # steps between two looks at the held-out images
EXACT = 1e-9  # an error that is rounding


class ReconstructedBlock(NamedTuple):
    """The outcome for one attention.

    Attributes:
        name (str): Of the module.
        before (float): Mean squared error on held-out images, as a part of the variance of stock's output.
        after (float): The same at the end.
        images (int): Number of images that it was trained on, each beside its mirror image.
        recording (float): Seconds for the backbone's pass over the images.
        training (float): Seconds for the training.
    """

    name: str
    before: float
    after: float
    images: int
    recording: float
    training: float


def counterparts(source: Any, target: Any) -> Iterator[tuple[str, Any, nn.Module | None]]:
    """Yield each differential attention, and each user's module, and what stands in its place in the stock model.

    Args:
        source (BaseModel): A stock model.
        target (BaseModel): Another that its weights were transferred to.

    Yields:
        (tuple): Name of the module, the module, and its counterpart, None for an attention in a row that only the
            target has.
    """
    for j, i in enumerate(match_rows(source.model, target.model)):
        if i is not None and replaces(target.model[j], source.model[i]):
            yield f"model.{j}", target.model[j], source.model[i]
            continue
        for start, attention in attentions(target.model[j]):
            name = start.rstrip(".")
            stock = None if i is None else source.model[i].get_submodule(name)
            yield f"model.{j}.{name}".rstrip("."), attention, stock


def reconstruct(source: Any, target: Any, files: Sequence[str], imgsz: int, seed: int = 0) -> list[ReconstructedBlock]:
    """Train each differential attention of a model to give what the stock module in its place gives.

    Blocks are trained one after another, each on the inputs that the model gives it with those before already trained.
    Lambda is held: a lambda that may move goes to where the second map does least, or adds it. An interrupt (Ctrl-C)
    ends the training, and the best weights so far stay.

    Args:
        source (BaseModel): A stock model, in evaluation mode; unchanged.
        target (BaseModel): One of ours that its weights were transferred to, in evaluation mode; trained in place.
        files (Sequence[str]): Images, of the kind that the detector is for.
        imgsz (int): Height and width that they are letterboxed to.
        seed (int): Chooses the held-out images and the order.

    Returns:
        (list[ReconstructedBlock]): One for each attention that has a counterpart and was reached.

    Raises:
        UserError: If fewer than 16 images can be read, no attention has a counterpart, a block gives nan, or the disk
            is full; the target may then be half trained.

    Examples:
        >>> reconstruct(stock, ours, files, imgsz=640)  # doctest: +SKIP
        [ReconstructedBlock(name='model.10.m.0.attn', before=1.2, after=0.05, ...)]
    """
    pairs = list(counterparts(source, target))
    if alone := [name for name, _, stock in pairs if stock is None]:
        LOGGER.warning(f"{', '.join(alone)} has no counterpart in the stock model, and stays as it is: train it.")
    pairs = [pair for pair in pairs if pair[2] is not None]
    if not pairs:
        raise UserError(
            "no attention of the model has a counterpart in the stock model, and no module of yours stands in the "
            "place of a stock module: there is nothing to reconstruct."
        )
    device = _device()
    order = torch.randperm(len(files), generator=torch.Generator().manual_seed(seed)).tolist()
    files = [files[i] for i in order]
    blocks: list[ReconstructedBlock] = []
    for model in (source, target):
        model.to(device)
    try:
        for i, (name, attention, stock) in enumerate(pairs, 1):
            with tempfile.TemporaryDirectory(prefix="diffattn-", ignore_cleanup_errors=True) as folder:
                start = time.perf_counter()
                inputs = _record(target, attention, stock, files, imgsz, Path(folder))
                recorded = time.perf_counter()
                error, finished = _train(attention, inputs, f"Block {i}/{len(pairs)} {name}", seed, device)
                seconds = recorded - start, time.perf_counter() - recorded
                blocks.append(ReconstructedBlock(name, *error, len(inputs.output) // 2, *seconds))
                del inputs
            if not finished:
                LOGGER.warning(f"interrupted: the best {name} so far is kept, and blocks behind it stay as they are.")
                break
    finally:
        for model in (source, target):
            model.to("cpu")
    return blocks


def summary(blocks: Sequence[ReconstructedBlock]) -> str:
    """Return a line for each block, and how the time was spent.

    Args:
        blocks (Sequence[ReconstructedBlock]): From `reconstruct`.

    Returns:
        (str): Lines.

    Examples:
        >>> print(summary([ReconstructedBlock("model.10.m.0.attn", 1.0, 0.05, 178, 20.0, 60.0)]))
        model.10.m.0.attn: squared error on held-out images 1.000 before, 0.050 after (stock's variance is 1)
        178 images and their mirror images; 20 s for the backbone, 60 s for the training
    """
    lines = [
        f"{b.name}: squared error on held-out images {b.before:.3f} before, {b.after:.3f} after (stock's variance is 1)"
        for b in blocks
    ]
    recording, training = sum(b.recording for b in blocks), sum(b.training for b in blocks)
    images = max(b.images for b in blocks)
    times = f"{recording:.0f} s for the backbone, {training:.0f} s for the training"
    return "\n".join([*lines, f"{images} images and their mirror images; {times}"])


def _device() -> torch.device:
    """Return the first GPU, or the CPU."""
    from ultralytics.utils.torch_utils import select_device

    device: torch.device = select_device("0" if torch.cuda.is_available() else "cpu", verbose=False)
    return device


def _record(target: Any, attention: Any, stock: Any, files: Sequence[str], imgsz: int, folder: Path) -> BlockInputs:
    """Return what an attention gets for images and their mirror images, and what stock makes of it."""
    unreadable: list[str] = []
    bar = TQDM(files, desc="Images")
    batches = block_inputs.letterboxed(bar, imgsz, target.yaml.get("channels", 3), unreadable)
    inputs = block_inputs.record(target, attention, stock, batches, folder)
    bar.close()
    count = 0 if inputs is None else len(inputs.output) // 2
    if unreadable:
        LOGGER.warning(f"{len(unreadable)} images cannot be read and are left out, the first is {unreadable[0]}.")
    if inputs is None or count < LEAST_IMAGES:
        raise UserError(
            f"reconstruct= has {count} images that can be read: give at least {LEAST_IMAGES}, better some hundreds, of "
            "the kind that the detector is for."
        )
    if count + len(unreadable) < len(files):
        LOGGER.info(
            f"{count} of {len(files)} images are used, drawn by the seed: the inputs of the block for them fill "
            f"{block_inputs.MOST_BYTES / 2**30:g} GiB."
        )
    return inputs


def _train(
    attention: Any, inputs: BlockInputs, title: str, seed: int, device: torch.device
) -> tuple[tuple[float, float], bool]:
    """Train an attention and return its error before and after, and whether the training came to its end."""
    generator = torch.Generator().manual_seed(seed)
    held, rest = _hold_out(len(inputs.output) // 2, generator)
    variance = float(inputs.output.double().var())
    before = _error(attention, inputs, held, variance, device)
    if before < EXACT or not list(attention.parameters()):  # as kind `paired`, whose lambda is zero; as SimAM
        return (before, before), True
    if not before < float("inf"):
        raise UserError(f"{title}: its output is not finite before it is trained; look at the weights.")
    best, best_state = before, deepcopy(attention.state_dict())
    is_ours = isinstance(attention, DifferentialAttention)
    parameters = [p for name, p in attention.named_parameters() if not (is_ours and name.startswith("lam"))]
    for parameter in attention.parameters():
        parameter.requires_grad_(any(parameter is p for p in parameters))
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=STEPS)
    finished = True
    try:
        bar = TQDM(range(STEPS), desc=title)
        for step, index in zip(bar, _batches(rest, generator), strict=False):
            loss = F.mse_loss(inputs.call(attention, index, device), inputs.output[index].to(device)) / variance
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if (step + 1) % CHECK == 0 or step + 1 == STEPS:
                error = _error(attention, inputs, held, variance, device)
                if not error < float("inf"):
                    raise UserError(f"{title}: its output is not finite after {step + 1} steps; nothing is written.")
                if error < best:
                    best, best_state = error, deepcopy(attention.state_dict())
                bar.set_description(f"{title}: error {best:.3f} of {before:.3f}")
    except KeyboardInterrupt:
        finished = False
    attention.load_state_dict(best_state)
    attention.requires_grad_(True)
    return (before, best), finished


def _hold_out(images: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the indices of held-out images, without their mirror images, and of all others."""
    count = max(4, round(HELD_OUT * images))
    held, rest = torch.randperm(images, generator=generator).split([count, images - count])
    return 2 * held, torch.cat((2 * rest, 2 * rest + 1))


def _batches(indices: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield batches of indices without end, each pass in another order."""
    while True:
        order = indices[torch.randperm(len(indices), generator=generator)]
        yield from order.split(block_inputs.BATCH)


@torch.no_grad()
def _error(attention: Any, inputs: BlockInputs, index: Tensor, variance: float, device: torch.device) -> float:
    """Return the mean squared error of an attention for some images, as a part of the variance of stock's output."""
    total = 0.0
    for part in index.split(block_inputs.BATCH):
        output = inputs.output[part].to(device)
        total += float(F.mse_loss(inputs.call(attention, part, device), output)) * len(part)
    return total / (len(index) * variance)
