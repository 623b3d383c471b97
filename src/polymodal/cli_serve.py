"""`polymodal serve`. Decides what is reachable: this machine alone, unless there are keys; and says what is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polymodal.cli_console import console, quiet
from polymodal.errors import ContentError


def run(
    model: str | None,
    host: str,
    port: int,
    key_file: Path | None,
    names: Sequence[str],
    media_hosts: Sequence[str],
    threads: int | None,
    settings: Sequence[str],
    backend: tuple[str, str] | None = None,
    backend_key_file: Path | None = None,
) -> None:
    """Serve until interrupted. Raises `ContentError` for what must not be served."""
    from polymodal.serving.guard import is_loopback
    from polymodal.serving.keys import Keys

    keys = Keys() if key_file is None else Keys.from_file(key_file)
    if not is_loopback(host) and not keys:
        raise ContentError(f"--host {host} is reachable from other machines: give --api-key-file, or leave --host out")
    limits = limits_of(settings)
    import logging

    import uvicorn

    from polymodal.serving.fetch import Fetcher

    quiet()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    fetcher = Fetcher(media_hosts, limits) if media_hosts else None
    bound = [] if host in ("0.0.0.0", "::") else [f"[{host}]" if ":" in host else host]
    shared: dict[str, Any] = {"names": [*names, *bound], "fetcher": fetcher}
    if backend is not None:
        name, app = _in_front(backend, backend_key_file, model, limits, keys, shared)
    else:
        name, app = _with_model(model or "nano", threads, limits, keys, shared)
    about = f"{name} at http://{host}:{port}/v1, " + (f"{len(keys)} keys" if keys else "no key, this machine alone")
    console().print(about + (f", media of {', '.join(media_hosts)}" if media_hosts else ""), soft_wrap=True)
    uvicorn.run(
        app,
        host=host,
        port=port,
        access_log=False,
        server_header=False,
        log_level="warning",
        timeout_graceful_shutdown=30,
        timeout_keep_alive=5,
        h11_max_incomplete_event_size=65_536,
        proxy_headers=False,
        ws="none",
    )


def _with_model(model: str, threads: int | None, limits: Any, keys: Any, shared: dict[str, Any]) -> tuple[str, Any]:
    """What is served, in words, and the application around a model of this process."""
    import torch

    import polymodal
    from polymodal.serving.app import create
    from polymodal.serving.engine import Engine
    from polymodal.serving.requests import Limits

    if threads is not None:
        torch.set_num_threads(threads)
    composition = polymodal.load(model)
    name = model if model in polymodal.CHECKPOINTS else Path(model).resolve().name
    bounds = Limits(new_tokens=limits.tokens, seconds=limits.answer_seconds, queue=limits.requests)
    return name, create(Engine(composition, bounds, name), limits, keys, name=name, **shared)


def _in_front(
    backend: tuple[str, str], key_file: Path | None, only: str | None, limits: Any, keys: Any, shared: dict[str, Any]
) -> tuple[str, Any]:
    """The same of an engine in another process. Raises `ContentError`."""
    from polymodal.serving.backend import KINDS, Backend
    from polymodal.serving.front import create

    kind, url = backend
    if kind not in KINDS:
        raise ContentError(f"--backend: '{kind}' is not known; give one of {', '.join(KINDS)} and an address")
    key = None if key_file is None else one_key(key_file)
    engine = Backend(url, limits, kind, key, only)
    return f"in front of {engine.base}", create(engine, limits, keys, **shared)


def one_key(path: Path) -> str:
    """The key that a file holds. Raises `ContentError`."""
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ContentError(f"{path}: cannot be read as a key ({type(error).__name__})") from error
    if not key.isascii() or not key.isprintable() or not key or " " in key:
        raise ContentError(f"{path}: must hold one key, of ASCII characters without spaces")
    return key


def limits_of(settings: Sequence[str]):
    """`ServingLimits` with some of them set by NAME=NUMBER. Raises `ContentError` naming the limit."""
    from pydantic import ValidationError

    from polymodal.errors import nearest
    from polymodal.serving.limits import ServingLimits

    given = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or name not in ServingLimits.model_fields:
            raise ContentError(f"limit '{name}' is not known{nearest(name, ServingLimits.model_fields)}")
        given[name] = value
    try:
        return ServingLimits.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        raise ContentError(f"limit '{'.'.join(map(str, first['loc']))}': {first['msg']}") from error
