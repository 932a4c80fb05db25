# Ultralytics DiffAttn - AGPL-3.0 License
"""Classes as words: their names, the prompt templates that the names are put into, and the embeddings of both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from ultralytics.utils import LOGGER, TQDM, YAML
from ultralytics.utils.checks import check_yaml

from ultralytics_diffattn.clip.model import CLIP
from ultralytics_diffattn.clip.tokens import tokenize
from ultralytics_diffattn.errors import MissingFileError, UserError, as_user_errors

SIMPLE = ("a photo of a {}.",)


def parse_names(names: str | Sequence[str]) -> list[str]:
    """Return the names of classes.

    Args:
        names (str | Sequence[str]): Words with commas between, a text file with one in each line, a data YAML or the
            name of one, or `imagenet` for the 1,000 of ImageNet as CLIP's authors wrote them.

    Returns:
        (list[str]): Each once.

    Raises:
        MissingFileError: If a file is named that does not exist.
        UserError: If there are none.

    Examples:
        >>> parse_names("cat, dog,cat")
        ['cat', 'dog']
    """
    if names == "imagenet":
        from open_clip import IMAGENET_CLASSNAMES

        return list(IMAGENET_CLASSNAMES)  # two pairs of which are alike, and the order is that of the classes
    if not isinstance(names, str):
        listed = [str(name) for name in names]
    elif names.endswith((".yaml", ".yml")):
        listed = _names_of_yaml(names)
    elif names.endswith(".txt"):
        listed = _lines(names)
    else:
        listed = names.split(",")
    unique = list(dict.fromkeys(name.strip() for name in listed if name.strip()))
    if not unique:
        raise UserError(f"names={names!r} holds no names; give words, as names='cat,traffic light'.")
    if len(unique) < len(listed):
        LOGGER.warning(f"names={str(names)[:60]}: {len(listed) - len(unique)} empty or repeated names are left out.")
    return unique


def parse_templates(templates: str | Sequence[str]) -> list[str]:
    """Return prompt templates: sentences with a {} where the name of a class goes.

    Args:
        templates (str | Sequence[str]): A sentence with {} in it, a text file with one in each line, `simple` for
            "a photo of a {}.", or `imagenet` for the 80 of CLIP's authors.

    Returns:
        (list[str]): One or more.

    Raises:
        MissingFileError: If a file is named that does not exist.
        UserError: If there is none, or one has no {}.

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
            raise UserError(f"the template {text!r} has no {{}} for the name; write, for example, 'a photo of a {{}}.'")
    if not templates:
        raise UserError("there are no templates; give a sentence, for example 'a photo of a {}.'")
    return templates


def _names_of_yaml(name: str) -> list[str]:
    """Return the names of classes in a data YAML."""
    with as_user_errors():
        names = YAML.load(check_yaml(name)).get("names") or []
    return [str(name) for name in (names.values() if isinstance(names, dict) else names)]


def _lines(file: str) -> list[str]:
    """Return the lines of a text file."""
    if not Path(file).is_file():
        raise MissingFileError(f"there is no file {file}.")
    try:
        with as_user_errors():
            return Path(file).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as e:
        raise UserError(f"{file} is no text in UTF-8: {e}") from e


@torch.no_grad()
def embed(model: CLIP, names: Sequence[str], templates: Sequence[str] = SIMPLE, batch: int = 256) -> Tensor:
    """Return the text embedding of each class: the mean over its prompts.

    Args:
        model (CLIP): On the device on which it is to run.
        names (Sequence[str]): Of the classes.
        templates (Sequence[str]): Sentences with {} in them.
        batch (int): Texts at a time.

    Returns:
        (Tensor): (classes, embed_dim) of length 1, float32, on the CPU.

    Raises:
        UserError: If the model's vocabulary is not that of the tokenizer.

    References:
        CLIP, section 3.1.4.
    """
    texts = [text.replace("{}", name) for name in names for text in templates]
    tokens = tokenize(texts, model.sizes.context_length, keep_end=True)
    if int(tokens.max()) >= model.sizes.vocab_size:
        raise UserError(
            f"the model was built with vocab_size={model.sizes.vocab_size}, but the tokenizer has 49408 tokens."
        )
    embeddings: list[Tensor] = []
    for part in TQDM(tokens.split(batch), desc="texts", disable=len(tokens) <= batch):
        part = part[:, : part.argmax(1).max() + 1]  # to the last text's end; causal attention looks at nothing behind
        part = part.to(model.logit_scale.device)
        embeddings.append(model.encode_text(part, normalize=True).float().cpu())
    mean = torch.cat(embeddings).reshape(len(names), len(templates), -1).mean(1)  # (classes, embed_dim)
    return torch.nn.functional.normalize(mean, dim=-1)
