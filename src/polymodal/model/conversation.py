"""A conversation that keeps its caches. Decides what a second turn costs: nothing is encoded twice, nothing is prefilled
twice.

What the cache holds is compared with the new prompt position by position (token ids, and media by fingerprint); the
common prefix is kept, the rest is cropped away and prefilled. That is correct whatever the chat template does to earlier
turns, and exact about what is new. A backbone whose cache cannot be cropped (Mamba, seq2seq) prefills again but still
never encodes a media item twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from polymodal.content import Message, Part, audio, image, text, video
from polymodal.errors import ContentError
from polymodal.model.answering import Progress, respond
from polymodal.model.generation import encode_media
from polymodal.model.printing import Printer
from polymodal.model.row import croppable
from polymodal.model.sampling import Sampling
from polymodal.model.sequence import Example, MediaItem, common_prefix

if TYPE_CHECKING:
    from transformers import Cache

    from polymodal.model.composition import Composition


@dataclass
class Answer:
    """What the model said and made, in order. `seconds`: load is not in it. `tokens`: prompt, cached, prefilled, media,
    generated. `seed`: of the noise of what was made."""

    parts: list[Part]
    seconds: dict[str, float]
    tokens: dict[str, int]
    finished: bool = True
    seed: int = 0

    @property
    def media(self) -> list[Part]:
        """What was made, and what could not be."""
        return [part for part in self.parts if part.type != "text"]

    @property
    def text(self) -> str:
        return "".join(part.text or "" for part in self.parts)

    def to_json(self) -> dict[str, Any]:
        parts = [part.to_json() for part in self.parts]
        return {
            "text": self.text,
            "parts": parts,
            "timing": self.seconds,
            "tokens": self.tokens,
            "sampling": {"seed": self.seed},
        }


class Conversation:
    """`messages` is the history; `ask` adds a turn; `reset` forgets it (but not the media already encoded)."""

    def __init__(self, composition: Composition, system: str | None, sampling: Sampling) -> None:
        self.composition, self.sampling = composition, sampling
        self._system = [Message("system", (text(system),))] if system else []
        self._media: dict[str, MediaItem] = {}
        self.reset()

    def reset(self) -> None:
        self.messages: list[Message] = list(self._system)
        self._cache: Cache | None = None
        self._held: list[Any] = []  # identity of every position in the cache

    def ask(
        self,
        question: str,
        images: Sequence[Any] = (),
        audio: Sequence[Any] = (),
        videos: Sequence[Any] = (),
        *,
        media: Sequence[Part] = (),
        on_text: Callable[[str], None] | None = None,
        on_step: Progress | None = None,
    ) -> Answer:
        """Add a user turn and answer it. `media`: parts of any modality, after pictures, recordings and clips. `on_text` is
        called with each new piece of text as it comes, `on_step` with the output, steps done and steps of what is made."""
        parts = question_parts(question, images, audio, videos, media)
        if not parts:
            raise ContentError("there is nothing to answer: give a question or media")
        return self.say(Message("user", parts), on_text=on_text, on_step=on_step)

    @torch.no_grad()
    def say(
        self, message: Message, *, on_text: Callable[[str], None] | None = None, on_step: Progress | None = None
    ) -> Answer:
        """As `ask`, for a message built by hand. If generation fails the history is left as it was."""
        started = time.perf_counter()
        processor = self.composition.processor
        history = [*self.messages, message]
        example = processor.encode(history, generate=True, prepared=self._media, name="conversation")
        cached = self._reuse(example)
        encode_media(self.composition.model, example)
        before = time.perf_counter() - started  # decoding, rendering and encoding count towards the first token
        printer = Printer(processor, on_text) if on_text else None
        cache, self._cache = self._cache, None  # generation extends it in place: if it fails, nobody may trust it
        out = respond(
            self.composition,
            example,
            self.sampling,
            cache=cache,
            cached=cached,
            prepared=self._media,
            on_token=printer,
            on_step=on_step,
        )
        if printer:
            printer.flush()
        self._cache = out.cache if croppable(out.cache) and self.sampling.beams == 1 else None
        if self._cache is not None:  # the last token was sampled but not run
            self._held = out.example.identity()[: self._cache.get_seq_length()]
        self.messages = [*history, Message("assistant", tuple(out.parts or [text("")]))]
        tokens = {
            "prompt": len(example),
            "cached": cached,
            "prefilled": out.prefilled,
            "media": sum(span.length for span in example.spans),
            "generated": out.generated,
        }
        seconds = {name: value + before for name, value in out.seconds.items()}
        return Answer(out.parts or [text("")], seconds, tokens, out.finished, out.seed)

    def _reuse(self, example: Example) -> int:
        """Crop the cache to what the new prompt shares with it; the number of positions kept."""
        if self._cache is None:
            return 0
        keep = min(common_prefix(self._held, example.identity()), len(example) - 1)  # one position must be run
        if keep <= 0:
            self._cache, self._held = None, []
            return 0
        if keep < len(self._held):
            self._cache.crop(keep - len(self._held))  # a negative count removes that many from the end
        return keep


def question_parts(
    question: str,
    images: Sequence[Any],
    recordings: Sequence[Any],
    clips: Sequence[Any] = (),
    media: Sequence[Part] = (),
) -> tuple[Part, ...]:
    """Media first, then the question: the order the models of the survey are trained with."""
    parts = [*map(image, images), *map(audio, recordings), *map(video, clips), *media]
    return (*parts, *([text(question)] if question else []))
