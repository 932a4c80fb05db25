# Ultralytics DiffAttn - AGPL-3.0 License
"""Training of CLIP and DiffCLIP with Lightning's trainer: pairs of image and caption, the loss, resuming."""

from __future__ import annotations

import csv
import math
import os
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler
from ultralytics.utils import LOGGER

from ultralytics_diffattn.bundled import place
from ultralytics_diffattn.clip import images, model, retrieval, weights
from ultralytics_diffattn.clip.tokens import tokenize
from ultralytics_diffattn.output.files import whole

try:
    import lightning
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.loggers import CSVLogger
    from open_clip import ClipLoss
except ImportError as e:
    raise ImportError(
        f"clip-train needs lightning and open_clip ({e}): pip install 'ultralytics-diffattn[clip]'"
    ) from e


CSV = "metrics.csv"
KEPT = "epochs", "batch", "lr0", "weight_decay", "warmup", "seed"  # what a run that goes on may not change


class Pairs(Dataset):
    """Images and the tokens of their captions; the next pair stands in for one whose image cannot be read.

    Args:
        files (list[Path]): The images.
        tokens (Tensor): (n, context), as many.
        size (int): Height and width of an image in pixels.
    """

    def __init__(self, files: list[Path], tokens: Tensor, size: int):
        """Keep the arguments."""
        self.images, self.tokens, self.told = images.Images(files, images.transform(size)), tokens, set()

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.tokens)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        """Return an image, (3, size, size), and tokens, (context,); batches keep their size, on each GPU the same."""
        for k in range(len(self)):
            j = (i + k) % len(self)
            item = self.images[j]
            if isinstance(item, Tensor):
                return item, self.tokens[j]
            if j not in self.told:
                LOGGER.warning(f"{self.images.files[j]} cannot be read as an image and is left out: {item}")
                self.told.add(j)
        raise ValueError(f"none of the {len(self)} images can be read; the first is {self.images.files[0]}.")


class Contrast(lightning.LightningModule):
    """A model with the symmetric contrastive loss, as Lightning trains it.

    Args:
        clip (CLIP): The model.
        data (Pairs): What it is trained on.
        args (dict): `batch`, `workers`, `seed`, `lr0`, `weight_decay` and `warmup`.
        held_out (tuple, optional): Images and captions on which retrieval is measured after each epoch.
        folder (Path): Where weights go.

    References:
        CLIP, figure 3; its optimizer is section 2.5's.
    """

    def __init__(self, clip: model.CLIP, data: Pairs, args: dict[str, Any], held_out: tuple | None, folder: Path):
        """Keep the arguments."""
        super().__init__()
        self.clip, self.data, self.args, self.held_out, self.folder = clip, data, args, held_out, folder

    def train_dataloader(self) -> DataLoader:
        """Return batches whose order follows from seed and epoch, so that a resumed training has the same."""
        sampler = DistributedSampler(
            self.data, self.trainer.world_size, self.global_rank, seed=self.args["seed"], drop_last=True
        )
        return DataLoader(
            self.data, self.args["batch"], sampler=sampler, drop_last=True, num_workers=self.args["workers"]
        )

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """Return the loss of a batch; captions of other images of it, on all GPUs, are the wrong ones."""
        image, text = (
            encode(x, normalize=True)
            for encode, x in zip((self.clip.encode_image, self.clip.encode_text), batch, strict=True)
        )  # (B, embed_dim) each
        loss = ClipLoss(
            local_loss=True, gather_with_grad=True, rank=self.global_rank, world_size=self.trainer.world_size
        )(image.float(), text.float(), self.clip.logit_scale.exp())
        # That of the first GPU: a mean over all is computed when the progress bar asks, which only the first has.
        self.log("loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(image))
        return loss

    def on_train_batch_end(self, *_: Any) -> None:
        """Keep the temperature where CLIP's authors kept it."""
        with torch.no_grad():
            self.clip.logit_scale.clamp_(0, math.log(100))

    def on_train_epoch_end(self) -> None:
        """Measure retrieval, and write the weights."""
        self.log("lr", self.optimizers().param_groups[0]["lr"])
        found = None
        if self.trainer.is_global_zero:
            if self.held_out:
                self.clip.eval()
                found = retrieval.measure(self.clip, *self.held_out)
                self.clip.train()
            with whole(self.folder / "last.pt") as beside:
                torch.save({"state_dict": self.clip.state_dict(), "sizes": self.clip.sizes}, beside)
        found = self.trainer.strategy.broadcast(found)  # a value that one rank alone logs makes Lightning wait for ever
        for way in ("text_to_image", "image_to_text") if found else ():
            for k, v in found[way].items():
                self.log(f"{way}/{k}", v, prog_bar=k == "R@1")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note beside the weights what they are of, and what must be the same when the training goes on."""
        checkpoint |= {"sizes": self.clip.sizes, "run": self.run()}

    def run(self) -> dict[str, Any]:
        """Return what must be the same when the training goes on."""
        found = {"model": type(self.clip).__name__, **self.clip.sizes, "pairs": len(self.data)}
        return {**found, "processes": self.trainer.world_size, **{name: self.args[name] for name in KEPT}}

    def configure_optimizers(self) -> dict[str, Any]:
        """Return AdamW, without decay of what is no matrix, and a cosine behind a warm-up."""
        groups = [[p for p in self.parameters() if (p.ndim > 1) == matrix] for matrix in (True, False)]
        optimizer = torch.optim.AdamW(
            [{"params": p, "weight_decay": d} for p, d in zip(groups, (self.args["weight_decay"], 0), strict=True)],
            lr=self.args["lr0"], betas=(0.9, 0.98), eps=1e-6,
        )  # fmt: skip
        steps = self.trainer.estimated_stepping_batches
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.args["lr0"], total_steps=steps, pct_start=self.args["warmup"], cycle_momentum=False
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def fit(
    args: dict[str, Any],
    files: list[Path],
    captions: list[str],
    held_out: tuple[list[Path], list[str]] | None,
    folder: Path,
    machine: dict[str, Any],
) -> tuple[dict[str, float], bool]:
    """Train a model, from the beginning or from the folder's `last.ckpt`.

    Args:
        args (dict): `model`, `epochs`, `batch`, `lr0`, `weight_decay`, `warmup`, `seed`, `workers` and `resume`.
        files (list[Path]): The image of each caption.
        captions (list[str]): As many.
        held_out (tuple, optional): Images and captions on which retrieval is measured after each epoch.
        folder (Path): Where weights and metrics go.
        machine (dict): From `hardware`.

    Returns:
        metrics (dict[str, float]): Of the last epoch.
        first (bool): Whether this process is the one that writes files.
    """
    lightning.seed_everything(args["seed"], verbose=False)
    clip = build(args["model"])
    data = Pairs(files, tokenize(captions, clip.sizes["context_length"], keep_end=True), clip.sizes["image_size"])
    logger = CSVLogger(folder.parent, folder.name, version="", flush_logs_every_n_steps=1)  # at once, if it is killed
    trainer = lightning.Trainer(
        **machine,
        max_epochs=args["epochs"],
        logger=logger,
        callbacks=[ModelCheckpoint(folder, "last", save_top_k=1, enable_version_counter=False)],
        gradient_clip_val=1.0,
        enable_model_summary=False,
        log_every_n_steps=1,  # else Lightning warns of short epochs; metrics.csv has a row for each epoch all the same
        use_distributed_sampler=False,
    )
    resume, last = bool(args["resume"]), folder / "last.ckpt"
    module = Contrast(clip, data, args, held_out, folder)
    module.trainer = trainer
    if resume and epochs_done(last, module.run()) == args["epochs"]:
        LOGGER.info(f"clip-train: {folder} has its {args['epochs']} epochs already.")
        found = last_row(folder)
    else:
        if trainer.is_global_zero:
            open_folder(logger, folder, resume)
        trainer.fit(module, ckpt_path=str(last) if resume else None)
        found = {name: value.item() for name, value in trainer.callback_metrics.items()}
    return found, trainer.is_global_zero


def build(name: str) -> model.CLIP:
    """Return a new model of a YAML, or that of a checkpoint.

    Args:
        name (str): A YAML with `kind` (CLIP or DiffCLIP) and sizes, also a bundled one by its bare name; or weights.

    Returns:
        (CLIP): Ready to train.

    Raises:
        ValueError: If the YAML has another kind or other keys.
        FileNotFoundError: If there is no such file.
    """
    if not str(name).endswith((".yaml", ".yml")):
        return weights.load(name).train()
    from ultralytics.utils import YAML

    file = Path(name) if Path(name).is_file() else place("cfg") / "clip" / name
    if not file.is_file():
        there = ", ".join(sorted(p.name for p in (place("cfg") / "clip").glob("*.yaml")))
        raise FileNotFoundError(f"there is no {name}; there are {there}, or give a YAML of your own.")
    sizes = YAML.load(file)
    kinds = {"CLIP": model.CLIP, "DiffCLIP": model.DiffCLIP}
    kind = sizes.pop("kind", None)
    if kind not in kinds:
        raise ValueError(f"{file}: kind: {kind} must be CLIP or DiffCLIP.")
    try:
        return kinds[kind](**sizes)
    except TypeError as e:
        raise ValueError(f"{file}: {e}") from e


def epochs_done(last: Path, run: dict[str, Any]) -> int:
    """Return how many epochs a training that goes on has behind it.

    Args:
        last (Path): Its `last.ckpt`.
        run (dict): What must be as it was.

    Returns:
        (int): From 1 on.

    Raises:
        ValueError: If something is another now.
    """
    checkpoint = torch.load(last, map_location="cpu", weights_only=True)
    if other := [f"{name}={value}, not {run[name]}" for name, value in checkpoint["run"].items() if run[name] != value]:
        raise ValueError(
            f"{last.parent} was begun with {', '.join(other)}; resume= goes on with the same. With others, begin a new "
            f"run with model={last.parent / 'last.pt'}."
        )
    return checkpoint["epoch"] + 1


def open_folder(logger: CSVLogger, folder: Path, resume: bool) -> None:
    """Make the folder of a run, and leave in it the `metrics.csv` of one that goes on, which Lightning would delete."""
    file = folder / CSV
    before = file.read_bytes() if resume and file.is_file() else None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*will be deleted")
        logger.experiment  # noqa: B018 - makes the folder, and deletes
    if before is not None:
        file.write_bytes(before)


def last_row(folder: Path) -> dict[str, float]:
    """Return the metrics of the last epoch of a run."""
    with open(folder / CSV, newline="", encoding="utf-8") as f:
        *_, row = csv.DictReader(f)
    return {name: float(value) for name, value in row.items() if value and name not in ("epoch", "step")}


def hardware(device: Any, amp: bool) -> dict[str, Any]:
    """Return what Lightning's trainer is to run on.

    Args:
        device (Any): As ultralytics has it: `cpu`, 0, `0,1`, or None for all GPUs. Under torchrun, which starts the
            processes, only `cpu` counts.
        amp (bool): Whether GPUs may compute in float16.

    Returns:
        (dict): Arguments of `lightning.Trainer`.

    Raises:
        ValueError: If a GPU is asked for and there is none.
    """
    cuda = torch.cuda.is_available() and device != "cpu"
    found = {"accelerator": "gpu" if cuda else "cpu", "precision": "16-mixed" if cuda and amp else "32-true"}
    if "LOCAL_WORLD_SIZE" in os.environ:  # torchrun's
        here, all_ = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
        return {**found, "devices": here, "num_nodes": all_ // here, "strategy": "ddp"}
    if not cuda:
        if device not in (None, "", "cpu"):
            from ultralytics.utils.torch_utils import select_device

            select_device(device)  # raises, and says what there is
        return {**found, "devices": 1}
    return {
        **found,
        "devices": "auto" if device in (None, "") else [int(i) for i in str(device).strip("()[]").split(",")],
    }
