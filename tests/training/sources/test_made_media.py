"""What a data file says of media that the assistant makes reaches the sample: captions, and which output makes it."""

from __future__ import annotations

import json
import random

from polymodal.training.sources.messages import MessagesSource
from tests.conftest import picture


def test_captions_and_outputs_of_a_row_are_kept(tmp_path):
    picture(1).save(tmp_path / "cat.png")
    shown = {"type": "image", "image": "cat.png", "caption": "a red cat", "output": "drawing"}
    told = {"type": "audio", "caption": "a bell"}
    row = {"messages": [{"role": "user", "content": "draw"}, {"role": "assistant", "content": [shown, told]}]}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    _, answer = MessagesSource(str(tmp_path / "rows.jsonl")).sample(0, random.Random(0)).messages
    one, two = answer.parts
    assert (one.media, one.caption, one.output) == (str(tmp_path / "cat.png"), "a red cat", "drawing")
    assert (two.media, two.caption) == (None, "a bell")
