"""The feature cache: what it gives is what was put, for the right item and the right encoder."""

from __future__ import annotations

import pytest
import torch

from polymodal.content import Part, assistant, image, user
from polymodal.model.composition import Composition
from polymodal.model.sequence import MediaItem
from polymodal.training.cache import FeatureCache, encoder_key
from polymodal.training.data import Sample
from polymodal.training.loop import train
from polymodal.training.stage import train_recipe
from tests.training.runs import raw_recipe, recipe, rows_of, stage, train_until, weights


@pytest.fixture
def model(tiny_recipe):
    return Composition.from_recipe(tiny_recipe()).model


def test_what_was_put_comes_back_in_float32_rounded_to_float16(model, tmp_path):
    cache = FeatureCache(tmp_path, model)
    features = torch.randn(5, 24)
    assert cache.get("image", "ab12") is None
    returned = cache.put(MediaItem("image", "ab12", 5), features)
    got = cache.get("image", "ab12")
    assert got.dtype == torch.float32
    assert torch.equal(got, features.half().float())
    assert torch.equal(returned, got)
    assert cache.get("audio", "ab12") is None
    assert cache.get("image", "ab13") is None
    assert not list(tmp_path.rglob("*.part"))


def test_another_encoder_has_other_features(model, tiny_recipe, tmp_path):
    FeatureCache(tmp_path, model).put(MediaItem("image", "ab12", 5), torch.randn(5, 24))
    assert FeatureCache(tmp_path, model).get("image", "ab12") is not None
    with torch.no_grad():
        next(model.modalities["image"].encoder.parameters()).view(-1)[0] += 1e-4
    assert FeatureCache(tmp_path, model).get("image", "ab12") is None


def test_the_key_covers_weights_buffers_and_options(tiny_recipe):
    part = {"encoder": {"kind": "efficientnet-lite"}, "projector": {"kind": "linear"}}
    encoder = Composition.from_recipe(tiny_recipe(image=part)).model.modalities["image"].encoder
    keys = {encoder_key(encoder)}
    assert encoder_key(encoder) in keys
    next(b for n, b in encoder.named_buffers() if n.endswith("running_mean"))[0] += 1
    keys.add(encoder_key(encoder))
    next(b for n, b in encoder.named_buffers() if n.endswith("num_batches_tracked")).add_(1)
    keys.add(encoder_key(encoder))
    encoder.options = {**encoder.options, "tiles": 2}
    keys.add(encoder_key(encoder))
    assert len(keys) == 4


def test_training_with_a_cache_is_training_without_one_up_to_rounding(tiny_recipe, data, tmp_path):
    learn = stage(data={"pictures": 1.0, "recordings": 1.0}, steps=12, train={"inputs.*.projector.*": 1e-3})
    without = train(recipe(tiny_recipe(), tmp_path / "a", data, learn))
    with_cache = train(recipe(tiny_recipe(), tmp_path / "b", data, learn, cache=str(tmp_path / "cache")))
    losses = [[row["loss"]["lm"] for row in rows_of(tmp_path / run)] for run in ("a", "b")]
    assert losses[0] == pytest.approx(losses[1], abs=2e-3)
    for (name, a), b in zip(weights(without.model).items(), weights(with_cache.model).values(), strict=True):
        assert torch.allclose(a, b, atol=3e-3), name
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 11  # six pictures and five recordings, once each


def test_an_item_is_encoded_once_however_often_it_is_seen(tiny_recipe, data, tmp_path):
    learn = stage(steps=12, batch=3)
    counted = recipe(tiny_recipe(), tmp_path / "a", data, learn, cache=str(tmp_path / "cache"))
    assert train(counted).model.encoded == 6
    again = recipe(tiny_recipe(), tmp_path / "b", data, learn, cache=str(tmp_path / "cache"))
    assert train(again).model.encoded == 0


def test_a_run_broken_off_keeps_the_features_it_has(tiny_recipe, data, tmp_path):
    broken = recipe(tiny_recipe(), tmp_path / "a", data, stage(steps=12), cache=str(tmp_path / "cache"))
    train_until(broken, "one", 2)
    kept = len(list((tmp_path / "cache").rglob("*.safetensors")))
    assert kept >= 3
    assert train(broken).model.encoded == 6 - kept


class ReadyFeatures:
    """A source whose pictures are features already; its own class, found by dotted path."""

    def __init__(self, n: int = 4) -> None:
        generator = torch.Generator().manual_seed(0)
        self.features = [torch.randn(16, 24, generator=generator) for _ in range(n)]

    def __len__(self) -> int:
        return len(self.features)

    def sample(self, index, rng):
        part = Part("image", media=self.features[index])
        return Sample([user(part, "what is this?"), assistant("a cat")], f"ready:{index}")


def test_ready_features_and_a_cache_live_together(tiny_recipe, data, tmp_path):
    raw = raw_recipe(tiny_recipe(), tmp_path / "run", data, stage(data={"ready": 1.0, "pictures": 1.0}, steps=6))
    raw["data"]["ready"] = {"kind": "tests.training.test_cache.ReadyFeatures", "n": 3}
    raw["run"]["cache"] = str(tmp_path / "cache")
    composition = train(train_recipe(raw))
    shown = [image(str(data["pictures"].parent / f"{i}.png")) for i in range(6)]
    keys = {composition.processor.encode([user(part)], generate=True).media[0].key for part in shown}
    kept = {file.stem for file in (tmp_path / "cache").rglob("*.safetensors")}
    assert kept  # of pictures, and of no ready feature
    assert kept <= keys
    assert composition.model.encoded == len(kept)
