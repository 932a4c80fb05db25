"""Kind `token`: the published module, plus stock's positional encoding of its values."""

import copy

import pytest
import torch
from ultralytics.nn.modules.block import Attention

from tests.samples import randomize
from ultralytics_diffattn import C2PSA_Diff, DiffAttention
from ultralytics_diffattn.nn.token import TokenAttention_Diff


@pytest.fixture
def module():
    torch.manual_seed(0)
    return randomize(TokenAttention_Diff(32, num_heads=4, lambda_init=0.4)).double()


def published(module):
    """Return the published module with the same weights."""
    plain = DiffAttention(32, 4, lambda_init=0.4).double().eval()
    assert plain.load_state_dict(module.state_dict(), strict=False).missing_keys == []
    return plain


def test_without_positions_it_is_the_published_module(module):
    torch.nn.init.zeros_(module.pe.bn.weight)
    torch.nn.init.zeros_(module.pe.bn.bias)
    x = torch.randn(2, 32, 5, 3, dtype=torch.float64)
    torch.testing.assert_close(module(x), published(module)(x), rtol=0, atol=1e-12)


def test_positions_are_added_where_stock_adds_them(module):
    """Stock's is `proj(heads + pe(v))`; here `out_proj`, which is linear, stands for `proj`."""
    x = torch.randn(2, 32, 5, 3, dtype=torch.float64)
    weight = module.out_proj.weight.double()
    v = torch.einsum("oc,bchw->bohw", module.v_proj.weight, x) + module.v_proj.bias.view(1, -1, 1, 1)
    positions = torch.einsum("oc,bchw->bohw", weight, module.pe(v))
    torch.testing.assert_close(module(x), published(module)(x) + positions, rtol=0, atol=1e-10)


def test_stock_positions_load_under_their_names():
    stock = {n for n in Attention(128, 2).state_dict() if n.startswith("pe.")}
    assert stock == {n for n in TokenAttention_Diff(128, 2).state_dict() if n.startswith("pe.")}


def test_positions_take_no_random_numbers_from_the_rest():
    torch.manual_seed(0)
    TokenAttention_Diff(32, 4)
    after = torch.rand(1)
    torch.manual_seed(0)
    DiffAttention(32, 4)
    assert torch.equal(after, torch.rand(1))


def test_where_a_position_lies_matters(module):
    x, order = torch.randn(1, 32, 4, 4, dtype=torch.float64), torch.randperm(16)
    shuffled = x.flatten(2)[..., order].reshape(x.shape)
    assert not torch.allclose(module(shuffled), module(x).flatten(2)[..., order].reshape(x.shape))


def test_gradients():
    """Of one image: PyTorch's BatchNorm is wrong for it where a gradient is laid out in tokens."""
    torch.manual_seed(0)
    module = randomize(TokenAttention_Diff(8, num_heads=2, lambda_init=0.4)).double()
    x = torch.randn(1, 8, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: module(x), (x, *module.parameters()))


def test_mask_hides_positions(module):
    x = torch.randn(1, 32, 2, 2, dtype=torch.float64)
    mask = torch.zeros(4, 4, dtype=torch.float64)
    assert torch.equal(module(x, mask), module(x))
    mask[:, 3] = -torch.inf
    assert not torch.allclose(module(x, mask), module(x))


def test_checkpoint_of_a_block_without_positions_still_runs():
    """Before there was `pe`, the kind was `DiffAttention` itself; whole modules are pickled, so it stays that."""
    torch.manual_seed(0)
    block = C2PSA_Diff(256, 256, kind="token").eval()
    block.m[0].attn = DiffAttention(128, 2).eval()
    x = torch.randn(1, 256, 4, 4)
    assert torch.equal(copy.deepcopy(block)(x), block(x))
