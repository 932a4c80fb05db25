# Ultralytics DiffAttn - AGPL-3.0 License
"""What every differential attention offers to the rest of the package: maps, logging and transfer rely on it alone."""

from __future__ import annotations

from typing import ClassVar, Protocol, runtime_checkable

from torch import Tensor

QueriesAndKeys = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]  # ((q1, k1), (q2, k2)), each (B, heads, N, d)


@runtime_checkable
class DifferentialAttention(Protocol):
    """A module that subtracts two attention maps: `softmax(q1 @ k1.T * scale) - lambda * softmax(q2 @ k2.T * scale)`.

    A class need not inherit from it. `LambdaMixin` and `PairedLambdaMixin` bring all but `queries_and_keys` and, where
    stock's class has none, `scale`. An integer attribute `area`, as YOLO12's attention has it, says that tokens attend
    only within that many stripes of the feature map.

    Examples:
        >>> from ultralytics_diffattn.nn.paired import PairedAttention_Diff
        >>> isinstance(PairedAttention_Diff(128, num_heads=2), DifferentialAttention)
        True
    """

    added: ClassVar[tuple[str, ...]]
    """Beginnings of the names of tensors that stock's module lacks; `("",)` where it shares no tensor with stock's."""

    halved: ClassVar[tuple[str, ...]]
    """Beginnings of the names of stock's tensors that are read as two halves, one for each map."""

    @property
    def scale(self) -> float:
        """The factor on the logits of both maps."""

    def compute_lambda(self) -> Tensor:
        """Return the present lambda, () for one that all heads share or (heads,), in float32 or wider."""

    def queries_and_keys(self, x: Tensor, /) -> QueriesAndKeys:
        """Return `((q1, k1), (q2, k2))`, each (B, heads, N, d), of the module's first input."""
