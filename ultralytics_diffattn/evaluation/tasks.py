# Ultralytics DiffAttn - AGPL-3.0 License
"""What each of ultralytics' tasks measures: one row for each."""

from __future__ import annotations

from typing import NamedTuple


class Task(NamedTuple):
    """The metrics of a task; each is better the larger it is, if it is compared.

    Attributes:
        metrics (tuple[str, ...]): Of a model, in the order of a table.
        compared (tuple[str, ...]): Those that are resampled and get a verdict; the first is what the task is about.
        column (str): What ultralytics calls the first one, in `results.csv` and `results_dict`.
    """

    metrics: tuple[str, ...]
    compared: tuple[str, ...]
    column: str

    @property
    def main(self) -> str:
        """Return the metric that the task is about."""
        return self.compared[0]


AP = "mAP50-95", "mAP50"
SIZES = "AP small", "AP medium", "AP large"
RATES = "precision", "recall"
MASK_AP, POSE_AP, BOX_AP = (tuple(f"{what} {name}" for name in AP) for what in ("mask", "pose", "box"))
TASKS = {
    "detect": Task((*AP, *SIZES, *RATES), AP, "metrics/mAP50-95(B)"),
    "segment": Task((*MASK_AP, *BOX_AP, *RATES), (*MASK_AP, BOX_AP[0]), "metrics/mAP50-95(M)"),
    "pose": Task((*POSE_AP, *BOX_AP, *RATES), (*POSE_AP, BOX_AP[0]), "metrics/mAP50-95(P)"),
    "obb": Task((*AP, *RATES), AP, "metrics/mAP50-95(B)"),
    "classify": Task(("top-1", "top-5"), ("top-1",), "metrics/accuracy_top1"),
    "semantic": Task(("mIoU", "pixel accuracy"), ("mIoU", "pixel accuracy"), "metrics/mIoU"),
    "depth": Task(("delta1", "abs_rel", "rmse", "silog"), ("delta1",), "metrics/delta1"),
}
