# Ultralytics DiffAttn - AGPL-3.0 License
"""The arguments of `diffattn compare`: from what was typed to what a comparison takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.evaluation.export_formats import Export, exports_of
from ultralytics_diffattn.verbs.arguments import listed


def parse_models(models: str | Sequence[str], untrained: bool = False) -> dict[str, str]:
    """Return the models by the label under which they stand in the results.

    Args:
        models (str | Sequence[str]): YAMLs or checkpoints; in a text with commas between.
        untrained (bool): Whether they are only evaluated; names that are the same, as `best`, then get what tells their
            paths apart.

    Returns:
        (dict[str, str]): Label to file; an existing file as an absolute path.

    Raises:
        UserError: If they are fewer than two, or two have the same label.

    Examples:
        >>> parse_models("yolo11n.yaml,yolo11n-diffattn.yaml")
        {'yolo11n': 'yolo11n.yaml', 'yolo11n-diffattn': 'yolo11n-diffattn.yaml'}
    """
    files = [file for file in listed(models) if file]
    labels = told_apart(files) if untrained else [Path(file).stem for file in files]
    if len(files) < 2:
        raise UserError(
            f"models={models!r} names {len(files)} model{'s' * (len(files) != 1)}; a comparison takes two or "
            "more, with commas between."
        )
    if len(set(labels)) < len(labels):
        raise UserError(f"models={models!r}: two have the same name, and so the same folder; rename one file.")
    paths = [str(Path(file).resolve()) if Path(file).exists() else file for file in files]
    return dict(zip(labels, paths, strict=True))


def told_apart(files: Sequence[str]) -> list[str]:
    """Return a name for each file: its own without the suffix, else with it, else with the folders that differ.

    Args:
        files (Sequence[str]): Paths.

    Returns:
        (list[str]): Without slashes; equal ones only for equal files.

    Examples:
        >>> told_apart(["a.pt", "b.pt"]), told_apart(["best.pt", "best.onnx"])
        (['a', 'b'], ['best.pt', 'best.onnx'])
        >>> told_apart(["runs/train/weights/best.pt", "runs/train2/weights/best.pt"])
        ['train-best', 'train2-best']
    """
    paths = [Path(file).resolve() for file in files]
    for names in ([path.stem for path in paths], [path.name for path in paths]):
        if len({*names}) == len(names):
            return names
    folders = [path.parent.parts for path in paths]
    before, behind = _common(folders), _common([parts[::-1] for parts in folders])
    behind = min(behind, *(len(parts) - before for parts in folders))
    same_stem = len({(path.parent, path.stem) for path in paths}) == len({*paths})
    return [
        "-".join([*parts[before : len(parts) - behind], path.stem if same_stem else path.name])
        for parts, path in zip(folders, paths, strict=True)
    ]


def _common(folders: Sequence[Sequence[str]]) -> int:
    """Return how many parts are the same in all, from the first on."""
    same = [len(set(parts)) == 1 for parts in zip(*folders, strict=False)]
    return same.index(False) if False in same else len(same)


def parse_data(data: str | Path | Sequence[str | Path]) -> list[str]:
    """Return the data sets.

    Args:
        data (str | Path | Sequence[str | Path]): One or more; in a text with commas between.

    Returns:
        (list[str]): In the same order.

    Raises:
        UserError: If there is none, or one is given twice.

    Examples:
        >>> parse_data("bccd,deeppcb")
        ['bccd', 'deeppcb']
    """
    files = [str(data)] if isinstance(data, str | Path) and Path(data).exists() else listed(data)
    if not all(files) or not files:
        raise UserError(f"data={data!r} must name one data set, or several with commas between: data=shapes,voc.")
    if len(set(files)) < len(files):
        raise UserError(f"data={data!r} names a data set twice, which would count it as two.")
    return files


def name_data_sets(data_sets: Sequence[str]) -> dict[str, str]:
    """Return data sets by the name under which they stand in the results.

    Args:
        data_sets (Sequence[str]): Names of the catalogue, data YAMLs, folders.

    Returns:
        (dict[str, str]): Name to data set.

    Raises:
        UserError: If two have the same name.

    Examples:
        >>> name_data_sets(["bccd/data.yaml", "VOC.yaml", "shapes"])
        {'bccd': 'bccd/data.yaml', 'VOC': 'VOC.yaml', 'shapes': 'shapes'}
    """
    names = [p.parent.name if p.stem in ("data", "dataset") else p.stem for p in (Path(f).resolve() for f in data_sets)]
    if len(set(names)) < len(names):
        raise UserError(
            f"data={','.join(data_sets)}: two have the same name, {max(names, key=names.count)}, and so the same "
            "folder; rename one."
        )
    return dict(zip(names, data_sets, strict=True))


def parse_seeds(seeds: int | str | Sequence[int]) -> list[int]:
    """Return the seeds as a list.

    Args:
        seeds (int | str | Sequence[int]): Whole numbers from 0 on; in a text with commas between.

    Returns:
        (list[int]): In the same order.

    Raises:
        UserError: If one is not a whole number, is negative, or occurs twice.

    Examples:
        >>> parse_seeds("0,1,2")
        [0, 1, 2]
    """
    items = listed(seeds)
    if not items or not all(item.isdecimal() for item in items):
        raise UserError(f"seeds={seeds!r} must be whole numbers from 0 on, with commas between: seeds=0,1,2.")
    numbers = [int(item) for item in items]
    if len(set(numbers)) < len(numbers):
        raise UserError(f"seeds={seeds!r} holds a seed twice, which would count one training as two.")
    return numbers


def parse_teachers(teachers: str | Sequence[str] | None, distill_model: object = None) -> dict[str, str | None] | None:
    """Return the files of the teachers that every model is trained with.

    Args:
        teachers (str | Sequence[str] | None): Checkpoints and `none`; in a text with commas between.
        distill_model (object): Ultralytics' own argument for one teacher of all.

    Returns:
        (dict[str, str | None] | None): By name; None where teachers are not compared.

    Raises:
        UserError: If they are fewer than two, two have the same name, or `distill_model` is given as well.

    Examples:
        >>> parse_teachers("none,yolo11s.pt")
        {'none': None, 'yolo11s': 'yolo11s.pt'}
    """
    from ultralytics_diffattn.comparison.teachers import name_teachers

    if teachers is None:
        return None
    if distill_model:
        raise UserError(f"give teacher={teachers} or distill_model={distill_model}, and not both.")
    return name_teachers(listed(teachers))


def parse_holdout(holdout: float | str | None) -> float | None:
    """Return the share of the validation images that is set apart.

    Args:
        holdout (float | str | None): Above 0 and below 1; None for none.

    Returns:
        (float | None): The same.

    Raises:
        UserError: If it is not such a number.

    Examples:
        >>> parse_holdout(None), parse_holdout("0.5")
        (None, 0.5)
    """
    return None if holdout is None else _fraction(holdout, "holdout", "a share of the validation images", 0.5)


def parse_margin(margin: float | str) -> float:
    """Return the difference that does not matter.

    Args:
        margin (float | str): Above 0 and below 1.

    Returns:
        (float): The same.

    Raises:
        UserError: If it is not such a number.

    Examples:
        >>> parse_margin("0.005")
        0.005
    """
    return _fraction(margin, "margin", "the largest difference of the metric that you would ignore", 0.005)


def parse_exports(formats: str | Sequence[str] | None, int8: bool, half: bool, device: object = None) -> list[Export]:
    """Return the exports that every trained model is measured in, after seeing that they can be made here.

    Args:
        formats (str | Sequence[str] | None): Ultralytics' names; in a text with commas between.
        int8 (bool): Whether they are made in int8.
        half (bool): Whether they are made in float16.
        device (object): Of the trainings, as ultralytics' `device=`.

    Returns:
        (list[Export]): Format by format; empty for None.

    Raises:
        UserError: If an argument is of another kind, or an export cannot be made here.

    Examples:
        >>> parse_exports("torchscript", int8=False, half=False)
        [Export(kind='torchscript', precision='float32')]
    """
    for name, value in (("int8", int8), ("half", half)):
        if not isinstance(value, bool):
            raise UserError(f"{name}={value!r} must be True or False.")
        if value and not formats:
            raise UserError(f"{name}=True is for exports; say which, as in formats=onnx {name}=True.")
    names = list(dict.fromkeys(name.lower() for name in listed(formats) if name)) if formats else []
    if not names:
        return []
    from torch.cuda import is_available

    return exports_of(names, int8, half, on_cpu=device == "cpu" or not is_available())


def _fraction(value: float | str, name: str, what: str, example: float) -> float:
    """Return a number above 0 and below 1."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if isinstance(value, bool) or not 0 < number < 1:
        raise UserError(f"{name}={value!r} must be {what}, above 0 and below 1: {name}={example}.")
    return number
