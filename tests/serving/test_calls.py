"""What routes ask of the model beside answers: it keeps nobody waiting, and it ends."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest

from polymodal.content import user
from polymodal.errors import Busy, OutOfTime
from polymodal.serving.calls import RUNNING, Apart, Calls
from polymodal.serving.engine import Engine
from polymodal.serving.requests import Limits
from polymodal.serving.tickets import Wrote
from tests.serving.served import NEVER_ENDS
from tests.serving.test_engine import SECONDS, until


@pytest.fixture
def maker():
    with ThreadPoolExecutor(1) as maker:
        yield maker


def test_answers_are_written_while_a_medium_is_made(tiny):
    free = threading.Event()

    def order(_):
        yield
        return (yield Apart(lambda: free.wait(SECONDS)))

    with Engine(tiny) as engine:
        answer = engine.submit([user("hello")], NEVER_ENDS)
        future = engine.call(order)
        until(lambda: engine.stats()["generated"] or sum(isinstance(event, Wrote) for event in answer._events) > 20)
        assert not future.done()
        free.set()
        assert future.result(SECONDS)
        answer.cancel()


def test_a_call_goes_a_step_at_a_time_and_ends_in_its_value_or_error(maker):
    calls, steps = Calls(7, maker, lambda: None), []

    def counting(composition):
        for number in range(3):
            steps.append(number)
            yield
        return composition + (yield Apart(lambda: 1))

    def failing(_):
        yield Apart(lambda: 1 / 0)

    good, bad, plain = calls.put(counting, 60), calls.put(failing, 60), calls.put(lambda each: each + 2, 60)
    calls.step()
    assert steps == [0]
    while calls:
        calls.step()
    assert (good.result(0), plain.result(0)) == (8, 9)
    with pytest.raises(ZeroDivisionError):
        bad.result(0)
    assert not calls.step()


def test_a_cancelled_or_late_call_ends_before_its_next_step(maker):
    calls, left = Calls(None, maker, lambda: None), []

    def endless(_):
        try:
            while True:
                yield
        finally:
            left.append(True)

    gone, late = calls.put(endless, 60), calls.put(endless, 0.0)
    calls.step()
    assert gone.cancel()
    calls.step()
    with pytest.raises(CancelledError):
        gone.result(0)
    with pytest.raises(OutOfTime):
        late.result(0)
    assert left == [True]  # the late one never began
    assert not calls


def test_no_more_run_at_once_than_may_and_the_rest_wait(maker):
    calls = Calls(None, maker, lambda: None)

    def endless(_):
        while True:
            yield

    futures = [calls.put(endless, 60) for _ in range(RUNNING + 3)]
    for _ in range(RUNNING + 3):
        calls.step()
    assert calls.waiting == 3
    calls.drop()
    calls.step()
    assert not calls
    assert all(future.cancelled() for future in futures)


def test_calls_and_requests_share_the_queue(tiny):
    with Engine(tiny, Limits(queue=1)) as engine:
        free, begun = threading.Event(), threading.Event()
        held = engine.call(lambda _: (begun.set(), free.wait(SECONDS)))
        assert begun.wait(SECONDS)
        engine.call(lambda _: None)
        with pytest.raises(Busy):
            engine.submit([user("hello")])
        with pytest.raises(Busy):
            engine.call(lambda _: None)
        free.set()
        held.result(SECONDS)
