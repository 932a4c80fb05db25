# Ultralytics DiffAttn - AGPL-3.0 License
"""Arguments of the `diffattn` command: `key=value`, checked as `yolo` checks its own, and lists with commas."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ultralytics_diffattn.errors import UserError, as_user_errors
from ultralytics_diffattn.suggestions import did_you_mean


def parse(words: list[str], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a command line, their keys checked as `yolo` checks its own.

    Args:
        words (list[str]): `key=value`, also with spaces around the sign; a task; or the name of a switch, for True.
        own (Mapping[str, Any]): The verb's own keys with their defaults; ultralytics' keys are known as well.

    Returns:
        (dict[str, Any]): Values as Python literals where possible, else as text.

    Raises:
        UserError: If a key is unknown, with the nearest known ones, or has no value.

    Examples:
        >>> parse(["epochs=3", "seeds", "=", "0,1", "resume"], {"seeds": (0, 1, 2)})
        {'epochs': 3, 'seeds': (0, 1), 'resume': True}
    """
    from ultralytics.cfg import TASKS, merge_equals_args, parse_key_value_pair
    from ultralytics.utils import DEFAULT_CFG_DICT

    known = {**DEFAULT_CFG_DICT, **own}
    arguments: dict[str, Any] = {}
    with as_user_errors(SyntaxError):  # of brackets that do not match
        words = merge_equals_args(words)
    for word in words:
        key, equals, value = word.removeprefix("--").removesuffix(",").partition("=")
        if equals and value.strip():
            key, arguments[key] = parse_key_value_pair(f"{key}={value}")
        elif equals or known.get(key, "") not in (True, False):
            if key in TASKS and not equals:
                arguments["task"] = key
                continue
            _check_keys(known, {key: ""})
            raise UserError(f"{key}= has no value; write, for example, {pair(key, known[key])}.")
        else:
            arguments[key] = True
    _check_keys(known, arguments)
    return arguments


def name_positional(words: list[str], names: tuple[str, ...]) -> list[str]:
    """Return the words of a command line with a key before each positional argument.

    Args:
        words (list[str]): The words as typed.
        names (tuple[str, ...]): Keys of the positional arguments, in their order.

    Returns:
        (list[str]): `key=value`; positional arguments beyond the number of names are left as they are.

    Examples:
        >>> name_positional(["in.pt", "model=a.yaml", "out.pt"], ("weights", "out"))
        ['weights=in.pt', 'model=a.yaml', 'out=out.pt']
    """
    free = [name for name in names if not any(word.startswith(f"{name}=") for word in words)]
    positions = [i for i, word in enumerate(words) if "=" not in word]
    for i, name in zip(positions, free, strict=False):
        words = [*words[:i], f"{name}={words[i]}", *words[i + 1 :]]
    return words


def listed(value: object) -> list[str]:
    """Return the items of an argument that may be one, several with commas between, or a sequence.

    Args:
        value (object): Such as "a,b", (0, 1) or 3.

    Returns:
        (list[str]): Each item as text, without spaces around it.

    Examples:
        >>> listed("a, b"), listed((0, 1)), listed(3)
        (['a', 'b'], ['0', '1'], ['3'])
    """
    items = value.split(",") if isinstance(value, str) else value if isinstance(value, (list, tuple)) else [value]
    return [str(item).strip() for item in items]


def chosen(value: object, known: Iterable[str], refusal: str) -> list[str]:
    """Return the items of an argument that takes known names only.

    Args:
        value (object): As for `listed`.
        known (Iterable[str]): The names to choose from.
        refusal (str): The beginning of the message on an unknown name, with NAME in its place.

    Returns:
        (list[str]): The names in the order of `value`, each once.

    Raises:
        UserError: If a name is unknown, with the nearest known one.

    Examples:
        >>> chosen("fog,snow,fog", ["fog", "snow"], "NAME is no weather.")
        ['fog', 'snow']
    """
    names = listed(value)
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known)
            raise UserError(f"{refusal.replace('NAME', repr(name))}{hint} There are {', '.join(known)}.")
    return list(dict.fromkeys(names))


def check_known(verb: str, arguments: Iterable[str], known: Iterable[str]) -> None:
    """Raise `UserError` unless a verb that takes no arguments of ultralytics knows all keys."""
    for name in arguments:
        if name not in known:
            hint = did_you_mean(name, known)
            raise UserError(f"{name}= means nothing to {verb}.{hint} It takes {', '.join(known)}.")


def check_reconstruct_switch(reconstruct: object) -> bool:
    """Return the `reconstruct=` of a training, or raise `UserError`: for `convert` it names images."""
    if not isinstance(reconstruct, bool):
        raise UserError(f"reconstruct={reconstruct!r} must be True or False; it uses the training's own images.")
    return reconstruct


def check_values(arguments: Mapping[str, Any]) -> None:
    """Raise `UserError` if ultralytics refuses the value of one of its own arguments.

    Args:
        arguments (Mapping[str, Any]): Keys of ultralytics' configuration with values of the user.

    Raises:
        UserError: With ultralytics' own message.

    Examples:
        >>> check_values({"epochs": "three"})
        Traceback (most recent call last):
        ...
        ultralytics_diffattn.errors.UserError: 'epochs=three' is of invalid type str. ...
    """
    from ultralytics.cfg import get_cfg

    with _errors_only(), as_user_errors(TypeError, ValueError, SyntaxError):
        get_cfg(overrides=dict(arguments))


def open_model(model: str | Path, task: str | None = None) -> Any:
    """Return ultralytics' `YOLO` of a file that the user names.

    Args:
        model (str | Path): Weights, a model YAML or an exported model; stock weights may be downloaded.
        task (str, optional): Of the model, where its file does not say.

    Returns:
        (ultralytics.YOLO): The model.

    Raises:
        MissingFileError: If there is no such file.
        UserError: If it cannot be read or downloaded.

    Examples:
        >>> open_model("yolo11n-diffattn.yaml").task
        'detect'
    """
    from ultralytics import YOLO

    from ultralytics_diffattn.weights.checkpoints import student

    with as_user_errors():
        yolo = YOLO(model, task=task)
    yolo.model = student(yolo.model)
    return yolo


def pair(key: str, value: object) -> str:
    """Return an argument as one types it."""
    return f"{key}={','.join(map(str, value)) if isinstance(value, tuple) else '...' if value in (None, '') else value}"


def parse_corruptions(names: object) -> list[str]:
    """Return the names of corruptions.

    Args:
        names (str | Sequence[str]): Some of `CORRUPTIONS`; a text has commas between them.

    Returns:
        (list[str]): The names in their order, each once.

    Raises:
        UserError: If one is unknown, with the nearest known one.

    Examples:
        >>> parse_corruptions("fog,snow")
        ['fog', 'snow']
    """
    from ultralytics_diffattn.evaluation.corruptions import CORRUPTIONS

    return chosen(names, CORRUPTIONS, "corruption NAME is unknown.")


def parse_severities(severities: object) -> list[int]:
    """Return severities of corruptions.

    Args:
        severities (int | str | Sequence[int]): Whole numbers from 1 to 5.

    Returns:
        (list[int]): The severities in their order, each once.

    Raises:
        UserError: If one is out of range.

    Examples:
        >>> parse_severities((1, 3))
        [1, 3]
    """
    items = listed(severities)
    if not items or any(s not in ("1", "2", "3", "4", "5") for s in items):
        raise UserError(f"severities={severities!r} must be whole numbers from 1 to 5, with commas between.")
    return [int(s) for s in dict.fromkeys(items)]


def _check_keys(known: Mapping[str, Any], arguments: Mapping[str, Any]) -> None:
    """Raise `UserError` with ultralytics' own message if a key is unknown."""
    from ultralytics.cfg import check_dict_alignment

    with _errors_only():
        try:
            check_dict_alignment(dict(known), dict(arguments))
        except SyntaxError as e:
            raise UserError(f"{str(e).strip()} Lists have commas and no spaces.") from None


@contextmanager
def _errors_only() -> Iterator[None]:
    """Silence ultralytics, which prints the help of the `yolo` command before a message on an argument."""
    from ultralytics.utils import LOGGER

    level = LOGGER.level
    LOGGER.setLevel("ERROR")
    try:
        yield
    finally:
        LOGGER.setLevel(level)
