"""Answers in which something is made: turns, seeds, batches, failures, and what the model sees of what it made."""

from __future__ import annotations

import json

import pytest
import torch
from tests.conftest import LLAMA, T5, picture
from tests.outputs import FAMILIES, eager, with_output

from polymodal.content import Part, assistant, from_json, image, to_json, user
from polymodal.errors import AssetError, ContentError
from polymodal.model.answering import respond
from polymodal.model.composition import Composition
from polymodal.model.generation import Sampling
from polymodal.parts import peft
from polymodal.parts.generators import diffusion

SHORT = Sampling(max_new_tokens=5, seed=7, most_media=1)
ASKED = "draw a cat"


def drawer(tiny_recipe, family: str = "signals", config=LLAMA, seen: bool = False) -> Composition:
    return eager(Composition.from_recipe(with_output(tiny_recipe, family, config, seen)))


@pytest.mark.parametrize("seen", [False, True], ids=["unseen", "seen"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_later_turn_answers_as_from_nothing_and_prefills_what_is_new(family, seen, tiny_recipe):
    composition = drawer(tiny_recipe, family, seen=seen)
    chat = composition.chat(sampling=SHORT)
    first = chat.ask(ASKED)
    assert [part.type for part in first.media] == ["image"]
    encoded = composition.model.encoded
    again = chat.ask("and what is it?", images=[picture(4)])
    assert again.tokens["cached"] >= first.tokens["prompt"]
    drawn = {part.media.tobytes() for part in again.media} - {part.media.tobytes() for part in first.media}
    assert composition.model.encoded == encoded + 1 + seen * len(drawn)  # what the model was shown was kept
    held = {key: item for key, item in chat._media.items() if key.startswith("made:")}  # codes are not read off the picture
    example = composition.processor.encode(chat.messages[:-1], generate=True, prepared=held)
    fresh = respond(composition, example, SHORT)
    assert [(p.type, p.text) for p in fresh.parts] == [(p.type, p.text) for p in again.parts]


@pytest.mark.parametrize("config", [LLAMA, T5], ids=["llama", "t5"])
@pytest.mark.parametrize("family", ["signals", "codes"])
def test_a_seed_gives_the_same_bytes_and_another_one_others(family, config, tiny_recipe):
    composition = drawer(tiny_recipe, family, config)

    def made(seed: int | None) -> tuple[bytes, int]:
        answer = composition.ask(ASKED, sampling=SHORT.model_copy(update={"seed": seed}))
        return answer.media[0].media.tobytes(), answer.seed

    assert made(3) == made(3)
    assert made(3)[0] != made(4)[0]
    drawn, seed = made(None)
    assert made(seed)[0] == drawn  # an answer says which seed was its


def test_several_things_are_made_in_one_answer_and_no_more_than_are_allowed(tiny_recipe):
    composition = drawer(tiny_recipe)
    design = composition.model.designs["image"]
    design.tokens.embedding.data.zero_()
    for most in (0, 1, 3):
        sampling = Sampling(max_new_tokens=8, seed=1, most_media=most)
        answer = composition.ask(ASKED, sampling=sampling)
        assert len(answer.media) <= most
        assert bool(answer.media) == bool(most)
    assert composition.ask(ASKED, sampling=SHORT.model_copy(update={"max_new_tokens": 1})).tokens["generated"] <= 1


@pytest.mark.parametrize("family", ["signals", "masked"])
def test_a_batch_in_which_one_makes_something_answers_as_one_at_a_time(family, tiny_recipe):
    composition = drawer(tiny_recipe, family)
    history = [user(ASKED), assistant(image(picture(1, (8, 8))), " a cat"), user("what is it?")]
    turns = [[user("hello")], [user(ASKED)], history, [user("a lazy dog"), assistant("yes"), user(ASKED)]]
    together = composition.generate(turns, SHORT)
    for parts, messages in zip(together, turns, strict=True):
        (alone,) = composition.generate([messages], SHORT)
        assert [(p.type, p.text) for p in parts] == [(p.type, p.text) for p in alone]
    assert "image" in [part.type for part in together[1]]


def test_a_generator_that_fails_leaves_the_answer_and_says_why(tiny_recipe, monkeypatch):
    composition = drawer(tiny_recipe)
    design = composition.model.designs["image"]
    whole = composition.ask(ASKED, sampling=SHORT)
    design.generator, design.projector, design.missing = None, None, "'sd' is not here: polymodal assets fetch sd"
    answer = composition.ask(ASKED, sampling=SHORT)
    assert answer.text == whole.text
    assert answer.media[0].failed == "'sd' is not here: polymodal assets fetch sd"
    assert answer.media[0].media is None
    with pytest.raises(AssetError, match="assets fetch sd"):
        design.made_by()


def test_an_answer_goes_through_json_and_back_as_the_next_prompt(tiny_recipe):
    composition = drawer(tiny_recipe)
    chat = composition.chat(sampling=SHORT)
    chat.ask(ASKED)
    chat.ask("more")
    again = from_json(json.loads(json.dumps(to_json(chat.messages))))
    one, two = (composition.processor.encode(messages[:-1], generate=True) for messages in (chat.messages, again))
    assert one.ids.tolist() == two.ids.tolist()
    failed = Part("image", failed="there is no generator", output="image")
    (message,) = from_json(to_json([assistant("here: ", failed)]))
    assert message.parts[1] == failed


def test_progress_is_told_by_output(tiny_recipe):
    composition = drawer(tiny_recipe)
    told: list[tuple[str, int, int]] = []
    composition.ask(ASKED, sampling=SHORT, on_step=lambda *step: told.append(step))
    assert told == [("image", 1, 2), ("image", 2, 2)]


def test_text_comes_as_it_is_written_and_nothing_of_a_span_with_it(tiny_recipe):
    composition = drawer(tiny_recipe)
    pieces: list[str] = []
    answer = composition.ask(ASKED, sampling=SHORT, on_text=pieces.append)
    assert "".join(pieces) == answer.text


def test_made_media_in_the_history_that_nothing_can_read_is_refused(tiny_recipe):
    composition = drawer(tiny_recipe, "codes")
    lost = assistant(Part("image", caption="a cat"))
    with pytest.raises(ContentError, match="made without its medium cannot be read again"):
        composition.processor.encode([user("draw"), lost, user("again")], generate=True)


def test_a_picture_that_two_outputs_could_have_made_is_read_by_each_in_its_own_codes(tiny_recipe):
    recipe = with_output(tiny_recipe, "codes")
    one = recipe["model"]["outputs"].pop("image")
    recipe["model"]["outputs"] = {name: {**one, "modality": "image"} for name in ("sketch", "painting")}
    composition = Composition.from_recipe(recipe)
    made = [Part("image", media=picture(0, (8, 8)), output=name) for name in ("sketch", "painting")]
    chat = [user("draw"), assistant(made[0]), user("paint"), assistant(made[1]), user("and?")]
    held: dict = {}
    for _ in range(2):  # read, and remembered
        spans = composition.processor.encode(chat, generate=True, prepared=held).made
        for span, part in zip(spans, made, strict=True):
            design = composition.model.designs[span.output]
            assert torch.equal(span.content, design.encode(design.prepare(part.media)[None])[0])
    assert not torch.equal(spans[0].content, spans[1].content)


def test_a_model_with_adapters_is_loaded_without_a_generator_that_is_not_here(tiny_recipe, tmp_path, monkeypatch):
    recipe = with_output(tiny_recipe, "signals")
    recipe["model"]["peft"] = {"backbone.lm.*.self_attn.q_proj": {"kind": "lora", "r": 2}}
    made = Composition.from_recipe(recipe)
    made.save(tmp_path / "model")

    def absent(*args, **options):
        raise AssetError("its weights are not here; fetch them")

    monkeypatch.setattr(diffusion, "components", absent)
    again = Composition.load(tmp_path / "model")
    assert again.model.designs["image"].generator is None
    before, after = (peft.weights(composition.model) for composition in (made, again))
    assert before
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())
