"""WebDataset: samples by the name that their files share, in any number of shards, each read by its place."""

from __future__ import annotations

import io
import json
import random
import tarfile

import pytest

from polymodal.content import Part, assistant, image, user
from polymodal.errors import DataError, RecipeError
from polymodal.training.sources import build_source
from polymodal.training.sources.webdataset import expand

RNG = random.Random(0)


def shard(file, members, **options):
    with tarfile.open(file, "w", **options) as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            data = data if isinstance(data, bytes) else data.encode()
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return file


def source(path, **options):
    return build_source("mine", {"kind": "webdataset", "path": str(path), **options})


MEMBERS = [
    ("a/cat.1.jpg", b"CAT"),  # the key ends at the first dot of the file's name
    ("a/cat.1.txt", "no"),
    ("dog.jpg", b"DOG"),
    ("dog.txt", "a dog\n"),
    ("dog.json", json.dumps({"colour": "brown", "legs": 4, "nested": {}})),
    (".hidden", b"x"),
    ("README", b"x"),
    ("bell.wav", b"BELL"),
    ("bell.cls", "7"),
]


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_files_that_share_a_name_are_one_sample(tmp_path, format):
    templates = [
        {"ask": "Colour?", "answer": "{colour}, {legs} legs: {caption}"},
        {"ask": "", "answer": "class {class}"},
        {"ask": "", "answer": "file of {license}"},
    ]
    found = source(shard(tmp_path / "s.tar", MEMBERS, format=format), templates=templates)
    assert len(found) == 3
    assert found.sample(1, RNG).name == "s.tar:dog"
    assert found.sample(1, RNG).messages == [user(image(b"DOG"), "Colour?"), assistant("brown, 4 legs: a dog")]
    assert found.sample(2, RNG).messages == [user(Part("audio", media=b"BELL")), assistant("class 7")]


def test_without_wordings_an_item_is_answered_by_its_caption(tmp_path):
    found = source(shard(tmp_path / "s.tar", MEMBERS[2:5]))
    assert found.sample(0, RNG).messages == [user(image(b"DOG")), assistant("a dog")]


def test_a_conversation_in_json_holds_the_media_of_its_sample(tmp_path):
    turns = [{"from": "human", "value": "<image>Compare <image>."}, {"from": "gpt", "value": "Same."}]
    members = [("x.0.jpg", b"A"), ("x.1.jpg", b"B"), ("x.json", json.dumps({"conversations": turns}))]
    found = source(shard(tmp_path / "s.tar", members))
    assert found.sample(0, RNG).messages[0] == user(image(b"A"), "Compare ", image(b"B"), ".")
    wrong = source(shard(tmp_path / "t.tar", members[1:]))
    with pytest.raises(DataError, match="t.tar:x: 2 <image> in its turns, but 1 image"):
        wrong.sample(0, RNG)


def test_braces_stand_for_shards_here_or_behind_any_url(tmp_path):
    import fsspec

    for i in range(3):
        data = shard(tmp_path / f"s-{i:02}.tar", [(f"{i}.png", b"P%d" % i), (f"{i}.txt", f"c{i}")]).read_bytes()
        with fsspec.open(f"memory://shards/s-{i:02}.tar", "wb") as stream:
            stream.write(data)
    for place in (tmp_path, "memory://shards"):
        found = source(f"{place}/s-{{00..02}}.tar")
        assert [found.sample(i, RNG).messages[1].text for i in range(len(found))] == ["c0", "c1", "c2"]
    assert expand("{a,b}-{1..2}.tar") == ["a-1.tar", "a-2.tar", "b-1.tar", "b-2.tar"]
    for braces in ("{3..1}", "{a..c}", "{}"):
        with pytest.raises(RecipeError, match="neither a range"):
            expand(f"s-{braces}.tar")


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([("x.jpg", b"A"), ("x.json", "{")], "s.tar:x: its 'json' cannot be read"),
        ([("x.jpg", b"A"), ("x.json", "[]")], "s.tar:x: its 'json' cannot be read.*no object"),
        ([("x.jpg", b"A"), ("x.txt", b"caf\xe9")], "s.tar:x: its 'txt' cannot be read"),
        ([("x.jpg", b"A")], "s.tar:x: 'caption' missing"),
        ([("x.txt", "a")], "s.tar:x: no column is media .*txt"),
        ([("x.jpg", b"A"), ("x.JPG", b"B")], "s.tar:x: has two files"),
        ([], "holds no sample"),
    ],
)
def test_a_bad_sample_names_its_shard_and_key(tmp_path, members, said):
    with pytest.raises(DataError, match=said) as caught:
        source(shard(tmp_path / "s.tar", members)).sample(0, RNG)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [100, 512, 700, 1024, 1600])
def test_a_shard_that_is_cut_short_is_refused(tmp_path, kept):
    whole = shard(tmp_path / "s.tar", [("x.jpg", b"A" * 300), ("x.txt", "a"), ("y.jpg", b"B"), ("y.txt", "b")])
    whole.write_bytes(whole.read_bytes()[:kept])
    with pytest.raises(DataError, match="cut short"):
        source(whole)


def test_a_shard_that_shrinks_later_is_named(tmp_path):
    file = shard(tmp_path / "s.tar", [("x.jpg", b"A" * 3000), ("x.txt", "a")])
    found = source(file)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(DataError, match="s.tar:x: 'jpg' holds 488 of 3000 bytes"):
        found.sample(0, RNG)


def test_what_is_no_shard_is_refused(tmp_path):
    with pytest.raises(DataError, match="there is no such file"):
        source(tmp_path / "gone.tar")
    (tmp_path / "s.tar.gz").write_bytes(b"\x1f\x8b" + bytes(600))
    with pytest.raises(DataError, match="is not a tar file.*unpack"):
        source(tmp_path / "s.tar.gz")
    with pytest.raises(DataError, match="nope://x"):
        source("nope://x/s.tar")
