# Ultralytics DiffAttn - AGPL-3.0 License
"""The `diffattn` command: ultralytics' `key=value` grammar for what the `yolo` command does not do."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from types import ModuleType

VERBS = {
    "train": "train with the catalogue's budget: diffattn train model=yolo11n-diffattn.yaml data=voc",
    "val": "validate, with AP by size: diffattn val model=best.pt data=voc",
    "export": "export and run the result beside PyTorch: diffattn export model=best.pt format=onnx",
    "compare": "train several models with several seeds: diffattn compare data=voc seeds=0,1,2",
    "robustness": "validate under common corruptions: diffattn robustness models=a.pt,b.pt data=voc",
    "convert": "give a stock checkpoint our attention: diffattn convert in.pt model=yolo11-diffattn-paired.yaml",
    "attend": "show what each object attends to: diffattn attend model=best.pt source=image.jpg baseline=yolo11n.pt",
    "strip": "make a checkpoint to hand on: diffattn strip best.pt format=onnx",
    "zeroshot": "name images by words: diffattn zeroshot weights=clip.pt source=photos names=cat,dog",
    "retrieve": "find images by captions: diffattn retrieve weights=clip.pt data=captions.csv",
    "clip-train": "train CLIP or DiffCLIP: diffattn clip-train model=diffclip-tiny.yaml data=captions.csv",
    "bench": "measure speed and memory on this machine, beside plain attention: diffattn bench only=core,block",
}
HOMES = {"zeroshot": "clip.zeroshot", "retrieve": "clip.retrieve", "clip-train": "clip.train"}  # else as the verb
HELP = """diffattn VERB key=value ..., in the grammar of the yolo command

{verbs}

data= takes a name from datasets.yaml, a data YAML, a folder in PASCAL VOC layout or a COCO JSON; for DiffCLIP
(zeroshot, retrieve, clip-train) a folder of classes or a table of captions: diffattn VERB help.
Every argument of yolo is accepted where it makes sense: https://docs.ultralytics.com/usage/cfg"""


def main(argv: list[str] | None = None) -> int:
    """Run the `diffattn` command.

    Args:
        argv (list[str], optional): The verb and its `key=value` arguments; by default those of the process.

    Returns:
        (int): Exit status: 0, or 1 after an error.

    Examples:
        >>> main(["help"])
        diffattn VERB key=value ..., in the grammar of the yolo command
        ...
        0
    """
    argv = sys.argv[1:] if argv is None else argv
    verb = argv[0] if argv else "help"
    if verb in ("help", "-h", "--help"):
        print(HELP.format(verbs="\n".join(f"  {verb:<11} {text}" for verb, text in VERBS.items())))
        return 0
    try:
        if verb in VERBS and {"help", "-h", "--help"} & set(argv[1:]):
            own = _home(verb).OWN
            keys = "".join(f"\n  {_pair(key, value)}" for key, value in own.items())
            more = "" if verb in HOMES else "\n\nand any argument of yolo that makes sense: yolo cfg lists them"
            print(f"{VERBS[verb]}\n{keys}{more}")
            return 0
        if verb not in VERBS:
            near = "".join(f"Did you mean {name}? " for name in get_close_matches(verb, VERBS, 1))
            raise ValueError(f"there is no such verb. {near}It is one of {', '.join(VERBS)}.")
        module = _home(verb)
        words = placed(argv[1:], getattr(module, "PLACES", ()))
        return int(getattr(module, module.__name__.rpartition(".")[2])(**parse(words, module.OWN)) is False)
    except KeyboardInterrupt:
        print("\ndiffattn: interrupted", file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError, ImportError, SyntaxError, RuntimeError) as e:
        if not _ours(e):
            traceback.print_exc()
        print(f"diffattn {verb}: {str(e).strip()}", file=sys.stderr)
        return 1


def _home(verb: str) -> ModuleType:
    """Return the module of a verb, in which a function is named as the module is."""
    return import_module(f"ultralytics_diffattn.{HOMES.get(verb, verb)}")


def parse(words: list[str], own: dict) -> dict:
    """Return the arguments of a command line, checked as `yolo` checks its own.

    Args:
        words (list[str]): `key=value`, also with spaces around the sign; a task, or the name of a switch, for True.
        own (dict): The verb's own keys with their defaults; all of ultralytics' keys are known besides.

    Returns:
        (dict): Values as Python literals where they are such, else as text.

    Raises:
        SyntaxError: If a key is unknown, with the nearest that exist, or has no value.

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
            raise SyntaxError(f"{key}= has no value; write, for example, {_pair(key, known[key])}.")
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
            near = get_close_matches(name, known, 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ValueError(f"{refusal.replace('NAME', repr(name))}{hint} There are {', '.join(known)}.")
    return list(dict.fromkeys(names))


def _check(known: dict, given: dict) -> None:
    """Let ultralytics check the keys, without the help of the `yolo` command that it prints before its message."""
    from ultralytics.cfg import check_dict_alignment
    from ultralytics.utils import LOGGER

    level = LOGGER.level
    LOGGER.setLevel("WARNING")
    try:
        check_dict_alignment(known, given)
    except SyntaxError as e:
        raise SyntaxError(f"{str(e).strip()} Lists have commas and no spaces.") from None
    finally:
        LOGGER.setLevel(level)


def _pair(key: str, value: object) -> str:
    """Return an argument as one types it."""
    return f"{key}={','.join(map(str, value)) if isinstance(value, tuple) else '...' if value in (None, '') else value}"


def _ours(error: BaseException) -> bool:
    """Tell whether the error was raised on purpose for the user, here or by yolo's own check of arguments."""
    file = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    nowhere = FileNotFoundError, NotADirectoryError, PermissionError
    if isinstance(error, (*nowhere, ConnectionError)):  # a name that does not exist or may not be written, no network
        return True
    return file.is_relative_to(Path(__file__).parent) or file.parts[-3:] == ("ultralytics", "cfg", "__init__.py")


if __name__ == "__main__":
    sys.exit(main())
