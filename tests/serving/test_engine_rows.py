"""Rows that are written together: they join and leave between two steps, and each is what it is alone."""

from __future__ import annotations

import pytest
import torch

from polymodal.content import audio, image, user
from polymodal.model.composition import Composition
from polymodal.model.sampling import Sampling
from polymodal.parts.tiny import FAMILIES
from polymodal.serving import rows, writing
from polymodal.serving.requests import Limits
from polymodal.serving.rows import possible
from polymodal.serving.tickets import Wrote
from tests.conftest import picture, sound
from tests.serving.served import NEVER_ENDS, Desk, plain

ASKED = [
    ([user("hello")], Sampling(max_new_tokens=9, temperature=1.0, seed=3)),
    ([user(image(picture(1)), "what is this?")], Sampling(max_new_tokens=30, temperature=0.9, seed=4, top_p=0.8)),
    ([user(image(picture(2)), image(picture(3)), audio(sound(0.8)), "which?")], Sampling(max_new_tokens=14)),
    ([user("a lazy dog jumps over the mat")], Sampling(max_new_tokens=40, temperature=1.5, seed=5, top_k=20)),
    ([user(audio(sound(0.3)), "repeat")], Sampling(max_new_tokens=21, temperature=0.7, seed=6, repetition_penalty=1.3)),
]


def test_a_request_alone_is_answered_as_the_library_answers_it(tiny):
    for messages, sampling in ASKED:
        desk = Desk(tiny)
        (done,) = desk.finish(desk.take(*messages, sampling=sampling))
        (expected,) = tiny.generate([messages], sampling)
        assert plain(done.answers[0].parts) == plain(expected)


def test_under_load_logits_are_those_alone_and_so_are_the_answers(tiny, monkeypatch):
    seen: dict[int, list[torch.Tensor]] = {}
    draw = writing.drawn

    def spy(scores, sampling, random):
        seen.setdefault(sampling.seed, []).append(scores.clone())
        return draw(scores, sampling, random)

    monkeypatch.setattr(writing, "drawn", spy)
    asked = [(m, s.model_copy(update={"seed": 10 + i, "top_p": 1.0, "top_k": 0})) for i, (m, s) in enumerate(ASKED)]
    alone = []
    for messages, sampling in asked:
        desk = Desk(tiny)
        alone += desk.finish(desk.take(*messages, sampling=sampling))
    apart, desk = dict(seen), Desk(tiny)
    seen.clear()
    requests = []
    for messages, sampling in asked:  # each comes when those before have begun
        requests.append(desk.take(*messages, sampling=sampling))
        desk.turn(3)
    together = desk.finish(*requests)
    assert desk.turns.counts["row_steps"] > 2 * desk.turns.counts["steps"]  # they did share steps
    for seed, scores in apart.items():
        assert len(scores) == len(seen[seed])
        for one, other in zip(scores, seen[seed], strict=True):
            assert torch.allclose(one, other, atol=1e-4, rtol=0)
    assert [plain(d.answers[0].parts) for d in alone] == [plain(d.answers[0].parts) for d in together]


def test_a_new_request_joins_between_two_steps_and_leaves_when_it_is_done(tiny):
    desk = Desk(tiny)
    long = desk.take("the quick brown fox", sampling=NEVER_ENDS)
    desk.turn(4)
    steps = desk.turns.counts["steps"]
    short = desk.take("hello", sampling=Sampling(max_new_tokens=3, seed=0, temperature=1.0))
    desk.turn()
    assert len(desk.turns.rows.lengths) == 2
    assert desk.turns.counts["steps"] == steps + 1  # the first did not wait
    desk.turn(4)
    assert short.ticket.done
    assert not long.ticket.done
    assert len(desk.turns.rows.lengths) == 1


def test_a_cancelled_request_frees_its_row_and_keeps_what_it_said(tiny):
    desk = Desk(tiny)
    one, two = (desk.take(text, sampling=NEVER_ENDS) for text in ("hello", "a red cat"))
    desk.turn(6)
    said = "".join(event.text for event in one.ticket._events if isinstance(event, Wrote))
    with torch.no_grad():
        desk.turns.halt(one, "cancelled")
    done = one.ticket.result(0)
    assert done.answers[0].reason == "cancelled"
    assert done.answers[0].parts[0].text.startswith(said)
    desk.turn()
    assert len(desk.turns.rows.lengths) == 1
    assert desk.turns.active == [two]


def test_what_a_long_row_took_is_given_back_when_it_leaves(tiny):
    desk = Desk(tiny)
    short = desk.take("hello", sampling=NEVER_ENDS)
    desk.turn(3)
    before = desk.turns.rows.nbytes
    long = desk.take(*[user("the quick brown fox jumps over a lazy dog. " * 30)], sampling=Sampling(max_new_tokens=2))
    desk.turn(2)
    assert desk.turns.rows.nbytes > 5 * before
    desk.turn(3)
    assert long.ticket.done
    assert not short.ticket.done
    assert desk.turns.rows.nbytes < 1.2 * before  # but for the columns that the short one has written
    with torch.no_grad():
        desk.turns.halt(short, "cancelled")
    desk.turn()
    assert desk.turns.rows.nbytes == 0


def test_a_long_prompt_is_prefilled_a_chunk_at_a_time_and_the_others_go_on(tiny):
    desk = Desk(tiny, Limits(chunk=16))
    first = desk.take("hello", sampling=NEVER_ENDS)
    desk.turn(2)
    steps = desk.turns.counts["steps"]
    sampling = Sampling(max_new_tokens=8)
    messages = [user("the quick brown fox jumps over a lazy dog. " * 10)]
    long = desk.take(*messages, sampling=sampling)
    desk.turn(3)
    assert desk.turns.counts["steps"] == steps + 3
    assert "first" not in long.usage.seconds
    with torch.no_grad():
        desk.turns.halt(first, "cancelled")
    (done,) = desk.finish(long)
    assert plain(done.answers[0].parts) == plain(tiny.generate([messages], sampling)[0])


def test_several_answers_share_one_prefill_and_each_has_its_seed(tiny):
    desk = Desk(tiny)
    sampling = Sampling(max_new_tokens=10, temperature=1.2, seed=7)
    messages = [user(image(picture(1)), "what is this?")]
    (done,) = desk.finish(desk.take(*messages, sampling=sampling, n=3))
    assert desk.turns.counts["prefilled"] == done.usage.prompt
    assert [answer.seed for answer in done.answers] == [7, 8, 9]
    for answer in done.answers:
        expected = tiny.generate([messages], sampling.model_copy(update={"seed": answer.seed}))[0]
        assert plain(answer.parts) == plain(expected)
    assert done.usage.generated == sum(answer.tokens for answer in done.answers)


def test_rows_for_which_there_is_no_room_wait_until_there_is(tiny):
    desk = Desk(tiny, Limits(positions=120))
    sampling = Sampling(max_new_tokens=20, temperature=1.0, seed=2)
    requests = [desk.take(text, sampling=sampling) for text in ("hello", "a red cat", "over the mat")]
    widest = 0
    for _ in range(200):
        desk.turn()
        held = desk.turns.rows
        widest = max(widest, len(held.lengths) * held.width)
    assert 0 < widest <= 120
    assert all(request.ticket.done for request in requests)


def test_an_answer_ends_in_front_of_what_it_should_stop_at(tiny):
    desk = Desk(tiny)
    sampling = Sampling(max_new_tokens=40, temperature=1.0, seed=11)
    whole = tiny.generate([[user("what?")]], sampling)[0][0].text
    stop = whole[len(whole) // 2 : len(whole) // 2 + 3]
    request = desk.take("what?", sampling=sampling, stop=(stop,))
    (done,) = desk.finish(request)
    shown = "".join(event.text for event in request.ticket if isinstance(event, Wrote))
    assert done.answers[0].reason == "stop"
    assert done.answers[0].parts[0].text == shown == whole.split(stop)[0]


def test_a_defect_in_a_step_fails_those_who_share_it_and_nobody_after_them(tiny, monkeypatch):
    desk = Desk(tiny)
    requests = [desk.take(text, sampling=NEVER_ENDS) for text in ("hello", "a red cat")]
    desk.turn(3)
    with monkeypatch.context() as broken:
        broken.setattr(tiny.model.backbone, "head", lambda states: 1 / 0)
        desk.turn()
    for request in requests:
        with pytest.raises(ZeroDivisionError):
            request.ticket.result(0)
    sampling = Sampling(max_new_tokens=5)
    (done,) = desk.finish(desk.take("hello", sampling=sampling))
    assert plain(done.answers[0].parts) == plain(tiny.generate([[user("hello")]], sampling)[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_served_together_exactly_or_else_alone(family, tiny_recipe):
    composition = Composition.from_recipe(tiny_recipe(config=FAMILIES[family], chat_format=None))
    desk = Desk(composition)
    sampling = Sampling(max_new_tokens=5, temperature=0.8, seed=1)
    turns = [[user("hello")], [user(image(picture(1)), "what is this?")]]
    done = desk.finish(*(desk.take(*messages, sampling=sampling) for messages in turns))
    for each, messages in zip(done, turns, strict=True):
        assert plain(each.answers[0].parts) == plain(composition.generate([messages], sampling)[0])


def test_padding_that_a_family_does_not_heed_is_found_out(tiny, monkeypatch):
    assert possible(tiny.model.backbone)
    monkeypatch.setattr(rows, "run", _heedless(rows.run))
    assert not possible(tiny.model.backbone)


def _heedless(run):
    return lambda backbone, embeds, mask, positions, cache: run(backbone, embeds, torch.ones_like(mask), positions, cache)
