"""Guarantee 5: cached features are the features computed online.

In float32 bit by bit. In float16 up to its rounding, which is at most 2**-11 of a value: a tolerance that the features of
any other item, and the same features shifted by one row, exceed a thousandfold.
"""

from __future__ import annotations

import pytest
import torch
from tests.conftest import picture, sound
from tests.training.runs import differing, recipe, stage, weights, write_pictures

from polymodal.content import assistant, audio, image, user
from polymodal.model.composition import Composition
from polymodal.model.sequence import collate
from polymodal.training.cache import FeatureCache
from polymodal.training.loop import train

ROUNDING = 2.0**-11


@pytest.fixture
def composition(tiny_recipe):
    return Composition.from_recipe(tiny_recipe())


def examples(composition: Composition, prepared=None):
    """Conversations of 0, 1 and 3 items of both modalities, lengths unequal."""
    conversations = [
        [user(image(picture(0)), "what is this?"), assistant("a cat")],
        [user("hello"), assistant("hello world")],
        [user(audio(sound(0.9)), "and", image(picture(1)), audio(sound(1.7, 300.0))), assistant("the red fox")],
    ]
    return [composition.processor.encode(c, prepared=prepared) for c in conversations]


def from_cache(composition: Composition, folder, dtype: str):
    """The same conversations with features that one process put on disk and another reads: nothing is encoded."""
    cache = FeatureCache(folder, composition.model, dtype)
    media = [item for example in examples(composition) for item in example.media]
    for item, features in zip(media, composition.model.encode(media), strict=True):
        cache.put(item, features)
    cache.flush()
    again = FeatureCache(folder, composition.model, dtype)
    cached = examples(composition, again.items())
    assert all(item.encoded is not None and item.inputs is None for example in cached for item in example.media)
    return cached


def step(composition: Composition, batch):
    """(logits, gradient of every projector's parameters) of one batch."""
    model = composition.model
    model.requires_grad_(False)
    projectors = [p for name, p in model.named_parameters() if "projector" in name]
    for parameter in projectors:
        parameter.requires_grad_(True)
    out = model(batch)
    loss = torch.nn.functional.cross_entropy(out.logits, out.labels)
    return out.logits.detach(), torch.autograd.grad(loss, projectors)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_features_logits_and_gradients_from_the_cache_are_those_computed_online(composition, tmp_path, dtype):
    pad = composition.processor.pad_id
    online, cached = collate(examples(composition), pad), collate(from_cache(composition, tmp_path, dtype), pad)
    assert torch.equal(online.index_map, cached.index_map)
    features = list(zip(composition.model.encode(online.media), composition.model.encode(cached.media), strict=True))
    (logits, gradients), (cached_logits, cached_gradients) = (step(composition, batch) for batch in (online, cached))
    if dtype == "float32":
        assert all(torch.equal(a, b) for a, b in features)
        assert torch.equal(logits, cached_logits)
        assert all(torch.equal(a, b) for a, b in zip(gradients, cached_gradients, strict=True))
        return
    assert all(within_rounding(a, b) for a, b in features)
    assert (logits - cached_logits).abs().max() < 1e-3
    assert all((a - b).norm() < 1e-2 * a.norm() for a, b in zip(gradients, cached_gradients, strict=True))


def within_rounding(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and bool(((a - b).abs() <= ROUNDING * a.abs() + 1e-7).all())


def test_the_tolerance_tells_an_item_from_its_neighbour_and_a_row_from_the_next(composition, tmp_path):
    pad = composition.processor.pad_id
    online = collate(examples(composition), pad)
    logits, _ = step(composition, online)
    true = composition.model.encode(online.media)

    def changed(features):
        batch = collate(from_cache(composition, tmp_path, "float16"), pad)
        for item, wrong in zip(batch.media, features, strict=True):
            item.encoded = wrong
        return (step(composition, batch)[0] - logits).abs().max()

    shifted = [features.roll(1, 0) for features in true]
    assert not any(within_rounding(a, b) for a, b in zip(true, shifted, strict=True))
    assert changed(shifted) > 1e-3
    swapped = [true[2], true[1], true[0], true[3]]  # the two pictures
    assert changed(swapped) > 1e-3


def test_a_run_with_a_float32_cache_ends_in_the_weights_of_a_run_without_one(tiny_recipe, tmp_path):
    """Each picture once: a batch holds the pictures that were encoded together, so nothing is re-ordered."""
    data = {"pictures": write_pictures(tmp_path / "data", n=6)}
    learn = stage(steps=3, batch=2, grouping=3)
    cached = {"cache": str(tmp_path / "cache"), "cache_dtype": "float32"}
    online = train(recipe(tiny_recipe(), tmp_path / "online", data, learn))
    filling = train(recipe(tiny_recipe(), tmp_path / "filling", data, learn, **cached))
    reading = train(recipe(tiny_recipe(), tmp_path / "reading", data, learn, **cached))
    assert (online.model.encoded, filling.model.encoded, reading.model.encoded) == (6, 6, 0)
    assert not differing(weights(online.model), weights(filling.model))
    assert not differing(weights(online.model), weights(reading.model))
