"""Serving: many conversations answered by one model at a time."""

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
