# Ultralytics DiffAttn - AGPL-3.0 License
"""`text_model: diffclip:WEIGHTS` in a model YAML: a YOLO-World or YOLOE whose classes DiffCLIP's text tower embeds.

Ultralytics embeds the names of classes in one method of each model, `get_text_pe`, which prediction, validation,
training and export all call; it is that method which learns of one more encoder. Nothing of `clip` is imported before.
"""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

from torch import Tensor, nn

PREFIX = "diffclip:"


def weights_of(network: nn.Module) -> str | None:
    """Return the weights that a model's YAML names as its text encoder, or None if that is stock's affair.

    Args:
        network (nn.Module): A `WorldModel` or `YOLOEModel`.

    Returns:
        (str | None): What `CLIP.from_pretrained` takes.
    """
    name = getattr(network, "text_model", None) or (getattr(network, "yaml", None) or {}).get("text_model")
    return name.removeprefix(PREFIX).strip() if isinstance(name, str) and name.startswith(PREFIX) else None


def attach(module: ModuleType) -> None:
    """Let the models of `ultralytics.nn.tasks` know the encoder.

    Args:
        module (ModuleType): `ultralytics.nn.tasks`, loaded.
    """
    for name in ("WorldModel", "YOLOEModel"):
        cls = module.__dict__.get(name)
        stock = vars(cls).get("get_text_pe") if cls else None  # WorldModel has none in ultralytics 8.3.108
        if cls is not None and stock is not None and not hasattr(stock, "stock"):
            _replace(cls, "get_text_pe", _get_text_pe(stock))


def attach_trainer(module: ModuleType) -> None:
    """Let the trainers keep DiffCLIP's embeddings out of the files beside the data in which they keep CLIP's.

    Args:
        module (ModuleType): `ultralytics.models.yolo.world.train` or that of `yoloe`, loaded.
    """
    for cls in list(vars(module).values()):
        stock = vars(cls).get("generate_text_embeddings") if isinstance(cls, type) else None
        if stock is not None and not hasattr(stock, "stock"):
            _replace(cls, "generate_text_embeddings", _generate_text_embeddings(stock))


def _get_text_pe(stock: Any) -> Any:
    """Return the method for both models."""

    @functools.wraps(stock)
    def get_text_pe(self: Any, text: list[str], *args: Any, without_reprta: bool = False, **kwargs: Any) -> Tensor:
        weights = weights_of(self)
        if weights is None:
            stock_pe: Tensor = stock(self, text, *args, **{"without_reprta": True} if without_reprta else {}, **kwargs)
            return stock_pe
        from ultralytics_diffattn.clip import words

        param = next(self.model.parameters())
        encoded = words.encode(weights, text, words.width_of(self)).to(param.device, param.dtype)  # (classes, width)
        embeddings = encoded[None]  # (1, classes, width)
        tpe = getattr(self.model[-1], "get_tpe", None)
        if tpe is None or without_reprta or (len(args) > 2 and args[2]):
            return embeddings
        adapted: Tensor = tpe(embeddings).detach()
        return adapted

    return get_text_pe


def _generate_text_embeddings(stock: Any) -> Any:
    """Return the method for the trainers of both models."""

    @functools.wraps(stock)
    def generate_text_embeddings(self: Any, texts: list[str], batch: int, *args: Any, **kwargs: Any) -> Any:
        network = getattr(self.model, "module", self.model)  # within DDP
        if weights_of(network) is None:
            return stock(self, texts, batch, *args, **kwargs)
        return dict(zip(texts, network.get_text_pe(texts, batch, without_reprta=True)[0], strict=True))

    return generate_text_embeddings


def _replace(cls: type, name: str, method: Any) -> None:
    """Put a method in a class, marked as ours."""
    method.stock = method.__wrapped__
    setattr(cls, name, method)
