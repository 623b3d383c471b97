"""Features that the image encoder's own classifier calls by name, as conversations."""

from __future__ import annotations

import random

from polymodal.content import Part, assistant, user
from polymodal.corpora.grammar import with_article
from polymodal.corpora.kinds import choices
from polymodal.training.data import Sample
from polymodal.training.sources.templates import validated


class ClassFeaturesSource:
    """Features that the image encoder's own classifier calls by name (`corpora.class_features`): captioned features without
    pictures. Templates may use `{concept}`, `{a_concept}`, `{kind}` and `{choices}`."""

    def __init__(self, templates: list[dict[str, str]]) -> None:
        from polymodal.corpora import class_features, items

        self.templates = validated(templates, ("concept", "a_concept", "kind", "choices"), "data 'class-features'")
        self.features = class_features.read(items.folder(class_features.NAME))

    def __len__(self) -> int:
        return len(self.features.names)

    def sample(self, index: int, rng: random.Random) -> Sample:
        template = rng.choice(self.templates)
        name, kind = self.features.names[index], self.features.kinds[index]
        fields = {"concept": name, "a_concept": with_article(name), "kind": kind, "choices": choices(kind, rng)}
        ready = Part("image", media=self.features.draw(index, rng))
        ask, answer = template.ask.format_map(fields), template.answer.format_map(fields)
        return Sample([user(ready, ask) if ask else user(ready), assistant(answer)], f"class-features:{index}")
