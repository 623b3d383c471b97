"""Generation: greedy, sampling and beams, batched, streamed, from a cache or from nothing.

transformers' `generate` runs the loop from input embeddings; ours is what surrounds it: which positions still have to
be embedded and prefilled, when the first token came, and where to stop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from polymodal.model.modeling import MultimodalLM
from polymodal.model.row import prefilled
from polymodal.model.sampling import Begins, processors
from polymodal.model.sampling import Sampling as Sampling
from polymodal.model.sequence import Example, blocks, collate
from polymodal.parts.opening import Turn


@dataclass
class Generation:
    """New token ids of each example, without the stop token, which is in `ended` (None: there was none). Seconds: `encode`
    media and prompt embedding, `first` to the first token (encoding included), `total`. `prefilled`: positions run through
    the backbone before the first token."""

    ids: list[list[int]]
    seconds: dict[str, float]
    prefilled: int
    cache: Any = None
    ended: list[int | None] = field(default_factory=list)

    @property
    def finished(self) -> list[bool]:
        return [stop is not None for stop in self.ended]


class _Streamer:
    """transformers' streamer protocol: notes the time of the first token and passes each one on."""

    def __init__(self, started: float, on_token: Callable[[int], None] | None) -> None:
        self.started, self.on_token, self.first = started, on_token, 0.0
        self._prompt = True  # `generate` first puts the (empty) prompt

    def put(self, value: Tensor) -> None:
        if self._prompt:
            self._prompt = False
            return
        if not self.first:
            self.first = time.perf_counter() - self.started
        if self.on_token is not None:
            self.on_token(int(value.reshape(-1)[0]))

    def end(self) -> None:
        """Nothing is held back."""


@torch.no_grad()
def generate(
    model: MultimodalLM,
    examples: Sequence[Example],
    sampling: Sampling,
    stop_ids: Sequence[int],
    pad_id: int,
    *,
    cache: Any = None,
    cached: int = 0,
    on_token: Callable[[int], None] | None = None,
    never: Sequence[int] = (),
    written: Sequence[int] = (),
    begins: bool = False,
) -> Generation:
    """Continue each example (encoded with `generate=True`), whatever media each holds.

    `never`: ids that are not said. `written`: what a seq2seq backbone's decoder has written of a single example. `begins`:
    an answer does, so that the model's `opening`, if it has one, decides whether it begins with an opener.

    `cache`: a transformers cache that holds the first `cached` positions of a single example; those are neither
    embedded nor prefilled, and media that lies wholly among them is not encoded. It is extended in place. An opening reads
    all of the turn: what of it is in the cache is run again.
    """
    import transformers

    started = time.perf_counter()
    opens = model.opening if begins else None
    if opens is not None and cached > examples[0].turn:
        cached = examples[0].turn
        cache.crop(cached - cache.get_seq_length())
    # A causal model continues from the last column; a seq2seq encoder may count its positions from the first (BART).
    batch = collate(examples, pad_id, side="right" if model.backbone.seq2seq else "left")
    features = features_behind(model, examples[0], cached) if cached else model.features(batch.media, batch.questions)
    embeds = embeds_behind(model, examples[0], features, cached) if cached else model.embed(batch, features)
    encoded = time.perf_counter() - started
    streamer = _Streamer(started, on_token if len(examples) == 1 else None) if sampling.beams == 1 else None
    if sampling.seed is not None:
        torch.manual_seed(sampling.seed)
    lm = model.backbone.lm
    config = transformers.GenerationConfig(
        max_new_tokens=sampling.max_new_tokens,
        do_sample=sampling.temperature > 0,
        # neutral: our own processors say it all, and what is None here would be filled in (top_k with 50)
        temperature=1.0,
        top_p=1.0,
        top_k=0 if sampling.temperature > 0 else None,  # of a greedy one it is warned of
        repetition_penalty=1.0,
        num_beams=sampling.beams,
        eos_token_id=list(stop_ids),
        pad_token_id=pad_id,
        bos_token_id=lm.generation_config.bos_token_id,
        decoder_start_token_id=lm.config.decoder_start_token_id if model.backbone.seq2seq else None,
        return_dict_in_generate=True,
    )
    seen = blocks(batch)
    apart = seen is not None and bool(seen[:, cached:].max() >= 0)
    if apart and len(examples) > 1:
        raise ValueError("spans whose positions see one another are prefilled one example at a time")
    begun = {}
    if model.backbone.seq2seq and written:
        begun["decoder_input_ids"] = torch.tensor([[lm.config.decoder_start_token_id, *written]], device=embeds.device)
    chosen = processors(sampling, never, len(stop_ids))
    with ExitStack() as stack:
        if opens is not None:
            ends = torch.full((len(examples),), batch.ids.shape[1])
            starts = ends - torch.tensor([len(example) - example.turn for example in examples])
            turn = Turn(opens, starts.repeat_interleave(sampling.beams), ends.repeat_interleave(sampling.beams), cached)
            stack.enter_context(model.backbone.telling(opens.layers, turn.see))
            chosen.insert(0, Begins(opens, turn, [*model.openers], never))
        if apart and seen is not None:
            cache = prefilled(lm, embeds[:, :-1], seen[:, :-1], cache, cached)
        stack.enter_context(model.attending(batch, features))
        out = lm.generate(
            inputs_embeds=embeds,
            attention_mask=batch.mask.to(embeds.device).long(),
            generation_config=config,
            logits_processor=chosen,
            past_key_values=cache,
            streamer=streamer,
            **begun,
        )
    # seq2seq returns its start token and what was written, too
    rows = out.sequences[:, 1 + len(written) :] if model.backbone.seq2seq else out.sequences
    total = time.perf_counter() - started
    ids, ended = zip(*(_until_stop(row, stop_ids) for row in rows.tolist()), strict=True)
    return Generation(
        ids=list(ids),
        seconds={"encode": encoded, "first": streamer.first if streamer else total, "total": total},
        prefilled=int(batch.mask.sum()) - cached,
        cache=getattr(out, "past_key_values", None),
        ended=list(ended),
    )


def features_behind(model: MultimodalLM, example: Example, cached: int) -> list[Tensor]:
    """Of each media item [N', D]; nothing of one that stands wholly among the first `cached` positions and that no later
    position looks at."""
    items = [example.media[span.index] for span in example.spans]
    behind = [span.start + span.length > cached for span in example.spans]
    live = [new or not model.modalities[item.modality].fusion.stands for new, item in zip(behind, items, strict=True)]
    asked = [span.question for span, on in zip(example.spans, live, strict=True) if on]
    fresh = iter(model.features([item for item, on in zip(items, live, strict=True) if on], asked))
    return [next(fresh) if on else torch.empty(0, model.backbone.width) for on in live]


def embeds_behind(model: MultimodalLM, example: Example, features: Sequence[Tensor], cached: int) -> Tensor:
    """[1, T, D] whose first `cached` rows are never read: text among them is not embedded."""
    rest = model.backbone.embed(example.ids[cached:].to(model.device))
    embeds = rest.new_zeros(1, len(example), rest.shape[-1])
    embeds[0, cached:] = rest
    for span, rows in zip(example.spans, features, strict=True):
        if span.start + span.length > cached:
            placed = model.modalities[example.media[span.index].modality].fusion.placed(rows)
            embeds[0, span.start : span.start + span.length] = placed.to(rest.dtype)
    return embeds


@torch.no_grad()
def encode_media(model: MultimodalLM, example: Example) -> None:
    """Encode each item once and keep, in place of its inputs, its projected features; or those of the encoder, if what is
    projected depends on the question: the same item may come again with another."""
    items = [example.media[span.index] for span in example.spans]
    new = list({id(item): item for item in items if item.projected is None and item.encoded is None}.values())
    for item, encoded in zip(new, model.encode(new), strict=True):
        item.encoded, item.inputs = encoded, None
    kept = [item for item, span in zip(items, example.spans, strict=True) if span.question is None]
    for item, features in zip(kept, model.features(kept), strict=True):
        item.projected, item.encoded = features, None


def _until_stop(row: list[int], stop_ids: Sequence[int]) -> tuple[list[int], int | None]:
    for i, token in enumerate(row):
        if token in stop_ids:
            return row[:i], token
    return row, None
