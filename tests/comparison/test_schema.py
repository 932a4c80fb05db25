"""results.json: its types, the page that describes them, and what is refused when it is read."""

import dataclasses
import re
from pathlib import Path
from typing import get_args, get_type_hints, is_typeddict

import pytest

from ultralytics_diffattn.comparison import schema, typed_json
from ultralytics_diffattn.errors import MissingFileError, UserError

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "results.md"
SPREAD = {"mean": 0.5, "sd": None, "values": [0.5, None]}
PAIR = {
    **{"first": "a", "second": "b", "metric": "mAP50-95", "seeds": [0], "difference": 0.1, "per_seed": [0.1]},
    **{"interval": [0.0, 0.2], "error": 0.05, "df": 12.0, "over_seeds": None, "over_images": [0.0, 0.2]},
    **{"p_different": 0.04, "p_unequal": None, "verdict": "better", "seeds_needed": None},
    "per_class": {"cell": {"difference": 0.1, "over_seeds": [0.0, 0.2]}},
}
RUN = {
    **{"model": "a", "seed": 0, "metrics": {"mAP50": 0.5, "AP small": None}, "per_class": {"cell": 0.5}},
    **{
        "pr_curve": [1.0, 0.5],
        "by_confidence": {"F1": [0.5, 0.0]},
        "epochs": 1,
        "seconds_per_epoch": 1.5,
        "seconds": 1.5,
        "peak_memory_mb": None,
    },
    **{
        "resumed_after": [],
        "seconds_last_process": 2.0,
        "step0": None,
        "reconstruction": None,
        "lambdas": {"model.10.m.0.attn": [0.8]},
    },
    "curve": {"epoch": [1], "metric": [0.5], "losses": {"box_loss": [None], "cls_loss": [0.1]}},
}
MODEL = {
    **{"model": "a.yaml", "parameters": 10, "gflops": 1.5, "latency_ms": {"pytorch": 1.0, "onnxruntime": None}},
    **{"seeds": 1, "metrics": {"mAP50": SPREAD}, "per_class": {"cell": SPREAD}, "seconds_per_epoch": None},
    **{"peak_memory_mb": None, "resumed_runs": 0},
}
EFFECT = {
    **{"kind": "model", "model": "b", "teacher": None, "seeds": [0], "difference": 0.1, "per_seed": [0.1]},
    **{"interval": None, "p_different": None, "p_unequal": None, "verdict": "no verdict"},
}
FACET = {
    **{"title": "Errors", "note": "AP50", "names": ["background"], "models": {"a": [0.1], "b": [0.2]}},
    "pairs": [{"first": "a", "second": "b", "differences": [0.1], "intervals": [[0.0, 0.2]]}],
}
CONFUSION = {"classes": ["cell", "background"], "models": {"a": [[1.0, 0.5], [2.0, 0.0]]}, "largest": FACET}
RETENTION = {
    **{"model": "a", "format": "onnx", "precision": "int8", "seeds": [0], "pytorch": [0.5], "exported": [0.4]},
    **{"difference": -0.1, "interval": None, "kept": 0.8, "kept_interval": [0.7, 0.9], "failures": ["seed 1: no"]},
}
RESULTS = {
    **{"schema": 3, "task": "detect", "created": "2030-01-02T03:04:05+00:00", "versions": {"torch": "2.9.0"}},
    "hardware": {"cpu": "a processor", "cores": 2, "gpu": "none", "system": "Linux"},
    "data": {
        "file": "data.yaml",
        "sha256": "ab",
        "split": "val",
        "holdout": None,
        "images": 1,
        "objects": 2,
        "classes": ["cell"],
    },
    **{"arguments": {"epochs": 1, "augment": None}, "runs": [RUN], "models": {"a": MODEL}, "pairs": [PAIR]},
    "margin": 0.005,
    "effects": [EFFECT],
    "facets": [FACET],
    "confusion": CONFUSION,
    "retention": [RETENTION],
    "missing": ["b seed 1"],
}


def types_of_results(kind=schema.Results):
    """Return every type with fields that results.json is made of, by its name."""
    types = {}
    if dataclasses.is_dataclass(kind) or is_typeddict(kind):
        types[kind.__name__] = kind
        for field in get_type_hints(kind).values():
            types |= types_of_results(field)
    for argument in get_args(kind):
        types |= types_of_results(argument)
    return types


def annotations(kind):
    """Return the fields of a type with their types as the page writes them."""
    aliases = {"TrainingArguments": "dict[str, Any]", "Interval": "tuple[float, float]"}
    written = {name: str(getattr(hint, "__forward_arg__", hint)) for name, hint in kind.__annotations__.items()}
    return {name: re.sub(r"\w+", lambda word: aliases.get(word[0], word[0]), hint) for name, hint in written.items()}


def test_the_page_describes_every_field_of_every_type():
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.DOTALL | re.MULTILINE))
    documented = {
        name: {
            field: kind.replace("\\|", "|")
            for field, kind in re.findall(r"^\| `(\w+)` \| (.+?) \| .{3,} \|$", text, re.M)
        }
        for name, text in sections.items()
    }
    types = types_of_results() | types_of_results(schema.Across)
    assert documented == {name: annotations(kind) for name, kind in types.items()}
    assert len(documented) == 18


def test_results_are_read_as_they_were_written(tmp_path):
    results = schema.parse_results(RESULTS)
    assert results.pairs[0].per_class["cell"].over_seeds == (0.0, 0.2)
    assert results.runs[0].key == ("a", 0)
    typed_json.write(tmp_path / "results.json", results)
    assert schema.read_results(tmp_path / "results.json") == results


@pytest.mark.parametrize("version", [None, 0, 1, "2"])
def test_another_schema_is_refused_with_the_remedy(version):
    with pytest.raises(
        UserError, match=rf"schema {version}, but .* reads schema 3. Give the comparison's command again"
    ):
        schema.parse_results({**RESULTS, "schema": version})
    with pytest.raises(UserError, match="schema None"):
        schema.parse_results([])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"runs": [{**RUN, "seed": "0"}]}, r"runs\.0\.seed must be int, not '0'"),
        ({"runs": [{**RUN, "epochs": True}]}, r"runs\.0\.epochs must be int, not 'True'"),
        ({"runs": [{**RUN, "step0": []}]}, r"runs\.0\.step0 must be float"),
        ({"pairs": [{**PAIR, "over_images": [0.1]}]}, r"pairs\.0\.over_images must be tuple\[float, float\]"),
        ({"pairs": [{k: v for k, v in PAIR.items() if k != "verdict"}]}, r"pairs\.0 lacks verdict"),
        ({"models": []}, r"models must be dict"),
        ({"hardware": {"cpu": "x"}}, r"hardware lacks cores, gpu, system"),
        ({"more": 1}, r"the file must not have more"),
    ],
)
def test_a_field_of_another_type_is_named(changes, message):
    with pytest.raises(UserError, match=message):
        schema.parse_results({**RESULTS, **changes})


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(MissingFileError, match=r"results\.json does not exist"):
        schema.read_results(tmp_path / "results.json")
    with pytest.raises(MissingFileError, match=r"run\.json does not exist"):
        typed_json.read(schema.RunRecord, tmp_path / "run.json")
    (tmp_path / "run.json").write_text("{torn")
    with pytest.raises(UserError, match=r"run\.json is not JSON"):
        typed_json.read(schema.RunRecord, tmp_path / "run.json")
