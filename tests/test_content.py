"""Content goes to JSON and back unchanged, and each mistake names its field and the nearest right word."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from polymodal import content, media
from polymodal.content import MODALITIES, ROLES, Message, Part
from polymodal.errors import ContentError

texts = st.text(max_size=20)
blobs = st.binary(max_size=40)
parts = st.one_of(
    st.builds(content.text, texts),
    st.builds(Part, st.sampled_from(MODALITIES), media=blobs),
    st.builds(Part, st.sampled_from(MODALITIES), media=st.sampled_from(["a.png", "dir/b c.wav", "https://x/y"])),
)
messages = st.builds(
    lambda role, parts, train: Message(role, tuple(parts), train and role == "assistant" if train else train),
    st.sampled_from(ROLES),
    st.lists(parts, max_size=5),
    st.sampled_from([None, True, False]),
)


@settings(deadline=None)  # a busy machine is no defect
@given(st.lists(messages, min_size=1, max_size=4))
def test_content_to_json_and_back_is_the_identity(conversation):
    sent = json.loads(json.dumps(content.to_json(conversation)))
    assert content.from_json(sent) == conversation


@settings(deadline=None)  # a busy machine is no defect
@given(st.lists(messages, min_size=1, max_size=4))
def test_json_to_content_and_back_is_the_identity(conversation):
    sent = content.to_json(conversation)
    assert content.to_json(content.from_json(sent)) == sent


@settings(deadline=None)  # a busy machine is no defect
@given(st.sampled_from(MODALITIES), st.binary(min_size=1, max_size=40))
def test_fingerprint_survives_json(kind, data):
    part = Part(kind, media=data)
    assert media.fingerprint(Part.from_json(part.to_json())) == media.fingerprint(part)


def test_openai_example_is_understood():
    (message,) = content.from_json(
        [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is in this image?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAEC", "detail": "high"}},
                    {"type": "input_audio", "input_audio": {"data": "AwQ=", "format": "wav"}},
                ],
            }
        ]
    )
    assert message == content.user("What is in this image?", content.image(b"\0\1\2"), content.audio(b"\3\4"))


def test_bytes_are_sent_with_the_type_that_they_show():
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2)).save(buffer, format="PNG")
    assert content.image(buffer.getvalue()).to_json()["image_url"]["url"].startswith("data:image/png;base64,iVBOR")
    assert content.audio(b"fLaC").to_json()["input_audio"]["format"] == "flac"
    assert content.image(b"?\0").to_json()["image_url"]["url"].startswith("data:application/octet-stream;base64,")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK", "L", "1", "I;16"])
def test_decoded_picture_survives_json_as_the_model_sees_it(mode):
    picture = Image.new(mode, (3, 2))
    again = Part.from_json(json.loads(json.dumps(content.image(picture).to_json())))
    np.testing.assert_array_equal(np.asarray(media.load(again)), np.asarray(media.load(content.image(picture))))


def test_turned_picture_is_sent_upright():
    picture = Image.new("RGB", (3, 2))
    picture.getexif()[0x0112] = 6
    assert media.load(Part.from_json(content.image(picture).to_json())).size == (2, 3)


def test_picture_array_survives_json():
    array = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    np.testing.assert_array_equal(media.load(Part.from_json(content.image(array).to_json())), array)


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint8])
def test_samples_survive_json_bit_for_bit(dtype):
    array = (np.random.default_rng(0).uniform(0, 1, (4000, 2)) * (1 if dtype == np.float32 else 100)).astype(dtype)
    part = content.audio((array, 8_000))
    again = Part.from_json(json.loads(json.dumps(part.to_json())))
    np.testing.assert_array_equal(media.load(again), media.load(part))


def test_path_stays_a_path():
    assert content.image(Path("a") / "b.png").to_json() == {"type": "image_url", "image_url": {"url": "a/b.png"}}
    assert Part("imu", media="walk.npy").to_json() == {"type": "imu", "imu": "walk.npy"}


@pytest.mark.parametrize(
    ("item", "error"),
    [
        ({"type": "imge_url"}, "part type 'imge_url' is not known (did you mean 'image_url'?)"),
        ({"type": "sound"}, "part type 'sound' is not known (choose from: audio, audio_url, depth"),
        ({"type": "text", "txt": "a"}, "field 'text' is missing (is 'txt' meant to be it?)"),
        ({"type": "text", "text": 3}, "field 'text' must be a string"),
        ({"type": "image_url", "image_url": "a.png"}, "field 'image_url' must be an object"),
        ({"type": "image_url", "image_url": {"uri": "a.png"}}, "field 'image_url.url' is missing (is 'uri' meant"),
        ({"type": "image_url", "image_url": {"url": None}}, "field 'image_url.url' must be a string"),
        ({"type": "image_url", "image_url": {"url": "data:;base64,@"}}, "field 'image_url.url': <data URI>: its payload"),
        ({"type": "input_audio", "input_audio": {"data": "a,b"}}, "field 'input_audio.data': <data URI>: its payload"),
        ({"type": "imu", "imuu": "a.npy"}, "field 'imu' is missing (is 'imuu' meant to be it?)"),
        ({"type": "imu", "imu": None}, "field 'imu' is missing"),
        ({"text": "a"}, "a content part must be a string or an object with a 'type'"),
        (7, "a content part must be a string or an object with a 'type'"),
    ],
)
def test_part_error_names_position_field_and_nearest_word(item, error):
    with pytest.raises(ContentError) as caught:
        content.from_json([{"role": "user", "content": "hi"}, {"role": "user", "content": ["first", item]}])
    assert str(caught.value).startswith(f"messages[1]: content[1]: {error}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("item", "error"),
    [
        ({"role": "asistant", "content": "a"}, "messages[0]: role 'asistant' is not known (did you mean 'assistant'?)"),
        ({"content": "a"}, "messages[0]: field 'role' is missing"),
        ({"role": 1, "content": "a"}, "messages[0]: field 'role' must be a string"),
        ({"role": "user"}, "messages[0].content must be a string or a list of parts"),
        ({"role": "user", "contents": "a"}, "messages[0] has an unknown field 'contents' (did you mean 'content'?)"),
        ({"role": "user", "content": "a", "train": True}, "messages[0]: only the assistant's turns can be trained on"),
        ({"role": "assistant", "content": "a", "train": "no"}, "messages[0]: field 'train' must be true, false or absent"),
        ("hi", "messages[0] must be an object with 'role' and 'content'"),
    ],
)
def test_message_error_names_position_field_and_nearest_word(item, error):
    with pytest.raises(ContentError) as caught:
        content.from_json([item])
    assert str(caught.value).startswith(error)


@pytest.mark.parametrize("empty", [[], None, {}, "hi"])
def test_conversation_without_messages_is_refused(empty):
    with pytest.raises(ContentError, match="^messages must be a non-empty list$"):
        content.from_json(empty)


def test_part_holds_text_or_media_and_never_both():
    for arguments in ({"type": "text"}, {"type": "image"}, {"type": "image", "text": "a", "media": b"a"}):
        with pytest.raises(ContentError):
            Part(**arguments)
    with pytest.raises(ContentError, match="takes no media"):
        Part("text", text="a", media=b"a")


def test_messages_take_plain_strings_and_lists():
    assert Message("user", ["a", content.text("b")]) == content.user("a", "b") == content.user("a", content.text("b"))
    assert Message("user", "ab").text == "ab"
    with pytest.raises(ContentError, match="^parts must be strings or Part objects$"):
        content.user(b"a")


def test_media_without_a_json_form_is_refused():
    with pytest.raises(ContentError, match="video media of type ndarray has no JSON form; give a path or bytes"):
        Part("video", media=np.zeros(3)).to_json()


def test_assistant_is_supervised_unless_told_otherwise():
    assert content.assistant("a").supervised
    assert not content.assistant("a", train=False).supervised
    assert not content.user("a").supervised
    assert not content.system("a").supervised
