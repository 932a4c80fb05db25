# Ultralytics DiffAttn - AGPL-3.0 License
"""Trained weights of CLIP and DiffCLIP: from a file or the Hugging Face hub, read without running what they hold."""

from __future__ import annotations

import argparse
import math
import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from ultralytics_diffattn.clip.model import CLIP, DiffCLIP

AUTHOR = "hammh0a"  # of DiffCLIP, on the hub
FILE = "checkpoint_best.pt"


def load(source: str | Path, kind: type[CLIP] = CLIP) -> CLIP:
    """Return the model whose weights a checkpoint holds, in evaluation mode.

    Args:
        source (str | Path): A checkpoint, or a name on the hub, as for `locate`.
        kind (type[CLIP]): What it must be: `DiffCLIP` refuses plain weights, `CLIP` takes both.

    Returns:
        (CLIP): A `DiffCLIP` if its attention is differential, on the CPU, in float32.

    Raises:
        FileNotFoundError: If there is no such file.
        ConnectionError: If it is not here and cannot be downloaded.
        ValueError: If the file holds something else.

    Examples:
        >>> load("DiffCLIP_ViTB16_CC12M").sizes["embed_dim"]  # doctest: +SKIP
        512
    """
    state, sizes = read(locate(source))
    if not {"visual.patch_embed.proj.weight", "text_projection"} & state.keys():
        raise ValueError(f"{source} holds the weights of another model{_some(list(state))}, not of CLIP or DiffCLIP.")
    found = DiffCLIP if any("lambda_q1" in name for name in state) else CLIP
    if not issubclass(found, kind):
        raise ValueError(f"{source} holds CLIP with plain attention; CLIP.from_pretrained reads it.")
    try:
        model = found(**(sizes or measure(state)))
        missing, more = model.load_state_dict(state, strict=False)
    except (KeyError, RuntimeError, TypeError, ValueError) as e:
        raise ValueError(f"{source} holds no weights of {found.__name__}: {str(e).strip()}") from e
    if missing or more:
        raise ValueError(
            f"{source} holds no weights of {found.__name__}: of its tensors {len(missing)} are missing"
            f"{_some(missing)}, and {len(more)} are unknown{_some(more)}."
        )
    return model.eval()


def locate(source: str | Path) -> Path:
    """Return the file of a checkpoint, downloaded from the hub if it is named so and not here yet.

    Args:
        source (str | Path): A file, a repository such as `hammh0a/DiffCLIP_ViTB16_CC12M`, or a name of DiffCLIP's
            author without the `hammh0a/`.

    Returns:
        (Path): Here, or in the hub's cache.

    Raises:
        FileNotFoundError: If there is no such file or repository.
        ConnectionError: If the hub cannot be reached.
    """
    if Path(source).is_file():
        return Path(source)
    name = str(source)
    name = f"{AUTHOR}/{name}" if re.fullmatch(r"(Diff)?CLIP_\w+", name) else name
    if Path(source).exists() or Path(name).suffix or not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise FileNotFoundError(
            f"there is no checkpoint {source}; give a file, or a name on the Hugging Face hub, such as "
            "DiffCLIP_ViTB16_CC12M."
        )
    try:
        from huggingface_hub import errors, hf_hub_download
    except ImportError as e:
        raise ImportError(f"downloading needs huggingface_hub ({e}): pip install 'ultralytics-diffattn[clip]'") from e
    try:
        return Path(hf_hub_download(name, FILE))
    except (errors.RepositoryNotFoundError, errors.RemoteEntryNotFoundError) as e:
        raise FileNotFoundError(f"the Hugging Face hub has no {FILE} in a public repository {name}.") from e
    except (OSError, errors.OfflineModeIsEnabled) as e:
        raise ConnectionError(
            f"{name} is not here yet, and the Hugging Face hub cannot be reached. Where it can, download {FILE} from "
            f"https://huggingface.co/{name}, and give the file here."
        ) from e


def read(file: Path) -> tuple[dict[str, Tensor], dict[str, int] | None]:
    """Return the tensors of a checkpoint by name, and the sizes of the model if they stand in it.

    Args:
        file (Path): With the tensors under `state_dict`, or with nothing else; `module.` before each name is of a
            training on several GPUs, `clip.` of `clip-train`'s own `last.ckpt`.

    Returns:
        (tuple[dict, dict | None]): Both.

    Raises:
        ValueError: If it cannot be read, would run code, or holds no tensors.
    """
    try:
        with _allowing(argparse.Namespace):  # the published trainings' arguments: inert
            checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as e:
        raise ValueError(
            f"{file} cannot be read as weights: it is cut off, no checkpoint, or holds more than tensors and plain "
            "values, which is not loaded, since it could run code."
        ) from e
    state = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, dict) else None
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{file} holds no tensors under 'state_dict': it is no checkpoint of CLIP or DiffCLIP.")
    bare = {name.removeprefix("module.").removeprefix("clip."): tensor for name, tensor in state.items()}
    return bare, checkpoint.get("sizes")


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


def measure(state: dict[str, Tensor]) -> dict[str, int]:
    """Return the sizes of the model that tensors belong to.

    Args:
        state (dict[str, Tensor]): By name; of plain attention heads of width 64 are taken, as nothing tells.

    Returns:
        (dict[str, int]): Arguments of `CLIP`.

    Raises:
        KeyError: If a tensor is missing.
    """
    width, _, patch, _ = state["visual.patch_embed.proj.weight"].shape
    text_width, embed_dim = state["text_projection"].shape
    towers = {"vision": ("visual.blocks", width), "transformer": ("transformer.resblocks", text_width)}
    sizes = {
        "embed_dim": embed_dim,
        "image_size": math.isqrt(state["visual.pos_embed"].shape[1] - 1) * patch,
        "patch_size": patch,
        "context_length": state["positional_embedding"].shape[0],
        "vocab_size": state["token_embedding.weight"].shape[0],
    }
    for tower, (blocks, w) in towers.items():
        head = state.get(f"{blocks}.0.attn.lambda_q1")
        names = {m[1] for name in state if (m := re.match(rf"{re.escape(blocks)}\.(\d+)\.", name))}
        sizes |= {f"{tower}_width": w, f"{tower}_layers": len(names)}
        sizes[f"{tower}_heads"] = w // (64 if head is None else head.shape[-1])
    return sizes


def _some(names: list[str]) -> str:
    """Return the first of some names, in brackets."""
    return f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else ""
