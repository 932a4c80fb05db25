# Ultralytics DiffAttn - AGPL-3.0 License
"""DiffCLIP's text tower as the one that gives YOLO-World and YOLOE their classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ultralytics_diffattn.clip import classes, weights
from ultralytics_diffattn.clip.model import CLIP
from ultralytics_diffattn.clip.tokens import tokenize

WIDTH = 512  # of the words in YOLO-World and YOLOE


class Words(nn.Module):
    """A text tower with the methods by which ultralytics asks for embeddings.

    If the tower's space is not as wide as the detector's, a fixed projection with orthonormal rows or columns lies
    between them, the same for the same widths: into a wider space it keeps all angles, into a narrower one nearly.
    No `ultralytics.nn.text_model.TextModel`, since importing that installs OpenAI's package from GitHub.

    Args:
        clip (CLIP): The model; its image tower is not used.
        width (int): Width of the detector's words.

    Examples:
        >>> from ultralytics_diffattn import DiffCLIP
        >>> words = Words(DiffCLIP(transformer_layers=1, vision_layers=1))
        >>> words.encode_text(words.tokenize(["cat", "traffic light"])).shape
        torch.Size([2, 512])
    """

    def __init__(self, clip: CLIP, width: int = WIDTH):
        """Keep the tower, and make the projection."""
        super().__init__()
        self.clip, given = clip.eval(), clip.sizes["embed_dim"]
        matrix = None
        if given != width:
            generator = torch.Generator().manual_seed(0)
            matrix = nn.init.orthogonal_(torch.empty(given, width), generator=generator)  # (given, width)
        self.register_buffer("projection", matrix)

    def tokenize(self, texts: str | Sequence[str]) -> Tensor:
        """Return the tokens of texts, (B, context_length), on the tower's device."""
        return tokenize(texts, self.clip.sizes["context_length"]).to(self.clip.logit_scale.device)

    @torch.no_grad()
    def encode_text(self, texts: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the places of tokens, (B, context_length), in the detector's space, (B, width), of length 1."""
        return self.project(self.clip.encode_text(texts)).to(dtype)

    def project(self, places: Tensor) -> Tensor:
        """Return places, (..., embed_dim), in the detector's space, (..., width), of length 1."""
        places = places if self.projection is None else places @ self.projection
        return nn.functional.normalize(places, dim=-1)


@torch.no_grad()
def set_words(detector: object, names: Sequence[str], clip: str | CLIP, templates: Sequence[str] = ("{}",)) -> None:
    """Let a detector look for things by their names.

    Args:
        detector (ultralytics.YOLOE | ultralytics.YOLOWorld): Its classes become the names.
        names (Sequence[str]): Words, in any number.
        clip (str | CLIP): A model, or what `CLIP.from_pretrained` takes.
        templates (Sequence[str]): Sentences with {} in them; ultralytics takes the bare name.

    Raises:
        TypeError: If the detector is of another kind.
        ValueError: If there are no names, or weights hold something else.

    Examples:
        >>> from ultralytics import YOLOE
        >>> from ultralytics_diffattn import DiffCLIP
        >>> model = YOLOE("yoloe-11n-diffattn-paired.yaml")
        >>> set_words(model, ["cat", "traffic light"], DiffCLIP(transformer_layers=1, vision_layers=1))
        >>> model.names
        {0: 'cat', 1: 'traffic light'}
    """
    from ultralytics.nn.tasks import WorldModel, YOLOEModel

    network = getattr(detector, "model", None)
    if not isinstance(network, (WorldModel, YOLOEModel)):
        raise TypeError(f"{type(detector).__name__} has no classes by words; give a YOLOE or a YOLOWorld.")
    names = classes.parse_names(list(names))
    clip = clip if isinstance(clip, CLIP) else weights.load(clip)
    words = Words(clip)
    places = words.project(classes.embed(clip, names, templates))  # (classes, width)
    first = next(network.parameters())
    places = places.to(first.device, first.dtype)[None]  # (1, classes, width)
    if isinstance(network, YOLOEModel):
        detector.set_classes(names, network.model[-1].get_tpe(places))
    else:  # its own method has CLIP make them
        network.txt_feats, network.model[-1].nc, network.names = places, len(names), dict(enumerate(names))
        detector.predictor = None
