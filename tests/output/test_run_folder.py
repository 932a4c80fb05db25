"""output/run_folder.py: the folder that ultralytics itself would choose, numbered, and not created."""

import pytest

from ultralytics_diffattn.output.run_folder import run_folder


def test_in_a_project(tmp_path):
    first = run_folder("detect", "val", "bench", project=str(tmp_path / "p"))
    assert first == tmp_path / "p" / "bench"
    assert not first.exists()
    first.mkdir(parents=True)
    second = run_folder("detect", "val", "bench", project=str(tmp_path / "p"))
    assert second.parent == first.parent
    assert second.name != "bench"
    assert second.name.startswith("bench")
    assert second.name.endswith("2")
    assert run_folder("detect", "val", "bench", project=str(tmp_path / "p"), exist_ok=True) == first


@pytest.mark.parametrize("project", [None, ""])
def test_without_a_project(project):
    folder = run_folder("segment", "train", "nowhere", project)
    assert folder.is_absolute()
    assert folder.parts[-2:] == ("segment", "nowhere")
