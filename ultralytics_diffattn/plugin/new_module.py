# Ultralytics DiffAttn - AGPL-3.0 License
"""A first version of a user's module, written out: the file, a model YAML with a row of it, and a test."""

from __future__ import annotations

import inspect
import keyword
import re
from pathlib import Path
from typing import Any

import yaml

from ultralytics_diffattn.errors import ExistingFileError, UserError
from ultralytics_diffattn.output.files import write_text
from ultralytics_diffattn.plugin import user_modules
from ultralytics_diffattn.plugin.signatures import PLAIN, check_like, leading, plain

ROW = 10  # of yolo11.yaml, the last of the backbone; behind it goes a row with one input
CONCAT = 12  # in whose place goes a row over several inputs

MODULE = '''"""{name}, a module for rows of a YOLO model.

    {commands}
"""

import torch
from torch import nn
{imports}
from ultralytics_diffattn import register


@register(like="{like}")
class {name}(nn.Module):
    """{does}"""

    def __init__(self, {parameters}):
        super().__init__()
{init}

    def forward(self, {inputs}):
{forward}
'''
TEST = '''"""Tests of {name}: python -m pytest test_{stem}.py"""

import io
from pathlib import Path

import pytest
import torch
from ultralytics import YOLO

from {stem} import {name}

YAML = Path(__file__).with_name("{yaml}")


@pytest.fixture
def model():
    torch.manual_seed(0)
    return YOLO(YAML).model


def test_the_model_has_it_and_runs(model):
    assert [type(m) for m in model.model if type(m) is {name}]
    assert model.eval()(torch.rand(1, 3, 64, 64))[0].isfinite().all()


def test_a_gradient_reaches_each_parameter(model):
    sum(y.square().mean() for y in _tensors(model.train()(torch.rand(2, 3, 64, 64)))).backward()
    for module in model.model:
        if type(module) is {name}:
            assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


def test_it_comes_back_from_a_checkpoint(model):
    file, x = io.BytesIO(), torch.rand(1, 3, 64, 64)
    torch.save(model.eval(), file)
    again = torch.load(io.BytesIO(file.getvalue()), weights_only=False)
    assert torch.equal(again(x)[0], model(x)[0])


def test_an_exported_graph_computes_the_same(model):
    (module,) = [m for m in model.model if type(m) is {name}]
    x = {example}
    graph = torch.jit.trace(module.eval(), (x,))
    torch.testing.assert_close(graph(x), module(x))


def _tensors(outputs):
    """Yield the tensors in the nested outputs of a model."""
    if isinstance(outputs, torch.Tensor):
        yield outputs
    else:
        for each in outputs.values() if isinstance(outputs, dict) else outputs:
            yield from _tensors(each)
'''
GATE = "y * self.gate(y.mean((2, 3), keepdim=True)).sigmoid()"
BODIES = {  # by what comes before a row's arguments: what it does, parameters, __init__, inputs, forward, arguments
    ("c1", "c2"): (
        "A convolution whose channels are weighted by what they hold on average.", "c1, c2, k=1",
        "self.conv = Conv(c1, c2, k)\nself.gate = nn.Conv2d(c2, c2, 1)", "x",
        f"y = self.conv(x)\nreturn {GATE}", [1024],
    ),
    ("c1", "c2", "n"): (
        "Convolutions whose channels are weighted by what they hold on average.", "c1, c2, n=1, k=1",
        "self.conv = nn.Sequential(*(Conv(c1 if i == 0 else c2, c2, k) for i in range(n)))\n"
        "self.gate = nn.Conv2d(c2, c2, 1)", "x", f"y = self.conv(x)\nreturn {GATE}", [1024],
    ),
    ("c1",): (
        "Its input, whose channels are weighted by what they hold on average.", "c1",
        "self.gate = nn.Conv2d(c1, c1, 1)", "y", f"return {GATE}", [],
    ),
    (): (
        "Its input, weighted by itself.", "start=1.0",
        "self.factor = nn.Parameter(torch.tensor(float(start)))", "x", "return x * (self.factor * x).sigmoid()", [],
    ),
    ("channels",): (
        "Its inputs, one behind another, their channels weighted by what they hold on average.", "channels",
        "self.gate = nn.Conv2d(sum(channels), sum(channels), 1)", "xs", f"y = torch.cat(xs, 1)\nreturn {GATE}", [],
    ),
}  # fmt: skip


def write(name: str, like: str, folder: Path) -> tuple[list[Path], list[str]]:
    """Write the first version of a module, a model YAML with a row of it, and a test.

    Args:
        name (str): Of the class.
        like (str): What its rows are read like, as for `register`.
        folder (Path): Where the files go.

    Returns:
        (tuple[list[Path], list[str]]): The files, and the commands to run.

    Raises:
        UserError: If the name is no class's or is taken, or there is no template for `like`.
        ExistingFileError: If one of the files exists.

    Examples:
        >>> import tempfile
        >>> files, commands = write("MyGate", "Conv", Path(tempfile.mkdtemp()))
        >>> [file.name for file in files], commands[1]
        (['my_gate.py', 'yolo11-my_gate.yaml', 'test_my_gate.py'], 'diffattn modules add my_gate.py')
    """
    from importlib.util import find_spec

    from ultralytics.nn import tasks

    like = plain(like)
    check_like(like, tasks)
    stem = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    if not re.fullmatch(r"[A-Z]\w*", name):
        raise UserError(f"{name!r} is not a name for a class: begin with a capital letter, as in diffattn new CBAM.")
    if keyword.iskeyword(name) or keyword.iskeyword(stem):
        raise UserError(f"{name}: {stem if keyword.iskeyword(stem) else name} is a word of Python's: choose another.")
    user_modules.load()
    if name in vars(tasks):
        raise UserError(f"{name} is taken: a row of that name is ultralytics' own, or registered. Choose another.")
    files = [folder / file for file in (f"{stem}.py", f"yolo11-{stem}.yaml", f"test_{stem}.py")]
    for file in files:
        if file.exists():
            raise ExistingFileError(f"{file} exists already; move it away, or choose another name.")
    if find_spec(stem) is not None:
        raise UserError(f"{stem}.py would hide the module {stem} that Python has: choose another name.")
    names = tuple(leading(like, vars(tasks).get(like)))
    is_begun_so = like in PLAIN or (names and set(names) == _channels_and_repeats(vars(tasks)[like]))
    if names not in BODIES or not is_begun_so:
        raise UserError(
            f"there is no template for like={like}: take one of {', '.join(map(repr, PLAIN))}, or Conv, C2f."
        )
    commands = [
        f"python -m pytest test_{stem}.py",
        f"diffattn modules add {stem}.py",
        f"diffattn compare data=shapes models=yolo11n.yaml,yolo11n-{stem}.yaml",
    ]
    does, parameters, init, inputs, forward, arguments = BODIES[names]
    text = MODULE.format(
        name=name,
        like=like,
        commands="\n    ".join(commands),
        imports="from ultralytics.nn.modules import Conv\n" if "Conv(c1" in init.replace("nn.Conv2d", "") else "",
        does=does,
        parameters=parameters,
        init=_indented(init),
        inputs=inputs,
        forward=_indented(forward),
    )
    shape = (
        "[torch.rand(1, 256, 4, 4), torch.rand(1, 128, 4, 4)]" if names == ("channels",) else "torch.rand(1, 256, 4, 4)"
    )
    test = TEST.format(name=name, stem=stem, yaml=files[1].name, example=shape)
    unused = "import torch\n" if "torch." not in text.partition("class ")[2] else ""
    for file, content in zip(files, (text.replace(unused, "", 1), _yaml(name, names, arguments), test), strict=True):
        write_text(file, content)
    return files, commands


def _channels_and_repeats(stock: type) -> set[str]:
    """Return which of c1, c2 and n a stock module takes, wherever they stand."""
    return {"c1", "c2", "n"} & set(inspect.signature(stock).parameters)


def _indented(lines: str) -> str:
    """Return lines of a function's body."""
    return "\n".join(f"        {line}" for line in lines.splitlines())


def _yaml(name: str, names: tuple[str, ...], arguments: list[Any]) -> str:
    """Return stock's yolo11.yaml with a row of a module behind the backbone, or in the place of the first Concat."""
    from ultralytics.nn.tasks import yaml_model_load

    d = yaml_model_load("yolo11.yaml")
    if names == ("channels",):
        d["head"][CONCAT - len(d["backbone"])][2:] = [name, arguments]
        where = f"in the place of row {CONCAT}, Concat"
    else:
        for row in d["head"]:
            row[0] = [f + (f >= ROW) for f in row[0]] if isinstance(row[0], list) else row[0]
        d["backbone"].append([-1, 1, name, arguments])
        where = f"row {ROW + 1}, behind the backbone"
    lines = [f"# YOLO11 with {name}: {where}", f"nc: {d['nc']}", "scales:"]
    lines += [f"  {scale}: {values}" for scale, values in d["scales"].items()]
    for part in ("backbone", "head"):
        lines += [
            f"{part}:",
            *(f"  - {yaml.safe_dump(r, default_flow_style=True, width=999).strip()}" for r in d[part]),
        ]
    return "\n".join(lines) + "\n"
