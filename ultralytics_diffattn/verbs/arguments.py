# Ultralytics DiffAttn - AGPL-3.0 License
"""Arguments of the `diffattn` command: `key=value`, checked as `yolo` checks its own, and lists with commas."""

from __future__ import annotations

from collections.abc import Iterable

from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.suggestions import did_you_mean


def parse(words: list[str], own: dict) -> dict:
    """Return the arguments of a command line, checked as `yolo` checks its own.

    Args:
        words (list[str]): `key=value`, also with spaces around the sign; a task, or the name of a switch, for True.
        own (dict): The verb's own keys with their defaults; all of ultralytics' keys are known besides.

    Returns:
        (dict): Values as Python literals where they are such, else as text.

    Raises:
        UserError: If a key is unknown, with the nearest that exist, or has no value.

    Examples:
        >>> parse(["epochs=3", "seeds", "=", "0,1", "resume"], {"seeds": (0, 1, 2)})
        {'epochs': 3, 'seeds': (0, 1), 'resume': True}
    """
    from ultralytics.cfg import TASKS, merge_equals_args, parse_key_value_pair
    from ultralytics.utils import DEFAULT_CFG_DICT

    known = {**DEFAULT_CFG_DICT, **own}
    given = {}
    for word in merge_equals_args(words):
        key, equals, value = word.removeprefix("--").removesuffix(",").partition("=")
        if equals and value.strip():
            key, given[key] = parse_key_value_pair(f"{key}={value}")
        elif equals or known.get(key, "") not in (True, False):
            if key in TASKS and not equals:
                given["task"] = key
                continue
            _check(known, {key: ""})
            raise UserError(f"{key}= has no value; write, for example, {pair(key, known[key])}.")
        else:
            given[key] = True
    _check(known, given)
    return given


def placed(words: list[str], names: tuple[str, ...]) -> list[str]:
    """Return the words with a key before each file that was given by its place.

    Args:
        words (list[str]): As typed.
        names (tuple[str, ...]): Keys that may be left out, in their order.

    Returns:
        (list[str]): `key=value`; those that are more than there are names as they are.

    Examples:
        >>> placed(["in.pt", "model=a.yaml", "out.pt"], ("weights", "out"))
        ['weights=in.pt', 'model=a.yaml', 'out=out.pt']
    """
    free = [name for name in names if not any(word.startswith(f"{name}=") for word in words)]
    files = [i for i, word in enumerate(words) if "=" not in word]
    for i, name in zip(files, free, strict=False):
        words = [*words[:i], f"{name}={words[i]}", *words[i + 1 :]]
    return words


def listed(value: object) -> list[str]:
    """Return the items of an argument that may be one, several with commas between, or a sequence.

    Args:
        value (object): Such as "a,b", (0, 1) or 3.

    Returns:
        (list[str]): As texts, without spaces round them.

    Examples:
        >>> listed("a, b"), listed((0, 1)), listed(3)
        (['a', 'b'], ['0', '1'], ['3'])
    """
    items = value.split(",") if isinstance(value, str) else value if isinstance(value, (list, tuple)) else [value]
    return [str(item).strip() for item in items]


def chosen(value: object, known: Iterable[str], refusal: str) -> list[str]:
    """Return the items of an argument that may only name what there is.

    Args:
        value (object): As for `listed`.
        known (Iterable[str]): What there is.
        refusal (str): The beginning of the message on a name that there is not, which stands in it as NAME.

    Returns:
        (list[str]): In the order given, each once.

    Raises:
        ValueError: If a name is unknown, with the nearest.

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


def check_known(verb: str, given: dict, known: Iterable[str]) -> None:
    """Raise unless all that is given is among the arguments of a verb, which would heed no others."""
    for name in given:
        if name not in known:
            hint = did_you_mean(name, known)
            raise UserError(f"{name}= means nothing to {verb}.{hint} It takes {', '.join(known)}.")


def pair(key: str, value: object) -> str:
    """Return an argument as one types it."""
    return f"{key}={','.join(map(str, value)) if isinstance(value, tuple) else '...' if value in (None, '') else value}"


def _check(known: dict, given: dict) -> None:
    """Let ultralytics check the keys, without the help of the `yolo` command that it prints before its message."""
    from ultralytics.cfg import check_dict_alignment
    from ultralytics.utils import LOGGER

    level = LOGGER.level
    LOGGER.setLevel("WARNING")
    try:
        check_dict_alignment(known, given)
    except SyntaxError as e:
        raise UserError(f"{str(e).strip()} Lists have commas and no spaces.") from None
    finally:
        LOGGER.setLevel(level)


def parse_corruptions(names: str | list | tuple) -> list[str]:
    """Return the corruptions by name.

    Args:
        names (str | list | tuple): Some of `CORRUPTIONS`, in a text with commas between.

    Returns:
        (list[str]): In the order given.

    Raises:
        ValueError: If one is unknown, with the nearest.

    Examples:
        >>> parse_corruptions("fog,snow")
        ['fog', 'snow']
    """
    from ultralytics_diffattn.evaluation.corruptions import CORRUPTIONS

    return chosen(names, CORRUPTIONS, "corruption NAME is unknown.")


def parse_severities(severities: int | str | list | tuple) -> list[int]:
    """Return the severities as a list.

    Args:
        severities (int | str | list | tuple): Whole numbers from 1 to 5.

    Returns:
        (list[int]): In the order given.

    Raises:
        ValueError: If one is out of range.

    Examples:
        >>> parse_severities((1, 3))
        [1, 3]
    """
    found = listed(severities)
    if not found or any(s not in ("1", "2", "3", "4", "5") for s in found):
        raise ValueError(f"severities={severities!r} must be whole numbers from 1 to 5, with commas between.")
    return [int(s) for s in dict.fromkeys(found)]
