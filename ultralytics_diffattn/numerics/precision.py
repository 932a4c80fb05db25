# Ultralytics DiffAttn - AGPL-3.0 License
"""How far attention, and the model round it, drift from float64 in narrow types."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn
from ultralytics.data.augment import LetterBox
from ultralytics.models import RTDETR, YOLO
from ultralytics.nn.modules.head import RTDETRDecoder
from ultralytics.utils.patches import imread

from ultralytics_diffattn.errors import MissingFileError
from ultralytics_diffattn.maps.hooks import attentions
from ultralytics_diffattn.nn import functional
from ultralytics_diffattn.nn.lambdas import LAMBDA
from ultralytics_diffattn.numerics.tf32 import tf32

HEAD = "head of the model"


class Mode(NamedTuple):
    """A way to compute in a narrow type.

    Attributes:
        how (str): "cast" converts modules and inputs, as `half=True` does; "autocast" is AMP; "tf32" rounds factors.
        dtype (torch.dtype): The type.
    """

    how: Literal["cast", "autocast", "tf32"]
    dtype: torch.dtype

    @property
    def input_dtype(self) -> torch.dtype:
        """Return the type of weights and inputs."""
        return self.dtype if self.how == "cast" else torch.float32


EXACT = Mode("cast", torch.float64)
MODES = {
    "TF32": Mode("tf32", torch.float32),
    "fp16": Mode("cast", torch.float16),
    "fp16 autocast": Mode("autocast", torch.float16),
    "bf16": Mode("cast", torch.bfloat16),
    "bf16 autocast": Mode("autocast", torch.bfloat16),
}


def relative_error(result: Tensor, exact: Tensor) -> float:
    """Return the norm of the difference over the norm of the exact result.

    Args:
        result (Tensor): Of any shape and type.
        exact (Tensor): Of the same shape.

    Returns:
        (float): Infinite if anything in the result is not finite.

    Examples:
        >>> relative_error(torch.tensor([3.0, 4.0]), torch.tensor([3.0, 0.0])) == 4 / 3
        True
    """
    result, exact = result.double(), exact.double()
    return ((result - exact).norm() / exact.norm()).item() if result.isfinite().all() else float("inf")


def forced_backend(backend: str | None) -> AbstractContextManager[Any]:
    """Let `diff_attention` use one backend wherever the caller leaves the choice to it.

    Args:
        backend (str, optional): One of `backends.BACKENDS`; None or "" for the usual choice.

    Returns:
        (AbstractContextManager): In which it holds, for all threads.

    Examples:
        >>> q = k = v = torch.randn(1, 2, 9, 16)
        >>> with forced_backend("tiled"):
        ...     functional.diff_attention(q, k, q, k, v, 0.5).shape
        torch.Size([1, 2, 9, 16])
    """
    return patch.object(functional, "choose", lambda *inputs: backend) if backend else nullcontext()


def attention_tensors(
    module: nn.Module, args: Sequence[Tensor], kwargs: dict[str, Any], mode: Mode
) -> dict[str, Tensor]:
    """Return what an attention module computes: intermediate tensors, its output, and the gradients of a fixed sum.

    Args:
        module (torch.nn.Module): The module, which is copied.
        args (Sequence[Tensor]): Its arguments.
        kwargs (dict): Its keyword arguments.
        mode (Mode): How to compute.

    Returns:
        (dict[str, Tensor]): By name: "projection", "before the head norm", "behind the head norm", "output", "gradient
            of the input", "gradient of λ", as far as the module has them.

    Examples:
        >>> from ultralytics_diffattn.nn.blocks import Attention_Diff
        >>> x = torch.randn(1, 128, 2, 2)
        >>> attention_tensors(Attention_Diff(128, 2), [x], {}, MODES["bf16"])["output"].dtype
        torch.bfloat16
    """
    dtype = mode.input_dtype
    module, kwargs, args = (
        copy.deepcopy(module).to(dtype),
        _converted(kwargs, dtype),
        [_converted(a, dtype) for a in args],
    )
    args[0].requires_grad_(True)
    tensors = {}
    norm, projection = getattr(module, "diff_norm", None), getattr(module, "qkv", getattr(module, "q_proj", None))
    if norm is not None:
        norm.register_forward_hook(
            lambda m, x, y: tensors.update({"before the head norm": x[0], "behind the head norm": y})
        )
    if projection is not None:
        projection.register_forward_hook(lambda m, x, y: tensors.update({"projection": y}))
    with _computing(mode, args[0].device):
        y = module(*args, **kwargs)
        y = tensors["output"] = y[0] if isinstance(y, tuple) else y
        weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        (y * weights.to(y)).sum().backward()
    tensors["gradient of the input"] = cast(Tensor, args[0].grad)
    lam = [p.grad.flatten() for n, p in module.named_parameters() if n in (*LAMBDA, "lam") and p.grad is not None]
    if lam:
        tensors["gradient of λ"] = torch.cat(lam)
    return {name: t.detach() for name, t in tensors.items()}


def head_output(model: nn.Module, images: Tensor) -> Tensor:
    """Return the output of the detection head before it is decoded; of RT-DETR the input of its decoder.

    Args:
        model (torch.nn.Module): A network of ultralytics.
        images (Tensor): (B, 3, H, W).

    Returns:
        (Tensor): (values,), float64.

    Examples:
        >>> head_output(YOLO("yolo11n.yaml").model.eval(), torch.rand(1, 3, 32, 32)).dtype
        torch.float64
    """
    outputs: list[Tensor] = []

    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        raw = output[1] if isinstance(output, tuple) else output
        outputs.extend(floating_tensors(args[0] if isinstance(module, RTDETRDecoder) else raw))

    handle = cast(nn.Sequential, model.model)[-1].register_forward_hook(hook)
    with torch.no_grad():
        model(images)
    handle.remove()
    return torch.cat([t.flatten().double() for t in outputs])


def floating_tensors(output: Any) -> list[Tensor]:
    """Return the floating tensors in a nested output, without the features that a detection head hands on.

    Args:
        output (Any): A tensor, or dicts, lists and tuples of tensors.

    Returns:
        (list[Tensor]): In order.

    Examples:
        >>> floating_tensors({"boxes": [torch.zeros(1), None, torch.arange(2)], "feats": torch.ones(1)})
        [tensor([0.])]
    """
    if isinstance(output, Tensor):
        return [output] if output.is_floating_point() else []
    if isinstance(output, dict):
        return [t for key, value in output.items() if key != "feats" for t in floating_tensors(value)]
    return [t for value in output or () for t in floating_tensors(value)]


def drift(model: nn.Module, images: Tensor, small: Tensor) -> dict[str, dict[str, float]]:
    """Return the errors of a model's attention modules and of its head against float64.

    Args:
        model (torch.nn.Module): From `prepare_model`.
        images (Tensor): (B, 3, H, W), float32, for the attention modules; of several modules the largest error counts.
        small (Tensor): (B, 3, h, w), float32, for the whole model.

    Returns:
        (dict[str, dict[str, float]]): By quantity, as in `attention_tensors`, and "head of the model", then by mode.
    """
    errors: dict[str, dict[str, float]] = {}
    for name, (args, kwargs) in _inputs_of_attention(model, images).items():
        module = model.get_submodule(name)
        exact = attention_tensors(module, args, kwargs, EXACT)
        for label, mode in MODES.items():
            for quantity, value in attention_tensors(module, args, kwargs, mode).items():
                largest = errors.setdefault(quantity, dict.fromkeys(MODES, 0.0))
                largest[label] = max(largest[label], relative_error(value, exact[quantity]))
    exact_head = head_output(copy.deepcopy(model).double(), small.double())
    errors[HEAD] = {}
    for label, mode in MODES.items():
        with _computing(mode, small.device):
            output = head_output(copy.deepcopy(model).to(mode.input_dtype), small.to(mode.input_dtype))
        errors[HEAD][label] = relative_error(output, exact_head)
    return errors


def prepare_model(name: str, images: Tensor) -> nn.Module:
    """Return a trained model, or of a YAML one with random weights and BatchNorm statistics of the images.

    Weights are rounded to float16, as in checkpoints. A λ that starts at 0 becomes 0.8: else there is no second map.

    Args:
        name (str): Weights or a model YAML.
        images (Tensor): (B, 3, H, W), float32.

    Returns:
        (torch.nn.Module): In eval mode, float32, with gradients, on the device of the images.
    """
    torch.manual_seed(0)
    model = cast(nn.Module, (RTDETR if "rtdetr" in name else YOLO)(name).model).float().to(images.device)
    if name.endswith(".yaml"):
        for parameter, p in model.named_parameters():
            p.data = torch.full_like(p, 0.8) if parameter.endswith(".lam") else p.data
        _set_batchnorm_statistics(model, images)
    return model.half().float().eval().requires_grad_(True)


def load_images(folder: str, imgsz: int, count: int, device: str | int = "cpu") -> Tensor:
    """Return the first images of a folder, padded to squares.

    Args:
        folder (str): With JPEGs and PNGs.
        imgsz (int): Height and width, in pixels.
        count (int): How many.
        device (str | int): As ultralytics' `device=`.

    Returns:
        (Tensor): (count, 3, imgsz, imgsz), float32, 0 to 1.

    Raises:
        MissingFileError: If the folder has no images.
    """
    files = sorted(f for f in Path(folder).glob("*") if f.suffix.lower() in {".jpg", ".png"})[:count]
    if not files:
        raise MissingFileError(f"source={folder} has no .jpg or .png; give a folder of images.")
    padded = LetterBox((imgsz, imgsz), auto=False)
    arrays = [np.ascontiguousarray(np.asarray(padded(image=imread(str(f))))[..., ::-1]) for f in files]
    device = f"cuda:{device}" if isinstance(device, int) else device or "cpu"
    return torch.stack([torch.from_numpy(a).permute(2, 0, 1) for a in arrays]).float().div(255).to(device)


def _computing(mode: Mode, device: torch.device) -> AbstractContextManager[Any]:
    """Return the context in which a mode computes."""
    if mode.how == "tf32":
        return tf32(device)
    return torch.autocast(device.type, mode.dtype) if mode.how == "autocast" else nullcontext()


def _converted(x: Any, dtype: torch.dtype) -> Any:
    """Return floating tensors, also those in a dict, in a type."""
    if isinstance(x, dict):
        return {key: _converted(value, dtype) for key, value in x.items()}
    return x.detach().to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x


def _inputs_of_attention(model: nn.Module, images: Tensor) -> dict[str, tuple[tuple[Tensor, ...], dict[str, Any]]]:
    """Return the arguments of each attention module in a forward pass."""
    calls: dict[str, tuple[tuple[Tensor, ...], dict[str, Any]]] = {}

    def record(name: str) -> Any:
        return lambda module, args, kwargs: calls.update({name: (args, kwargs)})

    hooks = [m.register_forward_pre_hook(record(name), with_kwargs=True) for name, m in attentions(model).items()]
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()
    return calls


def _set_batchnorm_statistics(model: nn.Module, images: Tensor) -> None:
    """Replace the running statistics of each BatchNorm by those of the images."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [m.momentum for m in norms]
    for m in norms:
        m.momentum = 1.0
    with torch.no_grad():
        model.train()(images)
    for m, momentum in zip(norms, momenta, strict=True):
        m.momentum = momentum
