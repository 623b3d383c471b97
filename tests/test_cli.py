"""The command line: answers on stdout, one line and exit code 2 for every bad input, a fast start."""

from __future__ import annotations

import io
import json
import re
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import yaml

from polymodal import cli
from polymodal.content import text
from polymodal.model.conversation import Answer
from polymodal.training import checking
from tests.conftest import picture, run_command, sound


@pytest.fixture(scope="module")
def model(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "model"
    tiny.save(folder)
    return folder


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds nothing."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [b"IHDR" + head, b"IDAT" + zlib.compress(b""), b"IEND"]
    framed = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def wav_header(seconds: float, rate: int = 16000) -> bytes:
    """A WAV file that claims a duration and holds nothing."""
    size = int(seconds * rate) * 2
    form = struct.pack("<IHHIIHH", 16, 1, 1, rate, rate * 2, 2, 16)
    return b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " + form + b"data" + struct.pack("<I", size)


def jpeg() -> bytes:
    out = io.BytesIO()
    picture(1, (200, 200)).save(out, "JPEG")
    return out.getvalue()


def nan_wav() -> bytes:
    out = io.BytesIO()
    soundfile.write(out, np.full(8000, np.nan, dtype=np.float32), 16000, format="WAV", subtype="FLOAT")
    return out.getvalue()


ANSWER = Answer([text("it does")], {"total": 0.1}, {"prompt": 1})
BAD_MEDIA = {
    "missing": ("--image", None, "no such file"),
    "empty": ("--image", b"", "empty"),
    "truncated.jpg": ("--image", jpeg()[:400], "truncated"),
    "text.png": ("--image", b"these are words, not a picture", "not a picture"),
    "huge.png": ("--image", png_header(20000, 20000), "400 megapixels"),
    "silent.wav": ("--audio", wav_header(0), ""),
    "long.wav": ("--audio", wav_header(36000), "36,?000|10 h|600"),
    "nan.wav": ("--audio", nan_wav(), "NaN|finite"),
}


@pytest.mark.parametrize("name", BAD_MEDIA)
def test_bad_media_is_one_line_that_names_the_file(name, model, tmp_path, monkeypatch, capsys):
    option, data, reason = BAD_MEDIA[name]
    file = tmp_path / name
    if data is not None:
        file.write_bytes(data)
    before = sorted(tmp_path.iterdir())
    code, out, err = run_command(monkeypatch, capsys, "ask", "what is this?", option, file, "--model", model)
    assert code == 2
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert name in err
    assert re.search(reason, err)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("command", ["ask", "check"])
def test_a_model_that_is_not_there_is_one_line(command, tmp_path, monkeypatch, capsys):
    data = tmp_path / "data.jsonl"
    data.write_text('{"messages": [{"role": "user", "content": "hi"}]}\n')
    argument = "hi" if command == "ask" else data
    code, out, err = run_command(monkeypatch, capsys, command, argument, "--model", tmp_path / "nothing")
    assert (code, out, len(err.strip().splitlines())) == (2, "", 1)
    assert "polymodal.json" in err


@pytest.mark.parametrize("change", ["missing", "extra"])
def test_a_checkpoint_with_a_missing_or_extra_tensor_is_one_line(change, model, tmp_path, monkeypatch, capsys):
    import shutil

    import torch
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(model, tmp_path / "model")
    file = folder / "inputs.image.projector.safetensors"
    state = load_file(file)
    state.pop("layers.0.bias") if change == "missing" else state.update(extra=torch.zeros(1))
    save_file(state, file)
    code, out, err = run_command(monkeypatch, capsys, "ask", "hi", "--model", folder)
    assert (code, out, len(err.strip().splitlines())) == (2, "", 1)
    assert ("layers.0.bias' is missing" if change == "missing" else "'extra' is unexpected") in err


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("modell", {}, "needs the key 'model' (did you mean 'modell'?)"),
        ("model.inputs.image.projektor", {}, "did you mean 'projector'"),
        ("model.inputs.image.projector.deep", 3, "did you mean 'depth'"),
        ("model.inputs.image.projector.kind", "mpl", "did you mean 'mlp'"),
        ("model.inputs.image.projector.width_in", 99, "the encoder emits width 24"),
        ("model.inputs.imag", {}, "did you mean 'image'"),
    ],
)
def test_a_wrong_recipe_names_the_key_and_the_nearest(key, value, says, tiny_recipe, tmp_path, monkeypatch, capsys):
    recipe = json.loads(json.dumps(tiny_recipe()))
    node = recipe
    *path, last = key.split(".")
    for step in path:
        node = node[step]
    if key == "modell":
        recipe["modell"] = recipe.pop("model")
    elif key == "model.inputs.imag":
        node["imag"] = node.pop("image")
    elif key.endswith("projektor"):
        node["projektor"] = node.pop("projector")
    else:
        node[last] = value
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe))
    code, out, err = run_command(monkeypatch, capsys, "compose", file)
    assert (code, out, len(err.strip().splitlines())) == (2, "", 1)
    assert says in err


def test_ask_json_has_the_promised_fields(model, tmp_path, monkeypatch, capsys):
    picture(1).save(tmp_path / "a.png")
    soundfile.write(tmp_path / "b.wav", *sound(0.4))
    media = ["--image", tmp_path / "a.png", "--image", tmp_path / "a.png", "--audio", tmp_path / "b.wav"]
    code, out, _ = run_command(monkeypatch, capsys, "ask", "what?", *media, "-m", model, "--json", "--max-new-tokens", "5")
    answer = json.loads(out)
    assert code == 0
    assert set(answer) == {"text", "parts", "timing", "tokens", "sampling"}
    assert answer["parts"] == [{"type": "text", "text": answer["text"]}]
    assert answer["tokens"]["media"] == 16 + 16 + 5
    assert answer["tokens"]["generated"] <= 5
    assert answer["timing"]["total"] >= answer["timing"]["first"] > 0


def test_ask_takes_clips_and_says_so_where_a_model_does_not(model, tmp_path, monkeypatch, capsys):
    frames = [picture(i) for i in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=100)
    code, out, err = run_command(monkeypatch, capsys, "ask", "what moves?", "--video", tmp_path / "a.gif", "-m", model)
    assert (code, out) == (2, "")
    assert err == "error: this model takes no video; it takes audio, image\n"
    asked = []
    monkeypatch.setattr(cli, "_load", lambda model, threads: SimpleNamespace(ask=lambda *a, **k: asked.append(a) or ANSWER))
    code, out, _ = run_command(
        monkeypatch, capsys, "ask", "--json", "-v", "a.gif", "-v", "b.mp4", "-i", "c.png", "what moves?"
    )
    assert (code, json.loads(out)) == (0, ANSWER.to_json())
    assert asked == [("what moves?", [Path("c.png")], (), [Path("a.gif"), Path("b.mp4")])]


def test_ask_prints_the_answer_and_nothing_else(model, tiny, monkeypatch, capsys):
    code, out, err = run_command(monkeypatch, capsys, "ask", "what is this?", "-m", model, "--max-new-tokens", "8")
    from polymodal.model.generation import Sampling

    assert code == 0
    assert out == tiny.ask("what is this?", sampling=Sampling(max_new_tokens=8)).text + "\n"
    assert err == ""


def test_chat_keeps_a_conversation_and_survives_bad_paths(model, tmp_path, monkeypatch, capsys):
    picture(1).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("words")
    lines = [f"/image {tmp_path}/a.png", "what is this?", "is it red?", "/image nowhere.png", f"/image {tmp_path}/b.png"]
    lines += [
        "and this?",
        f"/video {tmp_path}/a.png",
        "does it move?",
        "/history",
        "/reset",
        "/history",
        "/help",
        "/quit",
        "never read",
    ]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines) + "\n"))
    code, out, _ = run_command(monkeypatch, capsys, "chat", "-m", model, "--max-new-tokens", "4")
    assert code == 0
    assert "a.png goes with your next message" in out
    assert "there is no file 'nowhere.png'" in out
    assert "not a picture" in " ".join(out.split())  # long paths wrap
    assert "takes no video" in out
    shown, after = out.split("forgotten")
    assert shown.count("user:") == 2
    assert "and this?" not in shown.split("user:", 1)[1]
    assert "user:" not in after
    assert "/reset" in after


def test_compose_shows_every_part_and_what_an_item_costs(tiny_recipe, tmp_path, monkeypatch, capsys):
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(tiny_recipe()))
    code, out, _ = run_command(monkeypatch, capsys, "compose", file, "model.inputs.audio.projector.stack=8", "--json")
    report = json.loads(out)
    assert code == 0
    assert [row["part"] for row in report["parts"]][0] == "backbone"
    assert len(report["parts"]) == 5
    assert report["positions"] == {"image": 16, "audio": 63}
    assert report["export"]["llava"] is False


def chat(folder, *answers, name="data.jsonl"):
    """A file of one-picture conversations with these answers; its picture is a.png."""
    picture(1).save(folder / "a.png")
    content = [{"type": "image_url", "image_url": {"url": "a.png"}}, {"type": "text", "text": "what is this?"}]
    rows = ([{"role": "user", "content": content}, {"role": "assistant", "content": answer}] for answer in answers)
    (folder / name).write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    return folder / name


def test_check_shows_ignored_supervised_and_media(model, tmp_path, monkeypatch, capsys):
    code, out, err = run_command(monkeypatch, capsys, "check", chat(tmp_path, "a red cat"), "-m", model)
    assert (code, err) == (0, "")
    assert "⟨image × 16⟩" in out
    assert "a red cat<|im_end|>" in out
    assert "supervised" in out
    assert "every distinct item was decoded" in out


def test_check_lists_errors_by_row_and_field_and_exits_with_2(model, tmp_path, monkeypatch, capsys):
    data = chat(tmp_path, *["a cat"] * 5)
    data.write_text(data.read_text().replace('"content": "a cat"', '"contnt": "a cat"', 4))
    code, out, err = run_command(monkeypatch, capsys, "check", data, "-m", model, "--errors", "3")
    assert code == 2
    lines = err.strip().splitlines()
    assert [line.split(":")[1].strip() for line in lines[:3]] == ["data.jsonl"] * 3
    assert [line.split(":")[2] for line in lines[:3]] == ["1", "2", "3"]
    assert "'contnt'" in lines[0]
    assert lines[3:] == ["error: and 1 more rows; --errors 4 lists them"]
    assert "lengths in positions" in out


def test_check_json_has_the_numbers(model, tiny, tmp_path, monkeypatch, capsys):
    data = chat(tmp_path, "a cat", "a dog", "", "a cat")
    test = chat(tmp_path, "a cat", name="test.jsonl")
    options = ["--json", "--fast", "--rate", "100", "--batch", "2", "--held-out", test]
    code, out, _ = run_command(monkeypatch, capsys, "check", data, "-m", model, *options)
    found = json.loads(out)
    assert code == 0
    mine = found["sources"]["data"]
    width = tiny.model.modalities["image"].encoder.width
    assert mine["media"] == {"image": {"items": 4, "unique": 1, "positions": 64, "cache_bytes": 16 * width * 2}}
    assert {what: (warning["count"], len(warning["rows"])) for what, warning in mine["warnings"].items()} == {
        checking.CONTRADICTORY: (2, 2),
        checking.EMPTY: (1, 1),
        checking.TWICE: (1, 1),
    }
    (stage,) = found["stages"]
    assert (stage["steps"], stage["batch"]) == (2, 2)
    assert stage["seconds"] == pytest.approx(stage["positions"] / 100)
    assert stage["positions"] == pytest.approx(mine["positions_per_epoch"], rel=0.01)
    assert found["leaks"] == [{"held_out": "held-out-1", "trained": "data", "modality": "image", "items": 1}]
    assert found["media"] == "headers"


def test_check_takes_a_recipe_with_all_its_sources(tiny_recipe, tmp_path, monkeypatch, capsys):
    data, test = chat(tmp_path, "a cat"), chat(tmp_path, "a cat", name="test.jsonl")
    stage = {"name": "one", "train": {"inputs.*.projector.*": 1e-3}, "data": {"mine": 1.0}, "steps": 3, "batch": 2}
    sources = {name: {"kind": "messages", "path": str(file)} for name, file in (("mine", data), ("test", test))}
    recipe = {**tiny_recipe(), "data": sources, "stages": [stage], "run": {"folder": str(tmp_path / "run")}}
    recipe["evaluate"] = {"asked": {"data": {"kind": "messages", "path": str(chat(tmp_path, "b", name="asked.jsonl"))}}}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe))
    code, out, _ = run_command(monkeypatch, capsys, "check", tmp_path / "r.yaml", "stages.0.steps=5", "--time", "--json")
    found = json.loads(out)
    assert code == 0
    assert {name: source["held_out"] for name, source in found["sources"].items()} == {
        "mine": False,
        "test": True,
        "evaluate.asked": True,
    }
    assert [leak["held_out"] for leak in found["leaks"]] == ["test", "evaluate.asked"]
    assert found["stages"][0]["steps"] == 5
    assert found["stages"][0]["seconds"] > 0
    assert found["encode_seconds"]["image"] > 0
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rows", "some"], "--rows 'some'"),
        (["--kind", "mesages"], "did you mean 'messages'"),
        (["folder"], "an option of the data reads KEY=VALUE"),
        (["folder=x"], "no option 'folder'"),
        (["--kind", "llava"], "field 'conversations' is missing"),
    ],
)
def test_check_refuses_in_one_line(arguments, said, model, tmp_path, monkeypatch, capsys):
    code, _, err = run_command(monkeypatch, capsys, "check", chat(tmp_path, "a cat"), "-m", model, *arguments)
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert said in err


def test_help_starts_in_under_a_second():
    """The best of three: what the program needs, not what else the machine is doing."""
    best = 99.0
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "polymodal.cli", "--help"], check=True, capture_output=True)
        best = min(best, time.perf_counter() - began)
    assert best < 1.0


def test_starting_imports_nothing_heavy():
    script = "import sys, polymodal.cli; print([m for m in ('torch', 'transformers', 'numpy', 'av') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert out.stdout.strip() == "[]"


def test_compose_shows_the_adapters_that_stages_attach(tiny_recipe, tmp_path, monkeypatch, capsys):
    from tests.training.runs import raw_recipe, stage, write_pictures

    adapters = {"backbone.lm.*.[qv]_proj": {"kind": "lora", "r": 2, "rate": 1e-3}}
    data = {"pictures": write_pictures(tmp_path)}
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(raw_recipe(tiny_recipe(), tmp_path / "run", data, stage(train={}, peft=adapters))))
    code, out, _ = run_command(monkeypatch, capsys, "compose", file, "--json")
    assert code == 0
    rows = {row["part"]: row for row in json.loads(out)["parts"]}
    assert rows["backbone.peft"]["trained"] == rows["backbone.peft"]["parameters"] > 0
    assert sum(row["trained"] for row in rows.values()) == rows["backbone.peft"]["trained"]
