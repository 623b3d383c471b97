"""Items of built corpora as conversations. Decides what an item is asked: its own questions, or the recipe's wordings."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from typing import Annotated, Any

from PIL import Image
from pydantic import Field

from polymodal.content import Message, Part, assistant, user
from polymodal.corpora.combinations import Combinations, combination
from polymodal.corpora.emoji import STYLES
from polymodal.corpora.grammar import with_article
from polymodal.corpora.items import Box
from polymodal.corpora.kinds import UNKNOWN, choices, kind
from polymodal.errors import DataError, RecipeError, nearest
from polymodal.training.data import Sample
from polymodal.training.sources.templates import Template, validated


def media_of(item: Any) -> Part:
    """The medium of an item of a corpus."""
    return Part(item.modality, media=item.read())


class CorpusSource:
    """Items of a corpus built by `polymodal corpus build`, each asked one of the `templates` at random; without templates,
    `turns` of the item's own questions, drawn at random and asked in their order (all of them where it has fewer).
    `split`, `where` (`{field: [allowed values]}`) and `combinations` (those of concept and design that generators are
    trained on, or those that are held out) choose items. `cells`: of how many parts along each side `{cells}`
    and `{middles}` tell what they show."""

    def __init__(
        self,
        corpus: str,
        templates: list[dict[str, str]] | None = None,
        split: str = "train",
        where: dict[str, list[str]] | None = None,
        turns: int = 1,
        cells: Annotated[int, Field(ge=1)] = 3,
        combinations: Combinations | None = None,
    ) -> None:
        from polymodal import corpora

        self.name, self.turns, self.cells = corpus, turns, cells
        known = set(corpora.Item.model_fields)
        if turns < 1 or (turns > 1 and templates is not None):
            raise RecipeError(
                f"data '{corpus}' turns: {turns}; several turns need questions of the items' own, no templates"
            )
        self.templates: list[Template] | None = None
        if templates is not None:
            more = {"kind", "choices", "a_concept", "a_caption", "cells", "middles", "style"}
            self.templates = validated(templates, known | more, f"data '{corpus}'")
        where = where or {}
        for key in where:
            if key not in known:
                raise RecipeError(f"data '{corpus}' where: items have no '{key}'{nearest(key, known)}")
        self.items = [
            item
            for item in corpora.read(corpus)
            if item.split == split and all(str(getattr(item, key)) in allowed for key, allowed in where.items())
        ]
        if combinations is not None:
            self.items = [item for item in self.items if combination(item.concept, item.vendor) == combinations]
        self.items = [item for item in self.items if (item.questions if self.templates is None else self._usable(item))]
        if not self.items:
            wanted = f"split '{split}' and {where or 'any field'}"
            own = "; its items may have no questions of their own, then it needs templates" if templates is None else ""
            raise DataError(f"corpus '{corpus}' has no item for {wanted}{own}")

    def __len__(self) -> int:
        return len(self.items)

    def sample(self, index: int, rng: random.Random) -> Sample:
        item = self.items[index]
        shown = [] if item.modality == "text" else [media_of(item)]
        if self.templates is not None:
            return Sample(self._worded(item, shown, rng), f"{self.name}:{item.id}")
        messages = []
        for question, answer in self._own(item, rng):
            messages += [user(*shown, question) if question else user(*shown), assistant(answer)]
            shown = []  # media is shown once, in the first turn
        return Sample(messages, f"{self.name}:{item.id}")

    def _own(self, item: Any, rng: random.Random) -> list[tuple[str, str]]:
        """(question, answer) of `turns` of the item's own."""
        size = len(item.questions)
        chosen = sorted(rng.sample(range(size), min(self.turns, size)))
        return [(item.questions[i].ask, item.questions[i].answer) for i in chosen]

    def _worded(self, item: Any, shown: list[Part], rng: random.Random) -> list[Message]:
        """One wording of the recipe."""
        template = rng.choice(self._usable(item))
        fields = self._fields(item)
        if {"cells", "middles"} & set(template.names):
            size = _size(shown[0])
            fields["cells"] = "\n".join(grid(item.boxes, self.cells, size))
            fields["middles"] = "\n".join(middles(item.boxes, self.cells, size))
        if fields["choices"] is not None:
            fields["choices"] = choices(fields["kind"], rng)
        return template.messages(fields, shown)

    def _usable(self, item: Any) -> list[Template]:
        fields = self._fields(item)
        return [t for t in self.templates or () if all(fields.get(name) is not None for name in t.names)]

    def _fields(self, item: Any) -> dict[str, Any]:
        fields = {key: value for key, value in item.model_dump().items() if isinstance(value, (str, type(None)))}
        own = kind(item) if item.modality == "image" else UNKNOWN
        shown = None if own == UNKNOWN else own  # "a type of thing" teaches to say nothing
        fields |= {"kind": shown, "choices": shown, "a_concept": with_article(item.concept)}
        fields |= {"a_caption": with_article(item.caption)}
        fields |= {"style": STYLES.get(item.vendor)}
        if item.boxes:
            fields |= {"cells": "", "middles": ""}  # there, and found out for the one that is asked about
        return fields


def _size(part: Part) -> tuple[int, int]:
    """Width and height of a picture or map in a file's bytes."""
    with Image.open(io.BytesIO(part.media)) as picture:
        return picture.size


def grid(boxes: Sequence[Box], cells: int, size: tuple[int, int]) -> list[str]:
    """What the middle of each of `cells` x `cells` parts of a picture of `size` shows, row by row: the name of the box it
    lies in, or a full stop."""
    xs, ys = ([side * (2 * i + 1) // (2 * cells) for i in range(cells)] for side in size)
    return [next((box.name for box in boxes if _holds(box, x, y)), ".") for y in ys for x in xs]


def middles(boxes: Sequence[Box], cells: int, size: tuple[int, int]) -> list[str]:
    """The same of what has its own middle in each part: a thing is named once, wherever it is; of two in one part the
    later one is."""
    found = ["."] * cells**2
    for box in boxes:
        left, top, right, bottom = box.xyxy
        ends = zip((left + right, top + bottom), size, strict=True)
        column, row = (min(cells * both // (2 * side), cells - 1) for both, side in ends)
        found[row * cells + column] = box.name
    return found


def _holds(box: Box, x: int, y: int) -> bool:
    left, top, right, bottom = box.xyxy
    return left <= x < right and top <= y < bottom
