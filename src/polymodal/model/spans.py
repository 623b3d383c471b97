"""Spans of media that the assistant makes, rendered. Decides which output makes a part, and what stands for it in ids.

Where a span is to be learned it carries its target; in the history of a conversation, what it holds: as it was made, where
that is still known, or encoded again from the medium.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from polymodal import media
from polymodal.content import Part
from polymodal.errors import ContentError, nearest
from polymodal.model.chat_format import Piece
from polymodal.model.grammar import Grammar
from polymodal.model.sequence import Made, MediaItem
from polymodal.parts.output import Target

READ = ("codes", "masked", "latents")  # kinds of spans that hold what a medium is


class Maker(Protocol):
    """What the processor needs to know of an output: its grammar, and how what it holds is had from a medium."""

    modality: str
    grammar: Grammar
    seen: bool

    @property
    def edits(self) -> bool: ...

    def prepare(self, media: Any) -> Tensor: ...

    def taught(self, caption: str) -> Tensor | None: ...

    def encode(self, prepared: Tensor) -> Tensor: ...


def made_key(part: Part, output: str) -> str:
    """What is known of a part that an output made is kept by this: the same medium may also be shown to the model, and by
    another output it is something else."""
    return f"made:{output}:{media.fingerprint(part)}"


def latest(parts: Iterable[Part], modality: str) -> Part | None:
    """What an output of this modality that stands behind `parts` changes: the last medium among them."""
    return next((part for part in reversed([*parts]) if part.type == modality and part.media is not None), None)


def preceded(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Pieces that are made, each with what it may be made from."""
    passed: list[Part] = []
    for piece in pieces:
        yield replace(piece, source=latest(passed, piece.part.type)) if piece.part and piece.made else piece
        passed += [piece.part] if piece.part else []


class Rendered(NamedTuple):
    """`ids` of a whole span, which of them are `learned`, and its body, where it has one of its own."""

    ids: list[int]
    learned: list[bool]
    made: list[Made]


class Spans:
    """`makers`: a model's outputs by name. `words`: the ids of a text in which nothing is special."""

    def __init__(self, makers: Mapping[str, Maker], words: Callable[[str], list[int]]) -> None:
        self.makers, self.words = makers, words

    def maker(self, part: Part) -> str | None:
        """The name of the output that makes a part; None if there is none: it is an input then, or nothing. Raises
        `ContentError` where it could be several, or is said to be another."""
        able = [name for name, maker in self.makers.items() if maker.modality == part.type]
        if part.output is not None:
            if part.output not in able:
                raise ContentError(f"this model has no output '{part.output}' of {part.type}{nearest(part.output, able)}")
            return part.output
        if len(able) > 1:
            raise ContentError(f"several outputs make {part.type}: say which in the part's 'output' ({', '.join(able)})")
        return able[0] if able else None

    def reads(self, part: Part) -> bool:
        """Whether an output can tell a medium as what it would have made: codes or latents. Raises `ContentError` where
        several could."""
        name = self.maker(part)
        return name is not None and self.makers[name].grammar.body.kind in READ

    def render(
        self,
        part: Part,
        learn: bool,
        at: int,
        prepared: MutableMapping[str, MediaItem] | None,
        source: Part | None = None,
    ) -> Rendered:
        """The span of a part that begins at position `at`. `prepared`: what was made, by fingerprint. `source`: what it was
        made from, if its output changes media. Raises `ContentError` where a part does not hold what its output needs."""
        name = self.maker(part)
        if name is None:
            raise ContentError(f"this model makes no {part.type}; it makes {', '.join(sorted(self.makers)) or 'only text'}")
        maker = self.makers[name]
        grammar, key = maker.grammar, made_key(part, name)
        target, content = None, None
        if grammar.body.kind == "text":
            if part.caption is None:
                raise ContentError(f"the output '{name}' makes {part.type} of words: say them in the part's 'caption'")
            ids = grammar.ids(self.words(part.caption))
            return Rendered(ids, [learn and on for on in grammar.supervised(len(ids))], [])
        if learn:
            source = source if maker.edits else None
            wanted = _prepared(part, maker)
            if part.media is None and part.caption is not None:
                wanted = maker.taught(part.caption)
            target = Target(part.caption, wanted, _prepared(source, maker))
        elif grammar.body.kind != "signals":
            known = prepared.get(key) if prepared is not None else None
            content = self._held(part, maker, known)
            if prepared is not None and known is None:
                prepared[key] = MediaItem(maker.modality, key, grammar.length, encoded=content)
        ids = grammar.ids(content.tolist() if content is not None and content.ndim == 1 else None)
        made_from = made_key(source, name) if learn and source is not None else ""
        span = Made(at + 1, grammar.length, name, target, content, key, grammar.blocks, source=made_from)
        return Rendered(ids, [learn and on for on in grammar.supervised(len(ids))], [span])

    def _held(self, part: Part, maker: Maker, known: MediaItem | None) -> Tensor:
        """Codes [N] or latents [N, Dg] of a part that is not to be learned."""
        if known is not None and known.encoded is not None:
            return known.encoded
        if part.media is None:
            raise ContentError(f"{part.type} that was made without its medium cannot be read again")
        return maker.encode(maker.prepare(media.load(part))[None])[0]


def _prepared(part: Part | None, maker: Maker) -> Tensor | None:
    return None if part is None or part.media is None else maker.prepare(media.load(part))
