"""register(): rows of users' modules are read as those of the module that they are like, or by a plain signature."""

import json
import os
import re
import sys

import pytest
import torch
from torch import nn
from ultralytics.nn import tasks

from tests.places import ROOT
from tests.plugin.conftest import NAMES
from tests.samples import build_rows
from ultralytics_diffattn import register
from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.plugin import dry_run, needs, user_files
from ultralytics_diffattn.plugin.registry import MODULES, row_of
from ultralytics_diffattn.plugin.signatures import PLAIN, known_likes, leading, plain


def layer(*rows, scale=None):
    """Return the module of the last of the rows."""
    return build_rows(*rows, scale=scale)[len(rows)]


ROWS = [  # row behind Conv of 128 channels, scale; what its module has in the end
    ([-1, 1, "Mixer", [64, 3]], None, lambda m: m.conv.weight.shape == (64, 128, 3, 3)),
    ([-1, 1, "Mixer", [64, 3]], "n", lambda m: m.conv.weight.shape == (16, 32, 3, 3)),  # the width scales
    ([-1, 1, "Attend", [5]], None, lambda m: m.gate.conv.weight.shape[:2] == (128, 128) and m.k == 5),
    ([-1, 1, "Attend", []], "x", lambda m: m.gate.conv.weight.shape[:2] == (192, 192) and m.k == 1),
    ([-1, 1, "Scale", [3.0]], None, lambda m: m.factor == 3.0),
    ([-1, 3, "Scale", []], None, lambda m: [x.factor for x in m] == [2.0] * 3),  # one after another
    ([-1, 2, "Deep", [64, False, 0.25]], "n", lambda m: len(m.convs) == 1 and m.c3k is False),  # the depth scales
    ([-1, 4, "Deep", [64]], "x", lambda m: len(m.convs) == 4 and m.c3k is True),  # as C3k2 has it
]


@pytest.mark.parametrize(("row", "scale", "holds"), ROWS)
@pytest.mark.usefixtures("known")
def test_rows(row, scale, holds):
    """The file is known by DIFFATTN_MODULES alone; the row that names it makes it be imported."""
    assert "my_blocks" not in sys.modules
    module = layer(row, scale=scale)
    assert holds(module)
    assert type(module[0] if isinstance(module, nn.Sequential) else module).__module__ == "my_blocks"


@pytest.mark.parametrize("power", [[], [2]])
@pytest.mark.usefixtures("known")
def test_a_module_over_several_inputs(power):
    """Channels of its inputs go in, and the rows behind it count on what comes out, as behind stock's Concat."""
    tail = [-1, 1, "C3k2", [64, False]], [-1, 1, "nn.BatchNorm2d", []], [[2, 4], 1, "Concat", [1]], [-1, 1, "Conv", [8]]
    head = [-1, 1, "Conv", [64]], [-1, 1, "Scale", []]
    ours = build_rows(*head, [[-1, 0, 1], 1, "Join", [*power]], *tail, scale="n")
    stock = build_rows(*head, [[-1, 0, 1], 1, "Concat", [1]], *tail, scale="n")
    assert ours[3].sum == stock[4].cv1.conv.in_channels == 64
    assert (ours[3].power, len(ours[3].weights)) == (power[0] if power else 1, 3)
    shapes = [{n: v.shape for n, v in m.state_dict().items()} for m in (ours[4:], stock[4:])]
    assert shapes[0] == shapes[1]
    assert [m.f for m in ours] == [m.f for m in stock]


@pytest.mark.usefixtures("known")
def test_a_whole_model_runs_and_carries_what_it_needs(blocks):
    d = {
        "nc": 2,
        "scales": {"n": [1, 1, 1024]},
        "backbone": [[-1, 1, "Conv", [16, 3, 2]], [-1, 1, "Mixer", [32]], [-1, 1, "Conv", [32, 3, 2]]],
    }
    d["head"] = [[[-1, -1], 1, "Join", []], [-1, 1, "Attend", []], [[4], 1, "Detect", ["nc"]]]
    model = tasks.DetectionModel(d, verbose=False)
    model(torch.rand(2, 3, 64, 64))
    held = {
        name: json.loads(vars(m)[needs.ATTRIBUTE]) for name, m in model.named_modules() if needs.ATTRIBUTE in vars(m)
    }
    assert held.keys() == {"model.1", "model.3", "model.4"}
    assert held["model.3"] == {
        "diffattn_needs": "my_blocks:GatedConcat",
        "name": "Join",
        "build": "my_blocks:GatedConcat",
        "like": "(channels, *args)",
        "source": os.path.realpath(blocks),
        "sha256": user_files.digest(str(blocks)),
    }


def test_ours_and_a_users_stand_in_one_registry(known):
    build_rows([-1, 1, "Scale", []])
    assert set(NAMES) <= set(MODULES)
    assert [name for name, row in MODULES.items() if not row.source] == [
        "A2C2f_Diff",
        "AIFI_Diff",
        "C2PSA_Diff",
        "C3k2_Diff",
        "DiffAttention",
    ]
    assert row_of(sys.modules["my_blocks"].GatedConcat) is MODULES["Join"]
    assert MODULES["Deep"].adjust is MODULES["C3k2_Diff"].adjust


def write(tmp_path, text, monkeypatch, name="other_blocks"):
    """Return a module of a user's, not registered, imported as a script imports what lies beside it."""
    (tmp_path / f"{name}.py").write_text("import torch\nfrom torch import nn\n" + text)
    monkeypatch.syspath_prepend(tmp_path)


PLAINEST = """
class Plain(nn.Module):
    def __init__(self{}):
        super().__init__()

    def forward(self, x):
        {}
"""


@pytest.mark.parametrize("how", ["string", "class", "decorator"])
def test_ways_to_register(how, tmp_path, monkeypatch):
    write(tmp_path, PLAINEST.format(", c1", "return x"), monkeypatch)
    import other_blocks

    if how == "string":
        assert register("other_blocks:Plain", like="c1, *args") is other_blocks.Plain
    elif how == "class":
        assert register(other_blocks.Plain, "(c1,*args)", name="Plain") is other_blocks.Plain
    else:
        assert register(like=" ( c1, *args ) ")(other_blocks.Plain) is other_blocks.Plain
    assert type(layer([-1, 1, "Plain", []])) is other_blocks.Plain
    (entry,) = user_files.inherited()
    assert (entry["build"], entry["like"], entry["name"]) == ("other_blocks:Plain", "(c1, *args)", "Plain")
    register("other_blocks:Plain", like="(*args)")  # again, after another thought
    assert MODULES["Plain"].signature == "(*args)"


class Nested:
    class Inside(nn.Module):
        pass


def inside_a_function():
    class Local(nn.Module):
        pass

    return Local


BAD = [  # what is registered, with what; what the message says
    (lambda: nn.Identity, dict(like=""), "like= is missing"),
    (lambda: nn.Identity, dict(like="Convv"), "no module of ultralytics. Did you mean Conv?"),
    (lambda: nn.Identity, dict(like="Concat"), "in a way that is its own"),
    (lambda: nn.Identity, dict(like="parse_model"), "no module of ultralytics"),
    (lambda: nn.Identity, dict(like="(*args)", name="C2PSA"), "C2PSA is taken: ultralytics.nn.modules"),
    (lambda: nn.Identity, dict(like="(*args)", name="C2PSA_Diff"), "registered already, of ultralytics-diffattn"),
    (lambda: nn.Identity, dict(like="(*args)", name="my block"), "cannot stand in a row"),
    (lambda: nn.functional.relu, dict(like="(*args)"), "the function relu is no class of nn.Module"),
    (lambda: (lambda x: x), dict(like="(*args)"), "a lambda, which cannot be pickled, is no class"),
    (lambda: dict, dict(like="(*args)"), "the type dict is no class of nn.Module"),
    (inside_a_function, dict(like="(*args)"), "inside_a_function.<locals>.Local is a class inside a function"),
    (lambda: nn.Identity, dict(like="(*args)", name="LOGGER"), "LOGGER is taken"),
    (lambda: nn.ReLU6, dict(like="(c1, c2, *args)"), "ReLU6(c1, c2, *args), but its class has ReLU6(inplace=False)"),
    (lambda: nn.Flatten, dict(like="C2f"), "would call Flatten(c1, c2, n, *args), as C2f is, but its class has"),
    (lambda: "my_blocks.CBAM", dict(like="Conv"), '\'my_blocks.CBAM\' must be "package.module:Class"'),
    (lambda: "no_such_file:CBAM", dict(like="Conv"), "no_such_file:CBAM cannot be imported: No module named"),
    (lambda: "torch.nn:CBAM", dict(like="Conv"), "torch.nn:CBAM cannot be imported"),
]  # fmt: skip


def first_has_a_default():
    """Return a class whose factor is no number of channels."""
    return type("Factor", (nn.Module,), {"__init__": lambda self, lam=1e-4: None, "__module__": __name__})


BAD += [
    (
        first_has_a_default,
        dict(like="(c1, *args)"),
        "a row would call Factor(c1, *args), but its class has Factor(lam=0.0001), and lam would get c1: change",
    ),
    (
        lambda: nn.LeakyReLU,
        dict(like="(c1, *args)"),
        "LeakyReLU(negative_slope=0.01, inplace=False), and negative_slope would get c1",
    ),
]


def test_a_leading_parameter_of_the_same_name_may_have_a_default():
    module = type("Own", (nn.Module,), {"__init__": lambda self, c1=64: None, "__module__": __name__})
    globals()["Own"] = module
    try:
        register(module, like="(c1, *args)")
    finally:
        del globals()["Own"]
    assert "Own" in MODULES


@pytest.mark.parametrize(("module", "arguments", "message"), BAD, ids=[message[:40] for *_, message in BAD])
def test_what_cannot_be_registered(module, arguments, message):
    before = dict(MODULES)
    with pytest.raises(UserError, match=re.escape(message)):
        register(module(), **arguments)
    assert before == MODULES
    assert user_files.inherited() == []


def test_a_class_of_the_script_itself_is_refused():
    cell = type("Cell", (nn.Module,), {"__module__": "__main__"})
    with pytest.raises(UserError, match=r"notebook, with `%%writefile my_blocks.py`.*register\(\"my_blocks:Cell\""):
        register(cell, like="(*args)")


def test_a_class_within_a_class_is_fine():
    register(Nested.Inside, like="(*args)")
    assert MODULES["Inside"].build.endswith(":Nested.Inside")


def test_a_name_of_another_plugin(monkeypatch):
    monkeypatch.setattr(tasks, "Rival", type("Rival", (nn.Module,), {"__module__": "rival"}), raising=False)
    with pytest.raises(UserError, match="Rival is taken: another plugin"):
        register(nn.Identity, like="(*args)", name="Rival")


IN, BEHIND = "(2, 128, 128, 128)", "the rows behind it expect"
WRONG = [  # arguments of the class, its forward, like, row; what the message says
    ("", "return x[:, :64]", "(*args)", [], f"gives (2, 64, 128, 128) for an input of {IN}, but {BEHIND} {IN}"),
    (", c1, c2", "return x", "Conv", [64], f"gives {IN} for an input of {IN}, but {BEHIND} (2, 64, 128, 128)"),
    (", c1", "return (x, x)", "(c1, *args)", [], f"gives a tuple for an input of {IN}"),
    (", c1", "return x.mean()", "(c1, *args)", [], "gives a tensor of () for"),
    (", c1", "return x @ torch.ones(3, 3)", "(c1, *args)", [], f"fails on an input of {IN}: "),
    (
        ", c1, k",
        "return x",
        "(c1, *args)",
        [],
        "was called as Plain(128), by (c1, *args), and its class has Plain(c1, k)",
    ),
    (
        ", c1",
        "return x",
        "(c1, *args)",
        [7],
        "was called as Plain(128, 7), by (c1, *args), and its class has Plain(c1)",
    ),
    (", c1, c2", "return x", "Conv", [], "needs the number of its output channels as the first argument"),
    (", c", "return x[0]", "(channels, *args)", [], "is a module over several inputs: give a list, such as [-1, 6]"),
]


@pytest.mark.parametrize(
    ("parameters", "forward", "like", "args", "message"), WRONG, ids=[message[:50] for *_, message in WRONG]
)
def test_what_does_not_fit_names_the_row(parameters, forward, like, args, message, tmp_path, monkeypatch):
    write(tmp_path, PLAINEST.format(parameters, forward), monkeypatch)
    register("other_blocks:Plain", like=like)
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        build_rows([-1, 1, "Plain", args])
    assert f"(row 1 of the model YAML: {[-1, 1, 'Plain', args]})" in str(caught.value)


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("name", ["Attend", "Scale", "Mixer"])
def test_a_module_with_one_input_and_a_row_with_two(name):
    with pytest.raises(UserError, match=rf"{name} has one input; like='\(channels, \*args\)' is for several \(row 1"):
        build_rows([[-1, 0], 1, name, [8]])


def test_what_cannot_run_on_the_meta_device_is_run_on_zeros(tmp_path, monkeypatch):
    """With the random state as before, and the module as built."""
    text = PLAINEST.format(", c1", "return x + float(x.sum().item()) + torch.rand(()).item()")
    write(tmp_path, text, monkeypatch)
    register("other_blocks:Plain", like="(c1, *args)")
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    with torch.no_grad():
        layers = tasks.parse_model({"nc": 1, "backbone": [[-1, 1, "Plain", []]], "head": []}, ch=3, verbose=False)[0]
    assert torch.equal(torch.rand(3), expected)
    assert len(layers) == 1


def test_the_dry_run_changes_nothing(known, monkeypatch):
    """The same weights, statistics and random numbers as where there is none."""
    states, behind = [], []
    for check in (dry_run.check, lambda *_, **__: None):
        monkeypatch.setattr(dry_run, "check", check)
        torch.manual_seed(0)
        states.append(build_rows([-1, 1, "Mixer", [64, 3]], [-1, 1, "Attend", []]).state_dict())
        behind.append(torch.rand(2))
    assert all(torch.equal(a, b) for a, b in zip(*(s.values() for s in states), strict=True))
    assert torch.equal(*behind)
    assert not any(value.is_meta for value in states[0].values())


@pytest.mark.parametrize(("forward", "said"), [("x[..., ::2]", True), ("x.flip(3)", False)])
def test_another_height_or_width_is_said(forward, said, tmp_path, monkeypatch):
    """It may be meant, so it is no error."""
    write(tmp_path, PLAINEST.format(", c1", f"return {forward}"), monkeypatch)
    register("other_blocks:Plain", like="(c1, *args)")
    lines = []
    monkeypatch.setattr("logging.Logger.warning", lambda self, message, *args: lines.append(message))
    build_rows([-1, 1, "Plain", []])
    shapes = "Plain gives (2, 128, 128, 64) for an input of (2, 128, 128, 128): another height or width (row 1 of"
    assert len([line for line in lines if shapes in line]) == said


def test_what_a_forward_keeps_is_not_left_on_the_meta_device(tmp_path, monkeypatch):
    """Neither in the module itself, nor where it is run again for the row behind it."""
    forward = "self.kept = getattr(self, 'kept', x.new_ones(1)) * 2; return x * self.kept"
    write(tmp_path, PLAINEST.format(", c1", forward), monkeypatch)
    register("other_blocks:Plain", like="(c1, *args)")
    layers = build_rows([-1, 1, "Plain", []], [-1, 1, "Plain", []])
    assert not [name for module in layers.modules() for name in vars(module) if name == "kept"]
    assert layers[2](layers[1](torch.ones(1, 128, 2, 2))).unique().item() == 4


@pytest.mark.parametrize("like", known_likes(tasks))
def test_every_like_that_is_offered_is_read_as_stocks(like, tmp_path, monkeypatch):
    """A subclass of each stock module, in its place: the same arguments arrive."""
    rows = {
        "AIFI": [64, 8], "HGStem": [16, 32], "HGBlock": [16, 32, 3],
        "C2PSA": [128], "C2fPSA": [128], "PSA": [128], "SCDown": [64, 3, 2], "GhostBottleneck": [128],
        "SPPELAN": [64, 32], "RepNCSPELAN4": [64, 64, 32, 1], "ELAN1": [64, 64, 32],
    }  # fmt: skip
    if like.startswith(("Pose", "OBB", "ImagePooling")) or "Detect" in like:
        pytest.skip("a head: the next test")
    write(tmp_path, f"from ultralytics.nn import tasks\nclass Mine(tasks.{like}):\n    pass\n", monkeypatch)
    register("other_blocks:Mine", like=like)
    args = rows.get(like, [256])
    stock, mine = (layer([-1, 1, name, [*args]], scale=None if like in rows else "n") for name in (like, "Mine"))
    shapes = [{n: v.shape for n, v in m.state_dict().items()} for m in (stock, mine)]
    assert shapes[0] == shapes[1]


LEADING = [("Conv", "c1 c2"), ("C2f", "c1 c2 n"), ("RepNCSPELAN4", "c1 c2"), ("HGStem", "c1"), ("Detect", "")]


@pytest.mark.parametrize(("like", "names"), LEADING)
def test_what_comes_first_are_the_first_parameters(like, names):
    assert leading(like, vars(tasks)[like]) == names.split()
    assert {"TorchVision", "Index"}.isdisjoint(known_likes(tasks))


def test_a_head(tmp_path, monkeypatch):
    write(tmp_path, "from ultralytics.nn import tasks\nclass MyDetect(tasks.Detect):\n    pass\n", monkeypatch)
    register("other_blocks:MyDetect", like="Detect")
    d = tasks.yaml_model_load("yolo11n.yaml")
    d["head"][-1][2] = "MyDetect"
    model = tasks.DetectionModel(d, verbose=False)
    stock = tasks.DetectionModel("yolo11n.yaml", verbose=False)
    assert type(model.model[-1]).__name__ == "MyDetect"
    assert model.stride.tolist() == [8, 16, 32]
    assert [v.shape for v in model.state_dict().values()] == [v.shape for v in stock.state_dict().values()]


def test_signatures_are_those_of_the_page():
    page = (ROOT / "docs" / "how-to" / "your-own-module.md").read_text(encoding="utf-8")
    assert all(f"`{signature}`" in page for signature in PLAIN)
    assert [plain(s.strip("()").replace(" ", "")) for s in PLAIN] == list(PLAIN)
