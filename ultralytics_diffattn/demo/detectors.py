# Ultralytics DiffAttn - AGPL-3.0 License
"""The two models of the page: those of the command line, the bundled ones, or checkpoints that a user uploads."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from types import MethodType
from typing import Any

import torch
from ultralytics.engine.model import Model
from ultralytics.nn import tasks

from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.maps.attention_maps import load_copy, network
from ultralytics_diffattn.maps.hooks import Recording, attentions, watch
from ultralytics_diffattn.nn.protocol import DifferentialAttention
from ultralytics_diffattn.weights.checkpoints import label

HERE = Path(__file__).parent
BUNDLED = HERE / "shapes-split.pt", HERE / "shapes-stock.pt"  # scripts/demo_weights.py trains both
_SAFE_LOAD = Lock()  # one restricted load at a time: ultralytics' switch is for the whole process


@dataclass
class Detector:
    """A model that records its forward passes and whose lambda can be set by hand.

    Hooks and lambda are put on before the first prediction, for which ultralytics copies the network: the copy has
    them, too, and what is done to the network later does not reach it.

    Attributes:
        yolo (ultralytics.YOLO): From `load_copy`.
        name (str): For the page.
        lam (float | None): Lambda of all its attention blocks; None for what they have learned.
        lock (threading.Lock): Held while it predicts: ultralytics' predictor serves one image at a time.
        recording (Recording): Of the last forward pass.
    """

    yolo: Model
    name: str
    lam: float | None = None
    lock: Lock = field(default_factory=Lock)
    recording: Recording = field(init=False)

    def __post_init__(self) -> None:
        """Put the hooks on, and what answers for lambda."""
        self._hooks = watch(network(self.yolo))
        self.recording = self._hooks.__enter__()
        for module in self.differential:
            self._answer_for(module)

    @property
    def differential(self) -> list[Any]:
        """Return its attention modules that subtract a second map; none of stock's do."""
        modules = attentions(network(self.yolo)).values()
        return [module for module in modules if isinstance(module, DifferentialAttention)]

    def _answer_for(self, module: Any) -> None:
        """Let a module ask this detector for its lambda, and its copies likewise: a bound method is bound anew."""

        def compute_lambda(module: Any) -> torch.Tensor:
            learned: torch.Tensor = type(module).compute_lambda(module)
            return learned if self.lam is None else torch.full_like(learned, self.lam)

        module.compute_lambda = MethodType(compute_lambda, module)


@dataclass(frozen=True)
class Pair:
    """The models that stand side by side: ours, or whatever the user gave, and perhaps a baseline."""

    model: Detector
    baseline: Detector | None


def from_command(model: str, baseline: str) -> Pair:
    """Return the models of the command line, or the bundled pair if it names none.

    Args:
        model (str): Weights, or nothing.
        baseline (str): Likewise.

    Returns:
        (Pair): A baseline alone stands beside the bundled model.

    Raises:
        MissingFileError: If a file does not exist.
        UserError: If one holds no model with attention over a feature map.

    Examples:
        >>> pair = from_command("", "")
        >>> pair.model.name, pair.baseline.name
        ('shapes-split', 'shapes-stock')
    """
    ours, stock = model or BUNDLED[0], baseline or ("" if model else BUNDLED[1])
    return Pair(_named(load_copy(ours), ours), _named(load_copy(stock, "baseline"), stock) if stock else None)


def from_upload(data: bytes, name: str) -> Detector:
    """Return the model of a file that a stranger sent, if it can be read without executing anything.

    Args:
        data (bytes): The file.
        name (str): Its name.

    Returns:
        (Detector): The model.

    Raises:
        UserError: If ultralytics' safe loading refuses the file or is not to be had, or the model has no attention.

    Examples:
        >>> from_upload(b"no checkpoint", "best.pt")
        Traceback (most recent call last):
        ...
        ultralytics_diffattn.errors.UserError: best.pt was refused: ...
    """
    if not getattr(getattr(tasks, "_SafeLoad", None), "SUPPORTED", False):
        raise UserError(f"{name} was refused: uploads need ultralytics >= 8.4.67 and torch >= 2.6, which load safely.")
    with tempfile.TemporaryDirectory(prefix="diffattn-") as folder:
        file = Path(folder) / "upload.pt"
        file.write_bytes(data)
        try:
            with _SAFE_LOAD, _only_safe_loads():
                yolo = load_copy(file)
        except UserError as error:
            raise UserError(str(error).replace(f"model={file}", name)) from error
        except Exception as error:  # whatever a hostile or broken file provokes
            raise UserError(
                f"{name} was refused: safe loading takes checkpoints of ultralytics and of this package, and nothing "
                "else. Models with modules of your own: diffattn demo model=best.pt, on your own machine."
            ) from error
    detector = Detector(yolo, Path(name).stem)
    try:
        yolo.predict(torch.zeros(1, 3, 64, 64), imgsz=64, verbose=False)
    except Exception as error:  # what loads safely may still hold nonsense
        raise UserError(f"{name} was refused: it loads, but fails to predict ({type(error).__name__}).") from error
    return detector


@contextmanager
def _only_safe_loads() -> Iterator[None]:
    """Switch ultralytics' safe loading on, as ULTRALYTICS_SAFE_LOAD=1 does from the start of a process."""
    before = tasks.SAFE_LOAD
    tasks.SAFE_LOAD = True
    try:
        yield
    finally:
        tasks.SAFE_LOAD = before


def _named(yolo: Model, file: str | Path) -> Detector:
    """Return a model with its file's name."""
    return Detector(yolo, label(Path(file)))
