"""The guide's examples are data: every source of its recipe is built from its own blocks, and gives every row."""

from __future__ import annotations

import random

import yaml

from polymodal.content import Message
from polymodal.training.sources import SOURCES, build_source
from tests.conftest import picture
from tests.docs.test_docs import ROOT, blocks
from tests.training.sources.test_webdataset import shard

PAGE = ROOT / "docs/guide/data.md"


def test_every_example_of_the_page_is_read_as_it_says(tmp_path, tiny, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = {title: body for kind in ("json", "text", "yaml") for title, body in blocks(PAGE, kind).items() if "." in title}
    for name in ("pictures/1.png", "pictures/2.png", "captioned/cat.png", "table/1.png", "table/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture(1).save(tmp_path / name)
    for name, body in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(body)
    (tmp_path / "shards").mkdir()
    for i in range(2):
        members = [("0001.png", (tmp_path / "pictures/1.png").read_bytes()), ("0001.txt", "a cat")]
        shard(tmp_path / f"shards/train-0{i}.tar", members)
    recipe = yaml.safe_load(files["data.yaml"])["data"]
    recipe["documents"] = {"kind": "messages", "path": "documents.jsonl"}
    assert {part["kind"] for part in recipe.values()} == set(SOURCES) - {
        "corpus",
        "class-features",
        "spoken",
        "joined",
        "mixed",
        "followed",
    }
    said = {}
    for name, part in recipe.items():
        if part["kind"] == "datasets":  # an extra; tests/training/sources/test_huggingface.py
            continue
        source = build_source(name, part)
        samples = [source.sample(i, random.Random(0)) for i in range(len(source))]
        examples = [tiny.processor.encode(sample.messages, name=sample.name) for sample in samples]
        said[name] = (len(samples), sum(len(example.media) for example in examples))
    assert said == {
        "chats": (2, 1),
        "mix": (1, 1),
        "share": (1, 2),
        "captioned": (1, 1),
        "described": (2, 2),
        "posts": (1, 1),
        "shards": (2, 2),
        "documents": (1, 1),
    }


def test_a_document_of_the_page_has_its_picture_between_its_paragraphs(tmp_path):
    (tmp_path / "posts").mkdir()
    (tmp_path / "posts/cats.md").write_text(blocks(PAGE, "text")["posts/cats.md"])
    (message,) = build_source("p", {"kind": "interleaved", "path": str(tmp_path)}).sample(0, random.Random(0)).messages
    assert isinstance(message, Message)
    assert [part.type for part in message.parts] == ["text", "text", "image", "text"]
