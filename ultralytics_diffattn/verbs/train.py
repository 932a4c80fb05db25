# Ultralytics DiffAttn - AGPL-3.0 License
"""`diffattn train`: ultralytics' own training, on any kind of data set, with the catalogue's budget."""

from __future__ import annotations

from typing import Any

OWN: dict[str, Any] = {}


def train(model: str = "yolo11n-diffattn.yaml", data: str = "", **args: Any) -> Any:
    """Train a model as `yolo train` does.

    Args:
        model (str): YAML or checkpoint.
        data (str): Whatever `catalogue.resolve` takes; the catalogue's budget for it is the default of `args`.
        **args (Any): Anything that `yolo train` takes.

    Returns:
        (Any): The metrics, as ultralytics' `YOLO.train` returns them.

    Raises:
        ValueError: If `data` is missing, or `pretrained` names weights of which only a part would be loaded.

    Examples:
        >>> train(model="yolo11n-diffattn.yaml", data="shapes")  # doctest: +SKIP
    """
    from ultralytics import YOLO

    from ultralytics_diffattn.data import catalogue
    from ultralytics_diffattn.weights.transfer import check_pretrained

    built = YOLO(model, task=args.pop("task", None))
    if args.get("resume"):
        return built.train(**args, **({"data": catalogue.resolve(data, built.task).data} if data else {}))
    if not data:
        raise ValueError("data= is missing; give a name of the catalogue, as data=shapes, or a data YAML of your own.")
    if isinstance(args.get("pretrained"), str):
        check_pretrained(args["pretrained"], built.model)
    dataset = catalogue.resolve(data, built.task)
    return built.train(**{**dataset.budget, **args, "data": dataset.data})
