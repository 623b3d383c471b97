"""Guarantee 4: several examples in a row compute what each computes alone, in logits and in gradients."""

from __future__ import annotations

import random

import pytest
import torch
from tests.conftest import picture, sound

from polymodal.content import assistant, audio, image, user
from polymodal.errors import RecipeError
from polymodal.model.composition import Composition
from polymodal.model.sequence import collate, packed
from polymodal.parts.tiny import FAMILIES

# Learned positions and a mask of its own making (OPT), learned positions (GPT-2), windows in every layer (Mistral) and in
# every other (Gemma), layers without positions (SmolLM3), relative positions (Chinchilla).
EXACT = ["llama", "opt", "gpt2", "mistral", "gemma2", "gemma3", "smollm3", "qwen3", "persimmon", "granite", "chinchilla"]
NOT_EXACT = ["bloom", "mamba2", "t5", "bart", "chatglm-6b"]
ROOM = 150


def compose(family: str, tiny_recipe, **changes) -> Composition:
    config = {**FAMILIES[family], **changes}
    seq2seq = "num_layers" in config or "encoder_layers" in config
    return Composition.from_recipe(tiny_recipe(config=config, chat_format=None if seq2seq else "chatml"))


@pytest.fixture(scope="module", params=EXACT)
def composition(request, tiny_recipe):
    return compose(request.param, tiny_recipe)


def examples(composition: Composition):
    """Of very different lengths, the longest longer than any window; with and without media."""
    said = "the quick brown fox jumps over a lazy dog. "
    turns = [
        [user(image(picture(1)), "what is this?"), assistant("a red cat")],
        [user("hello"), assistant("a")],
        [user(said), assistant(said + "hello world")],
        [user(audio(sound(0.6)), image(picture(2)), "?"), assistant("the blue mat")],
        [user("what is this?"), assistant("a dog"), user("is it red?"), assistant("the red fox")],
    ]
    return [composition.processor.encode(t, name=f"row {i}") for i, t in enumerate(turns)]


def gradients(model, batches) -> dict[str, torch.Tensor]:
    """Of the summed loss of all supervised tokens, whatever batches they are in."""
    model.zero_grad()
    for batch in batches:
        out = model(batch)
        torch.nn.functional.cross_entropy(out.logits, out.labels, reduction="sum").backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_packed_equals_padded_equals_alone_in_logits(composition):
    model, pad, rows = composition.model, composition.processor.pad_id, examples(composition)
    together, padded = collate(rows, pad, packing=ROOM), collate(rows, pad)
    assert len(together.ids) < len(padded.ids) == len(rows)
    with torch.no_grad():
        in_pack, in_pad = model(together), model(padded)
        for e, example in enumerate(rows):
            alone = model(collate([example], pad))
            for out in (in_pack, in_pad):
                assert torch.allclose(out.logits[out.owner == e], alone.logits, atol=5e-5)
                assert torch.equal(out.labels[out.owner == e], alone.labels)


def test_packed_equals_padded_equals_alone_in_gradients(composition):
    model, pad, rows = composition.model, composition.processor.pad_id, examples(composition)
    alone = gradients(model, [collate([example], pad) for example in rows])
    for batch in (collate(rows, pad, packing=ROOM), collate(rows, pad)):
        found = gradients(model, [batch])
        assert found.keys() == alone.keys()
        for name, expected in alone.items():
            assert torch.allclose(found[name], expected, atol=1e-4 * float(expected.abs().max().clamp(min=1))), name


def test_a_leak_would_be_noticed(tiny_recipe):
    """With a cache transformers no longer looks for examples in the positions, and says nothing: the comparison does."""
    composition = compose("llama", tiny_recipe)
    model, pad, rows = composition.model, composition.processor.pad_id, examples(composition)
    base, forward = model.backbone.lm.base_model, model.backbone.lm.base_model.forward
    assert model.backbone.packing == "positions"
    base.forward = lambda **options: forward(**{**options, "use_cache": options.get("position_ids") is not None})
    with pytest.raises(AssertionError):
        test_packed_equals_padded_equals_alone_in_logits(composition)
    with pytest.raises(AssertionError):
        test_packed_equals_padded_equals_alone_in_gradients(composition)
    batch = collate(rows, pad, packing=ROOM)
    assert batch.positions is not None
    batch.positions = batch.positions + 1  # an off-by-one in the positions is one, too
    base.forward = forward
    learned = compose("gpt2", tiny_recipe)
    with torch.no_grad():
        right = learned.model(collate(examples(learned), pad, packing=ROOM)).logits
        assert not torch.allclose(learned.model(batch).logits, right, atol=1e-2)


def test_windows_stay_closed_within_a_packed_example(tiny_recipe):
    """The tokens of the window are the example's own: an example longer than the window is not the one without windows."""
    composition = compose("mistral", tiny_recipe)
    rows = examples(composition)
    assert max(map(len, rows)) > 2 * composition.model.backbone.lm.config.sliding_window
    open_windows = compose("mistral", tiny_recipe, sliding_window=None)
    open_windows.model.load_state_dict(composition.model.state_dict())
    batch = collate(rows, composition.processor.pad_id, packing=ROOM)
    with torch.no_grad():
        assert not torch.allclose(composition.model(batch).logits, open_windows.model(batch).logits, atol=1e-3)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", ["llama", "opt"])
def test_packing_is_exact_however_the_backbone_attends(family, attention, tiny_recipe):
    composition = compose(family, tiny_recipe)
    composition.model.backbone.lm.set_attn_implementation(attention)
    test_packed_equals_padded_equals_alone_in_logits(composition)


@pytest.mark.parametrize("family", NOT_EXACT)
def test_a_backbone_that_would_leak_refuses(family, tiny_recipe):
    composition = compose(family, tiny_recipe)
    rows = examples(composition) if family in ("bloom", "mamba2") else examples(composition)[:3]
    batch = collate(rows, composition.processor.pad_id, packing=ROOM)
    with pytest.raises(RecipeError, match=f"packing is not exact with a '{FAMILIES[family]['model_type']}' backbone"):
        composition.model(batch)


@pytest.mark.parametrize("seed", range(20))
def test_packing_loses_nothing_and_fills_rows(seed):
    rng = random.Random(seed)
    room = rng.randint(50, 200)
    lengths = [rng.randint(1, room) for _ in range(rng.randint(1, 60))]
    rows = packed(lengths, room)
    assert sorted(e for row in rows for e in row) == list(range(len(lengths)))
    assert all(sum(lengths[e] for e in row) <= room for row in rows)
    assert len(rows) <= 11 / 9 * -(-sum(lengths) // room) + 4 or max(lengths) > room / 2
    assert rows == packed(lengths, room)


def test_an_example_that_is_too_long_has_a_row_to_itself():
    assert packed([3, 50, 4], 10) == [[1], [2, 0]]


def test_the_first_token_of_an_example_is_predicted_by_nothing(tiny):
    """Not by the last token of the example that happens to stand before it."""
    rows = examples(tiny)
    for example in rows:
        example.supervised = torch.ones_like(example.supervised)
    out = tiny.model(collate(rows, tiny.processor.pad_id, packing=ROOM))
    for e, example in enumerate(rows):
        assert out.labels[out.owner == e].tolist() == example.ids[1:].tolist()


@pytest.mark.parametrize("kind", ["packed", "padded"])
def test_a_count_mismatch_names_the_example_not_the_row(kind, tiny):
    from polymodal.errors import CountMismatch

    rows = examples(tiny)
    batch = collate(rows, tiny.processor.pad_id, packing=ROOM if kind == "packed" else None)
    features = tiny.model.features(batch.media)
    assert batch.owner == [0, 3, 3]
    with pytest.raises(CountMismatch, match="row 3: image 2"):
        tiny.model(batch, [*features[:2], features[2][:-1]])
