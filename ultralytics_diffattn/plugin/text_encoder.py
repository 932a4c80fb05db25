# Ultralytics DiffAttn - AGPL-3.0 License
"""`text_model: diffclip:WEIGHTS` in a model YAML: a YOLO-World or YOLOE whose classes DiffCLIP's text tower embeds.

Ultralytics embeds the names of classes in one method of each model, `get_text_pe`, which prediction, validation,
training and export all call: that method is wrapped. Nothing of `clip` is imported before it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from ultralytics_diffattn.plugin.replacing import replace

PREFIX = "diffclip:"


def weights_of(network: nn.Module) -> str | None:
    """Return the weights that a model's YAML names as its text encoder, or None if the encoder is one of stock's.

    Args:
        network (nn.Module): A `WorldModel` or `YOLOEModel`.

    Returns:
        (str | None): What `CLIP.from_pretrained` takes.

    Examples:
        >>> network = nn.Module()
        >>> network.text_model = "diffclip:last.pt"
        >>> weights_of(network)
        'last.pt'
    """
    name = getattr(network, "text_model", None) or (getattr(network, "yaml", None) or {}).get("text_model")
    return name.removeprefix(PREFIX).strip() if isinstance(name, str) and name.startswith(PREFIX) else None


def attach(module: ModuleType) -> None:
    """Make the models of `ultralytics.nn.tasks` embed by DiffCLIP where their YAML says so.

    Args:
        module (ModuleType): `ultralytics.nn.tasks`, loaded.
    """
    for name in ("WorldModel", "YOLOEModel"):
        replace(module.__dict__.get(name), "get_text_pe", _get_text_pe)  # WorldModel has none in ultralytics 8.3.108


def attach_trainer(module: ModuleType) -> None:
    """Make the trainers leave DiffCLIP's embeddings out of the files beside the data in which they store CLIP's.

    Args:
        module (ModuleType): `ultralytics.models.yolo.world.train` or that of `yoloe`, loaded.
    """
    for cls in list(vars(module).values()):
        if isinstance(cls, type):
            replace(cls, "generate_text_embeddings", _generate_text_embeddings)


def _get_text_pe(stock: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return the method that embeds the names of classes, for both models."""

    def get_text_pe(self: Any, text: list[str], *args: Any, without_reprta: bool = False, **kwargs: Any) -> Tensor:
        weights = weights_of(self)
        if weights is None:
            return stock(self, text, *args, **{"without_reprta": True} if without_reprta else {}, **kwargs)
        from ultralytics_diffattn.clip import words

        parameter = next(self.model.parameters())
        embeddings = words.encode(weights, text, words.width_of(self)).to(parameter.device, parameter.dtype)
        embeddings = embeddings[None]  # (1, classes, width)
        get_tpe: Callable[[Tensor], Tensor] | None = getattr(self.model[-1], "get_tpe", None)
        if get_tpe is None or without_reprta or (len(args) > 2 and args[2]):
            return embeddings
        return get_tpe(embeddings).detach()

    return get_text_pe


def _generate_text_embeddings(stock: Callable[..., dict[str, Tensor]]) -> Callable[..., dict[str, Tensor]]:
    """Return the method that embeds the names of classes before a training, for the trainers of both models."""

    def generate_text_embeddings(
        self: Any, texts: list[str], batch: int, *args: Any, **kwargs: Any
    ) -> dict[str, Tensor]:
        network = getattr(self.model, "module", self.model)  # within DDP
        if weights_of(network) is None:
            return stock(self, texts, batch, *args, **kwargs)
        return dict(zip(texts, network.get_text_pe(texts, batch, without_reprta=True)[0], strict=True))

    return generate_text_embeddings
