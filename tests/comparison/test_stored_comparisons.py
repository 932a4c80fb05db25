"""Comparisons of version 0.1.0, in tests/fixtures: every later version reads them, or says why it does not."""

import json
import re
import runpy
import shutil

import pytest

from tests.places import ROOT
from ultralytics_diffattn import __version__, cli
from ultralytics_diffattn.comparison import run_files, typed_json
from ultralytics_diffattn.comparison.schema import SCHEMA, RunKey, parse_results, read_results
from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.evaluation.environment import versions

FIXTURES = ROOT / "tests" / "fixtures"
MAKE = runpy.run_path(str(FIXTURES / "make_comparisons.py"))
TRAINED = [RunKey(model, seed) for seed in (0, 1, 2) for model in MAKE["ROWS"]]


@pytest.fixture
def stored(tmp_path):
    """Return a folder with the comparisons and what they compare, as a user has them who never moved them."""
    MAKE["draw"](tmp_path)
    for name in ("trained", "evaluated"):
        shutil.copytree(FIXTURES / name, tmp_path / name)
    for file in tmp_path.rglob("*.json"):
        file.write_text(file.read_text().replace(MAKE["FOLDER"], str(tmp_path)))
    return tmp_path


def contents(folder):
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("name", ["trained", "evaluated"])
def test_results_are_read_or_refused_by_their_schema(name):
    """While the schema is that of 0.1.0, nothing is renamed, removed or demanded; then the message says what to do."""
    file = FIXTURES / name / "results.json"
    stored = json.loads(file.read_text())
    assert stored["schema"] == 3
    if SCHEMA > stored["schema"]:
        with pytest.raises(UserError, match=r"schema 3.*Version 0\.1\.0 wrote it"):
            read_results(file)
        return
    results = read_results(file)
    assert [(r.model, r.seed) for r in results.runs] == [(r["model"], r["seed"]) for r in stored["runs"]]
    (pair,) = (p for p in results.pairs if p.metric == "top-1")
    assert (pair.verdict, pair.difference) == ("not distinguishable", pytest.approx(stored["pairs"][0]["difference"]))


@pytest.mark.parametrize(
    ("writer", "way_out"),
    [
        (__version__, "Give the comparison's command again: finished runs are kept"),
        ("0.0.9", "Version 0.0.9 wrote it: read it with that version, or compare again under another name=."),
    ],
)
def test_another_schema_is_refused_and_says_what_to_do(writer, way_out):
    stored = json.loads((FIXTURES / "trained" / "results.json").read_text())
    versions = {**stored["versions"], "ultralytics-diffattn": writer}
    with pytest.raises(UserError, match=rf"results\.json has schema 2, .* {re.escape(way_out)}"):
        parse_results({**stored, "schema": 2, "versions": versions}, "results.json")


def test_the_files_of_a_run_are_read(stored):
    for key in TRAINED:
        run = stored / "trained" / key.model / f"seed{key.seed}"
        assert run_files.read_spec(run).args["seed"] == key.seed
        assert run_files.read_record(run).epochs == 2
        assert run_files.read_curve(run, "classify").epoch == [1, 2]
        assert list(run_files.read_lambdas(run)) == (["model.1.m.0.attn"] if "diffattn" in key.model else [])


@pytest.mark.parametrize("name", ["trained", "evaluated"])
def test_the_same_command_with_other_versions_is_refused_and_changes_nothing(name, stored, capsys):
    for file in stored.rglob("spec.json"):
        spec = json.loads(file.read_text())
        file.write_text(json.dumps({**spec, "versions": {**spec["versions"], "ultralytics-diffattn": "0.0.9"}}))
    before = contents(stored)
    assert cli.main(MAKE["words"](name, stored)) == 1
    said = capsys.readouterr().err
    assert "belongs to a comparison with other settings (" in said
    assert re.search(r"versions: \{.*'ultralytics-diffattn': '0\.0\.9'.*\} before, \{.*\} now", said)
    assert "Choose another name=, or move that folder away; nothing was changed." in said
    after = contents(stored)
    assert {f: after[f] for f in before} == before
    assert not {f.name for f in after.keys() - before.keys()} - {"lock"}


def test_the_same_command_with_the_same_versions_continues(stored):
    """Only the versions that the folder names are those of now, as if nothing had been upgraded."""
    for file in stored.rglob("spec.json"):
        file.write_text(json.dumps({**json.loads(file.read_text()), "versions": versions()}))
    runs = {file: file.stat().st_mtime_ns for file in stored.glob("evaluated/*/evaluated/*.*")}
    old = typed_json.load(stored / "evaluated" / "results.json")
    assert cli.main(MAKE["words"]("evaluated", stored)) == 0
    assert {file: file.stat().st_mtime_ns for file in runs} == runs  # nothing is evaluated again
    new = typed_json.load(stored / "evaluated" / "results.json")
    assert new["created"] != old["created"]
    for key in ("runs", "confusion"):
        assert new[key] == old[key], key
    for now, then in zip(new["pairs"], old["pairs"], strict=True):
        assert (now["verdict"], now["difference"]) == (then["verdict"], pytest.approx(then["difference"]))
        assert now["interval"] == pytest.approx(then["interval"])
