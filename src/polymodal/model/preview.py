"""A rendered example for people. Decides what each position is shown as."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from torch import Tensor

from polymodal.model.sequence import Example

if TYPE_CHECKING:
    from rich.text import Text

LEARNED, GIVEN, MEDIA = "bold green", "dim", "bold magenta"


def coloured(example: Example, tokenizer: Any) -> Text:
    """The example in colour: ignored (dim), supervised (green), media (magenta)."""
    from rich.text import Text

    out = Text()
    shown = [(s.start, s.length, f"⟨{example.media[s.index].modality} × {s.length}⟩") for s in example.spans]
    made = [
        (m.start - 1, m.length + 2, f"⟨makes {m.output} × {m.length}⟩") for m in example.made
    ]  # opener and closer with it
    written = example.target is not None
    _append(out, tokenizer, example.ids, example.supervised, shown if written else [*shown, *made])
    if example.target is not None and example.learned is not None:
        _append(out, tokenizer, example.target, example.learned, made)
    return out


def _append(out: Text, tokenizer: Any, ids: Tensor, learned: Tensor, spans: list[tuple[int, int, str]]) -> None:
    known, at = len(tokenizer), 0
    for start, length, label in [*sorted(spans), (len(ids), 0, "")]:
        for (on, own), group in groupby(range(at, start), key=lambda i: (bool(learned[i]), int(ids[i]) >= known)):
            places = list(group)  # an id of an output's own here opens or closes a text
            out.append("⟨⟩" if own else tokenizer.decode(ids[places]), style=LEARNED if on else GIVEN)
        out.append(label, style=MEDIA)
        at = start + length
