"""Serving: many conversations answered by one model at a time, behind OpenAI's HTTP API.

app        the routes, put together          limits     every number that bounds a request
guard      Host, Origin, keys, bodies        errors     every code and text that a client can see
body       strict JSON, forms in memory      schema     requests; `conversation`: of the library
gate       media: data URI -> decoded part   fetch      remote media, where it is allowed
decoding   a bounded pool of `media.decoder`s, processes of their own
answers    waiting for a model while a client may leave
engine     requests together, one step at a time; `types`: what the routes need of it; `single`: the simplest one
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
