"""The feature cache: what it gives is what was put, for the right item and the right encoder, whoever wrote it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import pytest
import torch
from safetensors.torch import save_file

from polymodal.content import Part, assistant, image, user
from polymodal.errors import DataError
from polymodal.model.composition import Composition
from polymodal.model.sequence import MediaItem
from polymodal.parts.encoders.efficientnet import EfficientNetLite
from polymodal.training import cache as cache_module
from polymodal.training.cache import FeatureCache, encoder_key
from polymodal.training.data import Sample
from polymodal.training.loop import train
from polymodal.training.stage import train_recipe
from tests.conftest import sound
from tests.training.runs import raw_recipe, recipe, rows_of, stage, train_until, weights


@pytest.fixture
def model(tiny_recipe):
    return Composition.from_recipe(tiny_recipe()).model


def item(key: str, modality: str = "image") -> MediaItem:
    return MediaItem(modality, key, 5)


def shards(folder):
    return sorted(folder.rglob("*.safetensors"))


def kept(folder, model) -> set[str]:
    """Keys of the pictures on disk."""
    return set(FeatureCache(folder, model)._index["image"])


def test_what_was_put_comes_back_in_float32_rounded_to_float16(model, tmp_path):
    cache = FeatureCache(tmp_path, model)
    features = torch.randn(5, 24)
    assert cache.get("image", "ab12") is None
    returned = cache.put(item("ab12"), features)
    for reopen in (False, False, True):  # from the buffer, from the shard, from a cache that another process opens
        reader = FeatureCache(tmp_path, model) if reopen else cache
        got = reader.get("image", "ab12")
        assert got.dtype == torch.float32
        assert torch.equal(got, features.half().float())
        assert torch.equal(returned, got)
        assert reader.get("audio", "ab12") is None
        assert reader.get("image", "ab13") is None
        cache.flush()
    assert len(shards(tmp_path)) == 1
    assert not list(tmp_path.rglob("*.part"))


def test_float32_keeps_every_bit_and_is_another_cache(model, tmp_path):
    features = torch.randn(5, 24)
    cache = FeatureCache(tmp_path, model, "float32")
    cache.put(item("ab12"), features)
    cache.flush()
    assert torch.equal(FeatureCache(tmp_path, model, "float32").get("image", "ab12"), features)
    assert FeatureCache(tmp_path, model).get("image", "ab12") is None


def test_what_the_caller_does_to_its_features_afterwards_is_not_kept(model, tmp_path):
    cache, features = FeatureCache(tmp_path, model, "float32"), torch.ones(5, 24)
    cache.put(item("ab12"), features)
    features.zero_()
    assert torch.equal(cache.get("image", "ab12"), torch.ones(5, 24))


def test_features_that_overflow_float16_are_refused(model, tmp_path):
    with pytest.raises(DataError, match=r"up to 1e\+05 do not fit the cache's float16; try run.cache_dtype: float32"):
        FeatureCache(tmp_path, model).put(item("ab12"), torch.full((5, 24), 1e5))
    FeatureCache(tmp_path, model, "float32").put(item("ab12"), torch.full((5, 24), 1e5))


def test_a_shard_holds_many_items_of_many_lengths_and_is_written_when_it_is_full(model, tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "SHARD_BYTES", 10_000)
    cache = FeatureCache(tmp_path, model)
    features = {f"{n:02d}": torch.randn(n, 24) for n in range(1, 40)}
    for key, value in features.items():
        cache.put(item(key), value)
    cache.flush()
    assert 3 <= len(shards(tmp_path)) <= 5  # 37 kB
    again = FeatureCache(tmp_path, model)
    assert all(torch.equal(again.get("image", key), value.half().float()) for key, value in features.items())


def test_nothing_new_writes_nothing(model, tmp_path):
    cache = FeatureCache(tmp_path, model)
    cache.flush()
    cache.put(item("ab12"), torch.randn(5, 24))
    for _ in range(3):
        cache.flush()
    assert len(shards(tmp_path)) == 1


def test_thousands_of_items_are_found_in_under_a_second(model, tmp_path):
    cache = FeatureCache(tmp_path, model)
    for i in range(5000):
        cache.put(item(f"{i:064x}"), torch.zeros(1, 24))
    cache.flush()
    began = time.perf_counter()
    again = FeatureCache(tmp_path, model)
    assert time.perf_counter() - began < 1
    assert len(again._index["image"]) == 5000


def _write(folder, model, first: int, die: bool = False) -> None:
    torch.set_num_threads(1)
    cache = FeatureCache(folder, model)
    for i in range(first, first + 20):
        cache.put(item(str(i)), torch.full((3, 24), float(i)))
        if i % 5 == 4:
            cache.flush()
    cache.put(item("lost"), torch.zeros(3, 24))
    if die:
        os.kill(os.getpid(), signal.SIGKILL)
    cache.flush()


def test_processes_write_at_once_and_a_killed_one_loses_only_what_it_had_not_flushed(model, tmp_path):
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=_write, args=(tmp_path, model, first, True)) for first in (0, 20, 40)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [-signal.SIGKILL] * 3
    cache = FeatureCache(tmp_path, model)
    assert not cache.has("image", "lost")
    for i in range(60):
        assert torch.equal(cache.get("image", str(i)), torch.full((3, 24), float(i)))


@pytest.mark.parametrize("damage", ["truncated", "foreign", "of another encoder", "nonsense"])
def test_a_shard_that_is_not_ours_or_not_whole_is_named_with_the_way_out(model, tmp_path, damage):
    cache = FeatureCache(tmp_path, model)
    cache.put(item("ab12"), torch.randn(5, 24))
    cache.flush()
    (shard,) = shards(tmp_path)
    if damage == "truncated":
        shard.write_bytes(shard.read_bytes()[:-20])
    elif damage == "nonsense":
        shard.write_bytes(b"what is this?")
    else:
        about = None if damage == "foreign" else {"format": cache_module.FORMAT, "encoder": "0" * 16}
        save_file({"ab12": torch.randn(5, 24)}, shard, metadata=about)
    with pytest.raises(DataError, match=rf"{shard.name} is no .*(delete it|move it)"):
        FeatureCache(tmp_path, model)


def test_an_estimate_is_what_will_be_written_up_to_headers(model, tmp_path):
    cache, encoder = FeatureCache(tmp_path, model, "float32"), model.modalities["audio"].encoder
    inputs = [encoder.prepare(sound(seconds)[0]) for seconds in (0.5, 1.2)]
    items = [MediaItem("audio", str(i), 1, one) for i, one in enumerate(inputs)]
    expected = cache.estimate([*items, items[0]])  # an item that is there twice is kept once
    for one, features in zip(items, model.encode(items), strict=True):
        cache.put(one, features)
    assert cache.estimate(items) == 0
    cache.flush()
    (shard,) = shards(tmp_path)
    assert 0 < shard.stat().st_size - expected < 1000


def test_another_encoder_has_other_features(model, tiny_recipe, tmp_path):
    cache = FeatureCache(tmp_path, model)
    cache.put(item("ab12"), torch.randn(5, 24))
    cache.flush()
    assert FeatureCache(tmp_path, model).get("image", "ab12") is not None
    with torch.no_grad():
        next(model.modalities["image"].encoder.parameters()).view(-1)[0] += 1e-4
    assert FeatureCache(tmp_path, model).get("image", "ab12") is None


def test_the_key_covers_weights_buffers_options_and_revision(tiny_recipe):
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
    encoder.revision += 1
    keys.add(encoder_key(encoder))
    assert len(keys) == 5


def test_the_key_covers_the_revision_of_an_encoder_in_another(tiny_recipe, monkeypatch):
    inner = {"kind": "efficientnet-lite", "features": "pyramid"}
    part = {"encoder": {"kind": "frames", "of": inner}, "projector": {"kind": "linear"}}
    encoder = Composition.from_recipe(tiny_recipe(video=part)).model.modalities["video"].encoder
    before = encoder_key(encoder)
    monkeypatch.setattr(EfficientNetLite, "revision", 2)
    assert encoder_key(encoder) != before


def test_training_with_a_cache_is_training_without_one_up_to_rounding(tiny_recipe, data, tmp_path):
    learn = stage(data={"pictures": 1.0, "recordings": 1.0}, steps=12, train={"inputs.*.projector.*": 1e-3})
    without = train(recipe(tiny_recipe(), tmp_path / "a", data, learn))
    with_cache = train(recipe(tiny_recipe(), tmp_path / "b", data, learn, cache=str(tmp_path / "cache")))
    losses = [[row["loss"]["lm"] for row in rows_of(tmp_path / run)] for run in ("a", "b")]
    assert losses[0] == pytest.approx(losses[1], abs=2e-3)
    for (name, a), b in zip(weights(without.model).items(), weights(with_cache.model).values(), strict=True):
        assert torch.allclose(a, b, atol=3e-3), name
    cache = FeatureCache(tmp_path / "cache", with_cache.model)
    assert {name: len(index) for name, index in cache._index.items()} == {"image": 6, "audio": 5}  # once each


def test_an_item_is_encoded_once_however_often_it_is_seen(tiny_recipe, data, tmp_path):
    learn = stage(steps=12, batch=3)
    counted = recipe(tiny_recipe(), tmp_path / "a", data, learn, cache=str(tmp_path / "cache"))
    assert train(counted).model.encoded == 6
    again = recipe(tiny_recipe(), tmp_path / "b", data, learn, cache=str(tmp_path / "cache"))
    assert train(again).model.encoded == 0


def test_a_run_broken_off_keeps_the_features_of_its_last_checkpoint(tiny_recipe, data, tmp_path):
    broken = recipe(tiny_recipe(), tmp_path / "a", data, stage(steps=12, batch=1), cache=str(tmp_path / "cache"))
    train_until(broken, "one", 3)  # a checkpoint was written after step 2
    there = len(kept(tmp_path / "cache", Composition.from_recipe(tiny_recipe()).model))
    assert there == 2
    assert train(broken).model.encoded == 6 - there


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
    there = kept(tmp_path / "cache", composition.model)
    assert there  # of pictures, and of no ready feature
    assert there <= keys
    assert composition.model.encoded == len(there)
