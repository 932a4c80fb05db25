# Ultralytics DiffAttn - AGPL-3.0 License
"""`diffattn train`: ultralytics' own training, on any kind of data set, with the catalogue's budget."""

from __future__ import annotations

from typing import Any

from ultralytics_diffattn.errors import UserError, as_user_errors
from ultralytics_diffattn.verbs.arguments import check_reconstruct_switch, open_model

OWN: dict[str, Any] = {"reconstruct": False}


def train(model: str = "yolo11n-diffattn.yaml", data: str = "", reconstruct: bool = False, **args: Any) -> Any:
    """Train a model as `yolo train` does.

    Args:
        model (str): YAML or checkpoint.
        data (str): Whatever `catalogue.resolve` takes; the catalogue's budget for it is the default of `args`.
        reconstruct (bool): Whether each attention of ours first learns, from the training's images without their
            labels, to give what the stock module in its place gives in the weights of `pretrained`.
        **args (Any): Anything that `yolo train` takes.

    Returns:
        (Any): The metrics, as ultralytics' `YOLO.train` returns them.

    Raises:
        UserError: If `data` is missing, `reconstruct` asks for what cannot be, `pretrained` names weights of which only
            a part would be loaded, or a file does not exist or cannot be written.

    Examples:
        >>> train(model="yolo11n-diffattn.yaml", data="shapes")  # doctest: +SKIP
    """
    from ultralytics_diffattn.data import catalogue
    from ultralytics_diffattn.weights.conversion import starting_weights
    from ultralytics_diffattn.weights.transfer import check_pretrained

    yolo = open_model(model, args.pop("task", None))
    if not data and not args.get("resume"):
        raise UserError("data= is missing; give a name of the catalogue, as data=shapes, or a data YAML of your own.")
    budget: dict[str, Any] = {}
    if data:
        dataset = catalogue.resolve(data, yolo.task)
        budget = {} if args.get("resume") else dataset.budget  # a training resumes with the arguments it began with
        args["data"] = dataset.data
    if isinstance(args.get("pretrained"), str) and not args.get("resume"):
        check_pretrained(args["pretrained"], yolo.model)
    first = check_reconstruct_switch(reconstruct) and not args.get("resume")
    with starting_weights(model, {**budget, **args}, first, yolo.task) as (arguments, _), as_user_errors():
        return yolo.train(**arguments)
