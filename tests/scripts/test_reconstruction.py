"""scripts/reconstruction.py: before, after and seconds of each model over seeds, by the real command."""

import re
import runpy

from ultralytics import YOLO

from tests.places import ROOT
from ultralytics_diffattn.weights import reconstruction


def test_a_row_for_each_model(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reconstruction, "STEPS", 2)
    monkeypatch.setattr(reconstruction, "LEAST_IMAGES", 8)
    YOLO("yolo11n.yaml").save(tmp_path / "stock.pt")
    main = runpy.run_path(str(ROOT / "scripts" / "reconstruction.py"))["main"]
    words = [f"weights={tmp_path / 'stock.pt'}", f"data={tiny}", "models=yolo11-diffattn.yaml", "seeds=0,1", "imgsz=64"]
    main([*words, f"project={tmp_path / 'kept'}"])
    head, _, stock, ours = capsys.readouterr().out.strip().splitlines()[-4:]
    assert head == "| model | before | after | relative error | seconds, recording + training |"
    assert re.fullmatch(r"\| stock \| 0\.\d{3} \| - \| - \| - \|", stock)
    number = r"\d+\.\d+"
    assert re.fullmatch(
        rf"\| yolo11-diffattn \| {number} \| {number} ± {number} \| {number} → {number} \| \d+ \+ \d+ \|", ours
    )
    kept = {file.name for file in (tmp_path / "kept").glob("*.pt")}
    assert kept == {"yolo11-diffattn.pt", "yolo11-diffattn-seed0.pt", "yolo11-diffattn-seed1.pt"}
