"""What a comparison leaves behind."""

from ultralytics_diffattn.comparison.report import write_report
from ultralytics_diffattn.comparison.schema import RunKey


def test_nothing_to_compare_yet(tmp_path):
    write_report(tmp_path, {RunKey("a", 0): tmp_path / "a", RunKey("b", 0): tmp_path / "b"}, margin=0.005)
    assert list(tmp_path.iterdir()) == []
