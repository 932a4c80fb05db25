# Ultralytics DiffAttn - AGPL-3.0 License
"""CLIP with plain and with differential attention: an image tower, a text tower, and a space that both share.

DiffCLIP, https://arxiv.org/abs/2503.06626, whose tensor names it has; CLIP, https://arxiv.org/abs/2103.00020.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ultralytics_diffattn.clip import weights
from ultralytics_diffattn.clip.sizes import Sizes
from ultralytics_diffattn.errors import MissingPackageError, UserError
from ultralytics_diffattn.nn.attention import DiffAttention

if TYPE_CHECKING:
    from typing_extensions import Self

try:
    from timm.models.vision_transformer import VisionTransformer
except ImportError as e:
    raise MissingPackageError(f"DiffCLIP needs timm ({e}): pip install 'ultralytics-diffattn[clip]'") from e


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

    def reset_parameters(self) -> None:
        """Draw PyTorch's own projections anew; its submodules reset themselves."""
        self._reset_parameters()

    def forward(  # type: ignore[override]  # self-attention has one input, and PyTorch's names are in all checkpoints
        self, x: Tensor, attn_mask: Tensor | None = None
    ) -> Tensor:
        """Attend among the tokens `x`, (B, N, dim); the mask, (N, N), is added to the logits."""
        return super().forward(x, x, x, need_weights=False, attn_mask=attn_mask)[0]  # (B, N, dim)


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
        y: Tensor = x + self.mlp(self.ln_2(x))
        return y


class TextTransformer(nn.Module):
    """The blocks of the text tower, in the order in which they run.

    Args:
        blocks (Sequence[TextBlock]): From the input to the output.
    """

    def __init__(self, blocks: Sequence[TextBlock]):
        """Keep the blocks."""
        super().__init__()
        self.resblocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, attn_mask: Tensor) -> Tensor:
        """Return tokens shaped as `x`, (B, N, width)."""
        for block in self.resblocks:
            x = block(x, attn_mask)
        return x


class CLIP(nn.Module):
    """CLIP with a ViT: two towers with plain attention that embed images and texts in one space.

    Args:
        embed_dim (int): Width of the embeddings.
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

    Attributes:
        sizes (Sizes): All of the above.

    Raises:
        ValueError: If a size is no integer from 1 on, or one does not divide another as it must.

    Examples:
        >>> sizes = dict(image_size=32, patch_size=8, vision_width=64, vision_layers=2, vision_heads=4)
        >>> model = CLIP(**sizes, transformer_width=64, transformer_layers=2, transformer_heads=4)
        >>> model.encode_image(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 512])

    References:
        CLIP, section 2.4; the ViT is timm's `VisionTransformer` without a classifier.
    """

    _text_attention: ClassVar[Callable[[int, int], nn.Module]] = SelfAttention  # from width and number of heads
    _image_attention: ClassVar[Callable[[int, int], nn.Module] | None] = None  # timm's own

    attn_mask: Tensor

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
        super().__init__()
        self.sizes = Sizes(
            embed_dim=embed_dim,
            image_size=image_size,
            patch_size=patch_size,
            vision_width=vision_width,
            vision_layers=vision_layers,
            vision_heads=vision_heads,
            context_length=context_length,
            vocab_size=vocab_size,
            transformer_width=transformer_width,
            transformer_layers=transformer_layers,
            transformer_heads=transformer_heads,
        )
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
            TextBlock(type(self)._text_attention(transformer_width, transformer_heads), transformer_width)
            for _ in range(transformer_layers)
        ]
        self.transformer = TextTransformer(blocks)
        self.token_embedding = nn.Embedding(vocab_size, transformer_width)
        self.positional_embedding = nn.Parameter(torch.empty(context_length, transformer_width))
        self.ln_final = nn.LayerNorm(transformer_width)
        self.image_projection = nn.Parameter(torch.empty(vision_width, embed_dim))
        self.text_projection = nn.Parameter(torch.empty(transformer_width, embed_dim))
        self.logit_scale = nn.Parameter(torch.empty(()))
        self.register_buffer("attn_mask", torch.empty(context_length, context_length), persistent=False)
        self.reset_parameters()
        attention = type(self)._image_attention
        if attention is not None:  # last, so that all else is drawn alike for the same seed
            for block in self.visual.blocks:
                block.attn = attention(vision_width, vision_heads)

    def reset_parameters(self) -> None:
        """Draw what is not timm's as CLIP does, and fill the mask of the text tower."""
        self.attn_mask.fill_(-math.inf).triu_(1)  # a token sees those before it
        nn.init.constant_(self.logit_scale, math.log(1 / 0.07))
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
        """Return the embeddings of images.

        Args:
            image (Tensor): (B, 3, image_size, image_size), normalised as `clip.images.transform` does.
            normalize (bool): Whether each embedding gets length 1.

        Returns:
            (Tensor): (B, embed_dim).

        Raises:
            ValueError: If the images have another size.
        """
        size = self.sizes.image_size
        if image.ndim != 4 or image.shape[1:] != (3, size, size):
            raise ValueError(f"image has shape {tuple(image.shape)}, but must be (B, 3, {size}, {size}).")
        y: Tensor = self.visual(image) @ self.image_projection  # (B, embed_dim)
        return F.normalize(y, dim=-1) if normalize else y

    def encode_text(self, text: Tensor, normalize: bool = False) -> Tensor:
        """Return the embeddings of texts.

        Args:
            text (Tensor): Tokens, (B, N), integers, N at most `context_length`, of `clip.tokens.tokenize`.
            normalize (bool): Whether each embedding gets length 1.

        Returns:
            (Tensor): (B, embed_dim).

        Raises:
            TypeError: If the tokens are not integers.
            ValueError: If the texts are too long, or a token is outside the vocabulary.
        """
        if text.is_floating_point() or text.dtype == torch.bool:
            raise TypeError(f"text has dtype {text.dtype}, but must be tokens: clip.tokens.tokenize makes them.")
        longest, vocabulary = self.sizes.context_length, self.sizes.vocab_size
        if text.ndim != 2 or not 1 <= text.shape[1] <= longest:
            raise ValueError(f"text has shape {tuple(text.shape)}, but must be (B, N) with N from 1 to {longest}.")
        checked = text.device.type == "cpu" and not torch.jit.is_tracing()  # a check on a GPU would wait for it
        if checked and len(text) and not 0 <= int(text.min()) <= int(text.max()) < vocabulary:
            wrong = max(int(text.max()), -int(text.min()), key=abs)
            raise ValueError(f"{wrong} is no token of a vocabulary of {vocabulary}.")
        N = text.shape[1]
        x = self.token_embedding(text) + self.positional_embedding[:N]  # (B, N, width)
        x = self.ln_final(self.transformer(x, self.attn_mask[:N, :N].to(x.dtype)))
        x = x[torch.arange(len(x), device=x.device), text.argmax(-1)]  # (B, width), at the end: the greatest token
        y = x @ self.text_projection  # (B, embed_dim)
        return F.normalize(y, dim=-1) if normalize else y

    def forward(self, image: Tensor, text: Tensor) -> dict[str, Tensor]:
        """Return what the reference returns: `image_embed`, `text_embed` (B, embed_dim), and `logit_scale`."""
        return {
            "image_embed": self.encode_image(image),
            "text_embed": self.encode_text(text),
            "logit_scale": self.logit_scale.exp(),
        }

    @classmethod
    def from_pretrained(cls, source: str | Path) -> Self:
        """Return a model with trained weights, in evaluation mode.

        Args:
            source (str | Path): A checkpoint, or a repository of the Hugging Face hub, from which it is downloaded
                once: `DiffCLIP_ViTB16_CC12M` or `hammh0a/DiffCLIP_ViTB16_CC12M`.

        Returns:
            (CLIP): On the CPU, in float32, of the sizes that the weights have; a `DiffCLIP` if their attention is
                differential.

        Raises:
            MissingFileError: If there is no such file.
            HubUnreachableError: If it is not on this machine and cannot be downloaded; also a `ConnectionError`.
            UserError: If the file holds something else, or plain attention where `cls` is `DiffCLIP`.

        Examples:
            >>> model = DiffCLIP.from_pretrained("DiffCLIP_ViTB16_CC12M")  # doctest: +SKIP
        """
        state, sizes = weights.read(weights.locate(source))
        if not {"visual.patch_embed.proj.weight", "text_projection"} & state.keys():
            raise UserError(
                f"{source} holds the weights of another model{_first_names(list(state))}, not of CLIP or DiffCLIP."
            )
        kind: type[CLIP] = DiffCLIP if any("lambda_q1" in name for name in state) else CLIP
        if not issubclass(kind, cls):
            raise UserError(f"{source} holds CLIP with plain attention; CLIP.from_pretrained reads it.")
        try:
            model = kind(**(sizes or Sizes.from_tensors(state)).as_dict())
            missing, unexpected = model.load_state_dict(state, strict=False)
        except (KeyError, RuntimeError, ValueError) as e:
            raise UserError(f"{source} holds no weights of {kind.__name__}: {str(e).strip()}") from e
        if missing or unexpected:
            raise UserError(
                f"{source} holds no weights of {kind.__name__}: of its tensors {len(missing)} are missing"
                f"{_first_names(missing)}, and {len(unexpected)} are unknown{_first_names(unexpected)}."
            )
        return model.eval()


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

    _text_attention = DiffAttention
    _image_attention = ImageAttention


def _first_names(names: Sequence[str]) -> str:
    """Return the first of some names, in brackets."""
    return f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else ""
