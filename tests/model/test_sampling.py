"""What is said of sampling is what is done, whatever a checkpoint's own settings are."""

from __future__ import annotations

import pytest
import torch

from polymodal.content import user
from polymodal.model.printing import Printer
from polymodal.model.sampling import Sampling, drawn, processors, scored


def test_top_k_of_zero_draws_from_all(tiny):
    """transformers would fill in 50."""
    sampling = Sampling(max_new_tokens=60, temperature=4.0, seed=0)
    narrow = tiny.ask("what?", sampling=sampling.model_copy(update={"top_k": 50}))
    assert tiny.ask("what?", sampling=sampling).text != narrow.text
    whole = sampling.model_copy(update={"top_k": tiny.processor.tokenizer.vocab_size + 8})
    assert tiny.ask("what?", sampling=sampling).text == tiny.ask("what?", sampling=whole).text


def test_a_checkpoint_s_own_settings_change_no_answer(tiny, monkeypatch):
    sampling = Sampling(max_new_tokens=20, temperature=1.0, seed=0)
    before = tiny.ask("what?", sampling=sampling).text
    for name, value in {"top_k": 2, "temperature": 0.1, "repetition_penalty": 2.0}.items():
        monkeypatch.setattr(tiny.model.backbone.lm.generation_config, name, value)
    assert tiny.ask("what?", sampling=sampling).text == before


@pytest.mark.parametrize("settings", [{}, {"top_k": 3}, {"top_p": 0.5}, {"repetition_penalty": 1.7}], ids=str)
def test_drawing_a_token_at_a_time_is_drawing_as_generate_does(settings, tiny):
    sampling = Sampling(max_new_tokens=12, temperature=0.8, seed=5, **settings)
    example = tiny.processor.encode([user("what is this?")], generate=True)
    random, ids = torch.Generator().manual_seed(5), []
    with torch.no_grad():
        while len(ids) < 12 and (not ids or ids[-1] not in tiny.processor.stop_ids):
            written = torch.tensor(ids, dtype=torch.long)
            logits = tiny.model.backbone.lm(input_ids=torch.cat([example.ids, written])[None]).logits[0, -1]
            ids.append(drawn(scored(processors(sampling), written, logits), sampling, random))
    said = tiny.processor.decode([i for i in ids if i not in tiny.processor.stop_ids])[0].text
    assert said == tiny.ask("what is this?", sampling=sampling).text


@pytest.mark.parametrize("stops", [["fox"], ["k br"], ["own f", "zebra"], ["zebra"], ["the"]], ids=str)
def test_text_ends_in_front_of_what_it_stops_at_and_no_piece_shows_its_beginning(stops, tiny):
    text = "the quick brown fox jumps \u00e9 over"
    expected = min((text.split(stop)[0] for stop in stops), key=len)
    pieces: list[str] = []
    printer = Printer(tiny.processor, pieces.append, stops)
    for token in tiny.processor.tokenizer(text, add_special_tokens=False)["input_ids"]:
        printer(token)
        assert expected.startswith("".join(pieces))
    printer.flush()
    assert "".join(pieces) == expected == printer.text
    assert printer.stopped == (expected != text)
