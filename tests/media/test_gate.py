"""What may be read: only regular files, bytes and data URIs, within the limits, named by what their bytes say."""

from __future__ import annotations

import base64
import os
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polymodal.errors import MediaError
from polymodal.media import gate
from polymodal.media.gate import Limits


def refusal(source, limits=gate.DEFAULT_LIMITS) -> str:
    with pytest.raises(MediaError) as caught:
        gate.read(source, limits)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_path_bytes_and_data_uri_give_the_same_bytes(tmp_path):
    data = bytes(range(256))
    path = tmp_path / "a.bin"
    path.write_bytes(data)
    uri = "data:image/png;base64," + base64.b64encode(data).decode()
    assert gate.read(path) == (data, str(path))
    assert gate.read(str(path)) == (data, str(path))
    assert gate.read(data) == (data, "<bytes>")
    assert gate.read(memoryview(data)) == (data, "<bytes>")
    assert gate.read(uri) == (data, "<data URI>")
    assert gate.read(uri.replace("+", "%2B").replace("=", "%3D")) == (data, "<data URI>")
    assert gate.read("data:,a%20b") == (b"a b", "<data URI>")


@pytest.mark.parametrize(
    "url", ["http://example.org/a.png", "https://example.org/a.png", "HTTPS://x/y", "file:///etc/hosts", "s3://b/k"]
)
def test_urls_are_refused_and_never_fetched(url):
    assert refusal(url) == f"{url}: URLs are never fetched; download it and give the path, the bytes or a data URI"


def test_missing_file_is_refused_by_name(tmp_path):
    assert refusal(tmp_path / "gone.png") == f"{tmp_path}/gone.png: no such file"
    assert refusal("") == "'': no such file"


def test_folder_is_refused(tmp_path):
    assert "is a folder" in refusal(tmp_path) or "is not a regular file" in refusal(tmp_path)


def test_empty_file_is_refused_by_name(tmp_path):
    (tmp_path / "empty.png").touch()
    assert refusal(tmp_path / "empty.png").endswith("empty.png: is empty (0 bytes)")
    assert refusal(b"") == "<bytes>: is empty (0 bytes)"
    assert refusal("data:image/png;base64,") == "<data URI>: is empty (0 bytes)"


def test_size_is_refused_before_reading(tmp_path):
    path = tmp_path / "big.wav"
    with path.open("wb") as file:
        file.truncate(50_000_000_000)  # sparse: takes no room on the disk, and could not be read into memory
    start = time.process_time()
    assert refusal(path).endswith("big.wav: 5e+04 MB is over the limit of 100 MB")
    assert time.process_time() - start < 1
    assert "over the limit of 1e-05 MB" in refusal(b"12345678901", Limits(max_bytes=10))
    assert "over the limit of 1e-05 MB" in refusal("data:;base64," + "A" * 24, Limits(max_bytes=10))


def test_file_of_exactly_the_limit_is_read(tmp_path):
    (tmp_path / "a").write_bytes(b"1234567890")
    assert gate.read(tmp_path / "a", Limits(max_bytes=10))[0] == b"1234567890"


def test_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")  # nobody will ever write into it
    assert refusal(tmp_path / "pipe.png").endswith("pipe.png: is not a regular file")


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_device_is_refused(device):
    assert refusal(device) == f"{device}: is not a regular file"


@pytest.mark.parametrize("payload", ["@@@", "QUJD@@@@", "QUJ", "QUJDé", "QU JD"])
def test_bad_base64_is_refused(payload):
    assert refusal(f"data:image/png;base64,{payload}").startswith("<data URI>: its payload is not base64 (")


def test_data_uri_without_a_payload_is_refused():
    assert refusal("data:image/png") == "<data URI>: has no comma between its type and its payload"


def test_server_limits_refuse_every_path_but_take_bytes(tmp_path):
    limits = Limits(allow_files=False)
    assert refusal("/etc/hosts", limits) == "/etc/hosts: files are not opened here; send the bytes or a data URI"
    assert refusal(tmp_path / "gone", limits).endswith("send the bytes or a data URI")  # existence is not told either
    assert gate.read("data:,x", limits)[0] == b"x"


@pytest.mark.parametrize("source", [None, 3, ["a"], object()])
def test_other_types_are_refused(source):
    assert "cannot be read; give a path, bytes or a data URI" in refusal(source)


def test_hostile_names_stay_one_short_line():
    assert refusal("a\nb\x1b[31m") == "a?b?[31m: no such file"
    assert refusal("a\0b").startswith("a?b: cannot be read (")
    assert len(refusal("x" * 100_000)) < 200  # a base64 string without its `data:` prefix ends up here


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b"\x89PNG\r\n\x1a\n", "png"),
        (b"\xff\xd8\xff\xe0", "jpeg"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "webp"),
        (b"GIF89a", "gif"),
        (b"BM\x36\0\0\0\0\0\0\0", "bmp"),
        (b"II*\0", "tiff"),
        (b"MM\0*", "tiff"),
        (b"\0\0\0\x20ftypavif\0\0\0\0", "avif"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "avif"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "heic"),
        (b"RIFF\0\0\0\0WAVEfmt ", "wav"),
        (b"fLaC", "flac"),
        (b"OggS", "ogg"),
        (b"ID3\x04", "mp3"),
        (b"\xff\xfb\x90\xc4", "mp3"),
        (b"\xff\xf1\x50\x80", "aac"),
        (b"\0\0\0\x20ftypM4A \0\0\0\0", "m4a"),
        (b"\0\0\0\x20ftypisom\0\0\0\0", "mp4"),
        (b"\x1aE\xdf\xa3", "webm"),
        (b"ply\nformat ascii 1.0\n", "ply"),
        (b"ply\r\nformat ascii 1.0\r\n", "ply"),
        (b"plywood", "text"),
        (b"glTF\2\0\0\0", "glb"),
        (b"\2\0\0\0\0\0\0\0{}", "safetensors"),
        (b"\3\0\0\0\0\0\0\0{}", "unknown"),
        (b"BMW is a car", "text"),
        ("größe".encode(), "text"),
        ("ü".encode() * 400, "text"),  # 512 bytes end inside a character, or not
        (b"x" + "ü".encode() * 400, "text"),
        ("hello".encode("utf-16"), "text"),
        (b"\xff\xfe\x00", "text"),
        (b"\0\1\2\3", "unknown"),
        (b"", "unknown"),
    ],
)
def test_format_is_what_the_bytes_say(head, found):
    assert gate.sniff(head) == found


@settings(deadline=None)  # a busy machine is no defect
@given(st.binary(max_size=600))
def test_sniffing_any_bytes_returns_a_name(data):
    assert gate.sniff(data).isalnum()


def test_wrong_format_is_refused_by_what_it_looks_like():
    with pytest.raises(MediaError, match=r"^notes\.png is not a picture \(its first bytes look like text; a picture is"):
        gate.expect(b"hello", "notes.png", ("png", "jpeg"), "picture")
