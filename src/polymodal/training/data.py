"""Sources and mixing. Decides how a training sample is found again: by (source, epoch, place), never by luck.

A source is a sized collection; `sample(index, rng)` is one conversation. Whatever is random about a sample (its wording)
comes from the `rng` it is given, seeded by where it stands, so that a resumed run sees what an uninterrupted one sees.
"""

from __future__ import annotations

import json
import random
import string
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pydantic import field_validator

from polymodal.content import Message, Part, assistant, from_json, user
from polymodal.corpora.kinds import choices, kind
from polymodal.errors import ContentError, DataError, RecipeError, nearest
from polymodal.model.config import Strict, validate
from polymodal.parts.base import build


@dataclass
class Sample:
    """One conversation to learn from. `name` identifies it in errors and logs."""

    messages: list[Message]
    name: str
    source: str = ""


class Source(Protocol):
    def __len__(self) -> int: ...

    def sample(self, index: int, rng: random.Random) -> Sample: ...


class MessagesSource:
    """A JSONL file of conversations in OpenAI's form: `{"messages": [...]}` or a bare list per line. Relative media paths
    are relative to the file. Raises `DataError` naming the row and the field."""

    def __init__(self, path: str) -> None:
        self.file = Path(path)
        if not self.file.is_file():
            raise DataError(f"{path}: there is no such file")
        try:
            lines = self.file.read_text(encoding="utf-8").split("\n")  # not at the line separators within a JSON string
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: not UTF-8 ({error})") from error
        self.rows = [(i, line) for i, line in enumerate(lines, 1) if line.strip()]
        if not self.rows:
            raise DataError(f"{path}: the file holds no conversation")

    def __len__(self) -> int:
        return len(self.rows)

    def sample(self, index: int, rng: random.Random) -> Sample:
        number, line = self.rows[index]
        name = f"{self.file.name}:{number}"
        try:
            row = json.loads(line)
            messages = from_json(row.get("messages") if isinstance(row, dict) else row)
        except (ValueError, ContentError) as error:
            raise DataError(f"{name}: {error}") from error
        return Sample([self._anchor(m) for m in messages], name)

    def _anchor(self, message: Message) -> Message:
        return Message(message.role, tuple(map(self._part, message.parts)), message.train)

    def _part(self, part: Part) -> Part:
        if not isinstance(part.media, str) or part.media.startswith("data:") or "://" in part.media:
            return part
        return Part(part.type, media=str(self.file.parent / part.media))


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


def _templates(raw: list[dict[str, str]], known: Collection[str], where: str) -> list[Template]:
    """Validated wordings. Raises `RecipeError` for one that uses a field which is not among the `known`."""
    if not raw:
        raise RecipeError(f"{where} templates: needs one wording at least")
    templates = [validate(Template, t, f"{where} templates.{i}") for i, t in enumerate(raw)]
    for i, template in enumerate(templates):
        for name in template.names.difference(known):
            raise RecipeError(f"{where} templates.{i} uses '{{{name}}}', which items do not have{nearest(name, known)}")
    return templates


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
        self.templates = _templates(templates, known | {"kind", "choices", "a_concept"}, f"data '{corpus}'")
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


class ClassFeaturesSource:
    """Features that the image encoder's own classifier calls by name (`corpora.class_features`): captioned features without
    pictures. Templates may use `{concept}`, `{a_concept}`, `{kind}` and `{choices}`."""

    def __init__(self, templates: list[dict[str, str]]) -> None:
        from polymodal.corpora import class_features, items

        self.templates = _templates(templates, ("concept", "a_concept", "kind", "choices"), "data 'class-features'")
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


def with_article(name: str) -> str:
    """ "a dog", "an owl"."""
    return f"{'an' if name[:1] in 'aeiou' else 'a'} {name}"


SOURCES = {"messages": MessagesSource, "corpus": CorpusSource, "class-features": ClassFeaturesSource}


def build_source(name: str, recipe: dict[str, Any]) -> Source:
    """A source by name or by the dotted path of a user's own class."""
    return build(f"data.{name}", SOURCES, recipe)


@dataclass
class Mix:
    """Weighted sources with explicit state: `cursors` says how many samples of each have been drawn."""

    sources: dict[str, Source]
    weights: dict[str, float]
    seed: int
    drawn: int = 0
    cursors: dict[str, int] = field(default_factory=dict)
    _orders: dict[tuple[str, int], list[int]] = field(default_factory=dict, repr=False)

    def __iter__(self) -> Iterator[Sample]:
        return self

    def __next__(self) -> Sample:
        rng = random.Random(f"{self.seed}/{self.drawn}")
        names = list(self.weights)
        name = rng.choices(names, [self.weights[n] for n in names])[0]
        source, cursor = self.sources[name], self.cursors.get(name, 0)
        epoch, place = divmod(cursor, len(source))
        self.drawn, self.cursors[name] = self.drawn + 1, cursor + 1
        sample = source.sample(self._order(name, epoch, len(source))[place], rng)
        sample.source = name
        return sample

    def state_dict(self) -> dict[str, Any]:
        return {"drawn": self.drawn, "cursors": dict(self.cursors)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.drawn, self.cursors = state["drawn"], dict(state["cursors"])

    def _order(self, name: str, epoch: int, size: int) -> list[int]:
        """The permutation of one epoch of one source."""
        if (name, epoch) not in self._orders:
            order = list(range(size))
            random.Random(f"{self.seed}/{name}/{epoch}").shuffle(order)
            self._orders = {k: v for k, v in self._orders.items() if k[0] != name} | {(name, epoch): order}
        return self._orders[name, epoch]


def by_length(items: Sequence[Any], lengths: Sequence[int], batch: int, rng: random.Random) -> list[list[Any]]:
    """Cut items into batches of similar length, in random order."""
    order = sorted(range(len(items)), key=lambda i: (lengths[i], i))
    batches = [[items[i] for i in order[k : k + batch]] for k in range(0, len(order), batch)]
    rng.shuffle(batches)
    return batches
