"""What a request may cost. Decides every bound of the server in one place, each with its unit; the table in
docs/serving.md is made of these."""

from __future__ import annotations

from pydantic import Field

from polymodal.media.gate import Limits
from polymodal.model.strict import Strict

MEGA = 1_000_000


class ServingLimits(Strict):
    """Bounds of one server. Sizes are in bytes, times in seconds."""

    body_bytes: int = Field(70 * MEGA, ge=1, description="bytes of one request's body; base64 counts as it is sent")
    bodies_bytes: int = Field(300 * MEGA, ge=1, description="bytes of all bodies being read or answered; beyond it: 429")
    body_seconds: float = Field(30.0, gt=0, description="seconds in which a body must have arrived")
    requests: int = Field(64, ge=1, description="requests being read or answered at once; beyond it: 429")
    json_depth: int = Field(16, ge=1, description="levels of nesting in JSON")
    json_items: int = Field(100_000, ge=1, description="commas, colons and opening brackets in a JSON body")
    messages: int = Field(256, ge=1, description="messages of one conversation")
    parts: int = Field(256, ge=1, description="content parts of one request")
    text: int = Field(200_000, ge=1, description="characters of text in one request")
    stops: int = Field(4, ge=1, description="stop strings of one request")
    answers: int = Field(4, ge=1, le=4, description="answers to one request (`n`)")
    tokens: int = Field(1024, ge=1, description="tokens of one answer")
    made: int = Field(4, ge=0, description="media that one answer may make")
    answer_seconds: float = Field(
        120.0, gt=0, description="seconds for all answers to one request; then they are cut short"
    )
    retry_seconds: int = Field(2, ge=1, description="seconds that `Retry-After` says where nobody knows better")
    media: int = Field(16, ge=0, description="media items of one request")
    media_bytes: int = Field(20 * MEGA, ge=1, description="bytes of one media item")
    request_media_bytes: int = Field(50 * MEGA, ge=1, description="bytes of all media of one request")
    pixels: int = Field(50 * MEGA, ge=1, description="pixels of one picture")
    side: int = Field(16_384, ge=1, description="pixels of a picture's longer side")
    audio_seconds: float = Field(600.0, gt=0, description="seconds of one recording")
    video_seconds: float = Field(120.0, gt=0, description="seconds of one clip")
    video_frames: int = Field(10_000, ge=1, description="frames that a clip may have")
    video_kept: int = Field(64, ge=2, description="frames of a clip that are kept, evenly spaced")
    decoded_bytes: int = Field(300 * MEGA, ge=1, description="bytes of all media of one request once decoded")
    decode_seconds: float = Field(10.0, gt=0, description="seconds in which one item must have been decoded")
    decoders: int = Field(2, ge=1, description="decoder processes")
    decoder_bytes: int = Field(2_000 * MEGA, ge=500 * MEGA, description="bytes of memory (address space) of a decoder")
    fetch_seconds: float = Field(10.0, gt=0, description="seconds in which remote media must have arrived")
    redirects: int = Field(3, ge=0, description="redirects that remote media may take")

    def media_limits(self, kind: str, budget: int) -> Limits:
        """The decoder's limits for one item of a kind, when `budget` bytes of the request's decoded media are left."""
        seconds = self.video_seconds if kind == "video" else self.audio_seconds
        return Limits(
            max_bytes=self.media_bytes,
            max_pixels=max(1, min(self.pixels, budget // 3)),
            max_side=self.side,
            max_seconds=min(seconds, budget / 64_000) if kind == "audio" else seconds,
            max_frames=self.video_frames,
            allow_files=False,
        )
