"""What a model makes, from the shell: files, their names, what is said of them, and what is shown."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from polymodal.cli_media import kept, shown, told
from polymodal.content import Part, text
from polymodal.errors import MediaError
from polymodal.media import load, writing
from polymodal.model.composition import Composition
from polymodal.model.conversation import Answer
from tests.conftest import picture, run_command
from tests.outputs import eager, with_output


@pytest.fixture(scope="module")
def drawer(tiny_recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawer") / "model"
    eager(Composition.from_recipe(with_output(tiny_recipe, "signals"))).save(folder)
    return folder


ASKED = ("draw a cat", "--max-new-tokens", "3", "--seed", "5")


def test_ask_writes_what_was_made_and_says_where(drawer, tmp_path, monkeypatch, capsys):
    out = tmp_path / "new" / "pictures"
    made = 0
    for _ in range(2):
        code, said, _ = run_command(monkeypatch, capsys, "ask", *ASKED, "-m", drawer, "--out", out)
        assert code == 0
        assert f"picture: {out / f'image-{made + 1}.png'}" in said  # nothing is written over
        before, made = made, len(list(out.iterdir()))
    assert made == 2 * before > 0
    first, second = (Image.open(out / f"image-{number}.png") for number in (1, before + 1))
    assert first.tobytes() == second.tobytes()  # of one seed


def test_ask_writes_nothing_unless_it_is_told_where_and_something_was_made(drawer, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, said, _ = run_command(monkeypatch, capsys, "ask", *ASKED, "-m", drawer)
    assert code == 0
    assert "a picture was made; --out FOLDER keeps it" in said
    assert not list(tmp_path.iterdir())


def test_json_holds_files_or_bytes(drawer, tmp_path, monkeypatch, capsys):
    _, said, _ = run_command(monkeypatch, capsys, "ask", *ASKED, "-m", drawer, "--json", "--out", tmp_path)
    (made,) = [part for part in json.loads(said)["parts"] if part["type"] == "image_url"][:1]
    assert made["image_url"]["url"] == str(tmp_path / "image-1.png")
    assert made["output"] == "image"
    _, said, _ = run_command(monkeypatch, capsys, "ask", *ASKED, "-m", drawer, "--json")
    answer = json.loads(said)
    (made,) = [part for part in answer["parts"] if part["type"] == "image_url"][:1]
    assert made["image_url"]["url"].startswith("data:image/png;base64,")
    assert answer["sampling"] == {"seed": 5}


def test_chat_writes_what_was_made_and_goes_on(drawer, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("draw a cat\nhello\n"))
    code, said, _ = run_command(
        monkeypatch, capsys, "chat", "-m", drawer, "--out", tmp_path / "made", "--max-new-tokens", "3", "--seed", "1"
    )
    assert code == 0
    assert "image-1.png" in said.replace("\n", "")
    assert (tmp_path / "made" / "image-1.png").is_file()


def answer(*parts: Part) -> Answer:
    return Answer(list(parts), {}, {})


def console(width: int = 200) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, width=width, force_terminal=True, color_system="truecolor", highlight=False), file


def test_what_failed_is_said_and_nothing_is_written_for_it(tmp_path):
    made = kept(answer(text("so: "), Part("audio", caption="hello", failed="no voice: fetch it")), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    out, file = console()
    told(made, out)
    assert 'no recording "hello": no voice: fetch it' in file.getvalue()


def test_a_picture_is_shown_in_half_blocks_and_nothing_else_is(tmp_path):
    out, file = console()
    shown(Part("image", media=Image.new("RGB", (8, 4), (255, 0, 0))), out)
    lines = file.getvalue().splitlines()
    assert len(lines) == 8
    assert all(line.count("▀") == 32 for line in lines)
    assert "38;2;255;0;0" in lines[0]
    out, file = console()
    shown(Part("audio", media=(np.zeros(8, np.float32), 16000)), out)
    plain = io.StringIO()
    shown(Part("image", media=picture(1)), Console(file=plain))
    assert file.getvalue() == plain.getvalue() == ""


def clip(frames: int = 6) -> tuple[list[Image.Image], float]:
    return [Image.new("RGB", (32, 16), (40 * i, 0, 0)) for i in range(frames)], 8.0


MEDIA = {"image": (picture(1, (8, 8)), "png"), "audio": ((np.linspace(-1, 1, 8000, dtype=np.float32), 16000), "wav")}
MEDIA["video"] = (clip(), "mp4")


@pytest.mark.parametrize("kind", MEDIA)
def test_what_is_written_is_read_again_and_has_equal_bytes_each_time(kind, tmp_path):
    media, suffix = MEDIA[kind]
    files = [writing.write(tmp_path, kind, media) for _ in range(2)]
    assert [file.name for file in files] == [f"{kind}-1.{suffix}", f"{kind}-2.{suffix}"]
    assert files[0].read_bytes() == files[1].read_bytes()
    found = load(Part(kind, media=files[0]))
    if kind == "image":
        assert found.tobytes() == media.tobytes()
    elif kind == "audio":
        assert np.abs(found - media[0]).max() < 1e-3
    else:
        assert (len(found.starts), round(found.seconds, 2)) == (6, 0.75)
    again = writing.write(tmp_path, kind, files[0])  # of what is a file already, the bytes
    assert again.read_bytes() == files[0].read_bytes()
    assert json.dumps(Part(kind, media=media, output="it").to_json())


def test_what_has_no_file_format_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(MediaError, match="image media of type ndarray has no file format"):
        writing.write(tmp_path / "out", "image", np.zeros((2, 2)))
    assert not (tmp_path / "out").exists()
