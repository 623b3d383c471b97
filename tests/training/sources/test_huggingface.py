"""Data sets of the library `datasets`: columns by name, media undecoded, conversations in both customs."""

from __future__ import annotations

import io
import random
import sys

import pytest

from polymodal.content import assistant, image, text, user
from polymodal.errors import DataError, RecipeError
from polymodal.training.sources import build_source
from tests.conftest import picture

RNG = random.Random(0)
COLUMNS = {"image": "img", "question": "q", "answer": "a"}


def png(seed: int) -> bytes:
    out = io.BytesIO()
    picture(seed).save(out, "PNG")
    return out.getvalue()


def source(path, **options):
    return build_source("mine", {"kind": "datasets", "path": str(path), "columns": COLUMNS, **options})


@pytest.fixture
def pairs(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = {"img": [{"bytes": png(i), "path": None} for i in range(3)], "q": ["What?"] * 3, "a": ["a", None, "c"]}
    features = datasets.Features({"img": datasets.Image(), "q": datasets.Value("string"), "a": datasets.Value("string")})
    return datasets.Dataset.from_dict(rows, features=features)


@pytest.mark.parametrize("kind", ["parquet", "disk", "splits"])
def test_a_row_is_asked_with_its_columns_and_its_picture_is_not_decoded(pairs, tmp_path, kind, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    path = tmp_path / ("data.parquet" if kind == "parquet" else "data")
    if kind == "parquet":
        pairs.to_parquet(str(path))
    else:
        (pairs if kind == "disk" else datasets.DatasetDict({"train": pairs})).save_to_disk(str(path))
    found = source(path)
    assert len(found) == 3
    assert found.sample(0, RNG).messages == [user(image(png(0)), "What?"), assistant("a")]
    with pytest.raises(DataError, match=r"data(.parquet)?:1: 'answer' missing"):
        found.sample(1, RNG)
    if kind == "splits":
        with pytest.raises(DataError, match="no split 'tran'.*did you mean 'train'"):
            source(path, split="tran")


def test_other_wordings_and_misspelt_columns(pairs, tmp_path):
    pairs.save_to_disk(str(tmp_path / "data"))
    found = source(tmp_path / "data", columns={"image": "img", "q": "q"}, templates=[{"ask": "", "answer": "Asked: {q}"}])
    assert found.sample(0, RNG).messages[1] == assistant("Asked: What?")
    with pytest.raises(RecipeError, match="columns.image: .*no 'imgs'.*did you mean 'img'"):
        source(tmp_path / "data", columns={"image": "imgs"})
    with pytest.raises(RecipeError, match="'{answer}'"):
        source(tmp_path / "data", columns={"image": "img", "question": "q"})


def conversations(tmp_path, messages, pictures):
    datasets = pytest.importorskip("datasets")
    made = datasets.Dataset.from_dict({"messages": [messages], "images": [[{"bytes": p, "path": None} for p in pictures]]})
    made = made.cast_column("images", datasets.List(datasets.Image()))
    made.save_to_disk(str(tmp_path / "chat"))
    return source(tmp_path / "chat", columns={"messages": "messages", "images": "images"})


OPEN = [
    {"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": "What?"}]},
    {"role": "assistant", "content": [{"type": "text", "text": "A cat."}]},
]


def test_a_conversation_takes_its_pictures_in_order(tmp_path):
    sample = conversations(tmp_path, OPEN, [png(1)]).sample(0, RNG)
    assert sample.messages == [user(image(png(1)), text("What?")), assistant("A cat.")]
    for pictures, said in (([], "more places for 'image'"), ([png(1)] * 2, "2 items in 'images', but 1 places")):
        with pytest.raises(DataError, match=f"chat:0: .*{said}"):
            conversations(tmp_path, OPEN, pictures).sample(0, RNG)


def test_a_conversation_with_placeholders_is_read_as_sharegpts(tmp_path):
    turns = [{"role": "user", "content": "<image>What?"}, {"role": "assistant", "content": "A cat."}]
    sample = conversations(tmp_path, turns, [png(1)]).sample(0, RNG)
    assert sample.messages == [user(image(png(1)), "What?"), assistant("A cat.")]


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(RecipeError, match=r"polymodal\[datasets\]"):
        source("anything")


def test_data_that_is_not_there_is_one_line(tmp_path):
    pytest.importorskip("datasets")
    for path in (tmp_path / "gone.parquet", tmp_path):
        with pytest.raises(DataError, match="no such file|cannot be loaded") as caught:
            source(path)
        assert "\n" not in str(caught.value)
