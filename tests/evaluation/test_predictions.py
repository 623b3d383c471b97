"""Saved answers: nothing is lost but the batch in flight, and what was said is scored again without a model."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest

from polymodal.content import image, user
from polymodal.errors import EvaluationError, MediaError
from polymodal.evaluation import predictions
from polymodal.evaluation.predictions import Header, Prediction, Writer, hashes, key_of, merge, read, rescore
from polymodal.evaluation.protocol import Answer, Prompt, Question
from polymodal.evaluation.protocols import PROTOCOLS
from tests.evaluation.authors import png, put

HEADER = Header("pope@official", "nano-1", {"max_new_tokens": 16}, None, 4)


def prediction(name: str, text: str = "Yes.", label: str = "yes", **answer) -> Prediction:
    question = Question(name, "Is there a cat?", (), label, {"part": "random"})
    return Prediction(f"key {name}", question, Answer(text, **answer), ("ab",))


def test_what_was_written_is_read_back(tmp_path):
    path = tmp_path / "new/a.jsonl"
    own = [prediction("random:1", "é 🙂\n\u2028"), prediction("random:2", "", error="gone.jpg: no such file")]
    ranked = Prediction("k", Question("3", "?", (), "A", {"options": ["x"]}, "g"), Answer(likelihoods=(-1.5, -2.0)))
    talk = Prediction("k", Question("4", "?", (), ""), Answer("z", before=("x", "y")))  # an empty reference is one
    with Writer(path, HEADER) as writer:
        writer.append(own)
        writer.append([ranked, talk])
    saved = read(path)
    assert saved.header == HEADER
    assert list(saved.predictions.values()) == [*own, ranked, talk]
    assert saved.missing == 0
    assert path.read_bytes().count(b"\n") == 5


def test_every_batch_is_on_the_disk_before_append_returns(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(os.fstat(number).st_size))
    with Writer(tmp_path / "a.jsonl", HEADER) as writer:
        writer.append([prediction("1"), prediction("2")])
        writer.append([prediction("3")])
        assert len(synced) == 3
        assert synced[-1] == (tmp_path / "a.jsonl").stat().st_size


def test_a_file_cut_anywhere_goes_on_and_loses_at_most_one_line(tmp_path):
    whole = tmp_path / "whole.jsonl"
    with Writer(whole, HEADER) as writer:
        writer.append([prediction(str(i)) for i in range(3)])
    data = whole.read_bytes()
    first = data.index(b"\n") + 1
    for cut in [*range(first, len(data), 23), len(data) - 1]:
        path = put(tmp_path / "cut.jsonl", data[:cut])
        saved = read(path)
        kept = data[:cut].count(b"\n") - 1
        assert len(saved.predictions) == kept
        assert saved.torn == ({str(path): cut - data[:cut].rindex(b"\n") - 1} if data[cut - 1 : cut] != b"\n" else {})
        with Writer(path, HEADER) as writer:
            assert len(writer.known) == kept
            writer.append([prediction(str(i)) for i in range(kept, 3)])
        assert path.read_bytes() == data


def test_a_line_damaged_in_the_middle_is_refused_by_its_number(tmp_path):
    path = tmp_path / "a.jsonl"
    with Writer(path, HEADER) as writer:
        writer.append([prediction("1"), prediction("2")])
    lines = path.read_text().split("\n")
    put(path, "\n".join([lines[0], lines[1][:20], lines[2], ""]))
    with pytest.raises(EvaluationError, match=r"a.jsonl:2: not JSON"):
        read(path)
    put(path, "\n".join([lines[0], json.dumps({"id": "1"}), ""]))
    with pytest.raises(EvaluationError, match="lacks a field"):
        read(path)


@pytest.mark.parametrize("content", ["", "{}\n", '{"format": "other"}\n', "no json\n", "[]\n", '{"half": '])
def test_what_is_no_file_of_predictions_is_refused(content, tmp_path):
    with pytest.raises(EvaluationError, match="a.jsonl"):
        read(put(tmp_path / "a.jsonl", content))
    with pytest.raises(EvaluationError, match="cannot be read"):
        read(tmp_path / "gone.jsonl")


@pytest.mark.parametrize("change", [{"protocol": "gqa@official"}, {"model": "other"}, {"decoding": {}}, {"split": "val"}])
def test_neither_a_file_of_another_run_nor_two_runs_together_are_taken(change, tmp_path):
    with Writer(tmp_path / "a.jsonl", HEADER) as writer:
        writer.append([prediction("1")])
    other = replace(HEADER, **change)
    with pytest.raises(EvaluationError, match=next(iter(change))):
        Writer(tmp_path / "a.jsonl", other)
    with Writer(tmp_path / "b.jsonl", other) as writer:
        writer.append([prediction("2")])
    with pytest.raises(EvaluationError, match=next(iter(change))):
        merge([tmp_path / "a.jsonl", tmp_path / "b.jsonl"])


def test_a_longer_run_goes_on_in_the_same_file(tmp_path):
    for of in (1, 3):
        with Writer(tmp_path / "a.jsonl", replace(HEADER, of=of)) as writer:
            writer.append([prediction(str(of))])
    saved = read(tmp_path / "a.jsonl")
    assert (saved.header.of, len(saved.predictions), saved.missing) == (3, 2, 1)


def test_workers_files_are_read_together_whatever_their_order_and_copies_are_counted(tmp_path):
    paths = [tmp_path / name for name in "abc"]
    own = [
        [prediction("1"), prediction("2", "", error="busy")],
        [prediction("2", "No"), prediction("1")],
        [prediction("1", "other"), prediction("3", "", error="busy")],
    ]
    for path, rows in zip(paths, own, strict=True):
        with Writer(path, HEADER) as writer:
            writer.append(rows)
    saved = merge(paths)
    assert (saved.repeated, saved.conflicts, saved.missing) == (1, 1, 1)
    assert saved.predictions["2"].answer.text == "No"
    assert saved.predictions["3"].answer.error == "busy"
    both = merge(paths[:2]), merge(paths[1::-1])
    assert both[0].predictions == both[1].predictions
    with pytest.raises(EvaluationError, match="no file"):
        merge([])


def test_answers_are_scored_again_under_another_protocol_of_their_benchmark_alone(tmp_path):
    with Writer(tmp_path / "a.jsonl", HEADER) as writer:
        writer.append([prediction("random:1", "Yes."), prediction("random:2", "NO", "no")])
    saved = read(tmp_path / "a.jsonl")
    scores = {name: [r.score for r in rescore(saved, PROTOCOLS[name])] for name in ("pope@official", "pope@lmms-eval")}
    assert scores == {"pope@official": [1.0, 0.0], "pope@lmms-eval": [0.0, 1.0]}
    with pytest.raises(EvaluationError, match="answers to pope; gqa@official cannot"):
        rescore(saved, PROTOCOLS["gqa@official"])


def test_a_key_is_of_prompt_media_model_and_decoding(tmp_path):
    path = put(tmp_path / "a.png", png(1))
    prompt = Prompt((user(image(path), "What?"),))
    base = key_of(prompt, hashes(prompt), "m", {"t": 0})
    same = Prompt((user(image(put(tmp_path / "b.png", png(1))), "What?"),))
    assert key_of(same, hashes(same), "m", {"t": 0}) == base  # the bytes count, not the name
    others = [
        (Prompt((user(image(path), "What? "),)), "m", {"t": 0}),
        (Prompt((user("What?", image(path)),)), "m", {"t": 0}),
        (Prompt((user(image(path), "What?"),), ("a",)), "m", {"t": 0}),
        (Prompt((user(image(png(2)), "What?"),)), "m", {"t": 0}),
        (prompt, "n", {"t": 0}),
        (prompt, "m", {"t": 1}),
    ]
    keys = {key_of(each, hashes(each), model, decoding) for each, model, decoding in others}
    assert len(keys | {base}) == len(others) + 1
    with pytest.raises(MediaError, match="no such file"):
        hashes(Prompt((user(image(tmp_path / "gone.png"), "What?"),)))


def test_the_format_is_named_in_the_first_line(tmp_path):
    Writer(tmp_path / "a.jsonl", HEADER).close()
    assert json.loads((tmp_path / "a.jsonl").read_text())["format"] == predictions.FORMAT
