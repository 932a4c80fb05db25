# Ultralytics DiffAttn - AGPL-3.0 License
"""Training of CLIP and DiffCLIP with Lightning's trainer: pairs of image and caption, the loss, resuming."""

from __future__ import annotations

import csv
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler
from ultralytics.utils import LOGGER

from ultralytics_diffattn.clip import images, retrieval
from ultralytics_diffattn.clip.build import build
from ultralytics_diffattn.clip.hardware import Hardware
from ultralytics_diffattn.clip.model import CLIP
from ultralytics_diffattn.clip.pairs import CaptionedImages
from ultralytics_diffattn.clip.tokens import tokenize
from ultralytics_diffattn.errors import MissingPackageError, UserError, as_user_errors
from ultralytics_diffattn.nn.arguments import check_count, check_dropout, check_ratio
from ultralytics_diffattn.output.files import whole

if TYPE_CHECKING:
    from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig

try:
    import lightning
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.loggers import CSVLogger
    from open_clip import ClipLoss
except ImportError as e:
    raise MissingPackageError(
        f"clip-train needs lightning and open_clip ({e}): pip install 'ultralytics-diffattn[clip]'"
    ) from e


METRICS = "metrics.csv"
FIXED = "epochs", "batch", "lr0", "weight_decay", "warmup", "seed"  # what a resumed training may not change


@dataclass(frozen=True)
class Arguments:
    """Arguments of a training.

    Attributes:
        model (str): As for `build.build`.
        epochs (int): From 1 on.
        batch (int): Pairs in a batch on each GPU, from 2 on, since the other captions are the wrong ones.
        lr0 (float): Largest learning rate, from 0 on.
        weight_decay (float): Of matrices, from 0 on.
        warmup (float): Share of all steps over which the learning rate rises, in [0, 1).
        seed (int): From 0 on.
        workers (int): Processes that read images beside this one.

    Raises:
        UserError: If one is out of its range.
    """

    model: str
    epochs: int
    batch: int
    lr0: float
    weight_decay: float
    warmup: float
    seed: int
    workers: int = 0

    def __post_init__(self) -> None:
        """Raise if an argument is out of its range."""
        with as_user_errors(ValueError):
            check_count("epochs", self.epochs)
            check_ratio("lr0", self.lr0)
            check_ratio("weight_decay", self.weight_decay)
            check_dropout("warmup", self.warmup)
        images.check_loading(self.batch, self.workers)
        if not isinstance(self.seed, int) or self.seed < 0:
            raise UserError(f"seed={self.seed!r} must be an integer >= 0.")


class Fit(NamedTuple):
    """The end of a training.

    Attributes:
        metrics (dict[str, float]): Of the last epoch.
        is_first (bool): Whether this process is the one that writes files.
    """

    metrics: dict[str, float]
    is_first: bool


class Pairs(Dataset[tuple[Tensor, Tensor]]):
    """Images and the tokens of their captions; the next pair replaces one whose image cannot be read.

    Args:
        files (list[Path]): The images.
        tokens (Tensor): (n, context_length), int64, as many.
        size (int): Height and width of an image in pixels.
    """

    def __init__(self, files: list[Path], tokens: Tensor, size: int):
        """Store the arguments."""
        self.images, self.tokens = images.Images(files, images.transform(size)), tokens
        self.reported: set[int] = set()  # images of which a warning was given

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.tokens)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        """Return an image, (3, size, size), and tokens, (context_length,); batches have one size on all GPUs."""
        for step in range(len(self)):
            j = (i + step) % len(self)
            image = self.images[j]
            if isinstance(image, Tensor):
                return image, self.tokens[j]
            if j not in self.reported:
                LOGGER.warning(f"{self.images.files[j]} cannot be read as an image and is left out: {image}")
                self.reported.add(j)
        raise UserError(f"none of the {len(self)} images can be read; the first is {self.images.files[0]}.")


class Contrast(lightning.LightningModule):
    """A model with the symmetric contrastive loss, as Lightning trains it.

    Args:
        clip (CLIP): The model.
        data (Pairs): What it is trained on.
        args (Arguments): How it is trained.
        held_out (CaptionedImages, optional): What retrieval is measured on after each epoch.
        folder (Path): Where weights go.

    References:
        CLIP, figure 3; its optimizer is section 2.5's.
    """

    def __init__(self, clip: CLIP, data: Pairs, args: Arguments, held_out: CaptionedImages | None, folder: Path):
        """Store the arguments."""
        super().__init__()
        self.clip, self.data, self.args, self.held_out, self.folder = clip, data, args, held_out, folder

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """Return batches whose order follows from seed and epoch, so that a resumed training has the same."""
        sampler: DistributedSampler[tuple[Tensor, Tensor]] = DistributedSampler(
            self.data, self.trainer.world_size, self.global_rank, seed=self.args.seed, drop_last=True
        )
        return DataLoader(self.data, self.args.batch, sampler=sampler, drop_last=True, num_workers=self.args.workers)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """Return the loss of a batch; the captions of its other images, on all GPUs, are the wrong ones."""
        image = self.clip.encode_image(batch[0], normalize=True)  # (B, embed_dim)
        text = self.clip.encode_text(batch[1], normalize=True)  # (B, embed_dim)
        criterion = ClipLoss(
            local_loss=True, gather_with_grad=True, rank=self.global_rank, world_size=self.trainer.world_size
        )
        loss: Tensor = criterion(image.float(), text.float(), self.clip.logit_scale.exp())
        # That of the first GPU: a mean over all is computed when the progress bar asks, which only the first has.
        self.log("loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(image))
        return loss

    def on_train_batch_end(self, *_: Any) -> None:
        """Clamp the temperature as CLIP's authors did."""
        with torch.no_grad():
            self.clip.logit_scale.clamp_(0, math.log(100))

    def on_train_epoch_end(self) -> None:
        """Write the weights, measure retrieval and log it."""
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"])
        metrics = None
        if self.trainer.is_global_zero:
            metrics = self._retrieval()
            with whole(self.folder / "last.pt") as beside:
                torch.save({"state_dict": self.clip.state_dict(), "sizes": self.clip.sizes.as_dict()}, beside)
        metrics = self.trainer.strategy.broadcast(metrics)  # Lightning waits forever for a value that one rank logs
        if metrics:
            for way, recalls in (
                ("text_to_image", metrics["text_to_image"]),
                ("image_to_text", metrics["image_to_text"]),
            ):
                for name, value in recalls.items():
                    self.log(f"{way}/{name}", value, prog_bar=name == "R@1")

    def _retrieval(self) -> retrieval.RetrievalMetrics | None:
        """Return the recalls on the pairs that are held out, if there are any."""
        if self.held_out is None:
            return None
        self.clip.eval()
        metrics = retrieval.measure(self.clip, *self.held_out)
        self.clip.train()
        return metrics

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the model's sizes, and what must be the same when the training is resumed."""
        checkpoint |= {"sizes": self.clip.sizes.as_dict(), "run": self.run()}

    def run(self) -> dict[str, int | float | str]:
        """Return what must be the same when the training is resumed."""
        return {
            "model": type(self.clip).__name__,
            **self.clip.sizes.as_dict(),
            "pairs": len(self.data),
            "processes": self.trainer.world_size,
            **{name: getattr(self.args, name) for name in FIXED},
        }

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return AdamW, with decay of matrices alone, and a cosine after a warm-up."""
        matrices = [p for p in self.parameters() if p.ndim > 1]
        others = [p for p in self.parameters() if p.ndim <= 1]
        optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": self.args.weight_decay}, {"params": others, "weight_decay": 0}],
            lr=self.args.lr0, betas=(0.9, 0.98), eps=1e-6,
        )  # fmt: skip
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.args.lr0, total_steps=steps, pct_start=self.args.warmup, cycle_momentum=False
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def fit(
    args: Arguments,
    train: CaptionedImages,
    held_out: CaptionedImages | None,
    folder: Path,
    hardware: Hardware,
    resume: bool = False,
) -> Fit:
    """Train a model, from the beginning or from the folder's `last.ckpt`.

    Args:
        args (Arguments): How.
        train (CaptionedImages): What it is trained on.
        held_out (CaptionedImages, optional): What retrieval is measured on after each epoch.
        folder (Path): Where weights and metrics go.
        hardware (Hardware): As from `choose_hardware`.
        resume (bool): Whether the training of the folder is resumed.

    Returns:
        (Fit): Metrics of the last epoch, and whether this process writes files.

    Raises:
        UserError: If the model cannot be built, no image can be read, or something is not as it was in the training
            that is resumed.
    """
    lightning.seed_everything(args.seed, verbose=False)
    clip = build(args.model)
    tokens = tokenize(train.captions, clip.sizes.context_length, keep_end=True)
    data = Pairs(train.files, tokens, clip.sizes.image_size)
    logger = CSVLogger(folder.parent, folder.name, version="", flush_logs_every_n_steps=1)  # at once, if it is killed
    trainer = lightning.Trainer(
        **hardware,  # type: ignore[arg-type]  # Lightning takes literals, and fewer types than it says
        max_epochs=args.epochs,
        logger=logger,
        callbacks=[ModelCheckpoint(folder, "last", save_top_k=1, enable_version_counter=False)],
        gradient_clip_val=1.0,
        enable_model_summary=False,
        log_every_n_steps=1,  # else Lightning warns of short epochs; metrics.csv has a row for each epoch all the same
        use_distributed_sampler=False,
    )
    last = folder / "last.ckpt"
    module = Contrast(clip, data, args, held_out, folder)
    module.trainer = trainer
    if resume and epochs_done(last, module.run()) == args.epochs:
        LOGGER.info(f"clip-train: {folder} has its {args.epochs} epochs already.")
        return Fit(last_metrics(folder), trainer.is_global_zero)
    if trainer.is_global_zero:
        _open_folder(logger, folder, resume)
    trainer.fit(module, ckpt_path=str(last) if resume else None)
    return Fit({name: value.item() for name, value in trainer.callback_metrics.items()}, trainer.is_global_zero)


def epochs_done(last: Path, run: dict[str, int | float | str]) -> int:
    """Return how many epochs of a training that is to be resumed are done.

    Args:
        last (Path): Its `last.ckpt`.
        run (dict): What must be as it was, of `Contrast.run`.

    Returns:
        (int): From 1 on.

    Raises:
        UserError: If something is different now.
    """
    checkpoint = torch.load(last, map_location="cpu", weights_only=True)
    if other := [f"{name}={value}, not {run[name]}" for name, value in checkpoint["run"].items() if run[name] != value]:
        raise UserError(
            f"{last.parent} was begun with {', '.join(other)}; resume= goes on with the same. With others, begin a new "
            f"run with model={last.parent / 'last.pt'}."
        )
    return int(checkpoint["epoch"]) + 1


def _open_folder(logger: CSVLogger, folder: Path, resume: bool) -> None:
    """Make the folder of a run; a resumed one retains its `metrics.csv`, which Lightning would delete."""
    file = folder / METRICS
    before = file.read_bytes() if resume and file.is_file() else None
    with warnings.catch_warnings(), as_user_errors():
        warnings.filterwarnings("ignore", ".*will be deleted")
        logger.experiment  # noqa: B018 - makes the folder, and deletes
    if before is not None:
        file.write_bytes(before)


def last_metrics(folder: Path) -> dict[str, float]:
    """Return the metrics of the last epoch of a run, out of its `metrics.csv`.

    Args:
        folder (Path): Of the run.

    Returns:
        (dict[str, float]): By name, without epoch and step.
    """
    with open(folder / METRICS, newline="", encoding="utf-8") as f:
        *_, row = csv.DictReader(f)
    return {name: float(value) for name, value in row.items() if value and name not in ("epoch", "step")}
