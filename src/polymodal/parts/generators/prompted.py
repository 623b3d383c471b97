"""A generator that is told what to make in words (ModaVerse, arXiv 2401.06395; tools of an LLM): a span holds the prompt,
and the generator's own text encoder reads it. Decides that nothing between the LLM and the generator learns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from polymodal.errors import ContentError, RecipeError
from polymodal.parts.base import build
from polymodal.parts.generators.text_conditions import TextConditions
from polymodal.parts.output import Editor, Generator, Sources, Target


class Prompted(Editor):
    """`of`: a generator as a recipe names it (`diffusion`, `video-diffusion`, `audio-diffusion`, `retrieval`) with the text
    encoder that reads prompts; its weights come from `path`. Raises `RecipeError` for one that reads none."""

    takes, positions, width = "text", 0, 0

    def __init__(self, of: dict[str, Any], path: str | None = None) -> None:
        from polymodal.parts.generators import GENERATORS

        super().__init__()
        if "path" in of:
            raise RecipeError("generator 'prompted': 'path' stands beside 'of', not in it")
        self.of: Generator = build("generator.of", GENERATORS, of if path is None else {**of, "path": path})
        if self.of.takes != "condition" or not isinstance(getattr(self.of, "texts", None), TextConditions):
            raise RecipeError(f"generator 'prompted': '{of['kind']}' has no text encoder that could read a prompt")
        self.modality = self.of.modality
        self.borrows = self.of.borrows
        self.edits = isinstance(self.of, Editor) and self.of.edits
        kept = {key: value for key, value in self.of.options.items() if key != "path"}
        self.options = {"of": {"kind": of["kind"], **kept}}

    def begins_as(self, other: nn.Module) -> nn.Module:
        return self if isinstance(other, Prompted) else self.of

    def borrow(self, other: Generator) -> None:
        self.of.borrow(other)

    def prepare(self, media: Any) -> Tensor:
        return self.of.prepare(media)

    def make(
        self,
        given: Tensor | Sequence[str],
        random: torch.Generator,
        on_step: Callable[[int, int], None] | None = None,
        source: Sources | None = None,
    ) -> list[Any]:
        """S prompts -> S media. Raises `ContentError` for a prompt without a word."""
        prompts = [str(prompt).strip() for prompt in given]
        if not all(prompts):
            raise ContentError(f"prompt {prompts.index('') + 1} for the generator of {self.modality} has no word")
        condition = self.of.condition([Target(prompt) for prompt in prompts])
        if isinstance(self.of, Editor) and self.edits:
            return self.of.make(condition, random, on_step, source)
        return self.of.make(condition, random, on_step)
