"""Rendering of messages to text runs. Decides where an assistant's turn begins and ends, for any chat template.

The field's worst bug is a loss mask found by re-tokenising pieces of a rendered prompt and comparing lengths. Here the
template never sees content: each part is replaced by a mark, the template is rendered once, and the marks say exactly
which characters are template, which are content and which belong to whom. Two consequences:

* the prompt at inference is the training text cut where the supervised turn begins, by construction;
* content cannot fake template tokens: a user who types an end-of-turn token has typed text.

A turn's supervised run starts where the template's own generation prompt ends (Llama-2: before the space that precedes
the answer) and includes the first special token after the answer, or the end-of-sequence token if there is none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from polymodal.content import Message, Part, assistant, user
from polymodal.errors import ContentError, RecipeError, nearest

# A line that ends behind a block is written as `{{ '\n' }}`: transformers renders without the newline that follows one.
FORMATS = {
    "plain": "{{ bos_token or '' }}{% for m in messages %}{{ m.role | upper }}: {{ m.content }}"
    "{% if m.role == 'assistant' %}{{ eos_token }}{% else %}{{ '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}",
    "bare": "{% for m in messages %}{{ m.content }}"
    "{% if m.role == 'assistant' %}{{ eos_token }}{% else %}{{ '\n' }}{% endif %}{% endfor %}",
    "raw": "{% for m in messages %}{{ m.content }}{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}",
    "chatml": "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "vicuna": "{{ bos_token or '' }}{% for m in messages %}{% if m.role == 'system' %}{{ m.content }} "
    "{% elif m.role == 'user' %}USER: {{ m.content }} {% else %}ASSISTANT: {{ m.content }}{{ eos_token }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}",
    "llama-2": "{% for m in messages %}{% if m.role == 'system' %}{{ bos_token }}[INST] <<SYS>>\n{{ m.content }}"
    "\n<</SYS>>\n\n"
    "{% elif m.role == 'user' %}{% if loop.first or loop.previtem.role != 'system' %}{{ bos_token }}[INST] {% endif %}"
    "{{ m.content }} [/INST]{% else %} {{ m.content }} {{ eos_token }}{% endif %}{% endfor %}",
}

_OPEN, _CLOSE = "\ue000", "\ue001"  # private-use characters: no template holds them
_GUARD = "\u2003"  # a whitespace no template writes; if it is gone after rendering, the template trims content
_MARK = re.compile(f"{_OPEN}(\\d+){_CLOSE}")
_CONTENT = re.compile(f"({_GUARD}?)({_OPEN}\\d+{_CLOSE}(?:{_OPEN}\\d+{_CLOSE})*)({_GUARD}?)")


@dataclass(frozen=True)
class Piece:
    """A stretch of the rendered conversation: text of the template, text of a part, or a media part. `source`: the last
    medium of its kind before one that is made."""

    text: str = ""
    part: Part | None = None  # the part it came from; None for the template's own text
    supervised: bool = False
    made: bool = False  # media that the assistant makes, or that a document says is made
    source: Part | None = None


class ChatFormat:
    """A tokenizer's chat template (or a named one) as a function from messages to pieces."""

    def __init__(self, tokenizer: Any, name: str | None = None, seq2seq: bool = False) -> None:
        if name is not None and name not in FORMATS:
            raise RecipeError(f"chat_format '{name}' is not known{nearest(name, FORMATS)}")
        default = FORMATS["bare" if seq2seq else "plain"]
        self.tokenizer = tokenizer
        self.template = FORMATS[name] if name else (tokenizer.chat_template or default)
        self.special = re.compile("|".join(re.escape(t) for t in sorted(special_tokens(tokenizer), key=len, reverse=True)))
        if tokenizer.eos_token is None:
            raise RecipeError("the backbone's tokenizer has no end-of-sequence token")
        self._lead = 0
        self._lead = self._probe_lead()

    def pieces(self, messages: Sequence[Message], generate: bool = False) -> list[Piece]:
        """The conversation in order. With `generate`, it stops where the assistant's next turn would begin: the same
        characters that precede a supervised turn in training. Raises `ContentError` if the template refuses."""
        if any(message.role == "document" for message in messages):
            return self._document(messages, generate)
        if generate:
            messages = [*messages, assistant("")]
        parts = [list(m.parts) or [Part("text", text="")] for m in messages]
        rendered = self._render(messages, parts)
        found = list(_CONTENT.finditer(rendered))
        if len(found) != len(messages):
            raise ContentError(f"the chat template dropped or repeated a message ({len(messages)} in, {len(found)} out)")
        out: list[Piece] = []
        at = 0
        for k, (message, match) in enumerate(zip(messages, found, strict=True)):
            start = match.start() - (self._lead if message.role == "assistant" else 0)
            out.append(Piece(rendered[at:start]))
            if generate and k == len(messages) - 1:
                break
            on = message.supervised
            out.append(Piece(rendered[start : match.start()], supervised=on))
            made = message.role == "assistant"
            out += self._content(parts[k], trim=(not match[1], not match[3]), supervised=on, made=made)
            at = match.end()
            if message.role == "assistant":
                limit = found[k + 1].start() if k + 1 < len(found) else len(rendered)
                end = self.special.search(rendered, at, limit)
                out.append(Piece(rendered[at : end.end()] if end else self.tokenizer.eos_token, supervised=on))
                at = end.end() if end else at
        else:
            out.append(Piece(rendered[at:]))
        return [piece for piece in out if piece.text or (piece.part and piece.part.type != "text")]

    def _document(self, messages: Sequence[Message], generate: bool) -> list[Piece]:
        """A document: its own text and media between what the tokenizer begins a text with and the end-of-sequence token.
        No template, for nobody speaks. With `generate` it is left open, to be written on."""
        if len(messages) > 1:
            raise ContentError(f"a document stands alone; this one is among {len(messages)} messages")
        (document,) = messages
        bos, first = self.tokenizer.bos_token, self.tokenizer("a")["input_ids"][:1]
        begin = bos if bos is not None and first == [self.tokenizer.bos_token_id] else ""
        out = [Piece(begin), *self._content(list(document.parts), trim=(False, False), supervised=document.supervised)]
        out.append(Piece("" if generate else self.tokenizer.eos_token, supervised=document.supervised))
        return [piece for piece in out if piece.text or (piece.part and piece.part.type != "text")]

    def end_tokens(self) -> set[str]:
        """The tokens that close an assistant's turn, in the middle and at the end of a conversation."""
        probe = self.pieces([user("a"), assistant("b"), user("c"), assistant("d")])
        closing = {piece.text for piece in probe if piece.supervised and piece.part is None}
        found = {match[0] for text in closing for match in self.special.finditer(text)}
        return found | {self.tokenizer.eos_token}

    def _content(self, parts: list[Part], trim: tuple[bool, bool], supervised: bool, made: bool = False) -> list[Piece]:
        pieces = []
        for i, part in enumerate(parts):
            text = part.text or ""
            if trim[0] and i == 0:
                text = text.lstrip()
            if trim[1] and i == len(parts) - 1:
                text = text.rstrip()
            pieces.append(Piece(text, part, supervised, part.type != "text" and (made or part.output is not None)))
        return pieces

    def _render(self, messages: Sequence[Message], parts: list[list[Part]], prompt: bool = False) -> str:
        import jinja2

        count = iter(range(sum(map(len, parts))))
        marked = [
            {"role": m.role, "content": _GUARD + "".join(f"{_OPEN}{next(count)}{_CLOSE}" for _ in p) + _GUARD}
            for m, p in zip(messages, parts, strict=True)
        ]
        try:
            return self.tokenizer.apply_chat_template(
                marked, chat_template=self.template, tokenize=False, add_generation_prompt=prompt
            )
        except jinja2.TemplateError as error:
            raise ContentError(f"the backbone's chat template refuses this conversation: {error}") from error

    def _probe_lead(self) -> int:
        """How many template characters precede the answer but follow the generation prompt (Llama-2: one space)."""
        turns = [user("a"), assistant("b")]
        parts = [list(m.parts) for m in turns]
        whole = self._render(turns, parts)
        prompt = self._render(turns[:1], parts[:1], prompt=True)
        start = list(_CONTENT.finditer(whole))[1].start()
        lead = whole[len(prompt) : start]  # a header that the template writes itself is given, not predicted
        return len(lead) if whole.startswith(prompt) and lead.isspace() else 0


def special_tokens(tokenizer: Any) -> list[str]:
    """Every token string the tokenizer treats as one, special tokens first in meaning: content must never become one."""
    added = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    return sorted({*tokenizer.all_special_tokens, *added})
