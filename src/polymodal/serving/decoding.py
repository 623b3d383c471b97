"""The pool of decoders. Decides when one is killed: when an item is late, when its request goes away, when it breaks.

Decoders are processes (`media.decoder`), each with one item at a time. A request waits for a free one; the deadline counts
from when it has one. A killed decoder is replaced when it is next needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
import sys
from dataclasses import asdict
from typing import Any

from polymodal.content import Part
from polymodal.media.decoder import framed
from polymodal.serving.errors import ApiError
from polymodal.serving.limits import ServingLimits

START = 60.0  # seconds in which a decoder must have started, on a machine under load


class Decoders:
    """To be used in one event loop: `start`, `decode`, `close`."""

    def __init__(self, limits: ServingLimits) -> None:
        self.limits = limits
        self._idle: asyncio.Queue[asyncio.subprocess.Process | None] = asyncio.Queue()
        self._all: set[asyncio.subprocess.Process] = set()
        self.killed = 0
        for _ in range(limits.decoders):
            self._idle.put_nowait(None)

    async def start(self) -> None:
        """Start one decoder, so that the first item need not wait for it."""
        self._idle.get_nowait()
        self._idle.put_nowait(await self._started())

    async def close(self) -> None:
        for process in list(self._all):
            await self._kill(process)

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._all]

    async def decode(self, kind: str, data: bytes, budget: int, param: str | None = None) -> tuple[Part, int]:
        """The part that untrusted bytes become, and the bytes that it takes. Raises `ApiError`."""
        process = await self._idle.get()
        try:
            if process is None or process.returncode is not None:
                process = await self._started()
            request = {
                "kind": kind,
                "limits": asdict(self.limits.media_limits(kind, budget)),
                "kept": self.limits.video_kept,
                "budget": budget,
            }
            reply, out = await asyncio.wait_for(_ask(process, request, data), self.limits.decode_seconds)
        except BaseException as error:  # whatever it was, it may still be decoding: cancelled requests, too
            if process is not None:
                await asyncio.shield(self._kill(process))
            process = None
            if isinstance(error, asyncio.TimeoutError):
                raise ApiError("media_timeout", param) from error
            if isinstance(error, (asyncio.IncompleteReadError, ConnectionError)):
                raise ApiError("media_damaged", param, "the decoder died") from error
            if isinstance(error, OSError):
                raise ApiError("decoders_unavailable", detail=str(error)) from error
            raise
        finally:
            self._idle.put_nowait(process)
        if "ok" not in reply:
            from polymodal.media.decoder import FORMATS

            raise ApiError(reply["code"], param, reply["detail"], has=", ".join(FORMATS[kind]))
        return _part(kind, reply["ok"], out), len(out)

    async def _started(self) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "polymodal.media.decoder", str(self.limits.decoder_bytes)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        self._all.add(process)
        try:
            await asyncio.wait_for(_reply(process), START)
        except BaseException as error:
            await self._kill(process)
            if isinstance(error, (asyncio.TimeoutError, asyncio.IncompleteReadError)):
                raise ApiError("decoders_unavailable", detail="a decoder did not start") from error
            raise
        return process

    async def _kill(self, process: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        self._all.discard(process)
        self.killed += 1


async def _ask(process: asyncio.subprocess.Process, request: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    assert process.stdin is not None
    process.stdin.write(framed(request, data))
    process.stdin.write(data)
    await process.stdin.drain()
    return await _reply(process)


async def _reply(process: asyncio.subprocess.Process) -> tuple[dict[str, Any], bytes]:
    assert process.stdout is not None
    (length,) = struct.unpack(">I", await process.stdout.readexactly(4))
    header = json.loads(await process.stdout.readexactly(length))
    return header, await process.stdout.readexactly(header["bytes"])


def _part(kind: str, header: dict[str, Any], data: bytes) -> Part:
    """What came from a decoder, as the library takes it: plain numbers and files of our own."""
    import io

    import numpy as np
    from PIL import Image

    if kind in ("image", "segmentation"):
        return Part(kind, media=Image.frombytes("RGB", tuple(header["size"]), data))
    if kind == "audio":
        return Part(kind, media=(np.frombuffer(data, np.float32), header["rate"]))
    if kind == "video":
        size, length = tuple(header["size"]), len(data) // header["frames"]
        frames = [Image.frombytes("RGB", size, data[at : at + length]) for at in range(0, len(data), length)]
        return Part(kind, media=(frames, header["rate"]))
    if kind == "imu":
        return Part(kind, media=data)
    return Part(kind, media=np.load(io.BytesIO(data), allow_pickle=False))
