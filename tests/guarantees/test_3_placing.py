"""Guarantee 3: counts are derived once and checked once, and every position holds what the index map says."""

from __future__ import annotations

import random

import pytest
import torch
from tests.conftest import picture, sound

from polymodal.content import Message, assistant, audio, image, text, user
from polymodal.errors import CountMismatch, DataError
from polymodal.model.sequence import collate, place


def conversation(rng: random.Random) -> list[Message]:
    """A user turn of text and 0 to 4 media in any order, and an answer."""
    parts = [text(rng.choice(["what is this?", "a red cat ", "hello "]))]
    for _ in range(rng.randint(0, 4)):
        if rng.random() < 0.5:
            parts.append(image(picture(rng.randint(0, 99), (rng.randint(5, 60), rng.randint(5, 60)))))
        else:
            parts.append(audio(sound(rng.uniform(0.05, 0.9))))
    rng.shuffle(parts)
    return [Message("user", tuple(parts)), assistant("a cat")]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("side", ["left", "right"])
def test_every_position_holds_its_token_or_its_feature(tiny, seed, side):
    rng = random.Random(seed)
    examples = [tiny.processor.encode(conversation(rng)) for _ in range(3)]
    batch = collate(examples, tiny.processor.pad_id, side)
    with torch.no_grad():
        features = tiny.model.features(batch.media)
        embeds = tiny.model.embed(batch, features)
        alone = {i: tiny.model.backbone.embed(torch.tensor(i)) for i in set(batch.ids.flatten().tolist())}
    assert sum(map(len, features)) == sum(span.length for e in examples for span in e.spans)
    used = iter(features)
    for b, example in enumerate(examples):
        shift = embeds.shape[1] - len(example) if side == "left" else 0
        media = {}
        for span in example.spans:
            rows = next(used)
            media.update({span.start + j: rows[j] for j in range(span.length)})
        for t in range(len(example)):
            expected = media.get(t, alone[int(example.ids[t])])
            assert torch.equal(embeds[b, shift + t], expected), (b, t)


def test_length_is_known_before_the_encoder_runs(tiny):
    before = tiny.model.encoded
    example = tiny.processor.encode([user(image(picture(3)), audio(sound(0.7)), "?"), assistant("a")])
    assert tiny.model.encoded == before
    assert [len(f) for f in tiny.model.features(example.media)] == [span.length for span in example.spans]


def test_count_mismatch_names_the_sample_and_both_numbers(tiny):
    example = tiny.processor.encode([user(image(picture(3)), "?"), assistant("a")], name="row 12")
    batch = collate([example], tiny.processor.pad_id)
    (features,) = tiny.model.features(batch.media)
    with pytest.raises(CountMismatch, match=r"row 12: image 0 has 16 positions but 15 features"):
        place(tiny.model.backbone.embed(batch.ids), [features[:-1]], batch)


def test_truncation_drops_whole_exchanges_and_never_cuts_a_span(tiny):
    turns = [
        user(image(picture(1)), "what is this?"),
        assistant("a cat"),
        user(image(picture(2)), "and this?"),
        assistant("a dog"),
        user("which is red?"),
        assistant("the fox"),
    ]
    whole = tiny.processor.encode(turns)
    for limit in range(20, len(whole) + 1):
        try:
            cut = tiny.processor.encode(turns, limit=limit)
        except DataError as error:
            assert str(limit) in str(error)  # noqa: PT017
            continue
        assert len(cut) <= limit
        assert all(span.length == 16 for span in cut.spans)
        kept = len(cut.messages)
        assert cut.messages == turns[-kept:]
        assert kept % 2 == 0
        assert tiny.processor.decode(cut.ids[cut.supervised])[0].text.endswith("the fox")


def test_truncation_that_cannot_fit_names_both_numbers(tiny):
    turns = [user(image(picture(1)), "what is this?"), assistant("a cat")]
    n = len(tiny.processor.encode(turns))
    with pytest.raises(DataError, match=f"{n} positions are over the limit of 20"):
        tiny.processor.encode(turns, limit=20)


def test_padding_changes_no_logit(tiny):
    """Padded equals alone, for training batches of different media."""
    rng = random.Random(5)
    examples = [tiny.processor.encode(conversation(rng)) for _ in range(4)]
    with torch.no_grad():
        together = tiny.model(collate(examples, tiny.processor.pad_id))
        for b, example in enumerate(examples):
            alone = tiny.model(collate([example], tiny.processor.pad_id))
            assert torch.allclose(together.logits[together.owner == b], alone.logits, atol=2e-5)
            assert torch.equal(together.labels[together.owner == b], alone.labels)


def test_logits_at_supervised_positions_equal_the_backbones_own(tiny):
    example = tiny.processor.encode([user("what is this?"), assistant("a red cat")])
    batch = collate([example], tiny.processor.pad_id)
    with torch.no_grad():
        full = tiny.model.backbone.lm(input_ids=batch.ids).logits[0]
        mine = tiny.model(batch)
    at = example.supervised.nonzero()[:, 0]
    assert torch.allclose(mine.logits, full[at - 1], atol=1e-5)
    assert mine.labels.tolist() == example.ids[at].tolist()
