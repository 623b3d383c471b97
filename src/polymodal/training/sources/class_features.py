"""Features that the image encoder's own classifier calls by name, as conversations."""

from __future__ import annotations

import random
from typing import Annotated

from pydantic import Field

from polymodal.content import Part, assistant, user
from polymodal.corpora.grammar import with_article
from polymodal.corpora.kinds import UNKNOWN, choices
from polymodal.training.data import Sample
from polymodal.training.sources.templates import Template, validated


class ClassFeaturesSource:
    """Features that the image encoder's own classifier calls by name (`corpora.class_features`): captioned features without
    pictures. Templates may use `{concept}`, `{a_concept}`, `{kind}` and `{choices}`. `cells`: how many features of parts
    stand behind that of the whole, as many as the encoder emits: a backbone that met classes only without them believes
    them only without them."""

    def __init__(self, templates: list[dict[str, str]], cells: Annotated[int, Field(ge=0)] = 0) -> None:
        from polymodal.corpora import class_features, items

        self.cells = cells
        self.templates = validated(templates, ("concept", "a_concept", "kind", "choices"), "data 'class-features'")
        self.features = class_features.read(items.folder(class_features.NAME))
        self.classes = [i for i in range(len(self.features.names)) if self._usable(i)]

    def __len__(self) -> int:
        return len(self.classes)

    def sample(self, index: int, rng: random.Random) -> Sample:
        index = self.classes[index]
        template = rng.choice(self._usable(index))
        name, kind = self.features.names[index], self.features.kinds[index]
        fields = {"concept": name, "a_concept": with_article(name), "kind": kind, "choices": choices(kind, rng)}
        ready = Part("image", media=self.features.draw(index, rng, self.cells))
        ask, answer = template.ask.format_map(fields), template.answer.format_map(fields)
        return Sample([user(ready, ask) if ask else user(ready), assistant(answer)], f"class-features:{index}")

    def _usable(self, index: int) -> list[Template]:
        """The wordings that this class can be asked: what is of no kind is not asked its kind."""
        plain = self.features.kinds[index] == UNKNOWN
        return [t for t in self.templates if not (plain and t.names & {"kind", "choices"})]
