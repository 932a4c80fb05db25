# Ultralytics DiffAttn - AGPL-3.0 License
"""Why lambda of kind `paired` hardly moves in a training, and whether larger steps make it move.

`python scripts/lambda_gradient.py weights=yolo11n.pt data=data.yaml imgsz=640 epochs=4 seeds=0,1`: paired models are
fine-tuned by ultralytics' trainer, with lambda as it is, and with one that moves `factors=` times as far for the same
step of the optimizer. For each it prints how far the gradient of lambda is from noise (its mean over the steps, in
standard errors), the sum of all learning rates, which is about the most that Adam moves a parameter by, where lambda
ends, and mAP50-95. Other arguments of ultralytics' training go behind.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from torch import Tensor
from ultralytics import YOLO

from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.nn.lambdas import PairedLambdaMixin
from ultralytics_diffattn.output.formatting import mean_sd
from ultralytics_diffattn.output.markdown import table
from ultralytics_diffattn.verbs.arguments import listed, parse

OWN = {"weights": "", "model": "yolo11n-diffattn-paired.yaml", "factors": (1, 10, 100), "seeds": (0, 1, 2)}
HEAD = "λ moves", "gradient, standard errors from 0", "sum of learning rates", "λ at the end", "mAP50-95"


class Run(NamedTuple):
    """What one training shows."""

    gradients: list[list[float]]  # of lambda, by head and step
    rates: list[float]  # learning rate of each step
    ends: list[float]  # lambda by head
    score: float


def train(model: str, weights: str, factor: float, arguments: dict[str, Any]) -> Run:
    """Fine-tune a paired model whose lambda moves `factor` times as far as its parameter, and return what it shows."""
    gradients: list[list[float]] = []
    rates: list[float] = []
    plain = PairedLambdaMixin.compute_lambda

    def scaled(self: PairedLambdaMixin) -> Tensor:
        return plain(self) * factor

    def watch(trainer: Any) -> None:
        for module in trainer.model.modules():
            if isinstance(module, PairedLambdaMixin):
                module.lam.register_hook(lambda gradient: gradients.append(gradient.tolist()))

    yolo = YOLO(model).load(weights)
    yolo.add_callback("on_train_start", watch)
    yolo.add_callback("on_train_batch_end", lambda trainer: rates.append(trainer.optimizer.param_groups[0]["lr"]))
    setattr(PairedLambdaMixin, "compute_lambda", scaled)  # noqa: B010  # mypy takes no assignment to a method
    try:
        with tempfile.TemporaryDirectory() as folder:
            metrics = yolo.train(project=folder, plots=False, **arguments)
            trained = YOLO(Path(yolo.trainer.save_dir) / "weights" / "last.pt").model
            lambdas = [m.compute_lambda() for m in trained.modules() if isinstance(m, PairedLambdaMixin)]
    finally:
        setattr(PairedLambdaMixin, "compute_lambda", plain)  # noqa: B010
    ends = [float(x) for value in lambdas for x in value]
    return Run([list(g) for g in zip(*gradients, strict=True)], rates, ends, float(metrics.box.map))


def errors_from_zero(gradients: list[float]) -> float:
    """Return the mean of the gradients in its own standard errors."""
    return mean(gradients) / (stdev(gradients) / len(gradients) ** 0.5)


def main(words: list[str]) -> None:
    """Print a row for each factor."""
    given = parse(words, OWN)
    own = {**OWN, **{name: value for name, value in given.items() if name in OWN}}
    arguments = {name: value for name, value in given.items() if name not in OWN}
    if not own["weights"] or "data" not in arguments:
        raise UserError("give weights=yolo11n.pt data=data.yaml imgsz=640 epochs=4")
    rows = []
    for factor in map(float, listed(own["factors"])):
        runs = [
            train(own["model"], own["weights"], factor, {**arguments, "seed": int(s)}) for s in listed(own["seeds"])
        ]
        distances = [f"{errors_from_zero(head):+.1f}" for run in runs for head in run.gradients]
        ends = [f"{end:+.4f}" for run in runs for end in run.ends]
        rates = mean(sum(run.rates) for run in runs)
        score = mean_sd([run.score for run in runs])
        rows.append([f"{factor:g} times", ", ".join(distances), f"{rates:.3f}", ", ".join(ends), score])
        print(*rows[-1], sep=" | ", flush=True)
    print("\n".join(table(HEAD, rows)))


if __name__ == "__main__":
    main(sys.argv[1:])
