"""Hostile and damaged files: refused by an error that names the file, and nothing in them is run."""

from __future__ import annotations

import os
import pickle

import pytest

from polymodal.errors import EvaluationError
from polymodal.evaluation import files
from polymodal.evaluation.files import Files
from tests.evaluation.authors import put


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_would_run_something_is_refused_before_it_does(tmp_path):
    trap = tmp_path / "ran"
    path = put(tmp_path / "refs(unc).p", pickle.dumps([{"ref_id": Trap(trap)}]))
    with pytest.raises(EvaluationError, match=r"refs\(unc\).p: refused, .* names .*mkdir"):
        files.literal_pickle(path)
    assert not trap.exists()


@pytest.mark.parametrize("name", ["builtins\neval", "os\nsystem", "collections\nOrderedDict", "numpy\nndarray"])
def test_no_name_at_all_is_allowed_in_a_pickle(name, tmp_path):
    path = put(tmp_path / "refs.p", f"c{name}\n.".encode())
    with pytest.raises(EvaluationError, match="it names"):
        files.literal_pickle(path)


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
def test_a_pickle_of_plain_values_is_read(protocol, tmp_path):
    value = [
        {"ref_id": 1, "sentences": [{"sent": "the left cat", "tokens": ["the"]}], "bbox": (1.5, 2, 3, 4), "split": "val"}
    ]
    assert files.literal_pickle(put(tmp_path / "refs.p", pickle.dumps(value, protocol))) == value


@pytest.mark.parametrize("data", [b"", b"no pickle", b"\x80\x05", b"(" * 3000, pickle.dumps([1])[:-2]])
def test_bytes_that_are_no_pickle_are_refused(data, tmp_path):
    with pytest.raises(EvaluationError, match="refused"):
        files.literal_pickle(put(tmp_path / "refs.p", data))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not JSON"),
        ("[" * 200_000, "not JSON"),
        ("9" * 10_000, "not JSON"),
        (b"\xff\xfe\x00", "not UTF-8 at byte 0"),
        ("", "not JSON"),
    ],
)
def test_damaged_json_is_refused(content, said, tmp_path):
    path = put(tmp_path / "a.json", content)
    with pytest.raises(EvaluationError, match=said) as refusal:
        files.read_json(path)
    assert "a.json" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_json_lines_name_the_line(tmp_path):
    path = put(tmp_path / "a.jsonl", '{"a": 1}\n\n{"a": "\u2028"}\n[1]\n')
    with pytest.raises(EvaluationError, match=r"a.jsonl:4: list, not an object"):
        list(files.rows(path))
    put(path, '{"a": 1}\n\n{"a": "\u2028"}\n')
    assert [row for _, row in files.rows(path)] == [{"a": 1}, {"a": "\u2028"}]
    put(path, '[{"a": 1}]')
    assert list(files.rows(path)) == [("a.jsonl[0]", {"a": 1})]


@pytest.mark.parametrize(
    "value", ["__import__('os').system('true')", "[i for i in range(9)]", "open('x')", "(" * 500, "'a"]
)
def test_a_literal_is_parsed_and_never_run(value):
    with pytest.raises(EvaluationError, match="is no literal"):
        files.literal(value, list, "here")
    assert files.literal("['a', \"b's\"]", list, "here") == ["a", "b's"]
    with pytest.raises(EvaluationError, match="is no list"):
        files.literal("'a'", list, "here")


@pytest.mark.parametrize("name", ["../a.png", "a/../../b.png", "/etc/passwd", "..\\a.png", "C:/a.png", "", "a\0b"])
def test_no_name_leads_out_of_the_folder(name, tmp_path):
    put(tmp_path / "a.png", b"x")
    with pytest.raises(EvaluationError, match="here: .* is no name of a file"):
        Files(tmp_path / "in").picture(name, "here")


def test_a_picture_is_looked_for_where_it_may_be(tmp_path):
    put(tmp_path / "data/q.json", "{}")
    put(tmp_path / "pictures/val2014/a.png", b"x")
    found = Files(tmp_path / "data/q.json", tmp_path / "pictures").picture("a.png", "here", "val2014")
    assert found.media == tmp_path / "pictures/val2014/a.png"
    with pytest.raises(EvaluationError, match="q.json:3: no picture 'b.png' in .*pictures; say where"):
        Files(tmp_path / "data", tmp_path / "pictures").picture("b.png", "q.json:3")


def test_a_field_of_another_type_is_refused_and_true_is_no_number():
    assert files.field({"a": 1}, "a", int, "here") == 1
    with pytest.raises(EvaluationError, match="here: field 'a' is bool, not int"):
        files.field({"a": True}, "a", int, "here")
    with pytest.raises(EvaluationError, match="here: field 'answer' is missing .did you mean 'answers'"):
        files.field({"answers": []}, "answer", str, "here")
