# Ultralytics DiffAttn - AGPL-3.0 License
"""TF32 matrix products: a GPU's own, or emulated on a CPU by rounding the factors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

FACTORS = {  # indices of the factors among the arguments of ATen's operators that TF32 cores compute
    **{"mm": (0, 1), "bmm": (0, 1), "addmm": (1, 2), "baddbmm": (1, 2)},
    **{"convolution": (0, 1), "convolution_backward": (0, 1, 2)},
    "_scaled_dot_product_flash_attention_for_cpu": (0, 1, 2),
    "_scaled_dot_product_flash_attention_for_cpu_backward": (0, 1, 2, 3),
}


def round_tf32(x: Tensor) -> Tensor:
    """Return a tensor rounded to TF32: 10 bits behind the point, to nearest, ties to even.

    Args:
        x (Tensor): Float32, of any shape.

    Returns:
        (Tensor): Float32; what is not finite stays as it is.

    Examples:
        >>> round_tf32(torch.tensor([1 + 2**-11, 1 + 3 * 2**-11])).tolist()
        [1.0, 1.001953125]
    """
    bits = x.contiguous().view(torch.int32)
    rounded = (bits + 0xFFF + (bits >> 13 & 1)) & ~0x1FFF
    return torch.where(x.isfinite(), rounded.view(torch.float32), x)


@contextmanager
def tf32(device: torch.device) -> Iterator[None]:
    """Compute matrix products and convolutions in TF32: on a GPU by its own cores, elsewhere emulated.

    Args:
        device (torch.device): Where the products run.

    Examples:
        >>> with tf32(torch.device("cpu")):
        ...     (torch.tensor([[1 + 2**-11]]) @ torch.tensor([[1.0]])).item()
        1.0
    """
    if device.type != "cuda":
        with _EmulatedTF32():  # type: ignore[no-untyped-call]  # TorchDispatchMode has no annotation
            yield
        return
    flags: tuple[Any, ...] = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [f.allow_tf32 for f in flags]
    try:
        for f in flags:
            f.allow_tf32 = True
        yield
    finally:
        for f, value in zip(flags, before, strict=True):
            f.allow_tf32 = value


class _EmulatedTF32(TorchDispatchMode):
    """Rounds the float32 factors of each product, forward and backward; sums are float32."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator."""
        args = list(args)
        for i in FACTORS.get(func._schema.name.removeprefix("aten::").rstrip("_"), ()):
            args[i] = round_tf32(args[i]) if args[i].dtype == torch.float32 else args[i]
        return func(*args, **kwargs or {})
