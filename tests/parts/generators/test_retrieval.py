"""Retrieval: what is handed out is the nearest item of the store, as it was when the store was built."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from polymodal.errors import CheckpointError, DataError, RecipeError
from polymodal.media import load_audio
from polymodal.parts.generators.image_conditions import ImageConditions
from polymodal.parts.generators.retrieval_store import Item, build
from polymodal.parts.generators.text_conditions import TextConditions
from polymodal.parts.output import Target
from tests.conftest import CLIP, picture, sound
from tests.parts.generators.contract import equal, make, random
from tests.parts.generators.test_diffusion import BERT

ITEMS = [Item("a red cat.png", "a red cat"), Item("sub/dog.png", "a dog"), Item("sea.png", "the sea at night")]
AT = torch.tensor([[2.0, 0, 0, 0], [0, 0.5, 0, 0], [0, 0, 3, 0]])
TEXTS = {"config": {**BERT, "vocab_size": 384}}
OF = {"kind": "vision", "config": dict(CLIP)}


def filled(folder: Path, embed=lambda items: AT) -> str:
    (folder / "sub").mkdir()
    for number, item in enumerate(ITEMS):
        picture(number, (64, 48)).save(folder / item.file)
    build(folder, "image", ITEMS, embed)
    return str(folder)


@pytest.fixture
def store(tmp_path):
    return filled(tmp_path)


def near(*vectors):
    return torch.tensor(vectors)[:, None]


def test_the_nearest_item_by_cosine_is_made_and_nothing_is_random(store):
    generator = make("retrieval", store=store)
    assert (generator.modality, generator.positions, generator.width) == ("image", 1, 4)
    given, steps = near([0.1, 0.1, 0.0, 0.0], [0, 9.0, 1, 0], [0.0, 0, 0.1, -5]), []
    given[0, 0, 0] += 0.1
    made = generator.make(given, random(), lambda done, of: steps.append((done, of)))
    assert equal(made, [picture(number, (64, 48)) for number in (0, 1, 2)])
    assert equal(made, generator.make(given * 7, random(1)))
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert generator.make(given[:0], random()) == []


def test_options_make_the_same_generator_again_and_no_store_is_part_of_its_state(store):
    generator = make("retrieval", store=store, conditions=TEXTS)
    assert generator.state_dict() == {}
    again = make("retrieval", **json.loads(json.dumps(generator.options)))
    assert again.options == generator.options
    assert torch.equal(again.embeddings, generator.embeddings)


def test_a_caption_finds_its_item_by_the_stores_own_encoder(tmp_path):
    texts = TextConditions(**TEXTS, pooled=True)
    where = filled(tmp_path, lambda items: texts([item.caption for item in items])[:, 0])
    generator = make("retrieval", store=where, conditions=TEXTS)
    condition = generator.condition([Target(caption=item.caption) for item in reversed(ITEMS)])
    assert condition.shape == (3, 1, 12)
    assert generator.nearest(condition).tolist() == [2, 1, 0]
    assert generator.prepare(picture()).numel() == 0
    with pytest.raises(DataError, match="field 'caption'"):
        generator.condition([Target(caption="a dog"), Target()])


def test_a_picture_finds_itself_by_the_stores_own_encoder(tmp_path):
    images = ImageConditions(OF)
    drawn = [Image.new("RGB", (60, 60), colour) for colour in ("red", "navy", "white")]
    where = filled(tmp_path, lambda items: images(drawn)[:, 0])
    generator = make("retrieval", store=where, of=OF)
    prepared = [generator.prepare(drawn[number]) for number in (1, 2, 0)]
    condition = generator.condition([Target(prepared=item) for item in prepared])
    assert condition.shape == (3, 1, CLIP["hidden_size"])
    assert generator.nearest(condition).tolist() == [1, 2, 0]
    with pytest.raises(DataError, match="field 'prepared'"):
        generator.condition([Target(caption="a dog")])


def test_the_gradient_reaches_a_condition_through_the_cosine_to_the_store(store):
    generator = make("retrieval", store=store)
    given = torch.randn(2, 1, 4, requires_grad=True)
    (torch.nn.functional.normalize(given[:, 0], dim=-1) @ generator.embeddings.T).sum().backward()
    assert given.grad.abs().min() > 0
    assert list(generator.parameters()) == []


def test_recordings_and_clips_are_made_as_a_part_takes_them(tmp_path):
    import soundfile

    soundfile.write(tmp_path / "tone.wav", *sound(0.5))
    build(tmp_path, "audio", [Item("tone.wav")], lambda items: torch.ones(1, 2))
    ((samples, rate),) = make("retrieval", store=str(tmp_path)).make(near([1.0, 1]), random())
    assert np.array_equal(load_audio((samples, rate)), load_audio(tmp_path / "tone.wav"))
    frames = [picture(number) for number in range(4)]
    frames[0].save(tmp_path / "film.png", save_all=True, append_images=frames[1:], duration=250)
    build(tmp_path, "video", [Item("film.png")], lambda items: torch.ones(1, 2))
    ((pictures, rate),) = make("retrieval", store=str(tmp_path)).make(near([1.0, 1]), random())
    assert rate == 4
    assert equal(pictures, frames)


def test_an_item_that_has_changed_is_not_handed_out(store):
    generator = make("retrieval", store=store)
    picture(9).save(Path(store) / "sub/dog.png")
    assert len(generator.make(near([1.0, 0, 0, 0]), random())) == 1
    with pytest.raises(CheckpointError, match=r"dog.png: has changed"):
        generator.make(near([0.0, 1, 0, 0]), random())


def test_a_damaged_store_is_refused_by_the_file_that_is(store):
    folder, listed = Path(store), json.loads((Path(store) / "items.json").read_text())

    def told(**change):
        (folder / "items.json").write_text(json.dumps({**listed, **change}))

    digest = make("retrieval", store=store).options["digest"]
    told(items=listed["items"][::-1])
    with pytest.raises(CheckpointError, match="not the store that this model was made with"):
        make("retrieval", store=store, digest=digest)
    for change in ({"format": 2}, {"modality": "smell"}, {"items": [{}]}, {"items": listed["items"][:2]}):
        told(**change)
        with pytest.raises(CheckpointError, match=r"items.json|embeddings.safetensors"):
            make("retrieval", store=store)
    told(items=[{**listed["items"][0], "file": "../secret.png"}, *listed["items"][1:]])
    (folder.parent / "secret.png").write_bytes((folder / "sea.png").read_bytes())
    with pytest.raises(CheckpointError, match=r"'../secret.png' is no file in it"):
        make("retrieval", store=store).make(near([1.0, 0, 0, 0]), random())
    told()
    buffer = io.BytesIO((folder / "embeddings.safetensors").read_bytes())
    (folder / "embeddings.safetensors").write_bytes(buffer.getvalue()[:-4] + b"\0\0\0\1")
    with pytest.raises(CheckpointError, match=r"embeddings.safetensors: is not the one"):
        make("retrieval", store=store)
    (folder / "embeddings.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"embeddings.safetensors"):
        make("retrieval", store=store)


@pytest.mark.parametrize(
    ("modality", "items", "found"),
    [
        ("points", ITEMS, AT),
        ("image", [], AT[:0]),
        ("image", [Item("../a.png")], AT[:1]),
        ("image", [Item("gone.png")], AT[:1]),
        ("image", ITEMS, AT[:2]),
        ("image", ITEMS, AT * 0),
        ("image", ITEMS, AT / 0),
    ],
)
def test_what_makes_no_store_is_refused(store, modality, items, found):
    with pytest.raises(DataError, match=Path(store).name):
        build(store, modality, items, lambda items: found)


def test_a_store_has_one_encoder_or_none(store):
    with pytest.raises(RecipeError, match="has one encoder"):
        make("retrieval", store=store, conditions=TEXTS, of=OF)
    with pytest.raises(RecipeError, match="nothing can be aligned"):
        make("retrieval", store=store).condition([Target(caption="a dog")])
    with pytest.raises(RecipeError, match="no such folder"):
        make("retrieval", store="./nowhere")
