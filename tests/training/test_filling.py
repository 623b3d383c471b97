"""Filling a cache beforehand: the forecast is true, and training then encodes nothing."""

from __future__ import annotations

import pytest

from polymodal.errors import DataError
from polymodal.model.composition import Composition
from polymodal.training import filling
from polymodal.training.cache import FeatureCache
from polymodal.training.filling import fill, forecast
from polymodal.training.loop import train
from polymodal.training.sources.messages import MessagesSource
from tests.training.runs import recipe, stage, write_pictures


@pytest.fixture
def model(tiny_recipe):
    return Composition.from_recipe(tiny_recipe()).model


@pytest.fixture
def sources(data):
    return {name: MessagesSource(str(file)) for name, file in data.items()}


def size(folder) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*.safetensors"))


def test_a_forecast_counts_items_once_and_foretells_bytes(model, sources, tmp_path):
    cache = FeatureCache(tmp_path, model)
    said = forecast(cache, {**sources, "again": sources["pictures"]})
    assert (said.items, said.missing) == (11, 11)
    assert said.seconds > 0
    assert fill(cache, sources) == 11
    assert said.bytes == pytest.approx(size(tmp_path), rel=0.5)  # of tiny features, headers are a large part
    after = forecast(cache, sources)
    assert (after.items, after.missing, after.bytes, after.seconds) == (11, 0, 0, 0)
    assert str(after) == "cache: 11 items, 0 missing"


def test_a_forecast_keeps_nothing(model, sources, tmp_path):
    cache = FeatureCache(tmp_path, model)
    forecast(cache, sources)
    assert forecast(cache, sources).missing == 11
    cache.flush()
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_forecast_of_a_large_source_looks_at_a_part_of_it(model, sources, tmp_path, monkeypatch):
    monkeypatch.setattr(filling, "LOOKED_AT", 2)
    said = forecast(FeatureCache(tmp_path, model), {"pictures": sources["pictures"]})
    assert (said.items, said.missing) == (6, 6)
    assert "6 items, 6 missing, about 0 MB, about 0 min to fill" in str(said)


def test_training_after_filling_encodes_nothing(model, sources, tiny_recipe, data, tmp_path):
    visited = []
    fill(FeatureCache(tmp_path / "cache", model), sources, visited.append)
    assert visited == list(range(1, sum(map(len, sources.values())) + 1))
    learn = stage(data={"pictures": 1.0, "recordings": 1.0, "talk": 1.0}, steps=8)
    assert train(recipe(tiny_recipe(), tmp_path / "run", data, learn, cache=str(tmp_path / "cache"))).model.encoded == 0


def test_filled_features_are_those_of_the_item_alone(model, sources, tmp_path):
    cache = FeatureCache(tmp_path, model, "float32")
    fill(cache, sources)
    for name, source in sources.items():
        for found in filling._media(model, source, range(len(source))):
            (alone,) = model.encode([filling._prepare(model, found)])
            kept = cache.get(found.part.type, found.key)
            assert kept.shape == alone.shape
            assert (kept - alone).abs().max() < 1e-5, name


def test_a_filling_broken_off_keeps_what_it_encoded(model, sources, tmp_path, monkeypatch):
    monkeypatch.setattr(filling, "POOL", 2)

    def stop(visited: int) -> None:
        if visited == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill(FeatureCache(tmp_path, model), sources, stop)
    assert fill(FeatureCache(tmp_path, model), sources) == 11 - 4


def test_a_sample_that_cannot_be_read_is_named(model, tmp_path):
    file = write_pictures(tmp_path)
    (tmp_path / "3.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"pictures.jsonl:4: .*3.png"):
        fill(FeatureCache(tmp_path / "cache", model), {"pictures": MessagesSource(str(file))})


def test_media_the_model_does_not_take_is_refused(tiny_recipe, sources, tmp_path):
    only_image = Composition.from_recipe(tiny_recipe(image=tiny_recipe()["model"]["inputs"]["image"])).model
    with pytest.raises(DataError, match=r"recordings.jsonl:1: this model takes no audio; it takes image"):
        forecast(FeatureCache(tmp_path, only_image), sources)
