"""The pool of decoders: late, dead and hungry ones are replaced, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from polymodal.serving.decoding import Decoders
from polymodal.serving.errors import ApiError
from polymodal.serving.limits import ServingLimits
from tests.serving.conftest import png


def pool(test, **limits):
    """Run an async function with a pool, and see that no process is left."""

    async def run():
        decoders = Decoders(ServingLimits(**{"decoders": 1, "decode_seconds": 60, **limits}))
        try:
            await test(decoders)
        finally:
            await decoders.close()
        assert decoders.pids == []

    asyncio.run(run())


async def refusal(decoders: Decoders, kind: str, data: bytes) -> str:
    with pytest.raises(ApiError) as caught:
        await decoders.decode(kind, data, 10**8)
    return caught.value.code


def test_a_late_or_dead_decoder_is_killed_and_the_next_item_is_decoded():
    async def test(decoders: Decoders) -> None:
        await decoders.start()
        (first,) = decoders.pids
        os.kill(first, signal.SIGSTOP)
        decoders.limits = decoders.limits.model_copy(update={"decode_seconds": 0.3})
        started = time.monotonic()
        assert await refusal(decoders, "image", png()) == "media_timeout"
        assert time.monotonic() - started < 20
        decoders.limits = decoders.limits.model_copy(update={"decode_seconds": 60})
        part, size = await decoders.decode("image", png(), 10**8)
        assert (part.media.size, size) == ((40, 30), 3600)
        (second,) = decoders.pids
        assert second != first
        task = asyncio.ensure_future(decoders.decode("image", png(), 10**8))
        os.kill(second, signal.SIGSTOP)
        await asyncio.sleep(0.05)
        os.kill(second, signal.SIGKILL)
        with pytest.raises(ApiError):
            await task
        assert (await decoders.decode("image", png(), 10**8))[1] == 3600

    pool(test)


def test_a_request_that_leaves_takes_its_decoder_along():
    async def test(decoders: Decoders) -> None:
        await decoders.start()
        os.kill(decoders.pids[0], signal.SIGSTOP)
        task = asyncio.ensure_future(decoders.decode("image", png(), 10**8))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert decoders.pids == []
        assert (await decoders.decode("image", png(), 10**8))[1] == 3600

    pool(test)


@pytest.mark.skipif(sys.platform == "win32", reason="bounds of a process are POSIX's")
def test_a_decoder_has_bounded_memory_and_writes_no_file():
    async def test(decoders: Decoders) -> None:
        await decoders.start()
        limits = Path(f"/proc/{decoders.pids[0]}/limits").read_text() if os.path.exists("/proc") else ""
        rows = {line[:25].strip(): line[25:].split()[:2] for line in limits.splitlines()}
        assert not limits or rows["Max address space"] == ["1500000000", "1500000000"]
        assert not limits or rows["Max file size"] == ["0", "0"]
        assert not limits or rows["Max core file size"] == ["0", "0"]

    pool(test, decoder_bytes=1_500_000_000)


def test_a_decoder_has_no_model_beside_it():
    said = "import polymodal.media.decoder, sys; sys.exit('torch' in sys.modules or 'fastapi' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", said]).returncode == 0
