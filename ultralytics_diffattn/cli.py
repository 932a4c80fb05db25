# Ultralytics DiffAttn - AGPL-3.0 License
"""The `diffattn` command: ultralytics' `key=value` grammar for what the `yolo` command does not do."""

from __future__ import annotations

import gc
import inspect
import re
import sys
import textwrap
import traceback
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.suggestions import did_you_mean
from ultralytics_diffattn.verbs.arguments import check_values, name_positional, pair, parse

VERBS = {
    "train": "train with the catalogue's budget: diffattn train model=yolo11n-diffattn.yaml data=voc",
    "val": "validate, with AP by size: diffattn val model=best.pt data=voc",
    "export": "export and run the result beside PyTorch: diffattn export model=best.pt format=onnx",
    "compare": "train several models with several seeds: diffattn compare data=voc seeds=0,1,2",
    "robustness": "validate under common corruptions: diffattn robustness models=a.pt,b.pt data=voc",
    "convert": "give a stock checkpoint our attention: diffattn convert in.pt model=yolo11-diffattn-paired.yaml",
    "attend": "show what each object attends to: diffattn attend model=best.pt source=image.jpg baseline=yolo11n.pt",
    "demo": "a page to click on objects and see what they attend to: diffattn demo model=best.pt port=7860",
    "strip": "make a checkpoint to hand on: diffattn strip best.pt format=onnx",
    "modules": "make a file with modules of your own known: diffattn modules add my_blocks.py; list, remove",
    "new": "write a module, its YAML and its test: diffattn new CBAM like=Conv",
    "zeroshot": "name images by words: diffattn zeroshot weights=clip.pt source=photos names=cat,dog",
    "retrieve": "find images by captions: diffattn retrieve weights=clip.pt data=captions.csv",
    "clip-train": "train CLIP or DiffCLIP: diffattn clip-train model=diffclip-tiny.yaml data=captions.csv",
    "bench": "measure speed and memory on this machine, beside plain attention: diffattn bench only=core,block",
}
# Their arguments are all their own.
NOT_OF_YOLO = "demo", "modules", "new", "zeroshot", "retrieve", "clip-train", "bench"
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
    is_process = argv is None
    argv = sys.argv[1:] if argv is None else argv
    verb = argv[0] if argv else "help"
    if verb in ("help", "-h", "--help"):
        print(HELP.format(verbs="\n".join(f"  {verb:<11} {text}" for verb, text in VERBS.items())))
        return 0
    try:
        if verb not in VERBS:
            raise UserError(f"there is no such verb.{did_you_mean(verb, VERBS)} It is one of {', '.join(VERBS)}.")
        if {"help", "-h", "--help"} & set(argv[1:]):
            print(_help(verb))
            return 0
        return _run(verb, argv[1:], is_process)
    except KeyboardInterrupt:
        print("\ndiffattn: interrupted", file=sys.stderr)
        return 130
    except UserError as e:
        print(f"diffattn {verb}: {str(e).strip()}", file=sys.stderr)
        return 1
    except Exception:  # a bug, of which the user can say no more than where it was
        traceback.print_exc()
        return 1


def _help(verb: str) -> str:
    """Return what a verb does, its own arguments with their defaults, and what its docstring says of them."""
    keys = "".join(f"\n  {pair(key, value)}" for key, value in _module(verb).OWN.items())
    documented = (inspect.getdoc(_function(verb)) or "").partition("Args:\n")[2].partition("\n\n")[0]
    words = re.sub(r"^(\w+) \(.*?\): ", r"\1: ", textwrap.dedent(documented), flags=re.MULTILINE)
    words = re.sub(r"^\*\*\w+ \(.*?\): ", "", words, flags=re.MULTILINE)
    more = "" if verb in NOT_OF_YOLO else "\n\nand any argument of yolo that makes sense: yolo cfg lists them"
    return f"{VERBS[verb]}\n{keys}\n\n{words}{more}"


def _run(verb: str, words: list[str], is_process: bool) -> int:
    """Call the function of a verb, and return the exit status: 1 if it returns False."""
    module = _module(verb)
    arguments = parse(name_positional(words, getattr(module, "POSITIONAL", ())), module.OWN)
    if is_process:
        gc.freeze()  # what was imported stays; to search all of it for garbage, at the end once more, takes 0.7 s
    if verb not in NOT_OF_YOLO:
        check_values({key: value for key, value in arguments.items() if key not in module.OWN})
    return int(_function(verb)(**arguments) is False)


def _function(verb: str) -> Callable[..., Any]:
    """Return what a verb calls."""
    function: Callable[..., Any] = getattr(_module(verb), verb.replace("-", "_"))
    return function


def _module(verb: str) -> ModuleType:
    """Return the module of a verb, in which a function is named as the module is."""
    return import_module(f"ultralytics_diffattn.verbs.{verb.replace('-', '_')}")


if __name__ == "__main__":
    sys.exit(main())
