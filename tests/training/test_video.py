"""Clips in training: items of a corpus and rows of files are read, checked, cached and learned from like other media."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from polymodal.corpora import QA, Item
from polymodal.corpora.shards import Place
from polymodal.media.writing import mp4
from polymodal.model.composition import Composition
from polymodal.training.checking import Checker
from polymodal.training.loop import train
from polymodal.training.sources import build_source
from polymodal.training.stage import train_recipe
from tests.conftest import CLIP
from tests.training.runs import raw_recipe, rows_of, stage

FRAMES, PATCHES = 3, 16
ASKED = QA(ask="Does it move or stand still?", answer="moving", type="motion", options=["moving", "still"])
ITEM = {"modality": "video", "caption": "x", "concept": "x", "source": "tiny", "vendor": "v", "licence": "CC0-1.0"}
ITEM |= {"split": "train", "concept_split": "train", "questions": [ASKED]}


@pytest.fixture
def clips(tmp_path):
    """Three clips of a bar that grows, written as the corpus `moving-emoji` writes them."""
    files = []
    for number in range(3):
        frames = [Image.new("RGB", (32, 24)) for _ in range(4)]
        for i, frame in enumerate(frames):
            frame.paste((200, 80 * number, 30), (0, 0, 6 * i + 3, 24))
        files.append(tmp_path / f"{number}.mp4")
        files[-1].write_bytes(mp4(frames, 8))
    return files


@pytest.fixture
def corpus(clips, monkeypatch):
    items = [Item(id=file.stem, file=file.name, place=Place(str(file), 0, file.stat().st_size), **ITEM) for file in clips]
    monkeypatch.setattr("polymodal.corpora.read", {"moving": items}.__getitem__)
    return {"kind": "corpus", "corpus": "moving"}


@pytest.fixture
def model(tiny_recipe):
    encoder = {"kind": "frames", "of": {"kind": "vision", "config": dict(CLIP)}, "frames": FRAMES}
    return tiny_recipe(video={"encoder": encoder, "projector": {"kind": "temporal", "cells": PATCHES, "hidden": 16}})


def test_clips_of_a_corpus_pass_the_check(model, corpus):
    found = Checker(Composition.from_recipe(model)).check(build_source("x", corpus), limit=200)
    assert (found.checked, found.failed) == (3, 0)
    shown = found.media["video"]
    assert (shown.items, len(shown.keys), shown.positions) == (3, 3, 3 * FRAMES * PATCHES)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_projector_of_clips_learns_from_a_corpus_with_a_cache(workers, model, corpus, tmp_path):
    one = stage(data={"moving": 1.0}, steps=12)
    raw = raw_recipe(model, tmp_path / "run", {}, one, cache=str(tmp_path / "cache"), workers=workers)
    train(train_recipe({**raw, "data": {"moving": corpus}}))
    losses = [row["loss"]["lm"] for row in rows_of(tmp_path / "run") if "loss" in row]
    assert losses[-1] < losses[0]
    assert list((tmp_path / "cache").glob("video-*/*.safetensors"))


def test_rows_that_name_clips_pass_the_check(model, clips, tmp_path):
    turns = [{"from": "human", "value": "<video>\nDoes it move?"}, {"from": "gpt", "value": "It does."}]
    (tmp_path / "rows.json").write_text(json.dumps([{"video": file.name, "conversations": turns} for file in clips]))
    source = build_source("x", {"kind": "llava", "path": str(tmp_path / "rows.json")})
    found = Checker(Composition.from_recipe(model)).check(source, limit=200)
    assert (found.checked, found.failed, found.media["video"].items) == (3, 0, 3)
