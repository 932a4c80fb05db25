# Ultralytics DiffAttn - AGPL-3.0 License
"""The sizes of a CLIP or DiffCLIP: checked when they are set, and read off the shapes of its tensors."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from torch import Tensor

from ultralytics_diffattn.nn.arguments import check_count

PLAIN_HEAD_WIDTH = 64  # of CLIP's plain heads: nothing in the shapes of their tensors tells how many there are


@dataclass(frozen=True)
class Sizes:
    """Sizes of both towers, as `CLIP` takes them.

    Attributes:
        embed_dim (int): Width of the embeddings that both towers share.
        image_size (int): Height and width of an image in pixels, a multiple of `patch_size`.
        patch_size (int): Height and width of a patch in pixels.
        vision_width (int): Width of a token of the image tower, a multiple of `vision_heads`.
        vision_layers (int): Number of its blocks.
        vision_heads (int): Heads of each block.
        context_length (int): Tokens of a text, its start and its end included.
        vocab_size (int): Number of tokens.
        transformer_width (int): Width of a token of the text tower, a multiple of `transformer_heads`.
        transformer_layers (int): Number of its blocks.
        transformer_heads (int): Heads of each block.

    Raises:
        ValueError: If a size is no integer from 1 on, or no multiple of the one that it must be a multiple of.

    Examples:
        >>> from ultralytics_diffattn.clip.build import build
        >>> build("diffclip-tiny.yaml").sizes.vision_layers
        4
    """

    embed_dim: int
    image_size: int
    patch_size: int
    vision_width: int
    vision_layers: int
    vision_heads: int
    context_length: int
    vocab_size: int
    transformer_width: int
    transformer_layers: int
    transformer_heads: int

    def __post_init__(self) -> None:
        """Raise if a size cannot be."""
        sizes = self.as_dict()
        for name, value in sizes.items():
            check_count(name, value)
        for whole, part in (
            ("image_size", "patch_size"),
            ("vision_width", "vision_heads"),
            ("transformer_width", "transformer_heads"),
        ):
            if sizes[whole] % sizes[part]:
                raise ValueError(f"{whole}={sizes[whole]} must be a multiple of {part}={sizes[part]}.")

    def as_dict(self) -> dict[str, int]:
        """Return the sizes by name, as checkpoints hold them and `CLIP` takes them."""
        return asdict(self)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Sizes:
        """Return the sizes of the model that the tensors belong to.

        Args:
            tensors (Mapping[str, Tensor]): The model's state, by name. Heads of plain attention are taken to be 64
                wide, since nothing in the state tells.

        Returns:
            (Sizes): Those of the model.

        Raises:
            KeyError: If a tensor is missing.
            ValueError: If a tensor has another number of dimensions, or the sizes do not fit each other.
        """
        width, _, patch, _ = tensors["visual.patch_embed.proj.weight"].shape
        text_width, embed_dim = tensors["text_projection"].shape
        vision_layers, vision_head = _blocks(tensors, "visual.blocks")
        text_layers, text_head = _blocks(tensors, "transformer.resblocks")
        return cls(
            embed_dim=embed_dim,
            image_size=math.isqrt(tensors["visual.pos_embed"].shape[1] - 1) * patch,
            patch_size=patch,
            vision_width=width,
            vision_layers=vision_layers,
            vision_heads=width // vision_head,
            context_length=tensors["positional_embedding"].shape[0],
            vocab_size=tensors["token_embedding.weight"].shape[0],
            transformer_width=text_width,
            transformer_layers=text_layers,
            transformer_heads=text_width // text_head,
        )


def _blocks(tensors: Mapping[str, Tensor], tower: str) -> tuple[int, int]:
    """Return the number of blocks of a tower and the width of their heads."""
    indices = {match[1] for name in tensors if (match := re.match(rf"{re.escape(tower)}\.(\d+)\.", name))}
    head = tensors.get(f"{tower}.0.attn.lambda_q1")  # as wide as a head
    return len(indices), PLAIN_HEAD_WIDTH if head is None else head.shape[-1]
