"""The engine as a whole, with its threads: every ticket ends, whatever is asked, cancelled or closed."""

from __future__ import annotations

import asyncio
import random
import threading
import time

import pytest

from polymodal.content import image, user
from polymodal.errors import Busy, Closed, ContentError
from polymodal.model.sampling import Sampling
from polymodal.serving.engine import Engine
from polymodal.serving.requests import Limits
from polymodal.serving.tickets import Done, Ended, Failed, Wrote
from tests.conftest import picture
from tests.serving.served import NEVER_ENDS, plain

SHORT = Sampling(max_new_tokens=5, seed=1)
SECONDS = 120  # that a test waits before it fails; nothing here takes them


def test_none_of_64_random_requests_is_lost(tiny):
    chance = random.Random(0)
    words = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog"]
    tickets, cancelled = [], set()
    with Engine(tiny, Limits(rows=8, queue=64)) as engine:
        for number in range(64):
            text = " ".join(chance.choices(words, k=chance.randint(1, 40)))
            shown = [image(picture(chance.randint(0, 3)))] if chance.random() < 0.3 else []
            sampling = Sampling(max_new_tokens=chance.randint(1, 40), temperature=1.0, seed=number)
            tickets.append(engine.submit([user(*shown, text)], sampling, n=chance.choice([1, 1, 1, 2])))
            if chance.random() < 0.25:
                cancelled.add(number)
                threading.Timer(chance.random() * 0.5, tickets[-1].cancel).start()
        for number, ticket in enumerate(tickets):
            done = ticket.result(SECONDS)
            assert done.answers
            for answer in done.answers:
                assert answer.reason in (("stop", "length", "cancelled") if number in cancelled else ("stop", "length"))
            events = list(ticket)
            assert sum(isinstance(event, Done | Failed) for event in events) == 1
            for i, answer in enumerate(done.answers):
                shown = "".join(event.text for event in events if isinstance(event, Wrote) and event.answer == i)
                assert shown == "".join(part.text or "" for part in answer.parts)
        until(lambda: not engine.stats()["active"] and not engine.stats()["rows"])
        stats = engine.stats()
    assert stats["requests"] == 64
    assert stats["failed"] == 0
    assert stats["active"] == stats["waiting"] == stats["rows"] == stats["cache_bytes"] == 0


def test_an_engine_answers_as_the_library_byte_for_byte(tiny):
    messages = [user(image(picture(1)), "what is this?")]
    sampling = Sampling(max_new_tokens=30, temperature=1.1, top_p=0.9, seed=21)
    with Engine(tiny) as engine:
        answer = engine.submit(messages, sampling).result(SECONDS).answers[0]
    assert plain(answer.parts) == plain(tiny.generate([messages], sampling)[0])


def test_no_seed_is_a_new_one_each_time_and_the_answer_says_which(tiny):
    with Engine(tiny) as engine:
        free = Sampling(max_new_tokens=10, temperature=1.0)
        one, two = (engine.submit([user("hello")], free).result(SECONDS).answers[0] for _ in range(2))
        again = engine.submit([user("hello")], free.model_copy(update={"seed": one.seed})).result(SECONDS).answers[0]
    assert one.seed != two.seed
    assert plain(again.parts) == plain(one.parts)


def test_more_than_the_queue_holds_is_refused_with_when_to_come_back(tiny):
    with Engine(tiny, Limits(rows=1, queue=2)) as engine:
        tickets = [engine.submit([user("hello")], NEVER_ENDS)]
        until(lambda: engine.stats()["active"] == 1)
        tickets += [engine.submit([user("hello")], NEVER_ENDS) for _ in range(2)]
        with pytest.raises(Busy, match="2 requests are waiting already") as refused:
            engine.submit([user("hello")], NEVER_ENDS)
        assert refused.value.retry_after >= 1
        assert engine.stats()["refused"] == 1
        for ticket in tickets:
            ticket.cancel()
        for ticket in tickets:
            assert ticket.result(SECONDS).answers[0].reason == "cancelled"
        assert engine.submit([user("hello")], SHORT).result(SECONDS).answers


def test_time_and_tokens_are_capped(tiny):
    with Engine(tiny, Limits(rows=1, new_tokens=7)) as engine:
        done = engine.submit([user("hello")], NEVER_ENDS).result(SECONDS)
        assert done.answers[0].reason in ("length", "stop")
        assert done.answers[0].tokens <= 7
    with Engine(tiny, Limits(rows=1)) as engine:
        slow = engine.submit([user("hello")], NEVER_ENDS, seconds=0.3)
        late = engine.submit([user("hello")], SHORT, seconds=0.0001)
        with pytest.raises(Busy, match="its time was over before its turn came"):
            late.result(SECONDS)
        done = slow.result(SECONDS)
        assert done.answers[0].reason in ("time", "stop", "length")
        assert done.usage.seconds["total"] < 60


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"n": 5}, "n: 5 answers"),
        ({"n": 0}, "n: 0 answers"),
        ({"stop": ("",)}, "stop: give strings"),
        ({"sampling": Sampling(beams=2)}, "beams: a search is not served"),
        ({"sampling": Sampling(temperature=1e-30)}, "temperature: 1e-30 is neither 0"),
        ({"sampling": Sampling(temperature=float("inf"))}, "temperature: inf is neither 0"),
        ({"sampling": Sampling(seed=2**64)}, "seed: give a number"),
        ({"messages": []}, "messages: there is nothing to answer"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_over_a_limit_is_refused_at_the_door_by_its_name(asked, said, tiny):
    with Engine(tiny) as engine, pytest.raises(ContentError, match=said):
        engine.submit(**{"messages": [user("hello")], **asked})


def test_a_prompt_over_the_limit_fails_with_both_numbers(tiny):
    with Engine(tiny, Limits(prompt=20)) as engine:
        ticket = engine.submit([user("the quick brown fox jumps over a lazy dog " * 5)], SHORT)
        with pytest.raises(ContentError, match="this server takes 19: shorten it"):
            ticket.result(SECONDS)


def test_closing_finishes_what_there_is_and_takes_nothing_more(tiny):
    others = set(threading.enumerate())  # of servers that other tests keep
    engine = Engine(tiny, Limits(rows=2))
    tickets = [engine.submit([user("hello")], Sampling(max_new_tokens=20)) for _ in range(6)]
    assert engine.close(timeout=SECONDS)
    assert all(isinstance(ticket.result(0), Done) for ticket in tickets)
    with pytest.raises(Closed):
        engine.submit([user("hello")])
    new = {*threading.enumerate()} - others
    assert not [thread for thread in new if thread.name.startswith("polymodal") and thread.is_alive()]


def test_closing_without_finishing_ends_everything_with_an_error(tiny):
    engine = Engine(tiny, Limits(rows=2))
    tickets = [engine.submit([user("hello")], NEVER_ENDS) for _ in range(6)]
    assert engine.close(finish=False, timeout=SECONDS)
    for ticket in tickets:
        with pytest.raises(Closed):
            ticket.result(0)


def test_a_defect_of_a_turn_ends_who_waits_and_the_engine_goes_on(tiny, monkeypatch):
    with Engine(tiny) as engine:
        with monkeypatch.context() as broken:
            broken.setattr(engine.turns, "turn", lambda: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                engine.submit([user("hello")], SHORT).result(SECONDS)
        assert engine.submit([user("hello")], SHORT).result(SECONDS).answers


def test_leaving_a_ticket_cancels_it(tiny):
    with Engine(tiny) as engine:
        with engine.submit([user("hello")], NEVER_ENDS) as ticket:
            next(event for event in ticket if isinstance(event, Wrote))
        assert ticket.result(SECONDS).answers[0].reason in ("cancelled", "stop")


def test_asyncio_reads_many_streams_at_once(tiny):
    async def ask(engine, text):
        events = [event async for event in engine.submit([user(text)], Sampling(max_new_tokens=12, seed=3))]
        return "".join(event.text for event in events if isinstance(event, Wrote)), events

    async def everybody():
        with Engine(tiny) as engine:
            return await asyncio.gather(*(ask(engine, text) for text in ("hello", "a red cat", "what?", "the mat")))

    for text, events in asyncio.run(everybody()):
        assert isinstance(events[-1], Done)
        assert isinstance(events[-2], Ended)
        assert text == events[-1].answers[0].parts[0].text


def test_asyncio_waits_for_the_whole_and_gets_its_error(tiny):
    async def both():
        with Engine(tiny, Limits(prompt=20)) as engine:
            good = await engine.submit([user("hi")], SHORT).wait()
            with pytest.raises(ContentError):
                await engine.submit([user("the quick brown fox " * 20)], SHORT).wait()
            return good

    assert asyncio.run(both()).answers


def until(true, seconds: float = SECONDS) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)
