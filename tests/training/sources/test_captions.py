"""A folder of media with captions: a text file beside each, or a table; and wordings that make questions of them."""

from __future__ import annotations

import json
import random

import pytest

from polymodal.content import assistant, image, user
from polymodal.errors import DataError, RecipeError
from polymodal.training.sources import build_source
from tests.conftest import picture

RNG = random.Random(0)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "more").mkdir()
    for name in ("a.png", "more/b.PNG"):
        picture(1).save(tmp_path / name)
    return tmp_path


def source(folder, **options):
    return build_source("mine", {"kind": "captions", "path": str(folder), **options})


def test_a_caption_stands_beside_its_picture(folder):
    (folder / "a.txt").write_text("a cat\n", encoding="utf-8")
    (folder / "more/b.txt").write_text("ein Hündchen", encoding="utf-8-sig")
    found = source(folder)
    samples = [found.sample(i, RNG) for i in range(len(found))]
    assert [s.name for s in samples] == ["a.png", "more/b.PNG"]
    assert samples[0].messages == [user(image(str(folder / "a.png"))), assistant("a cat")]
    assert samples[1].messages[1] == assistant("ein Hündchen")


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize("column", ["text", "caption"])
def test_a_table_names_files_and_its_columns_are_fields(folder, kind, column):
    rows = [
        {"file_name": "a.png", column: 'a "red" cat,\nsitting', "colour": "red"},
        {"file_name": "more/b.PNG", column: "b"},
    ]
    if kind == "csv":
        quoted = '"a ""red"" cat,\nsitting"'
        (folder / "metadata.csv").write_text(f"file_name,{column},colour\na.png,{quoted},red\nmore/b.PNG,b,blue\n")
    else:
        (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    templates = [{"ask": "What colour?", "answer": "{colour}: {caption}"}]
    found = source(folder, templates=templates)
    wanted = [user(image(str(folder / "a.png")), "What colour?"), assistant('red: a "red" cat,\nsitting')]
    assert len(found) == 2
    assert found.sample(0, RNG).messages == wanted
    assert found.sample(0, RNG).name == ("metadata.csv:2" if kind == "csv" else "metadata.jsonl:1")


def test_wordings_are_drawn_by_the_generator_that_is_given(folder):
    (folder / "metadata.csv").write_text("file_name,text\na.png,a cat\n")
    templates = [{"ask": f"question {i}", "answer": "{caption}"} for i in range(4)]
    found = source(folder, templates=templates)
    said = {found.sample(0, random.Random(i)).messages[0].text for i in range(40)}
    assert said == {f"question {i}" for i in range(4)}
    assert found.sample(0, random.Random(3)).messages == found.sample(0, random.Random(3)).messages


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"b.txt": "x"}, "a.png: has no caption; there is no 'a.txt'"),
        ({"a.txt": " \n"}, "a.png: its caption 'a.txt' is empty"),
        ({"a.txt": b"caf\xe9"}, "a.png: its caption 'a.txt' cannot be read"),
        ({"metadata.csv": "file_name,text\na.doc,x\n"}, "metadata.csv:2: 'a.doc' is no picture"),
        ({"metadata.csv": "file_name,text\na.png,\n"}, "metadata.csv:2: 'caption' missing"),
        ({"metadata.csv": "file_name,text\na.png\n"}, "metadata.csv:2: has more or fewer cells"),
        ({"metadata.csv": "filename,text\na.png,x\n"}, "metadata.csv:2: column 'file_name' is missing.*filename"),
        ({"metadata.csv": b"file_name,text\na.png,caf\xe9\n"}, "metadata.csv: .*UTF-8"),
        ({"metadata.csv": "file_name,text\n"}, "metadata.csv: the table has no rows"),
        ({"metadata.jsonl": '["a.png"]'}, "metadata.jsonl:1: column 'file_name' is missing"),
    ],
)
def test_what_is_missing_is_named(folder, files, said):
    for name, content in files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=said) as caught:
        source(folder).sample(0, RNG)
    assert "\n" not in str(caught.value)


def test_an_empty_or_missing_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds no picture"):
        source(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        source(tmp_path / "gone")


@pytest.mark.parametrize("answer", ["{captoin}", "{caption!r}", "{caption.upper}", "{}", "{0}", "{caption:>9}", "{"])
def test_a_wording_that_cannot_be_filled_is_refused_at_once(folder, answer):
    (folder / "a.txt").write_text("x")
    with pytest.raises(RecipeError, match="templates.0"):
        source(folder, templates=[{"ask": "", "answer": answer}])
