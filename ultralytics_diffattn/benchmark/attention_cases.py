# Ultralytics DiffAttn - AGPL-3.0 License
"""Attention alone, in our implementation and in others, from q, k and v to the output."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultralytics_diffattn.benchmark.case import Case, random_tensor, runner
from ultralytics_diffattn.evaluation import cost
from ultralytics_diffattn.nn.attention import DiffAttention
from ultralytics_diffattn.nn.functional import diff_attention

HEADS, KEY, VALUE = 2, 16, 64  # yolo11n's layer 10: heads, query width of one map (a plain key is twice that), value


def core(tokens: int, backward: bool = False) -> Case:
    """Return attention from C2PSA's queries, keys and values to its feature map, in every implementation.

    `ours` lets `diff_attention` choose, `flash` and `formula` force its backend, `published` is DiffCLIP's expression,
    and `plain` that of ultralytics' `Attention`, with one map of twice the key width. All read the same tensor.

    Args:
        tokens (int): Number of positions of the feature map, N.
        backward (bool): Whether gradients are computed, too.

    Returns:
        (dict[str, Callable]): Each returns the output, (1, heads * width, tokens), then the gradients, if any, of the
            tensor and of lambda.

    Examples:
        >>> {name: run()[0].shape for name, run in core(9).items()}["plain"]
        torch.Size([1, 128, 9])
    """
    qkv = random_tensor(1, HEADS, 4 * KEY + VALUE, tokens).requires_grad_(backward)
    lam = torch.tensor(0.8, requires_grad=backward)
    ways: dict[str, Callable[[Tensor, Tensor], Tensor]]
    ways = {"ours": _ours, "flash": partial(_ours, backend="flash"), "formula": partial(_ours, backend="formula")}
    ways |= {"published": _published, "plain": _plain}
    shape = (1, HEADS * VALUE, tokens)
    return {name: runner(partial(way, qkv, lam), [qkv, lam] * backward, shape) for name, way in ways.items()}


def _maps(qkv: Tensor) -> tuple[Tensor, ...]:
    """Return q1, q2, k1, k2, v, each (B, heads, N, width), as `Attention_Diff` cuts them from its convolution."""
    q, k, v = (x.transpose(-2, -1) for x in qkv.split([2 * KEY, 2 * KEY, VALUE], dim=2))
    return *q.chunk(2, dim=-1), *k.chunk(2, dim=-1), v


def _ours(qkv: Tensor, lam: Tensor, backend: str = "auto") -> Tensor:
    """Return differential attention by `diff_attention`."""
    q1, q2, k1, k2, v = _maps(qkv)
    return _as_channels(diff_attention(q1, k1, q2, k2, v, lam, scale=KEY**-0.5, backend=backend))


def _published(qkv: Tensor, lam: Tensor) -> Tensor:
    """Return differential attention by DiffCLIP's expression."""
    q1, q2, k1, k2, v = _maps(qkv)
    attn1 = ((q1 * KEY**-0.5) @ k1.transpose(-2, -1)).softmax(dim=-1)
    attn2 = ((q2 * KEY**-0.5) @ k2.transpose(-2, -1)).softmax(dim=-1)
    return _as_channels((attn1 - lam * attn2) @ v)


def _as_channels(x: Tensor) -> Tensor:
    """Return (B, heads, N, width) as a feature map, (B, heads * width, N): plain attention ends there by itself."""
    return x.transpose(-2, -1).reshape(x.shape[0], HEADS * VALUE, -1)  # (B, heads, width, N) to (B, heads * width, N)


def _plain(qkv: Tensor, _: Tensor) -> Tensor:
    """Return plain attention by the expression of ultralytics' `Attention`."""
    q, k, v = qkv.split([2 * KEY, 2 * KEY, VALUE], dim=2)
    attn = ((q * (2 * KEY) ** -0.5).transpose(-2, -1) @ k).softmax(dim=-1)
    out: Tensor = v @ attn.transpose(-2, -1)
    return out.view(qkv.shape[0], HEADS * VALUE, -1)  # (B, heads, width, N) to (B, heads * width, N)


def exported(tokens: int) -> Case:
    """Return attention as `core` has it, ours and plain, as ONNX graphs in ONNX Runtime.

    Args:
        tokens (int): Number of positions of the feature map, N.

    Returns:
        (dict[str, Callable]): `ours` and `plain`, each returns a list of its output, (1, heads * width, tokens).
    """
    qkv = random_tensor(1, HEADS, 4 * KEY + VALUE, tokens)
    with tempfile.TemporaryDirectory() as folder:
        runners = {}
        for name, way in (("ours", _ours), ("plain", _plain)):
            file = str(Path(folder) / f"{name}.onnx")
            torch.onnx.export(_Way(way), (qkv,), file, opset_version=17, dynamo=False)
            runners[name] = cost.onnx_runner(file, qkv)
    return runners


class _Way(nn.Module):
    """An implementation of attention as a module, with its lambda."""

    lam: Tensor

    def __init__(self, way: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.way = way
        self.register_buffer("lam", torch.tensor(0.8))

    def forward(self, qkv: Tensor) -> Tensor:
        """Return the output."""
        return self.way(qkv, self.lam)


def kernels(tokens: int, batch: int, device: torch.device | str, dtype: torch.dtype) -> Case:
    """Return our attention beside one `scaled_dot_product_attention` whose q, k and v are all as wide as the value.

    That is what a flash kernel runs fastest. Tokens come before channels, so that neither has to transpose; the queries
    of our two maps are together as wide as those of the plain one.

    Args:
        tokens (int): Number of tokens.
        batch (int): Number of images.
        device (torch.device | str): The device.
        dtype (torch.dtype): Of all tensors but lambda.

    Returns:
        (dict[str, Callable]): `ours` and `plain`, each returns a list of its output, (batch, heads, tokens, width).
    """
    q, k, v = random_tensor(3, batch, HEADS, tokens, VALUE).to(device, dtype)
    (q1, q2), (k1, k2) = ([x.contiguous() for x in y.chunk(2, dim=-1)] for y in (q, k))
    lam = torch.tensor(0.8, device=device)
    return {
        "ours": runner(partial(diff_attention, q1, k1, q2, k2, v, lam)),
        "plain": runner(partial(F.scaled_dot_product_attention, q, k, v)),
    }


def modules(
    tokens: int,
    batch: int = 1,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    backward: bool = False,
) -> Case:
    """Return our `DiffAttention` beside timm's, both without projections: from q, k and v to the normed heads.

    Args:
        tokens (int): Number of tokens.
        batch (int): Number of images.
        device (torch.device | str): The device.
        dtype (torch.dtype): Of all tensors.
        backward (bool): Whether gradients are computed, too.

    Returns:
        (dict[str, Callable]): `ours` and `timm`; each returns the output, (batch, tokens, heads * width), then
            the gradients, if any, of q, k and v in one tensor, of the lambda vectors and of the norm's gain.
    """
    from timm.layers.diff_attention import DiffAttention as Timm

    dim = HEADS * VALUE
    qkv = random_tensor(batch, tokens, 3 * dim).to(device, dtype).requires_grad_(backward)
    theirs: Any = Timm(dim, num_heads=HEADS).to(device, dtype).eval()
    ours: Any = DiffAttention(dim, 2 * HEADS, lambda_init=theirs.lambda_init).to(device, dtype).eval()
    theirs.qkv, theirs.proj, ours.out_proj = _Prepared(dim, lambda: qkv), nn.Identity(), nn.Identity()
    for i, name in enumerate(("q_proj", "k_proj", "v_proj")):
        setattr(ours, name, _Prepared(dim, partial(_third, qkv, i)))
    vectors = ("lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2")
    for name in vectors:
        getattr(ours, name).data.copy_(getattr(theirs, name).data)
    x = qkv.detach()[..., :dim]  # only its shape is read
    cases = {"ours": (ours, ours.diff_norm.weight), "timm": (theirs, theirs.sub_norm.weight)}
    return {
        name: runner(partial(module, x), [qkv, *(getattr(module, v) for v in vectors), gain] * backward, x.shape)
        for name, (module, gain) in cases.items()
    }


def _third(qkv: Tensor, i: int) -> Tensor:
    """Return q, k or v, (batch, tokens, heads * width)."""
    return qkv.chunk(3, dim=2)[i]


class _Prepared(nn.Module):
    """A projection replaced by a prepared tensor, whatever its input."""

    def __init__(self, in_features: int, prepared: Callable[[], Tensor]) -> None:
        super().__init__()
        self.in_features, self.prepared = in_features, prepared

    def forward(self, _: Tensor) -> Tensor:
        """Return the prepared tensor."""
        return self.prepared()
