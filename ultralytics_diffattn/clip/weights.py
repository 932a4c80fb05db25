# Ultralytics DiffAttn - AGPL-3.0 License
"""Trained weights of CLIP and DiffCLIP: from a file or the Hugging Face hub, read without running what they hold."""

from __future__ import annotations

import argparse
import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ultralytics_diffattn.clip.sizes import Sizes
from ultralytics_diffattn.errors import MissingFileError, MissingPackageError, UserError

AUTHOR = "hammh0a"  # of DiffCLIP, on the hub
FILE = "checkpoint_best.pt"


class HubUnreachableError(UserError, ConnectionError):
    """Weights that are not on this machine while the hub cannot be reached; also a `ConnectionError`."""


class Checkpoint(NamedTuple):
    """The weights that a file holds.

    Attributes:
        state (dict[str, Tensor]): Tensors by the names that `CLIP` gives them, on the CPU.
        sizes (Sizes | None): Of the model, if the file says so, as those of `clip-train` do.
    """

    state: dict[str, Tensor]
    sizes: Sizes | None


def locate(source: str | Path) -> Path:
    """Return the file of a checkpoint, which is downloaded from the hub if it is named so and not on this machine.

    Args:
        source (str | Path): A file, a repository such as `hammh0a/DiffCLIP_ViTB16_CC12M`, or a name of DiffCLIP's
            author without the `hammh0a/`.

    Returns:
        (Path): The file itself, or the one in the hub's cache.

    Raises:
        MissingFileError: If there is no such file or repository.
        HubUnreachableError: If the hub cannot be reached.
        MissingPackageError: If huggingface_hub is not installed.
    """
    if Path(source).is_file():
        return Path(source)
    name = str(source)
    name = f"{AUTHOR}/{name}" if re.fullmatch(r"(Diff)?CLIP_\w+", name) else name
    if Path(source).exists() or Path(name).suffix or not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise MissingFileError(
            f"there is no checkpoint {source}; give a file, or a name on the Hugging Face hub, such as "
            "DiffCLIP_ViTB16_CC12M."
        )
    try:
        from huggingface_hub import errors, hf_hub_download
    except ImportError as e:
        raise MissingPackageError(
            f"downloading needs huggingface_hub ({e}): pip install 'ultralytics-diffattn[clip]'"
        ) from e
    try:
        return Path(hf_hub_download(name, FILE))
    except (errors.RepositoryNotFoundError, errors.RemoteEntryNotFoundError) as e:
        raise MissingFileError(f"the Hugging Face hub has no {FILE} in a public repository {name}.") from e
    except (OSError, errors.OfflineModeIsEnabled) as e:
        raise HubUnreachableError(
            f"{name} is not here yet, and the Hugging Face hub cannot be reached. Where it can, download {FILE} from "
            f"https://huggingface.co/{name}, and give the file here."
        ) from e


def read(file: Path) -> Checkpoint:
    """Return the tensors of a checkpoint by name, and the sizes of the model if the file says them.

    Args:
        file (Path): With the tensors under `state_dict`, or with nothing else. A `module.` before each name, from a
            training on several GPUs, and a `clip.`, from the `last.ckpt` of `clip-train`, are taken away.

    Returns:
        (Checkpoint): State and sizes.

    Raises:
        UserError: If the file cannot be read, would run code, or holds no tensors.
    """
    try:
        with _allowing(argparse.Namespace):  # the published trainings' arguments: inert
            content = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as e:
        raise UserError(
            f"{file} cannot be read as weights: it is cut off, no checkpoint, or holds more than tensors and plain "
            "values, which is not loaded, since it could run code."
        ) from e
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"{file} holds no tensors under 'state_dict': it is no checkpoint of CLIP or DiffCLIP.")
    bare = {str(name).removeprefix("module.").removeprefix("clip."): tensor for name, tensor in state.items()}
    return Checkpoint(bare, _sizes(file, content.get("sizes")))


def _sizes(file: Path, sizes: object) -> Sizes | None:
    """Return the sizes that a checkpoint holds beside its tensors."""
    if sizes is None:
        return None
    try:
        return Sizes(**sizes)  # type: ignore[arg-type]  # whatever else it is than a mapping of sizes, it raises
    except (TypeError, ValueError) as e:
        raise UserError(f"{file} holds no sizes of a CLIP or DiffCLIP: {e}") from e


@contextmanager
def _allowing(cls: type) -> Iterator[None]:
    """Let torch load a class with weights_only, within this context; torch 2.4 has no `safe_globals` for that."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals([cls])
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)
