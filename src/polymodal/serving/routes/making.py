"""`POST /v1/images/generations` and `/v1/audio/speech`: a medium on order. Decides that no model is asked whether it wants
to: the span of the output is opened, or, where it would hold a text, the generator is given the client's own words.
"""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Callable
from typing import Any

import torch
from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from polymodal.content import Part, user
from polymodal.errors import ContentError
from polymodal.media import writing
from polymodal.model.answering import opened
from polymodal.model.composition import Composition
from polymodal.model.generation import Sampling
from polymodal.parts.generators.voice import Voice
from polymodal.serving.answers import called
from polymodal.serving.app import ERRORS, Server, server_of
from polymodal.serving.body import StrictRoute
from polymodal.serving.errors import ApiError
from polymodal.serving.schema import ImageRequest, SpeechRequest

router = APIRouter(route_class=StrictRoute)
SOUNDS = {"mp3": "audio/mpeg", "wav": "audio/wav", "flac": "audio/flac", "pcm": "audio/pcm"}


@router.post("/v1/images/generations", responses=ERRORS)
async def images(asked: ImageRequest, request: Request) -> Response:
    server = server_of(request)
    if asked.model is not None:
        server.check_model(asked.model)
    name = output_of(server, "image", asked.output)
    if asked.size not in (None, "auto"):
        raise ApiError("size_not_supported", "size")
    if (asked.n or 1) > server.limits.answers:
        raise ApiError("invalid_field", "n")
    data = []
    for number in range(asked.n or 1):
        seed = None if asked.seed is None else asked.seed + number
        part = await called(server, request, making(name, asked.prompt, seed))
        picture = base64.b64encode(_file(part, "image")).decode()
        server.metrics.media("out", "image")
        data.append(
            {"url": f"data:image/png;base64,{picture}"} if asked.response_format == "url" else {"b64_json": picture}
        )
    return JSONResponse({"created": int(time.time()), "data": data, "output_format": "png"})


@router.post("/v1/audio/speech", responses={**ERRORS, 200: {"content": {"audio/*": {}}, "description": "The recording."}})
async def speech(asked: SpeechRequest, request: Request) -> Response:
    server = server_of(request)
    server.check_model(asked.model)
    name = output_of(server, "audio", asked.output)
    kind = asked.response_format or "mp3"
    if kind not in SOUNDS:
        raise ApiError("speech_format", "response_format", has=", ".join(SOUNDS))
    if asked.speed not in (None, 1.0):
        raise ApiError("not_supported", "speed")
    part = await called(server, request, making(name, asked.input, asked.seed))
    if part.media is None:
        raise ApiError("cannot_make", detail=part.failed or "")
    server.metrics.media("out", "audio")
    return Response(written(part.media, kind), media_type=SOUNDS[kind])


def output_of(server: Server, kind: str, name: str | None) -> str:
    """The output that makes a kind of medium: the named one, the only one, or, to speak, the one that is a voice."""
    designs = server.engine.composition.model.designs
    able = [output for output, design in designs.items() if design.modality == kind]
    if not able:
        has = ", ".join(sorted({design.modality for design in designs.values()})) or "text alone"
        raise ApiError("output_not_supported", asked=kind, has=has)
    if name is not None and name not in able:
        raise ApiError("output_not_supported", "output", asked=f"{kind} by this output", has=", ".join(able))
    voices = [output for output in able if isinstance(designs[output].generator, Voice)]
    for found in ([name] if name else [], voices if kind == "audio" else [], able):
        if len(found) == 1:
            return found[0]
    raise ApiError("output_ambiguous", "output", has=", ".join(able))


def making(output: str, words: str, seed: int | None) -> Callable[[Composition], Part]:
    """What makes one medium of an output, of words."""

    def make(composition: Composition) -> Part:
        design = composition.model.designs[output]
        if design.grammar.body.kind != "text":
            example = composition.processor.encode([user(words)], generate=True, name="order")
            return opened(composition, example, output, Sampling(seed=seed)).parts[-1]
        random = torch.Generator().manual_seed(int(torch.seed() % 2**31) if seed is None else seed)
        try:
            return Part(design.modality, media=design.make([words], random), caption=words, output=output)
        except ContentError as error:
            raise ApiError("cannot_say", "input", str(error)) from error

    return make


def _file(part: Part, kind: str) -> bytes:
    if part.media is None:
        raise ApiError("cannot_make", detail=part.failed or "")
    return writing.encoded(kind, part.media)[1]


def written(sound: Any, kind: str) -> bytes:
    """A recording `(samples, rate)`, or a file, as a file of a kind of `SOUNDS`; `pcm` is 16 bits, little-endian, without
    a header, at the recording's rate."""
    import numpy as np
    import soundfile

    samples, rate = sound if isinstance(sound, tuple) else soundfile.read(io.BytesIO(writing.encoded("audio", sound)[1]))
    out = io.BytesIO()
    if kind == "pcm":
        whole = np.clip(np.asarray(samples, np.float64), -1, 1) * 32767
        return whole.round().astype("<i2").tobytes()
    subtype = "MPEG_LAYER_III" if kind == "mp3" else "PCM_16"
    soundfile.write(out, samples, int(rate), format=kind.upper(), subtype=subtype)
    return out.getvalue()
