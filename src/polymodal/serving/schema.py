"""Requests of OpenAI's routes. Decides what is taken: a field that does nothing here is refused by name, unless it can only
say what is so anyway.

Numbers that depend on the server (tokens, media, text) are checked by the routes against `ServingLimits`; here stands what
holds for every server. Bounds that exist only to keep a field small are in characters.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from polymodal.serving.errors import ApiError

Name = Annotated[str, Field(min_length=1, max_length=200)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**53, strict=True)]


class Wire(BaseModel):
    """Unknown keys are errors; numbers are not read from strings."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Made(Wire):
    """What an earlier answer said of media that it made; sent back as it came."""

    caption: str | None = Field(None, max_length=4000)
    output: Name | None = None
    failed: str | None = Field(None, max_length=4000)


class Url(Wire):
    url: str = Field(description="A data URI with base64; of an `https:` URL only where this server allows its host.")
    detail: Literal["auto", "low", "high"] | None = None


class Sound(Wire):
    data: str = Field(description="Base64.")
    format: str | None = Field(None, max_length=20, description="Not looked at: the bytes say what they are.")


class TextPart(Wire):
    type: Literal["text"]
    text: str


class ImagePart(Made):
    type: Literal["image_url"]
    image_url: Url | None = None


class VideoPart(Made):
    type: Literal["video_url"]
    video_url: Url | None = None


class AudioPart(Made):
    type: Literal["input_audio"]
    input_audio: Sound | None = None


class OtherPart(Made):
    """Media that OpenAI's API has no name for, as an object with a data URI."""

    type: Literal["points", "imu", "depth", "thermal", "segmentation"]
    media: Url | None = None


Content = Annotated[TextPart | ImagePart | AudioPart | VideoPart | OtherPart, Field(discriminator="type")]


class ChatMessage(Wire):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Content] | None = None
    name: Name | None = None
    refusal: None = None  # what OpenAI's client keeps of an answer and sends back
    audio: dict[str, Any] | None = None
    annotations: list[Any] | None = Field(None, max_length=0)
    tool_calls: list[Any] | None = Field(None, max_length=0)
    function_call: None = None


class StreamOptions(Wire):
    include_usage: bool = False
    include_obfuscation: bool = False


class AudioOptions(Wire):
    format: Literal["wav"] = "wav"
    voice: str | dict[str, Any] | None = Field(None, description="A model has one voice: not looked at.")


class ResponseFormat(Wire):
    type: str = Field(max_length=40)
    json_schema: dict[str, Any] | None = None


class ChatRequest(Wire):
    """`POST /v1/chat/completions`."""

    model: Name
    messages: list[ChatMessage] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    stop: str | list[str] | None = None
    temperature: Number | None = Field(None, ge=0, le=2, description="0, the default, takes the likeliest token.")
    top_p: Number | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0)
    repetition_penalty: Number | None = Field(None, gt=0, le=10)
    seed: Seed | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    n: int | None = Field(None, ge=1, le=4)
    modalities: list[Literal["text", "image", "audio", "video"]] | None = Field(None, min_length=1, max_length=4)
    audio: AudioOptions | None = None
    response_format: ResponseFormat | None = None
    user: str | None = Field(None, max_length=500, description="Not looked at, as the next four.")
    safety_identifier: str | None = Field(None, max_length=500)
    metadata: dict[str, str] | None = Field(None, max_length=16)
    store: bool | None = None
    service_tier: str | None = Field(None, max_length=40)
    presence_penalty: Number | None = None
    frequency_penalty: Number | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: dict[str, Any] | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    functions: list[Any] | None = None
    function_call: Any = None
    prediction: Any = None
    reasoning_effort: Any = None
    verbosity: Any = None
    web_search_options: Any = None


# field -> what it may say, beside being absent, because it is so anyway
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "prediction": (),
    "reasoning_effort": (),
    "verbosity": (),
    "web_search_options": (),
}


def check_neutral(request: ChatRequest) -> None:
    """Raises `ApiError` for a field that asks for something that is not there."""
    for name, values in NEUTRAL.items():
        value = getattr(request, name)
        if value is not None and value not in values:
            raise ApiError("not_supported", name)
    if request.response_format is not None and request.response_format.type != "text":
        raise ApiError("not_supported", "response_format")


class ImageRequest(Wire):
    """`POST /v1/images/generations`."""

    prompt: str = Field(min_length=1, max_length=4000)
    model: Name | None = None
    n: int | None = Field(None, ge=1, le=4)
    size: str | None = Field(None, max_length=20)
    response_format: Literal["b64_json", "url"] | None = Field(None, description="`url` is a data URI.")
    output_format: Literal["png"] | None = None
    output: Name | None = Field(None, description="Which output makes it, where several could.")
    seed: Seed | None = None
    quality: Literal["auto", "standard"] | None = None
    background: Literal["auto"] | None = None
    moderation: Literal["auto"] | None = None
    stream: Literal[False] | None = None
    user: str | None = Field(None, max_length=500)


class SpeechRequest(Wire):
    """`POST /v1/audio/speech`."""

    input: str = Field(min_length=1, max_length=4096)
    model: Name
    voice: str | dict[str, Any] | None = Field(None, description="A model has one voice: not looked at.")
    response_format: str | None = Field(None, max_length=20, description="`mp3` by default, as OpenAI's.")
    output: Name | None = Field(None, description="Which output speaks, where several could.")
    speed: Number | None = Field(None, ge=0.25, le=4, description="Only 1.")
    instructions: str | None = Field(None, max_length=0)
    stream_format: Literal["audio"] | None = None
    seed: Seed | None = None


class EmbeddingRequest(Wire):
    """`POST /v1/embeddings`. `input`: a text, a part, or a list of texts, parts and lists of parts: one vector each."""

    model: Name
    input: (
        str | Content | Annotated[list[str | Content | Annotated[list[Content], Field(min_length=1)]], Field(min_length=1)]
    )
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None
    user: str | None = Field(None, max_length=500)


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None
    code: str


class ErrorBody(BaseModel):
    """What every refusal looks like. `code` is one of a fixed list; see docs/serving.md."""

    error: ErrorDetail
