"""Answers of models whose rows cannot be written together: a cache that cannot be cut, an encoder that reads the prompt,
layers that look at media. Decides that these are answered one after another, through the same tickets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polymodal.content import text
from polymodal.model.answering import respond
from polymodal.model.generation import encode_media
from polymodal.model.printing import Printer
from polymodal.serving.requests import Halted, Request
from polymodal.serving.tickets import Answered, Ended, Making, PartMade, Wrote

if TYPE_CHECKING:
    from polymodal.model.composition import Composition
    from polymodal.model.sequence import Example


def answer(composition: Composition, request: Request, example: Example) -> None:
    """Write all answers of a request."""
    encode_media(composition.model, example)
    request.usage.prefilled = len(example)
    for number in range(request.answers):
        _one(composition, request, example, number)


def _one(composition: Composition, request: Request, example: Example, number: int) -> None:
    ticket, written = request.ticket, [0]
    printer = Printer(composition.processor, lambda piece: ticket.put(Wrote(number, piece)), request.stops)

    def check() -> None:
        if (why := request.why()) is not None:
            raise Halted(why)

    def on_token(token: int) -> None:
        request.began_to_speak()
        printer(token)
        written[0] += 1
        check()
        if printer.stopped:
            raise Halted("stop")

    def on_step(output: str, done: int, of: int) -> None:
        check()
        ticket.put(Making(number, output, done, of))

    sampling = request.sampling_of(number)
    seed = request.seed + number
    try:
        check()
        reply = respond(composition, example, sampling, prepared=request.shelf, on_token=on_token, on_step=on_step)
        answered = Answered(tuple(reply.parts), "stop" if reply.finished else "length", reply.generated, seed)
    except Halted as why:  # media that were made before it are lost with the reply
        printer.flush()
        answered = Answered((text(printer.text),), why.reason, written[0], seed)
    else:
        printer.flush()
        for part in answered.parts:
            if part.type != "text":
                ticket.put(PartMade(number, part))
    ticket.put(Ended(number, answered.reason))
    request.answer(number, answered)
