"""What a client is told when something is refused. Decides that every such text is one of this table.

A text that a decoder, a parser or an exception wrote can hold addresses, paths or somebody else's data, and has been a step
of a real attack (CVE-2026-22778). So a client sees a code, the text of that code and the place in its own request; what
happened goes to the log, with base64 cut out.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from fastapi import HTTPException

from polymodal.errors import AssetError, ContentError, CountMismatch, DataError, MediaError

log = logging.getLogger("polymodal.serving")

_BAD, _AUTH, _LIMIT, _SERVER = "invalid_request_error", "authentication_error", "rate_limit_error", "server_error"

# code -> (status, OpenAI's type, text). Braces are filled with names of the model and numbers of the limits only.
CODES: dict[str, tuple[int, str, str]] = {
    "invalid_json": (400, _BAD, "The body is not valid JSON."),
    "json_too_deep": (400, _BAD, "The JSON is nested too deeply."),
    "json_too_complex": (400, _BAD, "The JSON has too many items."),
    "invalid_field": (400, _BAD, "A field is missing or has a value that is not allowed."),
    "unknown_field": (400, _BAD, "A field is not known."),
    "not_supported": (400, _BAD, "This parameter is not supported here; leave it out."),
    "modality_not_supported": (400, _BAD, "This model takes no {asked}; it takes {has}."),
    "output_not_supported": (400, _BAD, "This model makes no {asked}; it makes {has}."),
    "output_ambiguous": (400, _BAD, "Several outputs make this; name one in 'output': {has}."),
    "speech_format": (400, _BAD, "This format is not written; ask for one of: {has}."),
    "size_not_supported": (400, _BAD, "Pictures have the size that the model makes; leave 'size' out."),
    "too_many_messages": (400, _BAD, "There are more messages than the limit of {limit}."),
    "too_many_parts": (400, _BAD, "There are more content parts than the limit of {limit}."),
    "too_many_media": (400, _BAD, "There are more media items than the limit of {limit}."),
    "text_too_long": (400, _BAD, "There are more characters of text than the limit of {limit}."),
    "context_length_exceeded": (400, _BAD, "The conversation is longer than this model can read."),
    "tokens_over_limit": (400, _BAD, "More tokens are asked for than the limit of {limit}."),
    "nothing_to_answer": (400, _BAD, "The last message holds nothing to answer, or is not the user's."),
    "media_not_base64": (400, _BAD, "The media is not strict base64, or not in a data URI that says so."),
    "media_place_not_allowed": (400, _BAD, "Media is taken as base64 data; files and this kind of URL are not read."),
    "remote_media_not_allowed": (400, _BAD, "Media at this URL is not fetched by this server; send it as a data URI."),
    "remote_media_failed": (400, _BAD, "The media could not be fetched."),
    "media_format_not_allowed": (400, _BAD, "The bytes of the media are of none of the formats taken here: {has}."),
    "media_too_large": (413, _BAD, "The media is over the limits of this server in size, pixels or length."),
    "media_damaged": (400, _BAD, "The media could not be decoded."),
    "media_timeout": (400, _BAD, "The media took too long to decode."),
    "cannot_answer": (400, _BAD, "This model cannot answer this request."),
    "cannot_make": (500, _SERVER, "The model could not make this."),
    "cannot_say": (400, _BAD, "The text has no word that the model could say, or is none that it can."),
    "invalid_form": (400, _BAD, "The form is not valid multipart/form-data, or has too many fields."),
    "invalid_api_key": (401, _AUTH, "A valid API key is needed."),
    "host_not_allowed": (421, _BAD, "This server is not called by this name."),
    "origin_not_allowed": (403, _BAD, "Pages of other origins may not call this server."),
    "model_not_found": (404, _BAD, "There is no such model here; GET /v1/models says which there is."),
    "not_found": (404, _BAD, "There is no such route."),
    "method_not_allowed": (405, _BAD, "This route has no such method."),
    "body_too_slow": (408, _BAD, "The body did not arrive in time."),
    "body_too_large": (413, _BAD, "The body is over the limit of {limit} bytes."),
    "content_type_not_allowed": (415, _BAD, "The content type of the body is not the one that this route reads."),
    "client_gone": (499, _BAD, "The client has gone."),
    "busy": (429, _LIMIT, "The server is busy; try again later."),
    "internal_error": (500, _SERVER, "Something went wrong on the server; its log says what."),
    "decoders_unavailable": (503, _SERVER, "Media cannot be decoded at the moment."),
    "shutting_down": (503, _SERVER, "The server is shutting down."),
}
_BASE64 = re.compile(r"[A-Za-z0-9+/=_-]{48,}")


class ApiError(HTTPException):
    """A refusal by its code in `CODES`. `param`: where in the request, `detail`: for the log alone, `names`: what the
    text's braces are filled with, `retry`: seconds for Retry-After. An HTTPException, as FastAPI passes those through."""

    def __init__(
        self, code: str, param: str | None = None, detail: str = "", retry: float | None = None, **names: object
    ) -> None:
        status, self.kind, words = CODES[code]
        headers = {"Retry-After": str(max(1, round(retry)))} if retry is not None else {}
        if status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        super().__init__(status, headers=headers)
        self.code, self.param, self.private = code, shown(param), detail
        self.words = words.format(**names)

    def __str__(self) -> str:
        return f"{self.code}{f' at {self.param}' if self.param else ''}{f': {self.private}' if self.private else ''}"

    def body(self) -> dict[str, Any]:
        """OpenAI's shape."""
        return {"error": {"message": self.words, "type": self.kind, "param": self.param, "code": self.code}}


def shown(param: str | None) -> str | None:
    """A place in a request as it may be said back: it can hold a key that the client made up."""
    return None if param is None else re.sub(r"[^A-Za-z0-9_.\[\]-]", "?", param)[:80]


def redacted(text: str) -> str:
    """Of a text for the log: one line, at most 500 characters, without base64 (or any run as long)."""
    return _BASE64.sub("<base64>", " ".join(text.split()))[:500]


def told(error: Exception, param: str | None = None) -> ApiError:
    """What a client is told of an error of the library."""
    if isinstance(error, ApiError):
        return error
    private = f"{type(error).__name__}: {error}"
    if isinstance(error, MediaError):
        over = re.search(r"(over|under|outside) the limits? of", str(error)) is not None
        return ApiError("media_too_large" if over else "media_damaged", param, private)
    if isinstance(error, (DataError, CountMismatch, ContentError)):
        return ApiError("cannot_answer", param, private)
    if isinstance(error, AssetError):
        return ApiError("cannot_make", param, private)
    return ApiError("internal_error", None, private)


def note(error: BaseException, request: str, extra: Mapping[str, object] | None = None) -> None:
    """One line in the log; a traceback only for what is a defect of ours."""
    said = redacted(str(error))
    defect = not isinstance(error, ApiError)
    log.log(
        logging.ERROR if defect else logging.INFO, "%s refused: %s %s", request, said, dict(extra or {}), exc_info=defect
    )
