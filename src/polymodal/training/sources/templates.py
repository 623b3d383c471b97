"""Wordings: how an item becomes a question and an answer."""

from __future__ import annotations

import string
from collections.abc import Collection

from pydantic import field_validator

from polymodal.errors import RecipeError, nearest
from polymodal.model.config import Strict, validate


class Template(Strict):
    """A wording: the user asks `ask`, the assistant says `answer`. `{caption}`, `{concept}`, `{category}`, `{text}` ... are
    fields of the item, `{a_concept}` has an article, `{kind}` is its broad kind and `{choices}` a shuffled list of kinds
    that holds it. Items that lack a
    field the wording uses are not asked it."""

    ask: str
    answer: str

    @field_validator("ask", "answer")
    @classmethod
    def _parses(cls, value: str) -> str:
        list(string.Formatter().parse(value))
        return value

    @property
    def names(self) -> set[str]:
        """The fields it uses."""
        return {name for _, name, _, _ in string.Formatter().parse(self.ask + self.answer) if name is not None}


def validated(raw: list[dict[str, str]], known: Collection[str], where: str) -> list[Template]:
    """Validated wordings. Raises `RecipeError` for one that uses a field which is not among the `known`."""
    if not raw:
        raise RecipeError(f"{where} templates: needs one wording at least")
    templates = [validate(Template, t, f"{where} templates.{i}") for i, t in enumerate(raw)]
    for i, template in enumerate(templates):
        for name in template.names.difference(known):
            raise RecipeError(f"{where} templates.{i} uses '{{{name}}}', which items do not have{nearest(name, known)}")
    return templates


def with_article(name: str) -> str:
    """ "a dog", "an owl"."""
    return f"{'an' if name[:1] in 'aeiou' else 'a'} {name}"
