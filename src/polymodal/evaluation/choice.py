"""Forced choice by likelihood: which of several answers does the model find likeliest? Decides one fixed way to score,
so that a number never depends on how an answer was parsed."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence

import torch
from torch import Tensor

from polymodal.content import Message, assistant
from polymodal.model.composition import Composition
from polymodal.model.sequence import Example, MediaItem, collate


@torch.no_grad()
def likelihoods(
    composition: Composition,
    messages: Sequence[Message],
    options: Sequence[str],
    prepared: MutableMapping[str, MediaItem] | None = None,
) -> Tensor:
    """Log-likelihood [len(options)] of each option as the assistant's whole next turn, end token included: the sum over its
    tokens, so that options compete as the answers they are.

    A causal backbone reads the prompt once and the options from its cache; a seq2seq one once per option. Scores are on
    the CPU."""
    model, processor = composition.model, composition.processor
    prepared = {} if prepared is None else prepared
    whole = [processor.encode([*messages, assistant(option)], prepared=prepared) for option in options]
    if model.backbone.seq2seq:
        out = model(collate(whole, processor.pad_id))
        token = out.logits.log_softmax(-1).gather(-1, out.labels[:, None])[:, 0]
        return torch.zeros(len(options)).index_add(0, out.owner.cpu(), token.float().cpu())
    prompt = processor.encode(messages, generate=True, prepared=prepared)
    batch = collate([prompt], processor.pad_id)
    features = model.features(batch.media, batch.questions)
    with model.attending(batch, features):
        answers = [_answer(example, len(prompt)).to(model.device) for example in whole]
        return _from_cache(composition, model.embed(batch, features), answers).cpu()


def _answer(example: Example, start: int) -> Tensor:
    """Supervised ids from `start` on: the option and its end token."""
    return example.ids[start:][example.supervised[start:]]


def _from_cache(composition: Composition, embeds: Tensor, answers: list[Tensor]) -> Tensor:
    """What all answers begin with is read once, with the prompt; the rest of each from the cache."""
    from transformers import DynamicCache

    model, lm = composition.model, composition.model.backbone.lm
    # A backbone that looks at media between its layers reads the columns of its batch alone at once
    alike = 0 if any(part.fusion.attends for part in model.modalities.values()) else _alike(answers)
    shared = answers[0][None, :alike]
    embeds = torch.cat([embeds, lm.get_input_embeddings()(shared).to(embeds.dtype)], 1)
    cache = DynamicCache(config=lm.config)
    out = lm(inputs_embeds=embeds, use_cache=True, past_key_values=cache, logits_to_keep=alike + 1)
    first = out.logits[0, -alike - 1 :].log_softmax(-1)
    begun = first[:-1].gather(-1, shared[0, :, None]).sum()
    answers = [answer[alike:] for answer in answers]
    scores = [begun + first[-1, answer[0]] for answer in answers]
    longest = max(map(len, answers))
    if longest > 1:
        cache = out.past_key_values
        cache.batch_repeat_interleave(len(answers))
        ids = torch.nn.utils.rnn.pad_sequence(answers, batch_first=True)[:, :-1]  # padding on the right is never read
        rest = lm(input_ids=ids, past_key_values=cache, use_cache=True).logits.log_softmax(-1)
        for i, answer in enumerate(answers):
            scores[i] = scores[i] + rest[i, : len(answer) - 1].gather(-1, answer[1:, None]).sum()
    return torch.stack(scores)


def _alike(answers: list[Tensor]) -> int:
    """How many ids all answers begin with, short of the last of the shortest."""
    most = min(map(len, answers)) - 1
    rows = torch.stack([answer[:most] for answer in answers])
    unlike = (rows != rows[0]).any(0).nonzero()
    return int(unlike[0, 0]) if len(unlike) else most
