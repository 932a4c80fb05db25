# Ultralytics DiffAttn - AGPL-3.0 License
"""Classes as words: where the names come from, the sentences they stand in, and where a model places them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from ultralytics.utils import LOGGER, TQDM, YAML

from ultralytics_diffattn.clip.model import CLIP
from ultralytics_diffattn.clip.tokens import tokenize

SIMPLE = ("a photo of a {}.",)


def parse_names(names: str | Sequence[str]) -> list[str]:
    """Return the names of classes.

    Args:
        names (str | Sequence[str]): Words with commas between, a text file with one in each line, a data YAML or the
            name of one, or `imagenet` for the 1,000 of ImageNet as CLIP's authors wrote them.

    Returns:
        (list[str]): Each once.

    Raises:
        FileNotFoundError: If a file is named that does not exist.
        ValueError: If there are none.

    Examples:
        >>> parse_names("cat, dog,cat")
        ['cat', 'dog']
    """
    if isinstance(names, (list, tuple)):
        found = [str(name) for name in names]
    elif names == "imagenet":
        from open_clip import IMAGENET_CLASSNAMES

        return list(IMAGENET_CLASSNAMES)  # two pairs of which are alike, and the order is that of the classes
    elif str(names).endswith((".yaml", ".yml")):
        from ultralytics.utils.checks import check_yaml

        found = YAML.load(check_yaml(names)).get("names") or []
        found = [str(name) for name in (found.values() if isinstance(found, dict) else found)]
    elif str(names).endswith(".txt"):
        found = _lines(names)
    else:
        found = str(names).split(",")
    once = list(dict.fromkeys(name.strip() for name in found if name.strip()))
    if not once:
        raise ValueError(f"names={names!r} holds no names; give words, as names='cat,traffic light'.")
    if len(once) < len(found):
        LOGGER.warning(f"names={str(names)[:60]}: {len(found) - len(once)} empty or repeated names are left out.")
    return once


def parse_templates(templates: str | Sequence[str]) -> list[str]:
    """Return sentences with a place for a name.

    Args:
        templates (str | Sequence[str]): A sentence with {} in it, a text file with one in each line, `simple` for
            "a photo of a {}.", or `imagenet` for the 80 of CLIP's authors.

    Returns:
        (list[str]): One or more.

    Raises:
        ValueError: If one has no {}.

    Examples:
        >>> parse_templates("a drawing of a {}")
        ['a drawing of a {}']
    """
    if templates == "imagenet":
        from open_clip import OPENAI_IMAGENET_TEMPLATES

        return [template("{}") for template in OPENAI_IMAGENET_TEMPLATES]
    if templates == "simple":
        return list(SIMPLE)
    if isinstance(templates, str):
        templates = _lines(templates) if templates.endswith(".txt") else [templates]
    templates = [text for text in templates if text.strip()]
    for text in templates:
        if "{}" not in text:
            raise ValueError(f"the template {text!r} has no place for a name; write, for example, 'a photo of a {{}}.'")
    if not templates:
        raise ValueError("there are no templates; give a sentence, for example 'a photo of a {}.'")
    return templates


def _lines(file: str) -> list[str]:
    """Return the lines of a text file."""
    if not Path(file).is_file():
        raise FileNotFoundError(f"there is no file {file}.")
    try:
        return Path(file).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as e:
        raise ValueError(f"{file} is no text in UTF-8: {e}") from e


@torch.no_grad()
def embed(model: CLIP, names: Sequence[str], templates: Sequence[str] = SIMPLE, batch: int = 256) -> Tensor:
    """Return the place of each class: the mean over its sentences.

    Args:
        model (CLIP): On the device on which it is to run.
        names (Sequence[str]): Of the classes.
        templates (Sequence[str]): Sentences with {} in them.
        batch (int): Sentences at a time.

    Returns:
        (Tensor): (classes, embed_dim) of length 1, float32, on the CPU.

    Raises:
        ValueError: If the model's vocabulary is not that of the tokenizer.

    References:
        CLIP, section 3.1.4.
    """
    vocabulary = model.sizes["vocab_size"]
    texts = [text.replace("{}", name) for name in names for text in templates]
    tokens = tokenize(texts, model.sizes["context_length"], keep_end=True)
    if int(tokens.max()) >= vocabulary:
        raise ValueError(f"the model was built with vocab_size={vocabulary}, but the tokenizer has 49408 tokens.")
    device, places = model.logit_scale.device, []
    for part in TQDM(tokens.split(batch), desc="texts", disable=len(tokens) <= batch):
        part = part[:, : part.argmax(1).max() + 1]  # to the last text's end; causal attention looks at nothing behind
        places.append(model.encode_text(part.to(device), normalize=True).float().cpu())
    places = torch.cat(places).reshape(len(names), len(templates), -1).mean(1)  # (classes, embed_dim)
    return torch.nn.functional.normalize(places, dim=-1)
