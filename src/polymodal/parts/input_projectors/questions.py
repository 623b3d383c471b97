"""What a projector reads of the question about an item. Decides that it has a tokenizer of its own: what it learned of
words stays true whatever backbone stands behind it."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor

from polymodal.errors import ContentError, RecipeError
from polymodal.parts.base import Features
from polymodal.parts.sources import pretrained


class Questions:
    """`tokenizer`: where one is (`asset:NAME`, a Hub id or a folder), or, as a checkpoint keeps it, what its tokenizer.json
    holds. Of a question over `longest` tokens the beginning is not read, as in InstructBLIP's code. `held`: the
    tokenizer.json. `size`: of its vocabulary. Raises `RecipeError` if it cannot be read."""

    def __init__(self, tokenizer: str | dict[str, Any], longest: int) -> None:
        self.tokenizer = _read(tokenizer)
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.held: dict[str, Any] = json.loads(self.tokenizer.to_str())
        self.size: int = self.tokenizer.get_vocab_size()
        self.tokenizer.encode_special_tokens = True  # who spells a special token has written a word
        self.tokenizer.enable_truncation(longest, direction="left")

    def ids(self, features: Features, device: torch.device) -> list[Tensor]:
        """Token ids [L] of the question about each item. Raises `ContentError` if there is none."""
        # One by one: threads of its own, which a batch would start, do not survive the fork of a worker.
        return [torch.tensor(self.tokenizer.encode(question).ids, device=device) for question in asked(features)]


def asked(features: Features) -> list[str]:
    """The question about each item. Raises `ContentError` if there is none."""
    questions = [question for question in features.questions or [] if question]
    if len(questions) != len(features.tokens):
        raise ContentError(f"{len(features.tokens)} items have {len(questions)} questions, which their projector reads")
    return questions


def _read(tokenizer: str | dict[str, Any]) -> Any:
    if isinstance(tokenizer, str):
        from transformers import AutoTokenizer

        found = getattr(pretrained(AutoTokenizer, tokenizer, "projector.tokenizer"), "backend_tokenizer", None)
        if found is None:
            raise RecipeError(f"projector.tokenizer '{tokenizer}' has no tokenizer.json")
        return found
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(json.dumps(tokenizer))
    except Exception as error:  # the library raises no class of its own
        raise RecipeError(f"projector.tokenizer is no tokenizer.json: {error}") from error
