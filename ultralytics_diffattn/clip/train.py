# Ultralytics DiffAttn - AGPL-3.0 License
"""`diffattn clip-train`: train CLIP or DiffCLIP on images and captions, with Lightning's trainer."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ultralytics_diffattn.clip import images, model, pairs, retrieve, weights
from ultralytics_diffattn.clip.tokens import tokenize
from ultralytics_diffattn.files import whole, write_json

try:
    import lightning
    from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
    from lightning.pytorch.loggers import CSVLogger
    from open_clip import ClipLoss
except ImportError as e:
    raise ImportError(
        f"clip-train needs lightning and open_clip ({e}): pip install 'ultralytics-diffattn[clip]'"
    ) from e

OWN = {
    "model": "diffclip-tiny.yaml",
    "data": "",
    "val_data": "",
    "epochs": 30,
    "batch": 128,
    "lr0": 1e-3,
    "weight_decay": 0.1,
    "warmup": 0.1,
    "seed": 0,
}


class Pairs(Dataset):
    """Images and the tokens of their captions.

    Args:
        files (list[Path]): The images.
        tokens (Tensor): (n, context), as many.
        size (int): Height and width of an image in pixels.
    """

    def __init__(self, files: list[Path], tokens: Tensor, size: int):
        """Keep the arguments."""
        self.images, self.tokens = images.Images(files, images.transform(size)), tokens

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.tokens)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        """Return an image, (3, size, size), and tokens, (context,)."""
        return self.images[i], self.tokens[i]


class Contrast(lightning.LightningModule):
    """A model with the symmetric contrastive loss, as Lightning trains it.

    Args:
        clip (CLIP): The model.
        args (dict): `lr0`, `weight_decay` and `warmup`.
        held_out (tuple, optional): Images and captions on which retrieval is measured after each epoch.
        folder (Path): Where weights go.

    References:
        CLIP, figure 3; its optimizer is section 2.5's.
    """

    def __init__(self, clip: model.CLIP, args: dict[str, Any], held_out: tuple | None, folder: Path):
        """Keep the arguments."""
        super().__init__()
        self.clip, self.args, self.held_out, self.folder = clip, args, held_out, folder

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """Return the loss of a batch; captions of other images of it, on all GPUs, are the wrong ones."""
        image, text = (
            encode(x, normalize=True)
            for encode, x in zip((self.clip.encode_image, self.clip.encode_text), batch, strict=True)
        )  # (B, embed_dim) each
        loss = ClipLoss(
            local_loss=True, gather_with_grad=True, rank=self.global_rank, world_size=self.trainer.world_size
        )(image.float(), text.float(), self.clip.logit_scale.exp())
        self.log("loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(image), sync_dist=True)
        return loss

    def on_train_batch_end(self, *_: Any) -> None:
        """Keep the temperature where CLIP's authors kept it."""
        with torch.no_grad():
            self.clip.logit_scale.clamp_(0, math.log(100))

    def on_train_epoch_end(self) -> None:
        """Measure retrieval, and write the weights."""
        if self.trainer.is_global_zero:
            if self.held_out:
                self.clip.eval()
                found = retrieve.measure(self.clip, *self.held_out)
                self.clip.train()
                for way in ("text_to_image", "image_to_text"):
                    self.log_dict({f"{way}/{k}": v for k, v in found[way].items()}, rank_zero_only=True)
            with whole(self.folder / "last.pt") as beside:
                torch.save({"state_dict": self.clip.state_dict(), "sizes": self.clip.sizes}, beside)
        self.trainer.strategy.barrier()

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

    from ultralytics_diffattn.bundled import cfg_dir

    file = Path(name) if Path(name).is_file() else cfg_dir() / "clip" / name
    if not file.is_file():
        there = ", ".join(sorted(p.name for p in (cfg_dir() / "clip").glob("*.yaml")))
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


def train(**given: Any) -> dict[str, Any]:
    """Train a model on images and captions.

    Args:
        **given (Any): `model` (as for `build`), `data` and `val_data` (as for `pairs.read`), `epochs`, `batch` (on each
            GPU), `lr0`, `weight_decay`, `warmup` (share of all steps), `seed`, `amp`, `device`, `workers`, `project`,
            `name`, `exist_ok` and `resume` (goes on in the folder that the other arguments name).

    Returns:
        (dict): The last epoch's row of `metrics.csv`.

    Raises:
        ValueError: If an argument is missing or out of range.
        FileNotFoundError: If there is no such model or data.

    Examples:
        >>> train(data="captions.csv", model="diffclip-tiny.yaml", epochs=3)  # doctest: +SKIP

    References:
        CLIP, section 2; https://lightning.ai.
    """
    from ultralytics.cfg import get_save_dir
    from ultralytics.utils import LOGGER, IterableSimpleNamespace

    args = {**OWN, "workers": 0, "amp": True, "device": None, **given}
    if not args["data"]:
        raise ValueError("data= is missing; give a CSV with the columns image and caption.")
    files, captions = pairs.read(args["data"])
    held_out = pairs.read(args["val_data"]) if args["val_data"] else None
    if args["batch"] < 2 or len(files) < args["batch"]:
        raise ValueError(f"batch={args['batch']} must be from 2 to the number of pairs, {len(files)}.")
    resume = bool(args.get("resume"))
    where = {"project": args.get("project"), "name": args.get("name") or "clip-train"}
    there = bool(args.get("exist_ok")) or resume
    folder = get_save_dir(
        IterableSimpleNamespace(task="classify", mode="train", exist_ok=there, save_dir=None, **where)
    )
    last = folder / "last.ckpt"
    if resume and not last.is_file():
        raise FileNotFoundError(f"there is no {last} to go on from; leave resume out to begin.")
    lightning.seed_everything(args["seed"], verbose=False)
    clip = build(args["model"])
    tokens = tokenize(captions, clip.sizes["context_length"])
    loader = DataLoader(
        Pairs(files, tokens, clip.sizes["image_size"]), args["batch"], shuffle=True, drop_last=True,
        num_workers=args["workers"], generator=torch.Generator().manual_seed(args["seed"]),
    )  # fmt: skip
    cuda = torch.cuda.is_available() and args["device"] != "cpu"
    folder.mkdir(parents=True, exist_ok=True)
    trainer = lightning.Trainer(
        max_epochs=args["epochs"],
        accelerator="gpu" if cuda else "cpu",
        devices="auto" if cuda else 1,
        precision="16-mixed" if cuda and args["amp"] else "32-true",
        logger=CSVLogger(folder.parent, folder.name, version=""),
        callbacks=[ModelCheckpoint(folder, "last", save_top_k=1, enable_version_counter=False), LearningRateMonitor()],
        gradient_clip_val=1.0,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    trainer.fit(Contrast(clip, args, held_out, folder), loader, ckpt_path=str(last) if resume else None)
    found = {name: value.item() for name, value in trainer.callback_metrics.items()}
    write_json(folder / "clip-train.json", {"arguments": args, "metrics": found})
    LOGGER.info(f"clip-train: {folder}")
    return found
