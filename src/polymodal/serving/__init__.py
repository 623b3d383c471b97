"""Serving: many conversations answered by one model at a time. Decides nothing; this is how it is called:

>>> engine = Engine(polymodal.load("nano"), Limits(rows=16), name="nano")
>>> with engine.submit([user("hello")], Sampling(seed=1), stop=["\\n"], n=2) as ticket:  # left early, it is cancelled
...     async for event in ticket:  # or `for`; or `await ticket.wait()`, `ticket.result(seconds)`
...         ...  # Wrote, Making, PartMade, Ended of one of the answers; last of all Done or Failed
>>> engine.close(finish=True)

The HTTP API in front of it:

    app        the routes, put together          limits     every number that bounds a request
    guard      Host, Origin, keys, bodies        errors     every code and text that a client can see
    body       strict JSON, forms in memory      schema     requests; `conversation`: of the library
    gate       media: data URI -> decoded part   fetch      remote media, where it is allowed
    decoding   a bounded pool of `media.decoder`s, processes of their own
    answers    waiting for a model while a client may leave
    types      what the routes need of an engine; `single`: the simplest one
"""

from polymodal.serving.engine import Engine
from polymodal.serving.requests import Limits
from polymodal.serving.tickets import Answered, Done, Ended, Event, Failed, Making, PartMade, Ticket, Usage, Wrote

__all__ = [
    "Answered",
    "Done",
    "Ended",
    "Engine",
    "Event",
    "Failed",
    "Limits",
    "Making",
    "PartMade",
    "Ticket",
    "Usage",
    "Wrote",
]
