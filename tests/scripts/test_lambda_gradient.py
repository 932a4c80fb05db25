"""scripts/lambda_gradient.py: what it records of a training, and that lambda moves as far as it says."""

import re
import runpy

import pytest
import torch
from ultralytics import YOLO

from tests.places import ROOT
from ultralytics_diffattn.nn.lambdas import PairedLambdaMixin


@pytest.fixture(scope="module")
def lines():
    return runpy.run_path(str(ROOT / "scripts" / "lambda_gradient.py"))


@pytest.mark.parametrize(
    ("gradients", "expected"), [([1.0, 2.0, 3.0], 2 / (1 / 3**0.5)), ([1.0, -1.0, 1.0, -1.0], 0.0)]
)
def test_errors_from_zero(lines, gradients, expected):
    assert lines["errors_from_zero"](gradients) == pytest.approx(expected)


def test_a_row_for_each_factor(lines, tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    YOLO("yolo11n.yaml").save(tmp_path / "stock.pt")
    plain = PairedLambdaMixin.compute_lambda
    small = [f"data={tiny}", "epochs=2", "imgsz=64", "batch=4", "device=cpu", "workers=0"]
    lines["main"](["weights=stock.pt", "factors=1,100", "seeds=0", "warmup_epochs=0", *small])
    assert PairedLambdaMixin.compute_lambda is plain
    head, _, once, more = capsys.readouterr().out.strip().splitlines()[-4:]
    assert head.startswith("| λ moves | gradient, standard errors from 0 |")
    ends = []
    for row, name in ((once, "1 times"), (more, "100 times")):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[0] == name
        assert len(cells[1].split(",")) == len(cells[3].split(",")) == 2, "a figure for each head"
        assert float(cells[2]) > 0
        assert re.fullmatch(r"\d\.\d{3}", cells[4])
        ends.append(max(abs(float(value)) for value in cells[3].split(",")))
    assert ends[1] > 10 * ends[0] > 0, "Adam's step does not know the factor, lambda does"
