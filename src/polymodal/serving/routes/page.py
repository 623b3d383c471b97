"""The chat page, at `/`. Decides that a few files of this package are served from memory, by name, and that the page may
load nothing but them: no script of others, no inline script, no connection but to this server."""

from __future__ import annotations

from importlib import resources

from fastapi import APIRouter, Request, Response

from polymodal.serving.errors import ApiError

router = APIRouter(include_in_schema=False)
TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "jpg": "image/jpeg",
    "flac": "audio/flac",
}
NAMES = (
    *("index.html", "style.css", "chat.js", "view.js", "media.js", "sse.js", "five.js"),
    *("icon.svg", "sound.svg", "cat.jpg", "sentence.flac"),
)
POLICY = "; ".join(
    [
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("script", "style", "connect")),
        *(f"{kind}-src 'self' data: blob:" for kind in ("img", "media")),
        *(f"{kind} 'none'" for kind in ("base-uri", "form-action", "frame-ancestors", "trusted-types")),
        "require-trusted-types-for 'script'",
    ]
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Permissions-Policy": "camera=(self), microphone=(self), geolocation=(), display-capture=()",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_folder = resources.files("polymodal.serving") / "page"
FILES = {name: (_folder / name).read_bytes() for name in NAMES}


@router.get("/")
async def index(request: Request) -> Response:
    return Response(FILES["index.html"], media_type=TYPES["html"], headers=HEADERS)


@router.get("/page/{name}")
async def file(name: str, request: Request) -> Response:
    if name not in FILES or name == "index.html":
        raise ApiError("not_found")
    return Response(FILES[name], media_type=TYPES[name.rpartition(".")[2]], headers=HEADERS)
