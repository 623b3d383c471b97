"""Bodies. Decides that JSON is bounded before it becomes objects, and that a form stays in memory.

`[[],[],...` of 50 MB becomes gigabytes of lists, so brackets, commas and colons are counted as bytes first; base64 has none
of them. What JSON does not allow (NaN, control characters, lone surrogates) is refused, whatever Python thinks of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser

from polymodal.serving.errors import ApiError
from polymodal.serving.limits import ServingLimits


def parse(data: bytes, limits: ServingLimits) -> Any:
    """The JSON value of a body. Raises `ApiError`."""
    if sum(data.count(mark) for mark in (b",", b":", b"[", b"{")) > limits.json_items:
        raise ApiError("json_too_complex")
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_refuse)
    except RecursionError as error:
        raise ApiError("json_too_deep") from error
    except ValueError as error:  # also of bytes that are no UTF-8, and of numbers with too many digits
        raise ApiError("invalid_json", detail=type(error).__name__) from error
    _check(value, limits.json_depth)
    return value


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _check(value: Any, depth: int) -> None:
    """Level by level, since a recursion could be made too deep."""
    level = [value]
    while level:
        if depth == 0 and any(isinstance(item, (dict, list)) for item in level):
            raise ApiError("json_too_deep")
        depth -= 1
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += item.keys()
                below += item.values()
            elif isinstance(item, list):
                below += item
            elif isinstance(item, str) and not _is_unicode(item):
                raise ApiError("invalid_json", detail="a lone surrogate")
        level = below


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class StrictRequest(Request):
    """A request whose JSON goes through `parse`."""

    async def json(self) -> Any:
        return parse(await self.body(), self.app.state.server.limits)


class StrictRoute(APIRoute):
    """A route that reads its JSON strictly; one with a body takes no other content type, so that a page of another origin
    cannot send it without asking first."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        inner = super().get_route_handler()

        async def handler(request: Request) -> Response:
            if self.body_field is not None and _content_type(request) != "application/json":
                raise ApiError("content_type_not_allowed")
            return await inner(StrictRequest(request.scope, request.receive))

        return handler


class _InMemory(MultiPartParser):
    """Never spooled to a file: the body is bounded."""

    spool_max_size = 2**40


async def form(request: Request) -> FormData:
    """The fields of a multipart form with one file. Raises `ApiError`."""
    if _content_type(request) != "multipart/form-data":
        raise ApiError("content_type_not_allowed")
    parser = _InMemory(request.headers, request.stream(), max_files=1, max_fields=16, max_part_size=100_000)
    try:
        return await parser.parse()
    except (MultiPartException, KeyError, ValueError, LookupError) as error:
        raise ApiError("invalid_form", detail=type(error).__name__) from error


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
