"""The official `openai` client against a live server: chat with image and audio, streaming, errors, images, speech."""

from __future__ import annotations

import base64
import io

import openai
import pytest
import soundfile
from PIL import Image

from polymodal.content import Part, user
from polymodal.model.generation import Sampling
from polymodal.serving.app import TRANSCRIPTION
from polymodal.serving.routes.transcriptions import TOKENS
from tests.serving.conftest import asks, data_uri, png, wav

TEXT = {"modalities": ["text"]}  # nothing is made


def sound_part(data: bytes) -> dict:
    return {"type": "input_audio", "input_audio": {"data": base64.b64encode(data).decode(), "format": "wav"}}


def test_answers_by_http_are_those_of_the_library(client, maker):
    sampling = Sampling(max_new_tokens=8, temperature=0.7, seed=11, most_media=0)
    parts = [Part("image", media=png(1)), "what is this? ", Part("audio", media=wav())]
    expected = maker.generate([[user(*parts)]], sampling)[0]
    body = asks(png(1), "what is this? ", sound_part(wav()), temperature=0.7, seed=11, **TEXT)
    reply = client.chat.completions.create(**body)
    assert reply.choices[0].message.content == "".join(part.text or "" for part in expected) != ""
    assert reply.usage.prompt_tokens + reply.usage.completion_tokens == reply.usage.total_tokens
    assert reply.usage.completion_tokens <= 8


def test_a_stream_is_the_same_answer_in_pieces(client):
    body = asks("hello", png(), temperature=1.0, seed=5, n=2, **{**TEXT, "max_tokens": 12})
    whole = client.chat.completions.create(**body)
    said, ends, used = ["", ""], {}, None
    for chunk in client.chat.completions.create(**body, stream=True, stream_options={"include_usage": True}):
        for choice in chunk.choices:
            said[choice.index] += choice.delta.content or ""
            ends[choice.index] = choice.finish_reason or ends.get(choice.index)
        used = chunk.usage or used
    assert said == [choice.message.content for choice in whole.choices]
    assert ends == {choice.index: choice.finish_reason for choice in whole.choices}
    assert used.completion_tokens == whole.usage.completion_tokens
    assert said[0] != said[1]


def test_an_answer_ends_before_a_stop_string(client):
    body = asks("hello", temperature=1.0, seed=2, **{**TEXT, "max_tokens": 30})
    whole = client.chat.completions.create(**body).choices[0].message.content
    stop = whole[5:8]
    cut = client.chat.completions.create(**body, stop=[stop]).choices[0]
    assert cut.message.content == whole[: whole.index(stop)]
    assert cut.finish_reason == "stop"
    streamed = client.chat.completions.create(**body, stop=stop, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed) == cut.message.content


def test_a_made_picture_is_a_content_part_and_can_be_sent_back(client, maker):
    body = asks("draw a cat", seed=4)
    message = client.chat.completions.create(**body).choices[0].message
    (made, *_) = [part for part in message.content if part["type"] == "image_url"]
    drawn = Image.open(io.BytesIO(base64.b64decode(made["image_url"]["url"].partition(",")[2])))
    expected = maker.generate([[user("draw a cat")]], Sampling(max_new_tokens=8, seed=4, most_media=4))[0]
    picture = next(part.media for part in expected if part.type == "image")
    assert drawn.tobytes() == picture.tobytes()
    stream = client.chat.completions.create(**body, stream=True)
    parts = [part for chunk in stream for part in getattr(chunk.choices[0].delta, "content_parts", None) or ()]
    assert parts == [part for part in message.content if part["type"] != "text"]
    messages = [*body["messages"], message.model_dump(), {"role": "user", "content": "what is this?"}]
    again = client.chat.completions.create(**{**body, "messages": messages}, modalities=["text"])
    assert isinstance(again.choices[0].message.content, str)


@pytest.mark.parametrize(
    ("change", "error", "code"),
    [
        ({"model": "gpt-4o"}, openai.NotFoundError, "model_not_found"),
        ({"model": "../../secret"}, openai.NotFoundError, "model_not_found"),
        ({"messages": []}, openai.BadRequestError, "invalid_field"),
        ({"messages": [{"role": "assistant", "content": "hi"}]}, openai.BadRequestError, "nothing_to_answer"),
        ({"messages": [{"role": "tool", "content": "hi"}]}, openai.BadRequestError, "invalid_field"),
        ({"temperature": 3}, openai.BadRequestError, "invalid_field"),
        ({"temperature": "hot"}, openai.BadRequestError, "invalid_field"),
        ({"n": 5}, openai.BadRequestError, "invalid_field"),
        ({"max_tokens": 10**6}, openai.BadRequestError, "tokens_over_limit"),
        ({"stop": ["a"] * 5}, openai.BadRequestError, "invalid_field"),
        ({"logprobs": True}, openai.BadRequestError, "not_supported"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, openai.BadRequestError, "not_supported"),
        ({"response_format": {"type": "json_object"}}, openai.BadRequestError, "not_supported"),
        ({"modalities": ["text", "video"]}, openai.BadRequestError, "output_not_supported"),
        ({"messages": [{"role": "user", "content": "a b " * 2000}]}, openai.BadRequestError, "context_length_exceeded"),
        ({"extra_body": {"chat_template": "{{ 7 * 7 }}"}}, openai.BadRequestError, "unknown_field"),
        ({"extra_body": {"trust_remote_code": True}}, openai.BadRequestError, "unknown_field"),
    ],
)
def test_refusals_are_the_clients_own_errors(client, change, error, code):
    with pytest.raises(error) as caught:
        client.chat.completions.create(**{**asks("hi"), **change})
    assert caught.value.code == code


def test_fields_that_ask_for_nothing_are_taken(client):
    more = {"user": "me", "metadata": {"a": "b"}, "store": False, "logprobs": False, "presence_penalty": 0, "tools": []}
    client.chat.completions.create(**asks("hi", **more, response_format={"type": "text"}, **TEXT))


def test_models_say_what_goes_in_and_out(client):
    (model,) = client.models.list().data
    assert model == client.models.retrieve("tiny")
    assert (model.id, model.inputs, model.outputs) == ("tiny", ["text", "audio", "image"], ["text", "audio", "image"])


def test_pictures_on_order_are_repeatable(client):
    one = client.images.generate(model="tiny", prompt="a cat", n=2, extra_body={"seed": 3})
    two = client.images.generate(model="tiny", prompt="a cat", response_format="url", extra_body={"seed": 4})
    first, second = (base64.b64decode(data.b64_json) for data in one.data)
    assert Image.open(io.BytesIO(first)).size == (8, 8)
    assert first != second
    assert two.data[0].url == data_uri(second)
    for change, code in (
        ({"size": "1024x1024"}, "size_not_supported"),
        ({"extra_body": {"output": "x"}}, "output_not_supported"),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            client.images.generate(model="tiny", prompt="a cat", **change)
        assert caught.value.code == code


@pytest.mark.parametrize("kind", ["mp3", "wav", "flac", "pcm"])
def test_speech_says_the_words_it_is_given(client, kind):
    reply = client.audio.speech.create(model="tiny", voice="alloy", input="one two three", response_format=kind)
    data = reply.read()
    if kind == "pcm":
        assert len(data) == 2 * 4800
        return
    samples, rate = soundfile.read(io.BytesIO(data))
    assert abs(len(samples) / rate - 0.3) < (0.15 if kind == "mp3" else 0.001)


def test_what_cannot_be_said_is_refused_in_fixed_words(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.speech.create(model="tiny", voice="alloy", input="   ")
    assert caught.value.code == "cannot_say"
    assert "secret" not in str(caught.value)
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.speech.create(model="tiny", voice="alloy", input="a", response_format="opus")
    assert caught.value.code == "speech_format"


def test_a_transcription_is_the_answer_to_the_recording(client, maker):
    heard = client.audio.transcriptions.create(model="tiny", file=("a.mp3", wav()))
    asked = user(Part("audio", media=wav()), TRANSCRIPTION)
    expected = maker.generate([[asked]], Sampling(max_new_tokens=TOKENS, most_media=0))[0]
    assert heard.text[:200] == "".join(part.text or "" for part in expected).strip()[:200] != ""
    plain = client.audio.transcriptions.create(model="tiny", file=("a.wav", wav()), response_format="text")
    assert plain.strip() == heard.text
    for data, code in ((png(), "media_format_not_allowed"), (b"", "media_damaged")):
        with pytest.raises(openai.BadRequestError) as caught:
            client.audio.transcriptions.create(model="tiny", file=("a.wav", data))
        assert caught.value.code == code


def test_text_and_media_have_embeddings_in_one_space(client):
    part = asks(png())["messages"][0]["content"][0]
    reply = client.embeddings.create(model="tiny", input=["a cat", part, [part, {"type": "text", "text": "a cat"}]])
    vectors = [data.embedding for data in reply.data]
    assert [len(vector) for vector in vectors] == [32] * 3
    assert all(abs(sum(x * x for x in vector) - 1) < 1e-5 for vector in vectors)
    assert len({tuple(vector) for vector in vectors}) == 3
    single = client.embeddings.create(model="tiny", input="a cat", encoding_format="float")
    assert single.data[0].embedding == pytest.approx(vectors[0], abs=1e-6)
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model="tiny", input="")
