"""Conversations in our own form keep all that a row says."""

from __future__ import annotations

import json
import random

from polymodal.content import Part
from polymodal.training.sources.messages import MessagesSource


def test_what_is_said_of_media_that_the_assistant_makes_is_kept(tmp_path):
    made = [
        {"type": "image_url", "image_url": {"url": "0.png"}, "caption": "a red cat", "output": "small"},
        {"type": "image", "caption": "a cat without a picture"},
    ]
    file = tmp_path / "drawings.jsonl"
    file.write_text(json.dumps([{"role": "user", "content": "draw"}, {"role": "assistant", "content": made}]) + "\n")
    (sample,) = (MessagesSource(str(file)).sample(i, random.Random(0)) for i in range(1))
    assert sample.messages[1].parts == (
        Part("image", media=str(tmp_path / "0.png"), caption="a red cat", output="small"),
        Part("image", caption="a cat without a picture"),
    )
