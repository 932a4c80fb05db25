"""twins.py against parsers that ultralytics does not have yet: rows of ours are read as stock's, or it is said."""

import ast
import inspect
import re
import textwrap
import types
from typing import NamedTuple

import pytest
import torch
from ultralytics.nn import tasks

from ultralytics_diffattn import DiffAttention
from ultralytics_diffattn.plugin.attach import attach
from ultralytics_diffattn.plugin.module_table import MODULES
from ultralytics_diffattn.plugin.versions import ADVICE

ROWS = [  # module, its arguments in a row; stock's own gets the same
    ("C2PSA_Diff", [256]),
    ("C2PSA_Diff", [256, 0.5]),
    ("C3k2_Diff", [512, True, 0.5, True]),
    ("A2C2f_Diff", [256, True, 4]),
    ("AIFI_Diff", [1024, 8]),
    ("DiffAttention", [256]),
]
if "attn" not in inspect.signature(tasks.C3k2).parameters:
    ROWS = [row for row in ROWS if row[0] != "C3k2_Diff"]  # no C3k2 of this ultralytics has attention
SCALES = {"n": [0.5, 0.5, 1024], "x": [1.0, 1.0, 512]}  # width 1, so that a row that is passed as it stands fits, too
ALL = frozenset(MODULES)
NO_PLACE = frozenset({"C2PSA_Diff", "DiffAttention"})  # which need not know the row that they are built from
AIFI = frozenset({"AIFI_Diff"})  # which is in no set
NONE = frozenset()
LIKE = [row.like for row in MODULES.values()]
SAID = (RuntimeError, re.escape(ADVICE))
NAMED = ((AttributeError, KeyError), "{name}")  # ultralytics' own error where our code is never reached

# Where the source, as ast.unparse writes it, is changed
START = r"\A"
SETS = r"(base|repeat)_modules = frozenset\((\{.*?\})\)"
HOIST = r"(?s)\A(.*?)\n    (base_modules = [^\n]*)\n    (repeat_modules = [^\n]*)(?=\n)", r"\2\n\3\n\1"
IN = r"\bm in (base|repeat)_modules\b"
IN_BASE = r"\bm in base_modules\b"
IN_REPEAT = r"\bm in repeat_modules\b"
IS = r"\bm is (A2C2f|AIFI|C3k2)\b"
FOUND = r"globals\(\)\[m\]"
MADE = r"\bm\(\*args\)"
LOOP = r"(\n    for \(?i, \(f, n, m, args\)\)? in [^\n]*)"  # Python 3.10 writes one more pair of brackets
NAME = r"\bparse_model\b"
IMPORT = "from ultralytics.nn import modules\n"
MORE = (
    f"def _more(m, n):\n    m = globals().get(m)\n    return n * 2 if {' or '.join(f'm is {x}' for x in LIKE)} else n\n"
)
MAKE_BY_NAMES = """
import inspect
def _make(m, args):
    if m.__module__ == "ultralytics_diffattn":
        return m(**dict(zip([*inspect.signature(m.__init__).parameters][1:], args)))
    return m(*args)
"""


def branch(condition, action="n = n * 2"):
    """Return the change that puts a branch before those of the parser, for each stock module of a twin."""
    return (
        r"\n( +)if (m in|m\.__name__)",
        rf"\n\1if {' or '.join(condition.format(x) for x in LIKE)}:\n\1    {action}\g<0>",
    )


class Mutant(NamedTuple):
    """A parser of the future, and which of our modules it builds; of the others it must be said that it cannot."""

    name: str
    works: frozenset
    changes: tuple
    error: tuple = SAID


MUTANTS = [
    Mutant("as it is", ALL, ()),
    # how sets of modules are written
    Mutant("plain sets", ALL, [(SETS, r"\1_modules = \2")]),
    Mutant("tuples", ALL, [(SETS, r"\1_modules = tuple(\2)")]),
    Mutant("lists", ALL, [(SETS, r"\1_modules = list(\2)")]),
    Mutant("dict by class", ALL, [(SETS, r"\1_modules = dict.fromkeys(\2, 1)"), (IN, r"\1_modules.get(m)")]),
    Mutant("out of the function", ALL, [HOIST]),
    Mutant("out of the function, plain", ALL, [HOIST, (SETS, r"\1_modules = \2")]),
    Mutant("out of the function, by class", ALL, [HOIST, (SETS, r"\1_modules = {x: 1 for x in \2}")]),
    # how a module is looked for in them
    Mutant("any ==", ALL, [(IN, r"any(m == x for x in \1_modules)")]),
    Mutant("any is", AIFI, [(IN, r"any(m is x for x in \1_modules)")]),
    Mutant("id", AIFI, [(IN, r"id(m) in {id(x) for x in \1_modules}")]),
    Mutant("name", AIFI, [(IN, r"m.__name__ in {x.__name__ for x in \1_modules}")]),
    Mutant("name, written out", NONE, [(IN_BASE, rf"m.__name__ in {set(LIKE)!r} or m in base_modules")]),
    Mutant("name in the row", AIFI, [(LOOP, r"\1\n        row = m"), (IN, r"row in {x.__name__ for x in \1_modules}")]),
    Mutant("issubclass", ALL, [(IN, r"issubclass(m, tuple(\1_modules))")]),
    Mutant("mro", ALL, [(IN, r"not frozenset(\1_modules).isdisjoint(m.__mro__)")]),
    Mutant("attribute", ALL, [(IN, r"m.__init__ in {x.__init__ for x in \1_modules}")]),
    Mutant("repeats by is", AIFI | {"DiffAttention"}, [(IN_REPEAT, "any(m is x for x in repeat_modules)")]),
    Mutant("repeats by id", AIFI | {"DiffAttention"}, [(IN_REPEAT, "id(m) in {id(x) for x in repeat_modules}")]),
    Mutant(
        "repeats by name", AIFI | {"DiffAttention"}, [(IN_REPEAT, "m.__name__ in [x.__name__ for x in repeat_modules]")]
    ),
    Mutant("repeats by issubclass", ALL, [(IN_REPEAT, "issubclass(m, tuple(repeat_modules))")]),
    # how the branches of single modules are written
    Mutant("branches by ==", ALL, [(IS, r"m == \1")]),
    Mutant("branches by in", ALL, [(IS, r"m in {\1}")]),
    Mutant("branches by issubclass", ALL, [(IS, r"issubclass(m, \1)")]),
    Mutant("branches by name", ALL, [(IS, r"m.__name__ == '\1'")]),
    # branches that are new: twice as many repeats
    Mutant("new: in", ALL, [branch("m in {{{}}}")]),
    Mutant("new: ==", ALL, [branch("m == {}")]),
    Mutant("new: issubclass", ALL, [branch("issubclass(m, {})")]),
    Mutant("new: is", NONE, [branch("m is {}")]),
    Mutant("new: is, turned round", NONE, [branch("{} is m")]),
    Mutant("new: is not", NONE, [branch("not m is not {}")]),
    Mutant("new: is, of another module", NONE, [branch("m is modules.{}"), (START, IMPORT)]),
    Mutant("new: is, in a function", NONE, [(LOOP, r"\1\n        n = _more(m, n)"), (START, MORE)]),
    Mutant("new: is, in an inner function", NONE, [branch("(lambda: m is {})()")]),
    Mutant("new: name", NONE, [branch("m.__name__ == '{}'")]),
    Mutant("new: one of names", NONE, [branch("m.__name__ in ('{}', 'Other')")]),
    # branches that are new, and do something else
    Mutant("new: widens", NONE, [branch("m is {}", "args[0] *= 2")]),
    Mutant("new: argument before c2", NONE, [branch("m is {}", "args.insert(0, 64)")]),
    Mutant("new: another class", NONE, [branch("m is {}", "m = Conv")]),
    # where a module is found
    Mutant("own table", NONE, [(FOUND, "_TABLE[m]"), (START, "_TABLE = dict(globals())\n")], NAMED),
    Mutant("nn.modules", NONE, [(FOUND, "getattr(modules, m)"), (START, IMPORT)], NAMED),
    Mutant("vars", ALL, [(FOUND, "dict(globals())[m]")]),
    Mutant("eval", ALL, [(FOUND, "eval(m)")]),
    # how the function is laid out
    Mutant("renamed", NO_PLACE, [(NAME, "read_model")]),
    Mutant("renamed variable ch", NO_PLACE, [(r"\bch\b", "channels")]),
    Mutant("renamed variable scale", ALL, [(r"\bscale\b(?!')", "size")]),
    Mutant("scale taken out of d", ALL, [(r"d\.get\('scale'\)", "d.pop('scale', None)")]),
    Mutant(
        "built in a function", ALL, [(MADE, "_make(m, args)"), (START, "def _make(m, args):\n    return m(*args)\n")]
    ),
    Mutant("built by partial", ALL, [(MADE, "functools.partial(m, *args)()"), (START, "import functools\n")]),
    Mutant("built with names", NONE, [(MADE, "_make(m, args)"), (START, MAKE_BY_NAMES)]),
    Mutant(
        "channels of the layer noted first",
        ALL - {"C3k2_Diff"},
        [
            (r"\n( +)m_ = ", r"\n\1ch = [*ch, c2] if i else ch\g<0>"),
            (r"if i == 0:\n +ch = \[\]\n +ch.append\(c2\)", "ch = ch if i else [c2]"),
        ],
    ),
    Mutant(
        "wrapped", ALL, [(r"\Z", "\n\n_parse = parse_model\n\ndef parse_model(*args):\n    return _parse(*args)\n")]
    ),
]


def parser(changes, attach_first=False):
    """Return a mutant of the installed parse_model, in a module like tasks that the twins are in."""
    text = ast.unparse(ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(tasks.parse_model)))))
    for old, new in changes:
        before = text
        text = re.sub(old, new, text)
        assert text != before, f"nothing is changed by {old}"
    module = types.ModuleType("ultralytics.nn.tasks")
    vars(module).update({n: v for n, v in vars(tasks).items() if n not in MODULES})
    del module.parse_model
    for step in (attach, lambda m: exec(text, vars(m)))[:: 1 if attach_first else -1]:
        step(module)
    return vars(module)[re.findall(r"^def (\w+)", text, re.MULTILINE)[-1]]


def layers(parse, name, args, scale):
    """Build a small model around one row."""
    d = {
        "nc": 3,
        "scales": SCALES,
        "scale": scale,
        "backbone": [[-1, 1, "Conv", [256, 3, 2]], [-1, 2, name, [*args]], [-1, 1, "Conv", [256, 3, 2]]],
        "head": [[-1, 1, "C3k2", [256, False]], [[-1], 1, "Detect", [3]]],
    }
    with torch.device("meta"):
        return parse(d, 3, False)[0]


def shapes(module):
    return {name: value.shape for name, value in module.state_dict().items()}


def assert_same(ours, stock):
    """Hold that channels, repeats and the shapes of all tensors that stock has are the same."""
    for a, b in zip(ours, stock, strict=True):
        blocks = [list(x) if isinstance(x, torch.nn.Sequential) else [x] for x in (a, b)]
        for x, y in zip(*blocks, strict=True):
            if isinstance(x, DiffAttention):  # PSA has other tensors
                assert x.q_proj.weight.shape == (y.cv2.conv.out_channels, y.cv1.conv.in_channels)
                continue
            of_ours, of_stock = shapes(x), shapes(y)
            assert {n: of_ours.get(n) for n in of_stock} == of_stock
            assert len(getattr(x, "m", ())) == len(getattr(y, "m", ()))


@pytest.mark.parametrize(
    ("mutant", "attach_first"),
    [
        *(pytest.param(m, False, id=m.name) for m in MUTANTS),
        *(pytest.param(m, True, id=f"{m.name}, twins first") for m in MUTANTS if HOIST in m.changes),
    ],
)
def test_mutant(mutant, attach_first):
    """The oracle is stock's own row, read by the same mutant."""
    parse = parser(mutant.changes, attach_first)
    error, message = mutant.error
    for name, args in ROWS:
        for scale in SCALES:
            if name in mutant.works:
                ours = layers(parse, name, args, scale)
                assert_same(ours, layers(parse, MODULES[name].like, args, scale))
                continue
            with pytest.raises(error, match=message.format(name=name)):
                layers(parse, name, args, scale)


def test_a_change_that_changes_nothing_is_said():
    with pytest.raises(AssertionError, match="nothing is changed by no such"):
        parser([("no such text", "")])
