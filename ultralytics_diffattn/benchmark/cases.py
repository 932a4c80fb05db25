# Ultralytics DiffAttn - AGPL-3.0 License
"""What `diffattn bench` runs side by side: each case is a dict of callables without arguments, all setup done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultralytics_diffattn.evaluation import cost
from ultralytics_diffattn.nn.attention import DiffAttention
from ultralytics_diffattn.nn.functional import diff_attention

HEADS, KEY, VALUE = 2, 16, 64  # yolo11n's layer 10: heads, query width of one map (a plain key is twice that), value
MODELS = {"ours": "yolo11n-diffattn.yaml", "stock": "yolo11n.yaml", "again": "yolo11n.yaml"}  # the last as a control
Case = dict[str, Callable[[], Any]]


def core(tokens: int, backward: bool = False) -> Case:
    """Return attention from C2PSA's queries, keys and values to its feature map, by every way there is.

    `ours` lets `diff_attention` choose, `flash` and `formula` force its backend, `published` is DiffCLIP's expression,
    and `plain` that of ultralytics' `Attention`, with one map of twice the key width. All read the same tensor.

    Args:
        tokens (int): Positions of the feature map.
        backward (bool): Whether gradients are computed, too.

    Returns:
        (dict[str, Callable]): Each returns the output, (1, heads * width, tokens), then the gradients, if any, of the
            tensor and of lambda.

    Examples:
        >>> {name: run()[0].shape for name, run in core(9).items()}["plain"]
        torch.Size([1, 128, 9])
    """
    qkv = _random(1, HEADS, 4 * KEY + VALUE, tokens).requires_grad_(backward)
    lam = torch.tensor(0.8, requires_grad=backward)
    ways = {"ours": _ours, "flash": partial(_ours, backend="flash"), "formula": partial(_ours, backend="formula")}
    ways |= {"published": _published, "plain": _plain}
    shape = (1, HEADS * VALUE, tokens)
    return {name: _runner(partial(way, qkv, lam), [qkv, lam] * backward, shape) for name, way in ways.items()}


def _maps(qkv: Tensor) -> tuple[Tensor, ...]:
    """Return q1, q2, k1, k2, v, each (B, heads, N, width), as `Attention_Diff` cuts them from its convolution."""
    q, k, v = (x.transpose(-2, -1) for x in qkv.split([2 * KEY, 2 * KEY, VALUE], dim=2))
    return *q.chunk(2, dim=-1), *k.chunk(2, dim=-1), v


def _ours(qkv: Tensor, lam: Tensor, backend: str = "auto") -> Tensor:
    q1, q2, k1, k2, v = _maps(qkv)
    return _as_channels(diff_attention(q1, k1, q2, k2, v, lam, scale=KEY**-0.5, backend=backend))


def _published(qkv: Tensor, lam: Tensor) -> Tensor:
    q1, q2, k1, k2, v = _maps(qkv)
    attn1 = ((q1 * KEY**-0.5) @ k1.transpose(-2, -1)).softmax(dim=-1)
    attn2 = ((q2 * KEY**-0.5) @ k2.transpose(-2, -1)).softmax(dim=-1)
    return _as_channels((attn1 - lam * attn2) @ v)


def _as_channels(x: Tensor) -> Tensor:
    """Return (B, heads, N, width) as a feature map, (B, heads * width, N): plain attention ends there by itself."""
    return x.transpose(-2, -1).reshape(len(x), HEADS * VALUE, -1)


def _plain(qkv: Tensor, _: Tensor) -> Tensor:
    q, k, v = qkv.split([2 * KEY, 2 * KEY, VALUE], dim=2)
    attn = ((q * (2 * KEY) ** -0.5).transpose(-2, -1) @ k).softmax(dim=-1)
    return (v @ attn.transpose(-2, -1)).view(len(qkv), HEADS * VALUE, -1)


def kernels(tokens: int, batch: int, device: torch.device | str, dtype: torch.dtype) -> Case:
    """Return our attention beside one `scaled_dot_product_attention` whose q, k and v are all as wide as the value.

    That is what a flash kernel runs fastest. Tokens come before channels, so that neither pays for turning them; the
    queries of our two maps are as wide together as those of the plain one.

    Args:
        tokens (int): Number of tokens.
        batch (int): Number of images.
        device (torch.device | str): Where to run.
        dtype (torch.dtype): Of all tensors but lambda.

    Returns:
        (dict[str, Callable]): `ours` and `plain`, each returns a list of its output, (batch, heads, tokens, width).
    """
    q, k, v = _random(3, batch, HEADS, tokens, VALUE).to(device, dtype)
    (q1, q2), (k1, k2) = ([x.contiguous() for x in y.chunk(2, dim=-1)] for y in (q, k))
    lam = torch.tensor(0.8, device=device)
    return {
        "ours": _runner(partial(diff_attention, q1, k1, q2, k2, v, lam)),
        "plain": _runner(partial(F.scaled_dot_product_attention, q, k, v)),
    }


def modules(
    tokens: int,
    batch: int = 1,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    backward: bool = False,
) -> Case:
    """Return our `DiffAttention` beside timm's, both without projections: from q, k and v to the normed heads.

    Args:
        tokens (int): Number of tokens.
        batch (int): Number of images.
        device (torch.device | str): Where to run.
        dtype (torch.dtype): Of all tensors.
        backward (bool): Whether gradients are computed, too.

    Returns:
        (dict[str, Callable]): `ours` and `timm`; each returns the output, (batch, tokens, heads * width), then
            the gradients, if any, of q, k and v in one tensor, of the lambda vectors and of the norm's gain.
    """
    from timm.layers import DiffAttention as Timm

    dim = HEADS * VALUE
    qkv = _random(batch, tokens, 3 * dim).to(device, dtype).requires_grad_(backward)
    theirs = Timm(dim, num_heads=HEADS).to(device, dtype).eval()
    ours = DiffAttention(dim, 2 * HEADS, lambda_init=theirs.lambda_init).to(device, dtype).eval()
    theirs.qkv, theirs.proj, ours.out_proj = _Prepared(dim, lambda: qkv), nn.Identity(), nn.Identity()
    for i, name in enumerate(("q_proj", "k_proj", "v_proj")):
        setattr(ours, name, _Prepared(dim, lambda i=i: qkv.chunk(3, dim=2)[i]))
    vectors = ("lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2")
    for name in vectors:
        getattr(ours, name).data.copy_(getattr(theirs, name).data)
    x = qkv.detach()[..., :dim]  # only its shape is read
    cases = {"ours": (ours, ours.diff_norm.weight), "timm": (theirs, theirs.sub_norm.weight)}
    return {
        name: _runner(partial(module, x), [qkv, *(getattr(module, v) for v in vectors), gain] * backward, x.shape)
        for name, (module, gain) in cases.items()
    }


class _Prepared(nn.Module):
    """Stands where a projection stood, and returns what was prepared, whatever comes in."""

    def __init__(self, in_features: int, prepared: Callable[[], Tensor]):
        super().__init__()
        self.in_features, self.prepared = in_features, prepared

    def forward(self, _: Tensor) -> Tensor:
        return self.prepared()


def block(side: int) -> Case:
    """Return layer 10 of both models, `C2PSA_Diff` and `C2PSA`, fused for inference.

    Args:
        side (int): Height and width of the feature map; 20 for an image of 640 px.

    Returns:
        (dict[str, Callable]): `ours` and `stock`, each returns a list of its output.
    """
    x = _random(1, 256, side, side)
    return {label: _runner(partial(build(name).model[10], x)) for label, name in MODELS.items()}


def whole(
    imgsz: int,
    batch: int = 1,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    mode: str = "eager",
) -> Case:
    """Return both models, fused for inference.

    Args:
        imgsz (int): Height and width of the images, in pixels.
        batch (int): Number of images.
        device (torch.device | str): Where to run.
        dtype (torch.dtype): Of weights and images.
        mode (str): "eager", "compile" (`torch.compile` with its own options) or "graph" (a CUDA graph is replayed).

    Returns:
        (dict[str, Callable]): `ours` and `stock`, each returns a list of its output.
    """
    images = _random(batch, 3, imgsz, imgsz).sigmoid().to(device, dtype)
    if mode == "compile":
        torch.compiler.reset()  # the models share their code, and of one code only eight variants are compiled
    case = {}
    for label, name in MODELS.items():
        model = build(name, device, dtype)
        run = _runner(partial(torch.compile(model, dynamic=False) if mode == "compile" else model, images))
        case[label] = _graph(run, images.device) if mode == "graph" else run
    return case


def _graph(run: Callable[[], Any], device: torch.device) -> Callable[[], None]:
    """Capture what `run` does on a GPU, after the warm-up on a stream beside that PyTorch asks for."""
    with torch.cuda.device(device):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                run()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            graph.kept = run()  # its memory is written again at each replay
    return graph.replay


def build(name: str, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> nn.Module:
    """Return a model, fused and ready for inference, with the weights that seed 0 gives.

    Args:
        name (str): A model YAML.
        device (torch.device | str): Where to put it.
        dtype (torch.dtype): Of its weights.

    Returns:
        (nn.Module): The model.
    """
    return _settled(_seeded(name)).model.fuse(verbose=False).eval().to(device, dtype)


def _seeded(name: str) -> Any:
    """Return ultralytics' `YOLO` with the weights that seed 0 gives."""
    from ultralytics import YOLO

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return YOLO(name)


def _settled(yolo: Any) -> Any:
    """Return it with the statistics of BatchNorm from images, as training leaves them.

    Without, what reaches the attention of a new model is about 1e-9, and a CPU takes its time over such numbers.
    """
    norms = [m for m in yolo.model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
    with torch.no_grad():
        yolo.model.train()(_random(2, 3, 320, 320).sigmoid())
    yolo.model.eval()
    return yolo


def step(imgsz: int, batch: int) -> Case:
    """Return a training step of both models on the same made-up images: loss and gradients, without an optimizer.

    Args:
        imgsz (int): Height and width of the images, in pixels.
        batch (int): Number of images, with eight boxes each.

    Returns:
        (dict[str, Callable]): `ours` and `stock`, each returns a list of the loss.
    """
    from ultralytics.cfg import get_cfg

    boxes = 8 * batch
    place, size = _random(2, boxes, 2).sigmoid()
    made_up = {
        "img": _random(batch, 3, imgsz, imgsz).sigmoid(),
        "cls": torch.arange(boxes)[:, None] % 80.0,
        "bboxes": torch.cat([place, size / 4], dim=1),  # centre, width and height, as shares of the image
        "batch_idx": torch.arange(boxes) // 8.0,
    }

    def runner(name: str) -> Callable[[], list[Tensor]]:
        model = _seeded(name).model.train()
        model.args = get_cfg()  # the gains of the losses, which a trainer would set

        def run() -> list[Tensor]:
            model.zero_grad(set_to_none=True)
            loss = model.loss(made_up)[0].sum()
            loss.backward()
            return [loss.detach()]

        return run

    return {label: runner(name) for label, name in MODELS.items()}


def export(folder: Path, kind: str, imgsz: int) -> dict[str, str]:
    """Export both models.

    Args:
        folder (Path): An empty folder.
        kind (str): "onnx" or "openvino".
        imgsz (int): Height and width of the image, in pixels.

    Returns:
        (dict[str, str]): The file or folder of `ours` and of `stock`.
    """
    files = {}
    for label, name in MODELS.items():
        checkpoint = folder / f"{kind}-{Path(name).stem}.pt"
        _settled(_seeded(name)).save(checkpoint)
        files[label] = cost.exported(checkpoint, kind, imgsz)
    return files


def exported(files: Callable[[], dict[str, str]], kind: str, imgsz: int) -> Case:
    """Return the exported models, on the CPU with as many threads as PyTorch has now.

    Args:
        files (Callable): Returns what `export` does.
        kind (str): As there.
        imgsz (int): As there.

    Returns:
        (dict[str, Callable]): `ours` and `stock`.
    """
    image = _random(1, 3, imgsz, imgsz).sigmoid()
    load = cost.onnx_runner if kind == "onnx" else _openvino_runner
    return {label: load(file, image) for label, file in files().items()}


def _openvino_runner(file: str, image: Tensor) -> Callable[[], Any]:
    import openvino

    options = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "PERFORMANCE_HINT": "LATENCY"}
    request = openvino.Core().compile_model(next(Path(file).glob("*.xml")), "CPU", options).create_infer_request()
    return lambda: request.infer([image.numpy()])


def nodes(file: str) -> int:
    """Return how many nodes an ONNX graph has.

    Args:
        file (str): The file.

    Returns:
        (int): Number of nodes.
    """
    import onnx

    return len(onnx.load(file).graph.node)


def _random(*shape: int) -> Tensor:
    """Return normal numbers, the same ones each time."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def _runner(
    forward: Callable[[], Any], leaves: Sequence[Tensor] = (), shape: Sequence[int] = ()
) -> Callable[[], list[Any]]:
    """Return a callable that runs `forward` in inference mode; with leaves it computes their gradients, too."""

    def infer() -> list[Any]:
        with torch.inference_mode():
            return [forward()]

    if not leaves:
        return infer
    gradient = _random(*shape).to(leaves[0])  # of the output, whose shape is given: to run it might take 10 GB

    def differentiate() -> list[Any]:
        y = forward()
        # Unlike `backward` it adds to nothing, so that no turn leaves anything to the next.
        return [y.detach(), *torch.autograd.grad(y, leaves, gradient, allow_unused=True)]

    return differentiate
