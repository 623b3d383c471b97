"""The gate: what a request says of media -> a decoded part. Decides where media may come from, before a byte of it is read.

Only base64 in the request itself, and, where the server was told so, URLs of listed hosts. No path, no `file:`, nothing
that names anything of this machine: there is no code behind this gate that could open it. The type that a client declares
is not looked at; the first bytes decide. Bytes are counted before they leave base64, and pixels before they are decoded.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from polymodal.content import Part
from polymodal.serving.decoding import Decoders
from polymodal.serving.errors import ApiError
from polymodal.serving.fetch import Fetcher
from polymodal.serving.limits import ServingLimits

_HEADER = re.compile(r"data:[a-z0-9.+/-]{0,100}(;[a-z0-9-]+=[a-z0-9.+/\"-]*){0,4};base64", re.IGNORECASE)
_URL = re.compile(r"https?:", re.IGNORECASE)


@dataclass
class Allowance:
    """What is left of one request's media."""

    items: int
    bytes: int
    decoded: int


class MediaGate:
    """`fetcher`: None refuses every URL."""

    def __init__(self, limits: ServingLimits, decoders: Decoders, fetcher: Fetcher | None = None) -> None:
        self.limits, self.decoders, self.fetcher = limits, decoders, fetcher

    def allowance(self) -> Allowance:
        """What a new request may bring."""
        return Allowance(self.limits.media, self.limits.request_media_bytes, self.limits.decoded_bytes)

    async def by_url(self, kind: str, url: str, left: Allowance, param: str) -> Part:
        """The part behind a data URI, or a remote URL where those are allowed. Raises `ApiError`."""
        self._count(left, param)
        if url[:5].lower() == "data:":
            header, comma, payload = url.partition(",")
            if not comma or not _HEADER.fullmatch(header):
                raise ApiError("media_not_base64", param)
            return await self._decoded(kind, self._unpacked(payload, left, param), left, param)
        if not _URL.match(url):
            raise ApiError("media_place_not_allowed", param)
        if self.fetcher is None:
            raise ApiError("remote_media_not_allowed", param)
        data = await self.fetcher.fetch(url, min(self.limits.media_bytes, left.bytes), param)
        return await self._decoded(kind, data, left, param)

    async def by_base64(self, kind: str, payload: str, left: Allowance, param: str) -> Part:
        """The part that bare base64 holds. Raises `ApiError`."""
        self._count(left, param)
        return await self._decoded(kind, self._unpacked(payload, left, param), left, param)

    async def by_bytes(self, kind: str, data: bytes, left: Allowance, param: str) -> Part:
        """The part that an uploaded file holds. Raises `ApiError`."""
        self._count(left, param)
        return await self._decoded(kind, data, left, param)

    def _count(self, left: Allowance, param: str) -> None:
        left.items -= 1
        if left.items < 0:
            raise ApiError("too_many_media", param, limit=self.limits.media)

    def _unpacked(self, payload: str, left: Allowance, param: str) -> bytes:
        if len(payload) * 3 // 4 > min(self.limits.media_bytes, left.bytes) + 2:
            raise ApiError("media_too_large", param)
        try:
            data = base64.b64decode(payload.encode("ascii"), validate=True)
        except (binascii.Error, UnicodeEncodeError) as error:
            raise ApiError("media_not_base64", param) from error
        return data

    async def _decoded(self, kind: str, data: bytes, left: Allowance, param: str) -> Part:
        if not data:
            raise ApiError("media_damaged", param, "0 bytes")
        left.bytes -= len(data)
        if len(data) > self.limits.media_bytes or left.bytes < 0:
            raise ApiError("media_too_large", param)
        part, size = await self.decoders.decode(kind, data, left.decoded, param)
        left.decoded -= size
        return part
