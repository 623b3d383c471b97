"""The processor: messages -> ids, supervised mask, spans and media, and back. It is the only renderer: training, chat,
evaluation and serving call `encode`, so they cannot render differently.

Ids and mask are built together, run by run. A run of text is tokenised whole, so that the backbone sees the token
sequence it was trained on, and is cut only where the mask or media force a cut. A tokenizer that marks where a text begins
(Llama's, with a space) marks the first run, behind the token that begins a sequence, and no other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import torch

from polymodal import media
from polymodal.content import Message, Part, text
from polymodal.errors import ContentError, DataError, MediaError
from polymodal.model.chat_format import ChatFormat, Piece
from polymodal.model.preview import coloured
from polymodal.model.sequence import Example, Made, MediaItem, Span, require_supervised
from polymodal.model.spans import Maker, Spans, preceded

if TYPE_CHECKING:
    from rich.text import Text

    from polymodal.parts.base import Inputs


class Port(Protocol):
    """What the processor needs to know of a modality: how to prepare an item and how many positions it will take."""

    before: str
    after: str

    @property
    def reads_question(self) -> bool: ...

    @property
    def width(self) -> int: ...

    def load(self, part: Part) -> Any: ...

    def prepare(self, media: Any) -> Inputs: ...

    def positions(self, inputs: Inputs) -> int: ...

    def projected(self, n: int) -> int: ...


class Processor:
    """`ports`: the model's own modalities by name, so that counts come from the parts that will produce the features;
    `makers`: its outputs. `closing`: the token that ends what an encoder reads; without one, what the tokenizer ends a text
    with."""

    def __init__(
        self,
        tokenizer: Any,
        ports: Mapping[str, Port],
        chat_format: str | None = None,
        seq2seq: bool = False,
        closing: int | None = None,
        makers: Mapping[str, Maker] | None = None,
    ) -> None:
        self.tokenizer, self.ports, self.seq2seq = tokenizer, ports, seq2seq
        self.spans = Spans(makers or {}, lambda words: self._plain(words, literal=True))
        self.chat = ChatFormat(tokenizer, chat_format, seq2seq)
        self.pad_id: int = tokenizer.pad_token_id
        self.stop_ids = sorted(tokenizer.convert_tokens_to_ids(token) for token in self.chat.end_tokens())
        ends = tokenizer("a")["input_ids"][-1:] == [tokenizer.eos_token_id]
        anchored, alone = ([self._plain(a + text) for text in ("a", " a")] for a in (tokenizer.eos_token, ""))
        marks = anchored[0][1:] != alone[0] and anchored[1][1:] == alone[1]
        self._anchor: str = tokenizer.eos_token if marks else ""  # what a run that begins nothing is tokenised behind
        closing = tokenizer.eos_token_id if closing is None and seq2seq and ends else closing  # T5 ends its encoder's input
        self._closing = [] if closing is None else [closing]

    def encode(
        self,
        messages: Sequence[Message],
        *,
        generate: bool = False,
        limit: int | None = None,
        prepared: MutableMapping[str, MediaItem] | None = None,
        name: str = "sample",
    ) -> Example:
        """Render a conversation. `generate`: up to where the assistant speaks next; otherwise for training, where
        nothing supervised is a `DataError`. `limit`: drop the oldest exchanges until it fits (see `truncate`).
        `prepared`: media items by fingerprint, read and extended, so that no item is decoded twice.
        """
        items: list[MediaItem] = []
        ids: list[int] = []
        supervised: list[bool] = []
        spans: list[Span] = []
        target: list[int] | None = None
        learned: list[bool] = []  # of the target
        pieces = self._with_markers(self.chat.pieces(messages, generate))
        asked = iter(_asked(messages))
        made: list[Made] = []
        turns: list[tuple[int, int]] = []
        turn, answering = 0, False  # where what is answered next begins; whether an answer is being rendered
        if self.seq2seq:
            if any(message.role == "document" for message in messages):
                raise ContentError("a seq2seq backbone reads one text and writes another; it cannot learn a document")
            pieces, answer = _split_answer(pieces)
            if not generate:
                target, learned, made = self._answer(answer, prepared)
        for run in _runs(pieces):
            part = run[0].part
            if run[0].supervised and not answering:
                turns.append((turn, len(ids)))
            answering = run[0].supervised
            if part is not None and run[0].made:
                learn = run[0].supervised and not generate
                rendered = self.spans.render(part, learn, len(ids), prepared, run[0].source)
                ids += rendered.ids
                supervised += rendered.learned
                made += rendered.made
                turn = len(ids)
                continue
            if part is not None and part.type != "text":
                item = self.item(part, prepared)
                spans.append(Span(len(ids), item.length, len(items), self._question(part, next(asked))))
                items.append(item)
                new = [self.pad_id] * item.length
                on = False  # media is given, not predicted
            else:
                new, on = self._tokens(run, begins=not ids), run[0].supervised
            ids += new
            supervised += [on and not generate and target is None] * len(new)
            turn = len(ids) if run[0].supervised or (part is not None and part.type != "text") else turn
        ids += self._closing
        supervised += [False] * len(self._closing)
        turns += [(turn, len(ids))] if generate else []
        example = Example(
            ids=torch.tensor(ids, dtype=torch.long),
            supervised=torch.tensor(supervised, dtype=torch.bool),
            spans=spans,
            media=items,
            messages=list(messages),
            target=None if target is None else torch.tensor(target, dtype=torch.long),
            name=name,
            made=made,
            learned=None if target is None else torch.tensor(learned, dtype=torch.bool),
            turns=turns,
        )
        if limit is not None:
            example = self.truncate(example, limit, generate=generate)
        return example if generate else require_supervised(example)

    def truncate(self, example: Example, limit: int, generate: bool = False) -> Example:
        """The example within `limit` positions. Whole exchanges go, oldest first; the system message and the last
        exchange stay; a span is never cut. A document loses its last parts instead. Raises `DataError` with both numbers if
        that is not enough."""
        prepared = {item.key: item for item in example.media}
        messages = list(example.messages)
        while len(example) > limit:
            messages = _shortened(messages, limit / len(example))
            if not messages:
                raise DataError(f"{example.name}: {len(example)} positions are over the limit of {limit}")
            example = self.encode(messages, generate=generate, prepared=prepared, name=example.name)
        return example

    def decode(self, ids: Sequence[int]) -> list[Part]:
        """Generated ids -> parts. Special tokens are not content."""
        return [text(self.tokenizer.decode(ids, skip_special_tokens=True))]

    def preview(self, example: Example) -> Text:
        """The example in colour: ignored (dim), supervised (green), media (magenta)."""
        return coloured(example, self.tokenizer)

    def item(self, part: Part, prepared: MutableMapping[str, MediaItem] | None) -> MediaItem:
        port = self.ports.get(part.type)
        if port is None:
            has = ", ".join(sorted(self.ports)) or "no media"
            raise MediaError(f"this model takes no {part.type}; it takes {has}")
        if isinstance(part.media, torch.Tensor):
            return self._ready(part)
        key = media.fingerprint(part)
        if prepared is not None and key in prepared:
            return prepared[key]
        inputs = port.prepare(port.load(part))
        item = MediaItem(part.type, key, port.positions(inputs), inputs)
        if prepared is not None:
            prepared[key] = item
        return item

    def _answer(
        self, pieces: list[Piece], prepared: MutableMapping[str, MediaItem] | None
    ) -> tuple[list[int], list[bool], list[Made]]:
        """What a seq2seq backbone's decoder writes, and which of it is learned."""
        ids: list[int] = []
        learned: list[bool] = []
        made: list[Made] = []
        for run in _runs(pieces):
            if run[0].made and run[0].part is not None:
                rendered = self.spans.render(run[0].part, True, len(ids), prepared, run[0].source)
                ids += rendered.ids
                learned += rendered.learned
                made += rendered.made
            else:
                new = self._tokens(run)
                ids += new
                learned += [True] * len(new)
        return ids, learned, made

    def _question(self, part: Part, text: str) -> str | None:
        """What the projector of a part is told beside it: nothing, or the text that stands with it."""
        if not self.ports[part.type].reads_question:
            return None
        if not text:
            raise ContentError(f"what this model sees of the {part.type} depends on the question: ask in the same turn")
        return text

    def _ready(self, part: Part) -> MediaItem:
        """A part whose media is a tensor [N, De] holds the encoder's features already; they are only projected."""
        features: torch.Tensor = part.media
        width = self.ports[part.type].width
        if features.ndim != 2 or features.shape[1] != width:
            said = f"features {list(features.shape)}, and this model's encoder of {part.type} makes [N, {width}]"
            raise MediaError(f"ready {part.type}: {said}")
        key = hashlib.sha256(features.contiguous().view(torch.uint8).numpy().data).hexdigest()
        return MediaItem(part.type, key, self.ports[part.type].projected(len(features)), encoded=features)

    def _with_markers(self, pieces: list[Piece]) -> list[Piece]:
        """Media pieces between the texts their modality is announced with (LLaVA: a newline after the picture)."""
        out: list[Piece] = []
        for piece in preceded(pieces):
            part = piece.part
            name = self.spans.maker(part) if part and piece.made else None
            if part and name is not None:
                shown = replace(piece, supervised=False, made=False)  # what was made, as the model sees it
                seen = self.spans.makers[name].seen and part.media is not None
                out += [piece, shown] if seen else [piece]
                continue
            port = self.ports.get(part.type) if part else None
            # Media that no input takes are read as an output would have made them (AnyGPT, Emu3, Show-o).
            told = port is None and part is not None and part.type != "text" and not self.seq2seq
            given = replace(piece, made=told and part is not None and self.spans.reads(part))
            out += [Piece(port.before), given, Piece(port.after)] if port else [given]
        return [piece for piece in out if piece.text or piece.part]

    def _tokens(self, run: Sequence[Piece], begins: bool = True) -> list[int]:
        """Ids of a run of text. Content that spells a special token is tokenised apart, as the text it is."""
        if not any(piece.part and self.chat.special.search(piece.text) for piece in run):
            return self._ids("".join(piece.text for piece in run), begins)
        literal = (self._ids(p.text, begins and p is run[0], literal=p.part is not None) for p in run)
        return [i for ids in literal for i in ids]

    def _ids(self, value: str, begins: bool, literal: bool = False) -> list[int]:
        if literal or not self._anchor or not value:
            return self._plain(value, literal)
        bos = self.tokenizer.bos_token
        if begins and bos and value.startswith(bos):
            return [self.tokenizer.bos_token_id, *self._plain(value.removeprefix(bos))]
        return self._plain(value) if begins else self._plain(self._anchor + value)[1:]

    def _plain(self, value: str, literal: bool = False) -> list[int]:
        return self.tokenizer(value, add_special_tokens=False, split_special_tokens=literal)["input_ids"]


def _runs(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Neighbouring text pieces that share supervision are one run; each media piece is its own."""
    runs: list[list[Piece]] = []
    for piece in pieces:
        is_media = piece.part is not None and piece.part.type != "text"
        last = runs[-1][-1] if runs else None
        joins = last is not None and not is_media and not (last.part and last.part.type != "text")
        if joins and last is not None and last.supervised == piece.supervised:
            runs[-1].append(piece)
        else:
            runs.append([piece])
    return runs


def _asked(messages: Sequence[Message]) -> list[str]:
    """The text that stands with each media item, in their order: that of the user's turn. What the assistant says and a
    document holds are no questions but answers, which nothing may read beforehand."""
    out: list[str] = []
    for message in messages:
        said = [] if message.role in ("assistant", "document") else [(part.text or "").strip() for part in message.parts]
        out += [" ".join(filter(None, said)) for part in message.parts if part.type != "text"]
    return out


def _shortened(messages: list[Message], share: float) -> list[Message]:
    """Without the oldest exchange; of a document, about the first `share` of its parts. Empty if that leaves nothing."""
    start = 1 if messages[0].role == "system" else 0
    if messages[0].role == "document":
        parts = messages[0].parts
        kept = parts[: min(len(parts) - 1, max(1, int(len(parts) * share)))]
        return [Message("document", kept, messages[0].train)] if kept else []
    later = [i for i, message in enumerate(messages) if message.role == "user" and i > start]
    return messages[:start] + messages[later[0] :] if later else []


def _split_answer(pieces: list[Piece]) -> tuple[list[Piece], list[Piece]]:
    """Seq2seq: the encoder reads everything before the last supervised turn, the decoder writes that turn."""
    last = max((i for i, piece in enumerate(pieces) if piece.supervised), default=None)
    if last is None:
        return pieces, []
    first = last
    while first > 0 and pieces[first - 1].supervised:
        first -= 1
    if any(piece.part and piece.part.type != "text" and not piece.made for piece in pieces[first : last + 1]):
        raise ContentError("media inside a supervised answer is not an input; give it in a user turn")
    return pieces[:first], pieces[first : last + 1]
