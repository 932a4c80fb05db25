"""What exports keep, from recorded predictions: by hand, and of exports that failed."""

import numpy as np
import pytest

from tests.evaluation.test_facets import sample
from ultralytics_diffattn.comparison import exports, retention_tables, typed_json
from ultralytics_diffattn.comparison.facet_differences import RESAMPLES
from ultralytics_diffattn.comparison.retention import retentions
from ultralytics_diffattn.comparison.schema import RunFailure, RunKey
from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.evaluation import recording
from ultralytics_diffattn.evaluation.bootstrap import mean_ap, prepare
from ultralytics_diffattn.evaluation.estimates import estimate
from ultralytics_diffattn.evaluation.export_formats import Export

INT8 = Export("onnx", "int8")


def worse(p, seed):
    """Return predictions of which some that were right are wrong."""
    return p._replace(tp=p.tp & (np.random.default_rng(seed).random(len(p.tp)) < 0.9)[:, None])


def record(run, export, p):
    file = exports.predictions(run, export)
    file.parent.mkdir(parents=True)
    recording.write(file, p)


def make_run(folder, seed, exported):
    record(folder, None, sample(seed))
    record(folder, INT8, exported)
    return folder


def test_by_hand(tmp_path):
    samples = [(sample(s), worse(sample(s), s)) for s in range(3)]
    runs = {RunKey("ours", s): make_run(tmp_path / str(s), s, q) for s, (_, q) in enumerate(samples)}
    (kept,) = retentions(runs, [INT8], "detect")
    draws = [np.random.default_rng([0, n]).integers(0, 40, 40) for n in range(RESAMPLES)]
    weights = [None, *(np.bincount(draw, minlength=40) for draw in draws)]
    ap = np.array([[[mean_ap(prepare(p), w)[0] for p in pair] for pair in samples] for w in weights])  # (1 + R, 3, 2)
    assert (kept.title, kept.seeds, kept.failures) == ("onnx int8", [0, 1, 2], [])
    assert kept.pytorch == pytest.approx(ap[0, :, 0])
    assert kept.exported == pytest.approx(ap[0, :, 1])
    change, share = ap[..., 1] - ap[..., 0], ap[..., 1] / ap[..., 0]
    assert kept.difference == pytest.approx(change[0].mean())
    assert kept.interval == pytest.approx(estimate(change[0].tolist(), change[1:], 40).student.interval())
    assert kept.kept == pytest.approx(share[0].mean())
    assert kept.kept_interval == pytest.approx(estimate(share[0].tolist(), share[1:], 40).student.interval())
    assert kept.kept < 0.97


def test_an_export_that_predicts_the_same_keeps_all(tmp_path):
    runs = {RunKey("a", s): make_run(tmp_path / str(s), s, sample(s)) for s in range(2)}
    (kept,) = retentions(runs, [INT8], "detect")
    assert (kept.difference, kept.interval, kept.kept, kept.kept_interval) == (0.0, (0.0, 0.0), 1.0, (1.0, 1.0))
    assert retention_tables.kept(kept) == "100.0 % (+0.000, +0.000 to +0.000)"


def test_one_seed_and_a_model_that_found_nothing(tmp_path):
    nothing = sample(0)._replace(tp=sample(0).tp & False)
    record(tmp_path / "a", None, nothing)
    record(tmp_path / "a", INT8, nothing)
    (kept,) = retentions({RunKey("a", 0): tmp_path / "a"}, [INT8], "detect")
    assert (kept.difference, kept.interval, kept.kept, kept.kept_interval) == (0.0, None, None, None)
    assert retention_tables.kept(kept) == "- (+0.000)"


def test_failures_are_told_with_their_seed(tmp_path):
    runs = {RunKey("a", 0): make_run(tmp_path / "0", 0, sample(0)), RunKey("a", 1): tmp_path / "1"}
    runs[RunKey("b", 0)] = tmp_path / "2"
    exports.folder(tmp_path / "1", INT8).mkdir(parents=True)
    typed_json.write(exports.folder(tmp_path / "1", INT8) / "error.txt", RunFailure("ValueError: no", None))
    one, none = retentions(runs, [INT8], "detect")
    assert (one.seeds, one.failures) == ([0], ["seed 1: ValueError: no"])
    assert (none.seeds, none.difference, none.failures) == ([], None, ["seed 0: its process was killed or crashed"])
    assert retention_tables.kept(none) == "-"


def test_other_images_are_refused(tmp_path):
    p = sample(0)
    run = make_run(tmp_path / "0", 0, p._replace(files=p.files[::-1]))
    with pytest.raises(UserError, match="not measured on the same images throughout: delete exports/"):
        retentions({RunKey("a", 0): run}, [INT8], "detect")
