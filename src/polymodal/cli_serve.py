"""`polymodal serve`. Decides what is reachable: this machine alone, unless there are keys; and says what is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from polymodal.cli_console import console, quiet
from polymodal.errors import ContentError


def run(
    model: str,
    host: str,
    port: int,
    key_file: Path | None,
    names: Sequence[str],
    media_hosts: Sequence[str],
    threads: int | None,
    settings: Sequence[str],
) -> None:
    """Serve until interrupted. Raises `ContentError` for what must not be served."""
    from polymodal.serving.guard import is_loopback
    from polymodal.serving.keys import Keys

    keys = Keys() if key_file is None else Keys.from_file(key_file)
    if not is_loopback(host) and not keys:
        raise ContentError(f"--host {host} is reachable from other machines: give --api-key-file, or leave --host out")
    limits = limits_of(settings)
    import logging

    import torch
    import uvicorn

    import polymodal
    from polymodal.serving.app import create
    from polymodal.serving.engine import Engine
    from polymodal.serving.fetch import Fetcher
    from polymodal.serving.requests import Limits

    quiet()
    if threads is not None:
        torch.set_num_threads(threads)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    composition = polymodal.load(model)
    name = model if model in polymodal.CHECKPOINTS else Path(model).resolve().name
    fetcher = Fetcher(media_hosts, limits) if media_hosts else None
    bound = [] if host in ("0.0.0.0", "::") else [f"[{host}]" if ":" in host else host]
    engine = Engine(composition, Limits(new_tokens=limits.tokens, seconds=limits.answer_seconds), name)
    app = create(engine, limits, keys, name=name, names=[*names, *bound], fetcher=fetcher)
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
