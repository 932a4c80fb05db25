# Ultralytics DiffAttn - AGPL-3.0 License
"""Texts as the tokens that CLIP reads: open_clip's byte-pair encoding, truncated as DiffCLIP's own tokenizer does."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from ultralytics.utils import LOGGER

from ultralytics_diffattn.errors import MissingPackageError, UserError

if TYPE_CHECKING:
    from open_clip.tokenizer import SimpleTokenizer


@cache
def _tokenizer() -> SimpleTokenizer:
    """Return open_clip's tokenizer; its file of merges comes with the package."""
    try:
        from open_clip.tokenizer import SimpleTokenizer
    except ImportError as e:
        raise MissingPackageError(f"tokens need open_clip ({e}): pip install 'ultralytics-diffattn[clip]'") from e
    return SimpleTokenizer()


def tokenize(texts: str | Sequence[str], context_length: int = 77, keep_end: bool = False) -> Tensor:
    """Return the tokens of texts, with a start, an end and zeros behind it.

    A text that is too long is cut where the context ends, and a warning says how many were.

    Args:
        texts (str | Sequence[str]): One or more; an empty one is a start and an end.
        context_length (int): Tokens of each in the result.
        keep_end (bool): Whether the last token of a text that was cut is its end, as in open_clip. The reference cuts
            the end, too; a model, which reads a text at its end, then embeds all such texts alike.

    Returns:
        (Tensor): (B, context_length), int64.

    Raises:
        UserError: If there are no texts, or one is no str.

    Examples:
        >>> tokenize("a photo of a cat")[0, :8].tolist()
        [49406, 320, 1125, 539, 320, 2368, 49407, 0]

    References:
        CLIP's `simple_tokenizer.py`.
    """
    texts = [texts] if isinstance(texts, str) else list(texts)
    if not texts:
        raise UserError("there are no texts; give one or more, such as 'a photo of a cat'.")
    for text in texts:
        if not isinstance(text, str):
            raise UserError(f"{text!r} is {type(text).__name__}, but a text must be a str.")
    tokenizer = _tokenizer()
    rows = [[tokenizer.sot_token_id, *tokenizer.encode(text), tokenizer.eot_token_id] for text in texts]
    if cut := [text for text, row in zip(texts, rows, strict=True) if len(row) > context_length]:
        LOGGER.warning(
            f"{len(cut)} of {len(texts)} texts are longer than {context_length} tokens and were cut; "
            f"the first begins {cut[0][:40]!r}."
        )
    tokens = torch.zeros(len(rows), context_length, dtype=torch.long)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = torch.tensor(row[:context_length])
        if keep_end and len(row) > context_length:
            tokens[i, -1] = tokenizer.eot_token_id
    return tokens
