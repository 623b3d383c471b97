"""`POST /v1/embeddings`: text and media in one space. Decides which: the backbone's last states, averaged over the
positions that the item takes in a user's turn (and not over those of the template), scaled to length 1.

Whatever reaches the backbone is in this space, and nothing was trained for it to be a good one for search.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import torch
from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from polymodal.content import Message, Part, user
from polymodal.model.composition import Composition
from polymodal.model.sequence import collate, common_prefix
from polymodal.serving.answers import called
from polymodal.serving.app import ERRORS, server_of
from polymodal.serving.body import StrictRoute
from polymodal.serving.conversation import check, opened, takes
from polymodal.serving.errors import ApiError
from polymodal.serving.schema import EmbeddingRequest, TextPart

router = APIRouter(route_class=StrictRoute)


@router.post("/v1/embeddings", responses=ERRORS)
async def embeddings(asked: EmbeddingRequest, request: Request) -> Response:
    server = server_of(request)
    server.check_model(asked.model)
    if asked.dimensions is not None:
        raise ApiError("not_supported", "dimensions")
    given = asked.input if isinstance(asked.input, list) else [asked.input]
    items: list[list[Any]] = [item if isinstance(item, list) else [item] for item in given]
    items = [[TextPart(type="text", text=part) if isinstance(part, str) else part for part in item] for item in items]
    check(server, [part for item in items for part in item])
    for i, item in enumerate(items):
        for part in item:
            takes(server, "user", part, f"input.{i}")
    left = server.gate.allowance()
    data, tokens = [], 0
    for i, item in enumerate(items):
        parts = [await opened(server, part, left, f"input.{i}") for part in item]
        vector, length = await called(server, request, embedding(parts, f"input.{i}"))
        tokens += length
        value: Any = vector.tolist()
        if asked.encoding_format == "base64":
            value = base64.b64encode(vector.numpy().astype("<f4").tobytes()).decode()
        data.append({"object": "embedding", "index": i, "embedding": value})
    server.metrics.tokens(tokens, 0, 0)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return JSONResponse({"object": "list", "data": data, "model": server.name, "usage": usage})


def embedding(parts: list[Part], param: str) -> Callable[[Composition], tuple[torch.Tensor, int]]:
    """What gives the vector [D], float32 of length 1, of one item, and the positions it takes."""

    @torch.no_grad()
    def embed(composition: Composition) -> tuple[torch.Tensor, int]:
        model, processor = composition.model, composition.processor
        example = processor.encode([Message("user", tuple(parts))], generate=True, name=param)
        frame = processor.encode([user(" ")], generate=True, name=param).identity()
        whole = example.identity()
        start = min(common_prefix(whole, frame), len(whole) - 1)
        end = len(whole) - min(common_prefix(whole[::-1], frame[::-1]), len(whole) - start)
        if end <= start:  # nothing that the template has not
            raise ApiError("nothing_to_answer", param)
        most = getattr(model.backbone.lm.config, "max_position_embeddings", None) or len(whole)
        if len(whole) > most:
            raise ApiError("context_length_exceeded", param)
        batch = collate([example], processor.pad_id)
        features = model.features(batch.media, batch.questions)
        embeds, mask = model.embed(batch, features), batch.mask.to(model.device)
        with model.attending(batch, features):
            if model.backbone.seq2seq:
                hidden = model.backbone.lm.get_encoder()(inputs_embeds=embeds, attention_mask=mask).last_hidden_state
            else:
                hidden = model.backbone.hidden(embeds, mask)
        vector = hidden[0, start:end].float().mean(0)
        return (vector / vector.norm().clamp(min=1e-12)).cpu(), end - start

    return embed
