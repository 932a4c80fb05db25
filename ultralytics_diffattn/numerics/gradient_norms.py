# Ultralytics DiffAttn - AGPL-3.0 License
"""Gradient norms of each training step before clipping, and how often they spike."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median
from typing import Any, cast

import torch
from torch import Tensor, nn
from ultralytics.models.yolo.detect import DetectionTrainer

from ultralytics_diffattn.maps.hooks import attentions
from ultralytics_diffattn.nn.attention import DiffRMSNorm
from ultralytics_diffattn.nn.lambdas import LAMBDA
from ultralytics_diffattn.output.files import write_text
from ultralytics_diffattn.plugin.lambda_log import read

WINDOW = 50  # steps of the running median
SPIKE = 5.0  # times the running median
MAX_NORM = 10.0  # to which ultralytics clips
PARTS = "total", "attention", "lambda_vectors", "gain"
THRESHOLDS = 2, 3, SPIKE


@dataclass(frozen=True)
class Step:
    """Gradient norms of one training step before clipping, and the state of lambda and the head norm.

    Attributes:
        epoch (int): From 0.
        total (float): Norm over all parameters.
        attention (float | None): Norm over the attention modules, without the two below; None if there are none.
        lambda_vectors (float | None): Norm over the tensors that make lambda; None for plain attention.
        gain (float | None): Norm over the gains of the head norm; None if there is none.
        lam (float | None): Mean lambda.
        rms_min (float | None): Smallest denominator of the head norm.
        rms_median (float | None): Median of these.
    """

    epoch: int
    total: float
    attention: float | None = None
    lambda_vectors: float | None = None
    gain: float | None = None
    lam: float | None = None
    rms_min: float | None = None
    rms_median: float | None = None


@dataclass(frozen=True)
class PartSummary:
    """Norms of one part over a training: median, largest ratio to the running median, and steps over `THRESHOLDS`."""

    median: float
    largest_ratio: float
    spikes: tuple[int, ...]


@dataclass(frozen=True)
class TrainingSummary:
    """A training's steps behind warm-up and first window.

    Attributes:
        steps (int): How many are counted.
        clipped (float): Share of them over `MAX_NORM`.
        parts (dict[str, PartSummary | None]): By name in `PARTS`; None for a part that the model lacks.
        lam (tuple[float, float] | None): Mean lambda at the first and at the last step.
        rms (tuple[float, float] | None): Least denominator of the head norm, and the median.
    """

    steps: int
    clipped: float
    parts: dict[str, PartSummary | None]
    lam: tuple[float, float] | None
    rms: tuple[float, float] | None


class NormTrainer(DetectionTrainer):
    """Ultralytics' trainer, which records each step's gradient norms before it clips them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Begin with no steps; the hooks come when EMA has made its copy of the model."""
        super().__init__(*args, **kwargs)
        self.steps: list[Step] = []
        self._rms: list[Tensor] = []
        self.add_callback("on_train_start", NormTrainer.watch_head_norms)

    def watch_head_norms(self) -> None:
        """Keep the denominators of each head norm."""

        def keep(norm: nn.Module, args: tuple[Tensor, ...]) -> None:
            x = args[0].detach().float()
            self._rms.append((x.square().mean(-1) + cast(float, norm.eps)).sqrt().flatten())

        for module in self._network.modules():
            if isinstance(module, DiffRMSNorm):
                module.register_forward_pre_hook(keep)

    def optimizer_step(self) -> None:
        """Record the norms, then do what ultralytics does."""
        scale = self.scaler.get_scale()
        network = self._network
        grads = {n: p.grad.float() / scale for n, p in network.named_parameters() if p.grad is not None}
        lam = {n for n in grads if n.endswith((*LAMBDA, ".lam"))}
        gain = {n for n in grads if n.endswith("diff_norm.weight")}
        attention = {n for n in grads if n.startswith(tuple(f"{a}." for a in attentions(network)))}
        lambdas = [value.flatten() for value in read(network).values()]
        rms = torch.cat(self._rms) if self._rms else None
        self.steps.append(
            Step(
                self.epoch,
                total=joint_norm(list(grads.values())) or 0.0,
                attention=joint_norm([grads[n] for n in attention - lam - gain]),
                lambda_vectors=joint_norm([grads[n] for n in lam]),
                gain=joint_norm([grads[n] for n in gain]),
                lam=torch.cat(lambdas).mean().item() if lambdas else None,
                rms_min=None if rms is None else rms.min().item(),
                rms_median=None if rms is None else rms.median().item(),
            )
        )
        self._rms.clear()
        super().optimizer_step()  # type: ignore[no-untyped-call]  # ultralytics has no annotation

    @property
    def _network(self) -> nn.Module:
        return cast(nn.Module, self.model)


def record_training(model: str, seed: int, project: str, **args: Any) -> list[Step]:
    """Return the steps of a training; train only if its `norms.csv` does not exist yet.

    Args:
        model (str): A model YAML or weights.
        seed (int): Of the training.
        project (str): The folder above the run's, which is called MODEL-SEED.
        **args (Any): Further arguments of ultralytics' training.

    Returns:
        (list[Step]): One for each step of the optimizer.
    """
    file = Path(project) / f"{Path(model).stem}-{seed}" / "norms.csv"
    if not file.exists():
        run = {"model": model, "seed": seed, "project": project, "name": file.parent.name, "exist_ok": True}
        trainer = NormTrainer(overrides={**args, **run})
        trainer.train()  # type: ignore[no-untyped-call]  # ultralytics has no annotation
        write_steps(file, trainer.steps)
    return read_steps(file)


def write_steps(file: Path, steps: Sequence[Step]) -> None:
    """Write steps as CSV.

    Args:
        file (Path): Is replaced if it exists.
        steps (Sequence[Step]): From `NormTrainer`.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Step)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(step) for step in steps)
    write_text(file, text.getvalue())


def read_steps(file: Path) -> list[Step]:
    """Return the steps of a CSV.

    Args:
        file (Path): From `write_steps`.

    Returns:
        (list[Step]): In order.
    """
    with file.open(encoding="utf-8", newline="") as lines:
        return [_step(row) for row in csv.DictReader(lines)]


def joint_norm(tensors: Sequence[Tensor]) -> float | None:
    """Return the Euclidean norm of all elements together.

    Args:
        tensors (Sequence[Tensor]): Of any shapes.

    Returns:
        (float | None): None if there are no tensors.

    Examples:
        >>> joint_norm([torch.tensor([3.0]), torch.tensor([[4.0]])])
        5.0
    """
    return torch.stack([t.norm() for t in tensors]).norm().item() if tensors else None


def ratios(norms: Sequence[float], first: int = 0) -> list[float]:
    """Return each norm over the median of the `WINDOW` norms before it.

    Args:
        norms (Sequence[float]): One for each step.
        first (int): The first step behind the warm-up; ratios begin `WINDOW` steps later.

    Returns:
        (list[float]): Of the steps from `first + WINDOW` on.

    Examples:
        >>> ratios([2.0] * 50 + [6.0])
        [3.0]
    """
    return [norms[t] / median(norms[t - WINDOW : t]) for t in range(first + WINDOW, len(norms))]


def spikes(norms: Sequence[float], first: int = 0, times: float = SPIKE) -> int:
    """Return the number of norms over `times` the running median; what is not a number counts.

    Args:
        norms (Sequence[float]): One for each step.
        first (int): The first step behind the warm-up.
        times (float): The threshold.

    Returns:
        (int): The number.

    Examples:
        >>> spikes([1.0] * 50 + [5.1, 5.0])
        1
    """
    return sum(not ratio <= times for ratio in ratios(norms, first))


def summarize(steps: Sequence[Step], warmup_epochs: float) -> TrainingSummary | None:
    """Return the summary of a training.

    Args:
        steps (Sequence[Step]): All of them.
        warmup_epochs (float): Epochs that are not counted, nor used in a median.

    Returns:
        (TrainingSummary | None): None if no step is left.
    """
    first = next((i for i, step in enumerate(steps) if step.epoch >= warmup_epochs), len(steps))
    counted = steps[first + WINDOW :]
    if not counted:
        return None
    lam = [step.lam for step in steps if step.lam is not None]
    low = [step.rms_min for step in steps if step.rms_min is not None]
    middle = [step.rms_median for step in steps if step.rms_median is not None]
    return TrainingSummary(
        steps=len(counted),
        clipped=sum(step.total > MAX_NORM for step in counted) / len(counted),
        parts={part: _part([getattr(step, part) for step in steps], first) for part in PARTS},
        lam=(lam[0], lam[-1]) if lam else None,
        rms=(min(low), median(middle)) if low else None,
    )


def _step(row: dict[str, str]) -> Step:
    """Return the step of a row."""
    optional = [field.name for field in fields(Step) if field.name not in {"epoch", "total"}]
    values = {name: float(row[name]) if row[name] else None for name in optional}
    return Step(int(row["epoch"]), float(row["total"]), **values)


def _part(norms: list[float | None], first: int) -> PartSummary | None:
    """Return the summary of a part's norms."""
    values = [norm for norm in norms if norm is not None]
    if not values:
        return None
    over = tuple(spikes(values, first, times) for times in THRESHOLDS)
    return PartSummary(median(values[first + WINDOW :]), max(ratios(values, first)), over)
