# Ultralytics DiffAttn - AGPL-3.0 License
"""`diffattn compare`: several models, several seeds, one budget; then the statistics and the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.evaluation.intervals import check_scipy
from ultralytics_diffattn.verbs.arguments import check_reconstruct_switch
from ultralytics_diffattn.verbs.compare_arguments import (
    name_data_sets,
    parse_data,
    parse_exports,
    parse_holdout,
    parse_margin,
    parse_models,
    parse_seeds,
    parse_teachers,
)

if TYPE_CHECKING:
    from ultralytics_diffattn.comparison.specification import Specification

OWN = {
    "models": "yolo11n.yaml,yolo11n-diffattn.yaml",
    "seeds": (0, 1, 2),
    "epochs": None,  # ultralytics' own, but for 0, which evaluates models as they are and which it refuses
    "margin": 0.005,
    "holdout": None,
    "teacher": None,
    "ray": False,
    "reconstruct": False,
    "formats": None,
    "int8": False,
    "half": False,
}
NOT_OURS = {  # what differs between the runs, or says where a run goes
    "model": "use models=a.yaml,b.yaml",
    "seed": "use seeds=0,1,2",
    "split": "use test: in the data YAML, or holdout=0.5",
    "save_dir": "use project= and name=",
    "resume": "give the same command again, which continues by itself",
    "exist_ok": "give the same command again, which continues by itself",
    "mode": "leave it out: a comparison trains and validates by itself",
    "task": "leave it out: the models determine the task",
}


def compare(**arguments: Any) -> bool:
    """Train every model with every seed, alike in everything else, and report how they differ.

    With `epochs=0` nothing is trained: checkpoints, exported models and COCO results JSONs are evaluated as they are.

    Args:
        **arguments (Any): `models` (names or paths with commas between), `seeds` (integers), `data` (a data YAML, a
            name such as coco or voc, a VOC folder or a COCO JSON; several for a verdict over all of them), `epochs`
            (0 trains nothing), `margin` (difference that does not matter), `holdout` (share of the validation images
            that is set apart to measure on), `teacher` (`none` and checkpoints: every model is trained with each),
            `ray` (spread the runs over a Ray cluster), `reconstruct` (whether attention of ours first learns what
            stock's does in the weights of `pretrained`; see `train`), `formats` (exports of every trained model that
            are measured, too), `int8` and `half` (whether these are made in int8 and in float16), `project` and `name`
            (the folder, by default compare/<data set> below ultralytics' runs), and any argument of ultralytics'
            training.

    Returns:
        (bool): True if every run is finished.

    Raises:
        UserError: If an argument is out of range, a model does not build, the folder holds another comparison, or
            another process compares in it.
        MissingPackageError: If SciPy, or the package of a format or of Ray, is not installed.

    Examples:
        >>> compare(data="shapes", seeds=(0, 1))  # doctest: +SKIP
    """
    for key in NOT_OURS.keys() & arguments.keys():
        raise UserError(f"{key}= is not an argument of a comparison; {NOT_OURS[key]}.")
    untrained = arguments.get("epochs") == 0
    for key in {"seeds", "reconstruct", "teacher", "formats"} & arguments.keys() if untrained else ():
        raise UserError(f"{key}={arguments[key]} is for training, and epochs=0 trains nothing: leave it out.")
    own = {key: arguments.pop(key, default) for key, default in OWN.items()}
    if own["epochs"] is not None:
        arguments["epochs"] = own["epochs"]
    models, seeds, margin = (
        parse_models(own["models"], untrained),
        parse_seeds(own["seeds"]),
        parse_margin(own["margin"]),
    )
    holdout = parse_holdout(own["holdout"])
    teachers = parse_teachers(own["teacher"], arguments.get("distill_model"))
    exports = parse_exports(own["formats"], own["int8"], own["half"], arguments.get("device"))
    data = arguments.pop("data", "shapes")
    project, name = arguments.pop("project", None), arguments.pop("name", None)
    name = None if name is None else str(name)  # a command line makes a number of name=1

    check_reconstruct_switch(own["reconstruct"])
    check_scipy("compare")
    from ultralytics_diffattn.comparison.execution import execute, execute_all
    from ultralytics_diffattn.comparison.specification import comparison_folder, specify

    def specify_on(data: str, project: str | None, name: str | None) -> Specification:
        return specify(models, seeds, data, arguments, project, name, own["reconstruct"], holdout, teachers)

    data_sets = parse_data(data)
    if len(data_sets) == 1:
        return execute(specify_on(data_sets[0], project, name), margin, own["ray"], exports)
    names = name_data_sets(data_sets)
    folder = comparison_folder(project, name or "+".join(names))
    specifications = {label: specify_on(file, str(folder), label) for label, file in names.items()}
    return execute_all(folder, specifications, margin, own["ray"], exports)
