"""Points, sensors, depth and temperature in one model and one conversation, beside pictures and clips."""

from __future__ import annotations

import io
import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from tests.conftest import CLIP, picture, run_command

from polymodal.content import Part, from_json, to_json, user
from polymodal.errors import ContentError, MediaError
from polymodal.model.composition import Composition
from polymodal.model.generation import Sampling
from polymodal.model.report import describe, table

VISION = {"kind": "vision", "config": dict(CLIP)}
BLOCKS = {"width": 24, "depth": 1, "heads": 3}
ENCODERS = {
    "image": VISION,
    "video": {"kind": "frames", "of": VISION, "frames": 2},
    "points": {"kind": "point-patches", "groups": 6, "size": 4, **BLOCKS},
    "imu": {"kind": "series", "rate": 10, "channels": ["ax", "ay"], "units": "g", "patch": 5, "window": 20, **BLOCKS},
    "depth": {"kind": "maps", "modality": "depth", "unit": "millimetres", "range": [300, 9000], "of": VISION},
    "thermal": {"kind": "maps", "modality": "thermal", "unit": "celsius", "range": [0, 50], "of": VISION},
    "segmentation": {"kind": "segments", "of": VISION},
}
POSITIONS = {"image": 16, "video": 32, "points": 6, "imu": 20, "depth": 16, "thermal": 16, "segmentation": 16}


@pytest.fixture(scope="module")
def model(tiny_recipe):
    return Composition.from_recipe(
        tiny_recipe(**{k: {"encoder": e, "projector": {"kind": "mlp"}} for k, e in ENCODERS.items()})
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A file of each kind, as a person has them."""
    folder = tmp_path_factory.mktemp("media")
    rng = np.random.default_rng(0)
    np.save(folder / "chair.npy", rng.random((40, 3)))
    (folder / "walk.csv").write_text("time,ax [g],ay [g]\n" + "".join(f"{i / 10},{i},{-i}\n" for i in range(100)))
    Image.fromarray(rng.integers(300, 9000, (20, 30), dtype=np.uint16)).save(folder / "room.png")
    np.save(folder / "room.npy", rng.uniform(10, 40, (20, 30)))
    picture(1).save(folder / "cat.png")
    picture(3).save(folder / "parts.png")
    picture(1).save(folder / "cat.gif", save_all=True, append_images=[picture(2)], duration=100)
    names = {"points": "chair.npy", "imu": "walk.csv", "depth": "room.png", "thermal": "room.npy"}
    names |= {"segmentation": "parts.png"}
    names |= {"image": "cat.png", "video": "cat.gif"}
    return {kind: folder / name for kind, name in names.items()}


def test_every_kind_takes_its_positions_in_one_question(model, files):
    media = [Part(kind, media=file) for kind, file in files.items()]
    answer = model.ask("what is this?", media=media, sampling=Sampling(max_new_tokens=3))
    assert answer.tokens["media"] == sum(POSITIONS.values())
    named = {"images": [files["image"]], "videos": [files["video"]], "media": media[:-2]}
    mixed = model.ask("what is this?", **named, sampling=Sampling(max_new_tokens=3))
    assert mixed.tokens["media"] == answer.tokens["media"]


def test_compose_says_what_each_takes(model):
    report = describe(model)
    assert report["positions"] == POSITIONS
    from rich.console import Console

    with Console(width=300, file=io.StringIO()) as console, console.capture() as shown:
        console.print(table(report))
    assert "10 s of sensors takes 20 positions" in shown.get()


def test_a_saved_model_answers_alike(model, files, tmp_path):
    model.save(tmp_path / "saved")
    again = Composition.load(tmp_path / "saved")
    message = [user(*(Part(kind, media=file) for kind, file in files.items()))]
    before, after = (c.model.features(c.processor.encode(message, generate=True).media) for c in (model, again))
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_decoded_media_survive_json_as_the_model_reads_them(model):
    rng = np.random.default_rng(1)
    samples = rng.normal(size=(30, 2)).astype(np.float32)
    parts = [Part("points", media=rng.random((30, 6))), Part("imu", media=(samples, 10)), Part("imu", media=samples)]
    parts += [Part("depth", media=rng.integers(300, 9000, (9, 9))), Part("thermal", media=rng.uniform(0, 9, (9, 9)))]
    parts += [Part("segmentation", media=picture(3))]
    (again,) = from_json(json.loads(json.dumps(to_json([user(*parts)]))))
    first, second = (model.processor.encode([message], generate=True).media for message in (user(*parts), again))
    for a, b in zip(first, second, strict=True):
        assert all(torch.equal(a.inputs[key], b.inputs[key]) for key in a.inputs)


def test_what_does_not_fit_is_refused_before_anything_runs(model):
    before = model.model.encoded
    with pytest.raises(MediaError, match="rate: a series of 50 Hz, but this encoder takes 10 Hz"):
        model.ask("what?", media=[Part("imu", media=(np.zeros((30, 2)), 50))])
    assert model.model.encoded == before


def test_the_command_line_takes_any_kind(model, files, tmp_path, monkeypatch, capsys):
    model.save(tmp_path / "saved")
    media = [word for kind, file in files.items() for word in ("--media", f"{kind}={file}")]
    code, out, _ = run_command(
        monkeypatch, capsys, "ask", "what?", *media, "-m", tmp_path / "saved", "--json", "--max-new-tokens", 2
    )
    assert code == 0
    assert json.loads(out)["tokens"]["media"] == sum(POSITIONS.values())
    lines = [*(f"/{kind} {file}" for kind, file in files.items()), "what?", "/history", "/quit"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines) + "\n"))
    code, out, _ = run_command(monkeypatch, capsys, "chat", "-m", tmp_path / "saved", "--max-new-tokens", 2)
    assert code == 0
    assert all(f"⟨{kind}: " in out for kind in files)


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("chair.ply", "media is given as KIND=FILE, not 'chair.ply'"),
        ("points=", "media is given as KIND=FILE, not 'points='"),
        ("point=chair.ply", "media kind 'point' is not known (did you mean 'points'?)"),
        ("text=chair.ply", "media kind 'text' is not known (choose from: "),
    ],
)
def test_an_argument_that_is_no_media_is_refused(argument, said):
    with pytest.raises(ContentError) as refusal:
        Part.from_argument(argument)
    assert str(refusal.value).startswith(said)
