"""Sources and mixing. Decides how a training sample is found again: by (source, epoch, place), never by luck.

A source is a sized collection; `sample(index, rng)` is one conversation. Whatever is random about a sample (its wording)
comes from the `rng` it is given, seeded by where it stands, so that a resumed run sees what an uninterrupted one sees.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from polymodal.content import Message, Part, assistant, from_json, user
from polymodal.errors import ContentError, DataError
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
        lines = self.file.read_text(encoding="utf-8").splitlines()
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
    """A wording: the user asks `ask`, the assistant says `answer`; `{caption}`, `{concept}`, `{category}`, `{text}` ...
    are fields of the item. Items that lack a field the wording uses are not asked it."""

    ask: str
    answer: str


class CorpusSource:
    """Items of a corpus built by `polymodal corpus build`, each asked one of the `templates` at random.

    `split`, and `where` (`{field: [allowed values]}`) choose items; `repeat` counts some more often.
    """

    def __init__(
        self,
        corpus: str,
        templates: list[dict[str, str]],
        split: str = "train",
        where: dict[str, list[str]] | None = None,
    ) -> None:
        from polymodal import corpora

        self.name = corpus
        self.templates = [validate(Template, t, f"data '{corpus}' templates.{i}") for i, t in enumerate(templates)]
        where = where or {}
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
        ask = Part(item.modality, media=str(item.path))
        question = template.ask.format_map(fields)
        turn = user(ask, question) if question else user(ask)
        return Sample([turn, assistant(template.answer.format_map(fields))], f"{self.name}:{item.id}")

    def _usable(self, item: Any) -> list[Template]:
        fields = self._fields(item)
        return [t for t in self.templates if all(f"{{{name}}}" not in t.ask + t.answer for name in _EMPTY(fields))]

    @staticmethod
    def _fields(item: Any) -> dict[str, Any]:
        return {key: value for key, value in item.model_dump().items() if isinstance(value, (str, type(None)))}


def _EMPTY(fields: dict[str, Any]) -> list[str]:
    return [name for name, value in fields.items() if value is None]


SOURCES = {"messages": MessagesSource, "corpus": CorpusSource}


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
