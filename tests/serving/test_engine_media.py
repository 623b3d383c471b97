"""What is encoded and prefilled once, and what is made in an answer while others are written."""

from __future__ import annotations

import io

import pytest

from polymodal import media
from polymodal.content import Part, assistant, audio, image, user
from polymodal.errors import MediaError
from polymodal.model.composition import Composition
from polymodal.model.sampling import Sampling
from polymodal.parts.output import Generator
from polymodal.serving.engine import Engine
from polymodal.serving.items import Items, Shelf
from polymodal.serving.requests import Limits
from polymodal.serving.tickets import Ended, PartMade, Wrote
from tests.conftest import LLAMA, T5, picture, sound
from tests.outputs import FAMILIES, eager, with_output
from tests.serving.served import NEVER_ENDS, Desk, plain

SHORT = Sampling(max_new_tokens=5, seed=7, most_media=1)
ASKED = "draw a cat"


def png(seed: int) -> bytes:
    file = io.BytesIO()
    picture(seed).save(file, "PNG")
    return file.getvalue()


def drawer(tiny_recipe, family, config=LLAMA, seen=False) -> Composition:
    return eager(Composition.from_recipe(with_output(tiny_recipe, family, config, seen)))


class Tool(Generator):
    """Makes a picture of what it reads."""

    modality, takes, positions, width = "image", "text", 0, 0

    def __init__(self) -> None:
        super().__init__()
        self.options = {}

    def prepare(self, media):
        raise NotImplementedError

    def make(self, given, random, on_step=None):
        return [picture(len(words), (8, 8)) for words in given]


def test_the_second_question_about_a_picture_encodes_nothing_and_prefills_only_what_is_new(tiny):
    desk = Desk(tiny)
    first = [user(image(png(1)), "what is this?")]
    (one,) = desk.finish(desk.take(*first, sampling=SHORT))
    assert one.usage.encoded == 1
    assert one.usage.prefilled == one.usage.prompt
    encoded, ran = tiny.model.encoded, desk.turns.counts["prefilled"]
    history = [*first, assistant(*one.answers[0].parts), user("is it red?")]
    (two,) = desk.finish(desk.take(*history, sampling=SHORT))
    assert tiny.model.encoded == encoded
    assert two.usage.encoded == 0
    assert two.usage.cached >= one.usage.prompt
    assert two.usage.prefilled == two.usage.prompt - two.usage.cached == desk.turns.counts["prefilled"] - ran
    assert plain(two.answers[0].parts) == plain(tiny.generate([history], SHORT)[0])


def test_a_picture_is_encoded_once_whoever_sends_it_and_however(tiny, tmp_path):
    (file := tmp_path / "it.png").write_bytes(png(2))
    desk, encoded = Desk(tiny), tiny.model.encoded
    asked = [[user(image(how), text)] for how, text in ((png(2), "what?"), (file, "a cat?"), (png(2), "and?"))]
    desk.finish(*(desk.take(*messages, sampling=SHORT) for messages in asked))
    assert tiny.model.encoded == encoded + 1
    desk.finish(desk.take(user(image(png(2)), image(png(3)), "which?"), sampling=SHORT))
    assert tiny.model.encoded == encoded + 2


def test_those_of_another_salt_know_nothing_of_one_anothers_media_and_prompts(tiny):
    with Engine(tiny) as engine:
        messages = [user(image(png(4)), "what is this?")]
        usage = [engine.submit(messages, SHORT, salt=salt).result(60).usage for salt in ("a", "b", "a")]
    assert [each.encoded for each in usage] == [1, 1, 0]
    assert [each.cached > 0 for each in usage] == [False, False, True]


def test_what_was_used_longest_ago_makes_room(tiny):
    items = Items(tiny.model, "", 3 * 40_000)
    shelf, sizes = Shelf(items, ""), []
    for seed in range(20):
        tiny.processor.item(Part("image", media=png(seed)), shelf)
        sizes.append(items.nbytes)
        tiny.processor.item(Part("image", media=png(0)), Shelf(items, ""))  # the first is asked for again and again
    assert max(sizes) <= items.room
    assert len(items) < 20
    assert len(shelf) == 20  # who holds an item keeps it
    held = [items.get("", media.fingerprint(Part("image", media=png(seed)))) is not None for seed in range(20)]
    assert held[0]
    assert held[-1]
    assert not held[1]


def test_prompts_that_are_kept_take_no_more_than_their_room(tiny):
    desk = Desk(tiny, Limits(prefix_bytes=60_000))
    for text in ("the quick brown fox", "jumps over a lazy dog", "what is this?", "a red cat on the blue mat!") * 2:
        desk.finish(desk.take(text, sampling=SHORT))
        assert 0 < desk.turns.prefixes.nbytes <= 60_000


def test_media_that_cannot_be_read_fail_their_request_alone(tiny):
    with Engine(tiny) as engine:
        good = engine.submit([user("hello")], SHORT)
        bad = engine.submit([user(image(b"no picture"), "what?")], SHORT)
        with pytest.raises(MediaError):
            bad.result(60)
        assert good.result(60).answers


@pytest.mark.parametrize("seen", [False, True], ids=["unseen", "seen"])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_made_beside_others_is_what_is_made_alone(family, seen, tiny_recipe):
    composition = drawer(tiny_recipe, family, seen=seen)
    desk = Desk(composition)
    other = desk.take("a lazy dog", sampling=NEVER_ENDS)
    desk.turn(2)
    request = desk.take(ASKED, sampling=SHORT)
    (done,) = desk.finish(request)
    (expected,) = composition.generate([[user(ASKED)]], SHORT)
    assert "image" in [part.type for part in expected]
    assert plain(done.answers[0].parts) == plain(expected)
    assert not other.ticket.done
    events = list(request.ticket)
    assert [plain([event.part]) for event in events if isinstance(event, PartMade)] == [
        plain([part]) for part in expected if part.type == "image"
    ]


def test_while_a_span_is_filled_the_others_are_written(tiny_recipe):
    desk = Desk(drawer(tiny_recipe, "codes"))
    other = desk.take("a lazy dog", sampling=NEVER_ENDS)
    desk.turn(2)
    before, fill = desk.turns.counts["steps"], desk.take(ASKED, sampling=SHORT)
    turns = 0
    while not any(isinstance(event, PartMade) for event in fill.ticket._events):
        desk.turn()
        turns += 1
    length = desk.turns.composition.model.designs["image"].grammar.length
    assert turns > length  # code by code
    assert desk.turns.counts["steps"] - before >= turns - 1
    assert not other.ticket.done


def test_a_picture_that_was_made_comes_back_as_a_file_and_nothing_of_it_is_prefilled_again(tiny_recipe):
    composition = drawer(tiny_recipe, "codes")
    with Engine(composition) as engine:
        done = engine.submit([user(ASKED)], SHORT).result(60)
        made = next(part for part in done.answers[0].parts if part.type == "image")
        file = io.BytesIO()
        made.media.save(file, "PNG")
        sent = Part("image", media=file.getvalue(), output="image")
        engine.sent(made, sent)
        said = [sent if part is made else part for part in done.answers[0].parts]
        again = engine.submit([user(ASKED), assistant(*said), user("and?")], SHORT).result(60)
        if done.answers[0].parts[0] is made:
            length = composition.model.designs["image"].grammar.length
            assert again.usage.cached >= done.usage.prompt + length
    assert again.usage.encoded == 0


def test_a_caption_is_written_among_the_rows_and_made_of(tiny_recipe):
    recipe = with_output(tiny_recipe, "signals")
    tool = {"kind": "tests.serving.test_engine_media.Tool"}
    recipe["model"]["outputs"] = {"image": {"span": {"kind": "text", "most": 6, "cue": 2}, "generator": tool}}
    composition = eager(Composition.from_recipe(recipe))
    (expected,) = composition.generate([[user(ASKED)]], SHORT)
    assert expected[0].caption is not None
    desk = Desk(composition)
    other = desk.take("a lazy dog", sampling=NEVER_ENDS)
    desk.turn(2)
    (done,) = desk.finish(desk.take(ASKED, sampling=SHORT))
    assert [(p.type, p.text, p.caption) for p in done.answers[0].parts] == [(p.type, p.text, p.caption) for p in expected]
    assert not other.ticket.done


@pytest.mark.parametrize("family", ["signals", "codes"])
def test_a_model_whose_rows_cannot_be_joined_answers_through_the_same_door(family, tiny_recipe):
    composition = drawer(tiny_recipe, family, T5)
    with Engine(composition) as engine:
        assert not engine.turns.together
        ticket = engine.submit([user(ASKED)], SHORT)
        done = ticket.result(60)
    (expected,) = composition.generate([[user(ASKED)]], SHORT)
    assert plain(done.answers[0].parts) == plain(expected)
    events = list(ticket)
    written = "".join(event.text for event in events if isinstance(event, Wrote))
    assert written == "".join(part.text or "" for part in expected)
    assert sum(isinstance(event, Ended) for event in events) == 1


def test_a_model_whose_layers_look_at_media_answers_alone_and_can_be_cancelled(tiny_recipe):
    recipe = tiny_recipe()
    fusion = {"kind": "gated-cross-attention", "every": 1, "heads": 2, "head_width": 8}
    recipe["model"]["inputs"]["image"] |= {"projector": {"kind": "resampler", "latents": 5, "heads": 2}, "fusion": fusion}
    composition = Composition.from_recipe(recipe)
    messages = [user(image(png(6)), "what is this?")]
    with Engine(composition) as engine:
        assert not engine.turns.together
        done = engine.submit(messages, SHORT).result(60)
        again = engine.submit(messages, SHORT).result(60)
        with engine.submit(messages, NEVER_ENDS) as ticket:
            next(event for event in ticket if isinstance(event, Wrote))
        assert ticket.result(60).answers[0].reason in ("cancelled", "stop")
    assert plain(done.answers[0].parts) == plain(composition.generate([messages], SHORT)[0])
    assert [each.usage.encoded for each in (done, again)] == [1, 0]


def test_a_recording_and_a_picture_are_answered_with_both(tiny):
    desk = Desk(tiny)
    messages = [user(audio(sound(0.4)), image(png(5)), "which?")]
    (done,) = desk.finish(desk.take(*messages, sampling=SHORT))
    assert done.usage.encoded == 2
    assert done.usage.media > 0
