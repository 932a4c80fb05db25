"""tf32.py: rounding against Python's own, and products, forward and backward, against rounded factors."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ultralytics_diffattn.numerics.tf32 import round_tf32, tf32


@given(st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False))
def test_tf32_is_a_significand_of_11_bits(x):
    """Python's own `round` goes to the nearest and to even on a tie."""
    m, e = math.frexp(x)  # 0.5 <= |m| < 1
    expected = math.ldexp(round(m * 2**11), e - 11)
    expected = math.copysign(math.inf, x) if abs(expected) >= 2**128 else expected
    assert round_tf32(torch.tensor([x])).item() == expected


@pytest.mark.parametrize(
    ("x", "expected"),
    [(1 + 2**-11, 1.0), (1 + 3 * 2**-11, 1 + 2**-9), (-1 - 3 * 2**-11, -1 - 2**-9), (math.inf, math.inf), (0.0, 0.0)],
)
def test_tf32_by_hand(x, expected):
    assert round_tf32(torch.tensor([x])).item() == expected
    assert round_tf32(torch.tensor([math.nan])).isnan().all()


def test_emulated_product_is_that_of_rounded_factors_also_in_the_backward_pass():
    torch.manual_seed(0)
    a, b, w = torch.randn(3, 5, requires_grad=True), torch.randn(5, 4), torch.randn(3, 4)
    with tf32(torch.device("cpu")):
        y = a @ b
        y.backward(w)
    r = round_tf32
    assert torch.equal(y, r(a.detach()) @ r(b))
    assert torch.equal(a.grad, r(w) @ r(b).T)
    assert not torch.equal(y, a @ b)
