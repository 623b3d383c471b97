"""Rows of JSON files: found by offset, whatever stands between them, and named as an editor would count them."""

from __future__ import annotations

import json
import random

import pytest

from polymodal.errors import DataError
from polymodal.training.sources.rows import Rows

TRICKY = [
    {"a": 'quotes " and \\ and ] and } and ,'},
    {"a": [1, [2, {"b": "]"}], "x"], "c": {}},
    [],
    'a [string] with \\" in it',
    3.5,
    None,
    {"\u2028": "naïve 日本語 🐕\n"},
    {"ends with a backslash": "\\"},
]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_list_is_cut_into_the_rows_that_a_parser_finds(tmp_path, indent, ascii_only):
    file = tmp_path / "a.json"
    file.write_text(json.dumps(TRICKY, indent=indent, ensure_ascii=ascii_only), encoding="utf-8")
    rows = Rows(file)
    assert [rows[i] for i in range(len(rows))] == TRICKY
    assert rows.name(3) == "a.json:4"


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_lines_are_rows_and_blank_ones_are_counted(tmp_path, ending):
    file = tmp_path / "a.jsonl"
    lines = ["", json.dumps(TRICKY[0]), " ", "", json.dumps(TRICKY[6], ensure_ascii=False), json.dumps(TRICKY[2])]
    file.write_bytes(ending.join(lines).encode())
    rows = Rows(file)
    assert [rows[i] for i in range(len(rows))] == [TRICKY[0], TRICKY[6], TRICKY[2]]
    assert [rows.name(i) for i in range(3)] == ["a.jsonl:2", "a.jsonl:5", "a.jsonl:6"]


@pytest.mark.parametrize(("name", "text"), [("a.jsonl", '{"a": 1}\n{"a": 2}\n'), ("a.json", '[{"a": 1}, {"a": 2}]')])
def test_a_byte_order_mark_is_no_content(tmp_path, name, text):
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
    rows = Rows(tmp_path / name)
    assert [rows[i] for i in range(len(rows))] == [{"a": 1}, {"a": 2}]


def test_random_rows_survive_any_layout(tmp_path):
    rng = random.Random(0)
    alphabet = '"\\[]{},: \naé日'

    def value(depth):
        kind = rng.randrange(5 if depth else 3)
        if kind == 3:
            return [value(depth - 1) for _ in range(rng.randrange(3))]
        if kind == 4:
            return {"".join(rng.choices(alphabet, k=3)): value(depth - 1) for _ in range(rng.randrange(3))}
        return [rng.random(), "".join(rng.choices(alphabet, k=6)), rng.choice([True, None, -1])][kind]

    for i in range(40):
        wanted = [value(3) for _ in range(rng.randint(1, 6))]
        file = tmp_path / f"{i}.json"
        file.write_text(json.dumps(wanted, indent=rng.choice([None, 1]), ensure_ascii=rng.random() < 0.5), encoding="utf-8")
        rows = Rows(file)
        assert [rows[k] for k in range(len(rows))] == wanted


def test_the_index_holds_no_row(tmp_path, monkeypatch):
    """Parsing waits until a row is asked for, and then parses that row alone."""
    file = tmp_path / "a.json"
    file.write_text("[" + ",".join(f'{{"n": {n}}}' for n in range(1000)) + "]")
    parsed = []
    real = json.loads
    monkeypatch.setattr(json, "loads", lambda data: parsed.append(data) or real(data))
    rows = Rows(file)
    assert not parsed
    assert rows[777] == {"n": 777}
    assert len(parsed) == 1
    assert rows._start.itemsize + rows._size.itemsize == 16


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.json", "[]", "holds no row"),
        ("a.jsonl", "\n \n", "holds no row"),
        ("a.json", '[{"a": 1}', "does not end.*row 1 is the last"),
        ("a.json", '[{"a": [1', "does not end"),
        ("a.json", '[{"a": 1}]\n[{"a": 2}]', "name it .jsonl"),
        ("a.jsonl", b'{"a": "caf\xe9"}\n', "row 1 is not UTF-8"),
    ],
)
def test_a_file_that_is_no_file_of_rows_is_one_line(tmp_path, name, text, said):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=rf"{name}: .*{said}") as caught:
        Rows(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("row", ['{"a" 1}', "{'a': 1}", '{"a": tru}', "[" * 100_000 + "]" * 100_000])
def test_a_row_that_is_no_json_names_itself(tmp_path, row):
    (tmp_path / "a.json").write_text(f'[{{"a": 1}}, {row}]')
    rows = Rows(tmp_path / "a.json")
    assert rows[0] == {"a": 1}
    with pytest.raises(DataError, match="a.json:2: not JSON"):
        rows[1]


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(DataError, match="no such file$"):
        Rows(tmp_path / "gone.jsonl")
    with pytest.raises(DataError, match="'captions'"):
        Rows(tmp_path)
