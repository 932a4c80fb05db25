# Ultralytics DiffAttn - AGPL-3.0 License
"""CLIP with plain and with differential attention: an image tower, a text tower, and a space that both share.

DiffCLIP, https://arxiv.org/abs/2503.06626, whose names of tensors are kept; CLIP, https://arxiv.org/abs/2103.00020.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ultralytics_diffattn.nn.arguments import check_count
from ultralytics_diffattn.nn.attention import DiffAttention

try:
    from timm.models.vision_transformer import VisionTransformer
except ImportError as e:
    raise ImportError(f"DiffCLIP needs timm ({e}): pip install 'ultralytics-diffattn[clip]'") from e


class QuickGELU(nn.Module):
    """The activation of CLIP's text tower, `x * sigmoid(1.702 * x)`."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the activation of `x`, any shape and floating dtype."""
        return x * torch.sigmoid(1.702 * x)


class SelfAttention(nn.MultiheadAttention):
    """Plain multi-head self-attention, called as `DiffAttention` is.

    Args:
        dim (int): Width of a token.
        num_heads (int): Number of heads.
    """

    def __init__(self, dim: int, num_heads: int):
        """Create the projections."""
        super().__init__(dim, num_heads, batch_first=True)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """Attend among the tokens `x`, (B, N, dim); the mask, (N, N), is added to the logits."""
        return super().forward(x, x, x, need_weights=False, attn_mask=attn_mask)[0]


class ImageAttention(DiffAttention):
    """`DiffAttention` as timm's blocks call it."""

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """Attend among the tokens `x`, (B, N, dim); patches have no order, so nothing is causal."""
        return super().forward(x, attn_mask)


class TextBlock(nn.Module):
    """A block of the text tower: attention and an MLP, each behind a LayerNorm and beside a skip connection.

    Args:
        attention (nn.Module): Called with tokens, (B, N, width), and a mask, (N, N).
        width (int): Width of a token.
    """

    def __init__(self, attention: nn.Module, width: int):
        """Create the norms and the MLP."""
        super().__init__()
        self.attn = attention
        self.ln_1 = nn.LayerNorm(width)
        layers = {"c_fc": nn.Linear(width, 4 * width), "gelu": QuickGELU(), "c_proj": nn.Linear(4 * width, width)}
        self.mlp = nn.Sequential(OrderedDict(layers))
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x: Tensor, attn_mask: Tensor) -> Tensor:
        """Return tokens shaped as `x`, (B, N, width)."""
        x = x + self.attn(self.ln_1(x), attn_mask)
        return x + self.mlp(self.ln_2(x))


class TextTransformer(nn.Module):
    """The blocks of the text tower, in the order in which they run.

    Args:
        blocks (list[nn.Module]): Such as `TextBlock`.
    """

    def __init__(self, blocks: list[nn.Module]):
        """Keep the blocks."""
        super().__init__()
        self.resblocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, attn_mask: Tensor) -> Tensor:
        """Return tokens shaped as `x`, (B, N, width)."""
        for block in self.resblocks:
            x = block(x, attn_mask)
        return x


class CLIP(nn.Module):
    """CLIP with a ViT: two towers with plain attention that place images and texts in one space.

    Args:
        embed_dim (int): Width of the space.
        image_size (int): Height and width of an image in pixels, a multiple of `patch_size`.
        patch_size (int): Height and width of a patch in pixels.
        vision_width (int): Width of a token of the image tower.
        vision_layers (int): Number of its blocks.
        vision_heads (int): Heads of each.
        context_length (int): Tokens of a text, its start and its end included.
        vocab_size (int): Number of tokens; 49,408 is CLIP's tokenizer's.
        transformer_width (int): Width of a token of the text tower.
        transformer_layers (int): Number of its blocks.
        transformer_heads (int): Heads of each.

    Raises:
        TypeError: If a size is not an integer.
        ValueError: If a size is below 1, or one does not divide another as it must.

    Examples:
        >>> sizes = dict(image_size=32, patch_size=8, vision_width=64, vision_layers=2, vision_heads=4)
        >>> model = CLIP(**sizes, transformer_width=64, transformer_layers=2, transformer_heads=4)
        >>> model.encode_image(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 512])

    References:
        CLIP, section 2.4; the ViT is timm's `VisionTransformer` without a classifier.
    """

    def __init__(
        self,
        embed_dim: int = 512,
        image_size: int = 224,
        patch_size: int = 16,
        vision_width: int = 768,
        vision_layers: int = 12,
        vision_heads: int = 12,
        context_length: int = 77,
        vocab_size: int = 49408,
        transformer_width: int = 512,
        transformer_layers: int = 12,
        transformer_heads: int = 8,
    ):
        """Create both towers."""
        sizes = {name: value for name, value in locals().items() if name not in {"self", "__class__"}}
        for name, value in sizes.items():
            check_count(name, value)
        for whole, part in (
            ("image_size", "patch_size"),
            ("vision_width", "vision_heads"),
            ("transformer_width", "transformer_heads"),
        ):
            if sizes[whole] % sizes[part]:
                raise ValueError(f"{whole}={sizes[whole]} must be a multiple of {part}={sizes[part]}.")
        super().__init__()
        self.sizes = sizes
        self.visual = VisionTransformer(
            image_size,
            patch_size,
            embed_dim=vision_width,
            depth=vision_layers,
            num_heads=vision_heads,
            num_classes=0,
            norm_layer=nn.LayerNorm,  # with eps 1e-5 as the reference, where timm's own is 1e-6
        )
        blocks = [
            TextBlock(self._text_attention(transformer_width, transformer_heads), transformer_width)
            for _ in range(transformer_layers)
        ]
        self.transformer = TextTransformer(blocks)
        self.token_embedding = nn.Embedding(vocab_size, transformer_width)
        self.positional_embedding = nn.Parameter(torch.empty(context_length, transformer_width))
        self.ln_final = nn.LayerNorm(transformer_width)
        self.image_projection = nn.Parameter(torch.empty(vision_width, embed_dim))
        self.text_projection = nn.Parameter(torch.empty(transformer_width, embed_dim))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        mask = torch.full((context_length, context_length), -math.inf).triu(1)  # a token sees those before it
        self.register_buffer("attn_mask", mask, persistent=False)
        self._reset_parameters()

    def _text_attention(self, width: int, heads: int) -> nn.Module:
        """Return the attention of a block of the text tower."""
        return SelfAttention(width, heads)

    def _reset_parameters(self) -> None:
        """Draw what is not timm's as CLIP does."""
        width, layers = self.text_projection.shape[0], len(self.transformer.resblocks)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        for name, p in self.transformer.named_parameters():
            if name.endswith(("in_proj_weight", "q_proj.weight", "k_proj.weight", "v_proj.weight")):
                nn.init.normal_(p, std=width**-0.5)
            elif name.endswith(("out_proj.weight", "c_proj.weight")):
                nn.init.normal_(p, std=width**-0.5 * (2 * layers) ** -0.5)
            elif name.endswith("c_fc.weight"):
                nn.init.normal_(p, std=(2 * width) ** -0.5)
        for projection in (self.image_projection, self.text_projection):
            nn.init.normal_(projection, std=projection.shape[0] ** -0.5)

    def encode_image(self, image: Tensor, normalize: bool = False) -> Tensor:
        """Return the places of images in the space.

        Args:
            image (Tensor): (B, 3, image_size, image_size), normalised as `clip.images.transform` does.
            normalize (bool): Whether the result has length 1.

        Returns:
            (Tensor): (B, embed_dim).

        Raises:
            ValueError: If the images have another size.
        """
        size = self.sizes["image_size"]
        if image.ndim != 4 or image.shape[1:] != (3, size, size):
            raise ValueError(f"image has shape {tuple(image.shape)}, but must be (B, 3, {size}, {size}).")
        y = self.visual(image) @ self.image_projection  # (B, embed_dim)
        return F.normalize(y, dim=-1) if normalize else y

    def encode_text(self, text: Tensor, normalize: bool = False) -> Tensor:
        """Return the places of texts in the space.

        Args:
            text (Tensor): Tokens, (B, N), integers, N at most `context_length`, of `clip.tokens.tokenize`.
            normalize (bool): Whether the result has length 1.

        Returns:
            (Tensor): (B, embed_dim).

        Raises:
            TypeError: If the tokens are not integers.
            ValueError: If the texts are too long, or a token is outside the vocabulary.
        """
        if text.is_floating_point() or text.dtype == torch.bool:
            raise TypeError(f"text has dtype {text.dtype}, but must be tokens: clip.tokens.tokenize makes them.")
        most = self.sizes["context_length"]
        if text.ndim != 2 or not 1 <= text.shape[1] <= most:
            raise ValueError(f"text has shape {tuple(text.shape)}, but must be (B, N) with N from 1 to {most}.")
        here = text.device.type == "cpu" and not torch.jit.is_tracing()  # on a GPU the look would wait for it
        if here and len(text) and not 0 <= int(text.min()) <= int(text.max()) < self.sizes["vocab_size"]:
            wrong = max(int(text.max()), -int(text.min()), key=abs)
            raise ValueError(f"{wrong} is no token of a vocabulary of {self.sizes['vocab_size']}.")
        N = text.shape[1]
        x = self.token_embedding(text) + self.positional_embedding[:N]  # (B, N, width)
        x = self.ln_final(self.transformer(x, self.attn_mask[:N, :N].to(x.dtype)))
        x = x[torch.arange(len(x), device=x.device), text.argmax(-1)]  # (B, width), at the end: the greatest token
        y = x @ self.text_projection
        return F.normalize(y, dim=-1) if normalize else y

    def forward(self, image: Tensor, text: Tensor) -> dict[str, Tensor]:
        """Return what the reference returns: `image_embed`, `text_embed` (B, embed_dim), and `logit_scale`."""
        return {
            "image_embed": self.encode_image(image),
            "text_embed": self.encode_text(text),
            "logit_scale": self.logit_scale.exp(),
        }

    @classmethod
    def from_pretrained(cls, source: str | Path) -> CLIP:
        """Return a model with trained weights, in evaluation mode.

        Args:
            source (str | Path): A checkpoint, or a repository of the Hugging Face hub, from which it is downloaded
                once: `DiffCLIP_ViTB16_CC12M` or `hammh0a/DiffCLIP_ViTB16_CC12M`.

        Returns:
            (CLIP): On the CPU, in float32, of the sizes that the weights have.

        Raises:
            FileNotFoundError: If there is no such file.
            ConnectionError: If it is not here and cannot be downloaded.
            ValueError: If the file holds something else.

        Examples:
            >>> model = DiffCLIP.from_pretrained("DiffCLIP_ViTB16_CC12M")  # doctest: +SKIP
        """
        from ultralytics_diffattn.clip import weights

        return weights.load(source, cls)


class DiffCLIP(CLIP):
    """DiffCLIP: CLIP with differential attention in both towers, weight-compatible with the published one.

    Takes the arguments of `CLIP`; the heads of both towers must be even, since two make a differential head.

    Examples:
        >>> sizes = dict(image_size=32, patch_size=8, vision_width=64, vision_layers=2, vision_heads=4)
        >>> model = DiffCLIP(**sizes, transformer_width=64, transformer_layers=2, transformer_heads=4)
        >>> tokens = torch.tensor([[49406, 320, 2368, 49407]])
        >>> model.encode_text(tokens, normalize=True).shape
        torch.Size([1, 512])

    References:
        DiffCLIP, section 3, and its reference file `diff_clip.py`.
    """

    def __init__(self, *args: int, **kwargs: int):
        """Create both towers."""
        super().__init__(*args, **kwargs)
        for block in self.visual.blocks:
            block.attn = ImageAttention(self.sizes["vision_width"], self.sizes["vision_heads"])

    def _text_attention(self, width: int, heads: int) -> nn.Module:
        return DiffAttention(width, heads)
