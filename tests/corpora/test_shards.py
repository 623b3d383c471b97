"""A built corpus is what the wider world streams: plain tar, WebDataset, any object store."""

from __future__ import annotations

import io
import json
import tarfile

import pytest

from polymodal import media
from polymodal.content import Part
from polymodal.corpora import read, shards
from polymodal.corpora.building import Job, Recipe, run
from polymodal.corpora.items import QA, Box, Item, manifest
from polymodal.errors import DataError

from ..conftest import picture

SPLITS = ("train", "train", "train", "test", "excluded")


def png(seed: int) -> bytes:
    out = io.BytesIO()
    picture(seed).save(out, "PNG")
    return out.getvalue()


def item(number: int) -> Item:
    split = SPLITS[number % len(SPLITS)]
    return Item(
        id=f"i{number}",
        modality="image",
        file=f"v1.0/{number}.png",
        caption=f"thing\u2028{number}",
        concept=f"thing {number}",
        source="toy",
        vendor="us",
        licence="MIT",
        split=split,
        concept_split="train" if split == "held-out" else split,
        questions=[QA(ask="What?", answer="A thing.", type="what")],
        boxes=[Box(name="thing", xyxy=(1, 2, 3, 4))],
    )


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_BYTES", 8_000)
    jobs = [Job([item(n)], lambda n=n: [png(n)]) for n in range(20)]
    return run(Recipe("toy", 1), lambda: jobs, tmp_path)


def test_plain_tarfile_reads_every_medium_beside_its_metadata(corpus, tmp_path):
    seen = {}
    for shard in sorted(corpus.glob("*.tar")):
        with tarfile.open(shard) as tar:
            for medium, metadata in zip(*[iter(tar)] * 2, strict=True):
                about = json.load(tar.extractfile(metadata))
                assert medium.name.removesuffix("png") == metadata.name.removesuffix("json")
                assert shard.name.startswith(f"{about['split']}-")
                seen[about["id"]] = (Item.model_validate(about), tar.extractfile(medium).read())
    assert seen == {f"i{n}": (item(n), png(n)) for n in range(20)}
    assert len(list(corpus.glob("train-*.tar"))) > 2


def test_webdataset_streams_the_shards(corpus):
    webdataset = pytest.importorskip("webdataset")
    urls = sorted(str(shard) for shard in corpus.glob("train-*.tar"))
    samples = list(webdataset.WebDataset(urls, shardshuffle=False).decode("pil"))
    assert sorted(sample["json"]["id"] for sample in samples) == sorted(
        f"i{n}" for n in range(20) if SPLITS[n % 5] == "train"
    )
    assert all(sample["png"].size == (40, 30) for sample in samples)


def test_a_corpus_in_an_object_store_is_read_by_its_url(corpus, tmp_path):
    import fsspec

    store = fsspec.filesystem("memory")
    store.put(str(corpus), "/bucket/toy", recursive=True)
    here, there = read("toy", tmp_path), read("memory://bucket/toy")
    assert [one.read() for one in here] == [one.read() for one in there] == [png(n) for n in range(20)]
    assert [one.model_copy(update={"place": None}) for one in there] == [item(n) for n in range(20)]


def test_only_the_medium_itself_is_asked_of_the_store(corpus, tmp_path, monkeypatch):
    import fsspec

    asked = []
    local = fsspec.filesystem("file")
    fetch = type(local).cat_file
    monkeypatch.setattr(type(local), "cat_file", lambda self, path, a, b: asked.append((a, b)) or fetch(self, path, a, b))
    one = read("toy", tmp_path)[3]
    asked.clear()
    one.read()
    assert asked == [(one.place.offset, one.place.offset + len(png(3)))]


def test_bytes_of_a_shard_are_the_same_item_as_the_file_they_were(corpus, tmp_path):
    (tmp_path / "a.png").write_bytes(png(0))
    as_file, as_bytes = Part("image", media=str(tmp_path / "a.png")), Part("image", media=read("toy", tmp_path)[0].read())
    assert media.fingerprint(as_file) == media.fingerprint(as_bytes)


def test_the_manifest_knows_its_shards(corpus, tmp_path):
    from polymodal.assets.sources import sha256

    stated = manifest("toy", tmp_path)["shards"]
    assert stated == {shard.name: sha256(shard) for shard in corpus.glob("*.tar")}


def test_items_are_mixed_within_a_shard(corpus, tmp_path):
    places = [one.place for one in read("toy", tmp_path) if one.split == "train"]
    assert sorted(places) != places


@pytest.mark.parametrize("harm", ["cut", "gone"])
def test_a_shard_that_is_cut_or_gone_is_named(corpus, tmp_path, harm):
    last = max((one for one in read("toy", tmp_path) if one.split == "test"), key=lambda one: one.place)
    shard = corpus / last.place.shard.rpartition("/")[2]
    if harm == "cut":
        shard.write_bytes(shard.read_bytes()[: last.place.offset + 10])
    else:
        shard.unlink()
    with pytest.raises(DataError, match=r"test-0000\d.tar: (is cut short \(10 of|cannot be read \(there is no such file)"):
        last.read()


def test_an_unknown_store_is_refused_in_one_line():
    with pytest.raises(DataError, match="nowhere://bucket/toy/items.jsonl: cannot be read"):
        read("nowhere://bucket/toy")


@pytest.mark.parametrize("file", ["a.b.png", "a", "a.PNG", "/a.png"])
def test_a_file_that_webdataset_would_split_otherwise_is_no_item(file):
    with pytest.raises(ValueError, match="file"):
        Item.model_validate({**item(0).model_dump(), "file": file})


@pytest.mark.parametrize("xyxy", [(3, 0, 2, 5), (0, 0, 0, 5), (-1, 0, 4, 5)])
def test_a_box_without_an_inside_is_refused(xyxy):
    with pytest.raises(ValueError, match="is no box"):
        Box(name="thing", xyxy=xyxy)


def test_an_answer_that_is_not_offered_is_refused():
    with pytest.raises(ValueError, match="'red' is not among the options"):
        QA(ask="What color?", answer="red", type="color", options=["blue", "green"])


def test_every_part_type_can_be_an_item():
    from typing import get_args

    from polymodal.content import PART_TYPES

    assert set(get_args(Item.model_fields["modality"].annotation)) == set(PART_TYPES)
