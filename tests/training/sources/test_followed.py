"""Samples as turns of one conversation."""

from __future__ import annotations

import json
import random

import pytest

from polymodal.errors import DataError, RecipeError
from polymodal.training.sources.followed import FollowedSource


def written(folder, name, *talks):
    file = folder / f"{name}.jsonl"
    file.write_text("".join(json.dumps({"messages": talk}) + "\n" for talk in talks))
    return {"kind": "messages", "path": str(file)}


def said(role, text):
    return {"role": role, "content": text}


def test_the_sample_that_is_asked_for_comes_last_and_all_are_whole(tmp_path):
    talks = [[said("user", f"ask {i}"), said("assistant", f"answer {i}")] for i in range(3)]
    source = FollowedSource([written(tmp_path, "a", *talks[:2]), written(tmp_path, "b", talks[2])], most=3)
    assert len(source) == 3
    lengths = set()
    for index in range(3):
        for seed in range(20):
            messages = source.sample(index, random.Random(seed)).messages
            lengths.add(len(messages))
            texts = [message.parts[0].text for message in messages]
            assert texts[-2:] == [f"ask {index}", f"answer {index}"]
            pairs = zip(texts[::2], texts[1::2], strict=True)
            assert all(asked.replace("ask", "answer") == answered for asked, answered in pairs)
    assert lengths == {4, 6}


def test_what_is_no_question_and_answer_is_refused(tmp_path):
    talk = [said("system", "Be brief."), said("user", "ask"), said("assistant", "answer")]
    with pytest.raises(DataError, match="not questions and answers"):
        FollowedSource([written(tmp_path, "a", talk)]).sample(0, random.Random(0))
    with pytest.raises(RecipeError, match="list of recipes"):
        FollowedSource([])
