"""Wordings: how an item becomes a question and an answer."""

from __future__ import annotations

import random
import string
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import field_validator, model_validator

from polymodal.content import MODALITIES, Message, Part, assistant, user
from polymodal.errors import DataError, RecipeError, nearest
from polymodal.model.config import Strict, validate


class Template(Strict):
    """A wording: the user asks `ask`, the assistant says `answer`. `{caption}`, `{concept}`, `{category}`, `{text}` ... are
    fields of the item, `{a_concept}` and `{a_caption}` have an article, `{kind}` is its broad kind and `{choices}` a
    shuffled list of kinds that holds it, `{cells}` what the middles of nine parts of a scene show, one a line, `{middles}`
    what has its own middle in each, `{style}` how a drawing is drawn. Items that lack a field the wording uses are not
    asked it.

    With a `caption` the item's medium is not shown but made: it stands in the answer where `{media}` does, and `output`
    names what makes it, where several outputs could. `makes` is its modality, if that is not the item's: of a text, say,
    that is to be spoken. Then there is but the caption to learn from."""

    ask: str
    answer: str
    caption: str | None = None
    output: str | None = None
    makes: str | None = None

    @field_validator("ask", "answer", "caption")
    @classmethod
    def _parses(cls, value: str | None) -> str | None:
        for _, name, spec, conversion in string.Formatter().parse(value or ""):
            if name is not None and (spec or conversion or not name or name.isdigit() or set(name) & set(".[")):
                raise ValueError(f"'{{{name}}}' must be the name of a field and nothing else")
        return value

    @model_validator(mode="after")
    def _made(self) -> Template:
        if self.makes is not None and (self.makes not in MODALITIES or self.caption is None):
            known = self.makes in MODALITIES
            raise ValueError("'makes' wants a caption" if known else f"'makes' is one of {', '.join(MODALITIES)}")
        return self

    @property
    def names(self) -> set[str]:
        """The fields it uses."""
        said = string.Formatter().parse(self.ask + self.answer + (self.caption or ""))
        return {name for _, name, _, _ in said if name is not None} - ({"media"} if self.caption is not None else set())

    def messages(self, fields: Mapping[str, Any], media: Sequence[Part]) -> list[Message]:
        """What the user asks and the assistant answers. `media`: of the item, shown in front of the question, or made."""
        question = self.ask.format_map(fields)
        asked = [Part("text", text=question)] if question else []
        if self.caption is None:
            return [user(*media, *asked), assistant(self.answer.format_map(fields))]
        caption = self.caption.format_map(fields)
        parts = media if self.makes is None else [Part(self.makes, caption=caption)]
        made = [replace(part, caption=caption, output=self.output) for part in parts]
        before, _, after = self.answer.partition("{media}")
        texts = [[text.format_map(fields)] if text else [] for text in (before, after)]
        said: list[Part | str] = [*texts[0], *made, *texts[1]]
        return [user(*asked) if asked else user(""), assistant(*said)]


def validated(raw: list[dict[str, str]], known: Collection[str] | None, where: str) -> list[Template]:
    """Validated wordings. Raises `RecipeError` for one that uses a field which is not among the `known`, if those are."""
    if not raw:
        raise RecipeError(f"{where} templates: needs one wording at least")
    templates = [validate(Template, t, f"{where} templates.{i}") for i, t in enumerate(raw)]
    for i, template in enumerate(templates):
        for name in template.names.difference(template.names if known is None else known):
            raise RecipeError(
                f"{where} templates.{i} uses '{{{name}}}', which items do not have{nearest(name, known or ())}"
            )
    return templates


def exchange(
    templates: list[Template], fields: Mapping[str, Any], media: Iterable[Part], rng: random.Random, name: str
) -> list[Message]:
    """A user's turn of `media` and a question, and the answer: one of the wordings whose fields this item has, at random.
    The survey's way from X-text pairs to instruction data. Raises `DataError` naming the fields that are missing."""
    known = {key: value for key, value in fields.items() if value is not None}
    shown = list(media)
    usable = [template for template in templates if template.names <= known.keys()]
    if not usable:
        missing = ", ".join(f"'{key}'" for key in sorted(templates[0].names - known.keys()))
        raise DataError(f"{name}: {missing} missing, so no wording can be used (it has: {', '.join(known) or 'nothing'})")
    return rng.choice(usable).messages(known, shown)
