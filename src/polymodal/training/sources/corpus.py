"""Items of built corpora as conversations. Decides what an item is asked."""

from __future__ import annotations

import random
from typing import Any

from polymodal.content import Part, assistant, user
from polymodal.corpora.kinds import choices, kind
from polymodal.errors import DataError, RecipeError, nearest
from polymodal.training.data import Sample
from polymodal.training.sources.templates import Template, validated, with_article


class CorpusSource:
    """Items of a corpus built by `polymodal corpus build`, each asked one of the `templates` at random. `split` and `where`
    (`{field: [allowed values]}`) choose items."""

    def __init__(
        self,
        corpus: str,
        templates: list[dict[str, str]],
        split: str = "train",
        where: dict[str, list[str]] | None = None,
    ) -> None:
        from polymodal import corpora

        self.name = corpus
        known = set(corpora.Item.model_fields)
        self.templates = validated(templates, known | {"kind", "choices", "a_concept"}, f"data '{corpus}'")
        where = where or {}
        for key in where:
            if key not in known:
                raise RecipeError(f"data '{corpus}' where: items have no '{key}'{nearest(key, known)}")
        self.items = [
            item
            for item in corpora.read(corpus)
            if item.split == split and all(str(getattr(item, key)) in allowed for key, allowed in where.items())
        ]
        self.items = [item for item in self.items if self._usable(item)]
        if not self.items:
            raise DataError(f"corpus '{corpus}' has no item for split '{split}' and {where or 'any field'}")

    def __len__(self) -> int:
        return len(self.items)

    def sample(self, index: int, rng: random.Random) -> Sample:
        item = self.items[index]
        template = rng.choice(self._usable(item))
        fields = self._fields(item)
        if fields["choices"] is not None:
            fields["choices"] = choices(fields["kind"], rng)
        ask = Part(item.modality, media=str(item.path))
        question = template.ask.format_map(fields)
        turn = user(ask, question) if question else user(ask)
        return Sample([turn, assistant(template.answer.format_map(fields))], f"{self.name}:{item.id}")

    def _usable(self, item: Any) -> list[Template]:
        fields = self._fields(item)
        return [t for t in self.templates if all(fields.get(name) is not None for name in t.names)]

    @staticmethod
    def _fields(item: Any) -> dict[str, Any]:
        fields = {key: value for key, value in item.model_dump().items() if isinstance(value, (str, type(None)))}
        shown = kind(item) if item.modality == "image" else None
        return {**fields, "kind": shown, "choices": shown, "a_concept": with_article(item.concept)}
