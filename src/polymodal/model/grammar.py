"""The grammar of a span: what stands between an opener and a closer. Decides which ids an output owns, which of them the
backbone learns to say, and what may follow what; nothing else in the house counts ids of a span.

    text  text  <opener>  body body ... body  <closer>  text

An output's ids lie behind the backbone's own vocabulary: opener, closer, then the ids of its body. Outside of a span only
the openers can be said, inside only what the body allows: an invalid span has probability zero, and need not be learned.

Bodies:

* `signals`: n ids in their order. Given, not said (GILL's tail, DreamLLM's queries), or `said`: learned as text is
  (NExT-GPT).
* `codes`: n ids of a codec, said one after another (AnyGPT, Emu3, Unified-IO 2).
* `masked`: n ids of a codec, uncovered a few at a time, each seeing all others (Show-o).
* `latents`: n vectors that a flow carries from noise to latents, each seeing all others (Transfusion).
* `text`: words for a tool that reads, as many as are wanted until the closer. Behind the opener there may stand a *cue*:
  learned ids that are given, and tell the backbone what to write (prompt tuning, arXiv 2104.08691).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from polymodal.errors import ContentError
from polymodal.model.strict import Strict
from polymodal.parts.base import Positive


class Signals(Strict):
    kind: Literal["signals"]
    tokens: Positive
    said: bool = False


class Codes(Strict):
    """`temperature` and `guidance` (Ho and Salimans 2022; 1 is none) of sampling."""

    kind: Literal["codes"]
    temperature: float = Field(1.0, ge=0)
    top_k: int = Field(0, ge=0)
    guidance: float = Field(1.0, ge=0)


class Masked(Strict):
    """`steps`: of uncovering (MaskGIT, arXiv 2202.04200), by a cosine schedule."""

    kind: Literal["masked"]
    steps: Positive = 8
    temperature: float = Field(1.0, ge=0)
    guidance: float = Field(1.0, ge=0)


class Latents(Strict):
    """`steps`: of Euler's method."""

    kind: Literal["latents"]
    steps: Positive = 20
    guidance: float = Field(1.0, ge=0)


class Text(Strict):
    """`most`: tokens, after which it is closed. `cue`: how many learned ids stand in front of them."""

    kind: Literal["text"]
    most: Positive = 128
    cue: int = Field(0, ge=0)


Body = Annotated[Signals | Codes | Masked | Latents | Text, Field(discriminator="kind")]
TAKES = {"signals": "condition", "codes": "codes", "masked": "codes", "latents": "latents", "text": "text"}


@dataclass(frozen=True)
class Grammar:
    """`first`: the output's first id. `length`: ids of the body; of text, of its cue. `vocabulary`: of its codec."""

    body: Any
    first: int
    length: int = 0
    vocabulary: int = 0

    @property
    def opener(self) -> int:
        return self.first

    @property
    def closer(self) -> int:
        return self.first + 1

    @property
    def start(self) -> int:
        """The first id of the body: code or signal 0, that of the cue, or what stands for a latent."""
        return self.first + 2

    @property
    def mask(self) -> int:
        """What stands where a code is covered."""
        return self.start + self.vocabulary

    @property
    def size(self) -> int:
        """How many ids the output owns."""
        kind = self.body.kind
        own = {"signals": self.length, "codes": self.vocabulary, "masked": self.vocabulary + 1, "latents": 1}
        return 2 + own.get(kind, self.length)

    @property
    def own(self) -> range:
        return range(self.first, self.first + self.size)

    @property
    def blocks(self) -> bool:
        """Whether the positions of the body see one another, in both directions."""
        return self.body.kind in ("masked", "latents")

    @property
    def learned(self) -> bool:
        """Whether the ids of the body are said, and so learned with the text (and its closer: behind n ids it is given)."""
        return self.body.kind in ("codes", "text") or (self.body.kind == "signals" and self.body.said)

    @property
    def cue(self) -> range:
        """What is given in front of a text."""
        return range(self.start, self.start + self.length) if self.body.kind == "text" else range(0)

    def ids(self, content: Sequence[int] | None = None) -> list[int]:
        """The ids of a whole span. `content`: codes from 0, or the ids of the text; absent, codes stand as the first one
        until they are known, and so does what is no id."""
        kind = self.body.kind
        if kind == "text":
            return [self.opener, *self.cue, *(content or ()), self.closer]
        if kind == "signals":
            body = [self.start + i for i in range(self.length)]
        elif content is not None and kind != "latents":
            body = [self.start + code for code in content]
        else:
            body = [self.mask if kind == "masked" else self.start] * self.length
        return [self.opener, *body, self.closer]

    def supervised(self, length: int) -> list[bool]:
        """Which ids of a whole span of `length` are learned with the text."""
        cue = len(self.cue)
        return [True, *[False] * cue, *[self.learned] * (length - 2 - cue), self.body.kind == "text"]

    def allows(self, said: Sequence[int]) -> range | tuple[int, ...] | None:
        """What may follow `said`, the ids of an unfinished span behind its opener; None: text or the closer."""
        kind, done = self.body.kind, len(said)
        if kind == "text" and done >= self.length:
            return None if done < self.length + self.body.most else (self.closer,)
        if kind != "text" and done == self.length:
            return (self.closer,)
        if kind in ("signals", "text"):
            return (self.start + done,)
        if kind == "latents":
            return (self.start,)
        return range(self.start, self.start + self.vocabulary)


def parsed(ids: Sequence[int], grammars: Sequence[Grammar], vocabulary: int) -> Iterator[tuple[Grammar | None, list[int]]]:
    """Stretches of said ids in their order: (None, ids of text) and (grammar, ids of a body). `vocabulary`: the backbone's
    own. Raises `ContentError` where they break a grammar."""
    text: list[int] = []
    at = 0
    openers = {grammar.opener: grammar for grammar in grammars}
    while at < len(ids):
        grammar = openers.get(ids[at])
        if grammar is None:
            if ids[at] >= vocabulary:
                raise ContentError(f"id {ids[at]} at {at} stands outside of a span")
            text.append(ids[at])
            at += 1
            continue
        if text:
            yield None, text
            text = []
        body: list[int] = []
        at += 1
        while at < len(ids) and ids[at] != grammar.closer:
            allowed = grammar.allows(body)
            if ids[at] >= vocabulary if allowed is None else ids[at] not in allowed:
                raise ContentError(f"id {ids[at]} at {at} cannot follow in a span of kind '{grammar.body.kind}'")
            body.append(ids[at])
            at += 1
        if at == len(ids) or (grammar.closer not in (grammar.allows(body) or (grammar.closer,))):
            raise ContentError(f"a span of kind '{grammar.body.kind}' ends after {len(body)} ids")
        yield grammar, body
        at += 1
    if text:
        yield None, text
