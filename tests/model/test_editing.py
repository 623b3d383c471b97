"""Pictures made from pictures: which picture a span is made from, in training and when the model answers."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image
from tests.conftest import LLAMA, T5, picture, run_command
from tests.outputs import DIFFUSION, SIGNALS, last_state, with_output

from polymodal.content import Part, assistant, image, user
from polymodal.model.answering import opened
from polymodal.model.composition import Composition
from polymodal.model.generation import Sampling
from polymodal.model.sequence import collate
from polymodal.training.objectives import objective
from polymodal.training.step import Step

EDITING = {**SIGNALS, "generator": {**DIFFUSION, "source": True}}
SHORT = Sampling(max_new_tokens=5, seed=7, most_media=2)
ONE, TWO = picture(1, (8, 8)), picture(2, (8, 8))


def editor(tiny_recipe, config=LLAMA, output=EDITING, **changes) -> Composition:
    torch.manual_seed(0)
    recipe = with_output(tiny_recipe, "signals", config)
    recipe["model"]["outputs"] = {"image": {**output, **changes}}
    composition = Composition.from_recipe(recipe)
    with torch.no_grad():
        for parameter in composition.model.designs["image"].made_by().parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return composition


def made(caption: str, shown: Image.Image | None) -> Part:
    return Part("image", media=shown, caption=caption)


def sources(composition: Composition, *messages) -> list[torch.Tensor | None]:
    return [span.target.source for span in composition.processor.encode(messages).made if span.target]


def same(found: list[torch.Tensor | None], composition: Composition, *wanted: Image.Image | None) -> bool:
    prepare = composition.model.designs["image"].prepare
    expected = [None if one is None else prepare(one) for one in wanted]
    pairs = zip(found, expected, strict=True)
    return all(a is b if a is None or b is None else torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("config", [LLAMA, T5], ids=["llama", "t5"])
def test_what_is_learned_is_made_from_the_last_picture_before_it(config, tiny_recipe):
    composition = editor(tiny_recipe, config)
    three = picture(3, (8, 8))
    asked = user(image(ONE), "make it red")
    assert same(sources(composition, asked, assistant("here: ", made("a red cat", TWO))), composition, ONE)
    assert same(sources(composition, user("draw a cat"), assistant(made("a cat", TWO))), composition, None)
    if config is LLAMA:  # of a seq2seq backbone, one turn is learned
        later = user("and blue"), assistant(made("a blue cat", three))
        assert same(sources(composition, asked, assistant(made("a red cat", TWO)), *later), composition, ONE, TWO)
    both = assistant(made("a red cat", TWO), " and ", made("a blue cat", three))
    assert same(sources(composition, asked, both), composition, ONE, TWO)
    said = assistant(made("a red cat", None), train=False)  # words are no picture
    assert same(sources(composition, asked, said, user("more"), assistant(made("b", TWO))), composition, ONE)


def test_other_outputs_are_given_no_source(tiny_recipe):
    composition = editor(tiny_recipe, output=SIGNALS)
    assert sources(composition, user(image(ONE), "make it red"), assistant(made("a red cat", TWO))) == [None]


def drawn(composition: Composition, *messages) -> bytes:
    """What the model makes behind messages, whatever it would say."""
    reply = opened(composition, composition.processor.encode(messages, generate=True), "image", SHORT)
    assert reply.parts[0].failed is None
    return reply.parts[0].media.tobytes()


def test_the_same_states_make_another_picture_of_another_source(tiny_recipe, monkeypatch):
    composition = editor(tiny_recipe)
    design = composition.model.designs["image"]
    condition = torch.randn(1, 5, 12)
    monkeypatch.setattr(type(design), "condition", lambda self, states: condition)
    drawings = [drawn(composition, *turns) for turns in TURNS]
    assert len(set(drawings)) == 3
    assert drawings[0] == drawings[2] == drawings[3]


TURNS = [
    [user(image(ONE), "make it red")],
    [user(image(TWO), "make it red")],
    [user("what is it?", image(TWO)), assistant("a cat"), user(image(ONE), "make it red")],
    [user("draw a cat"), assistant(Part("image", media=ONE, caption="a cat")), user("make it red")],
    [user("make it red")],
]


def test_what_was_made_is_changed_by_a_later_turn_and_a_later_span(tiny_recipe, monkeypatch):
    composition = editor(tiny_recipe)
    model = composition.model
    given: list[torch.Tensor | None] = []
    generator = model.designs["image"].made_by()
    make = type(generator).make
    monkeypatch.setattr(
        type(generator), "make", lambda self, *args, **more: given.append(args[3][0]) or make(self, *args, **more)
    )
    with torch.no_grad():  # it opens a span wherever it may
        state = last_state(composition, composition.processor.encode([user(image(ONE), "make it red")], generate=True))
        model.designs["image"].tokens.head[0] = 100 * state / state.norm()
        model.designs["image"].tokens.embedding.zero_()
    chat = composition.chat(sampling=SHORT)
    first = chat.ask("make it red", images=[ONE])
    again = chat.ask("and blue")
    parts = [*first.media, *again.media]
    assert first.media
    before = [ONE, *(part.media for part in parts)]
    assert same(given, composition, *before[: len(given)])
    assert all(part.failed is None for part in parts)


def test_a_picture_that_cannot_be_read_is_said_in_the_answer(tiny_recipe, monkeypatch):
    composition = editor(tiny_recipe)
    example = composition.processor.encode([user(image(ONE), "make it red")], generate=True)
    example.messages = [user(image(b"no picture"), "make it red")]
    reply = opened(composition, example, "image", SHORT)
    assert reply.parts[0].media is None
    assert "not" in (reply.parts[0].failed or "")


@pytest.mark.parametrize("name", ["generate", "diffusion"])
def test_objectives_are_told_the_source_and_reduce_it_once(name, tiny_recipe, monkeypatch):
    from tests.parts.generators.test_diffusion import KL, UNET

    config = {**DIFFUSION["config"], "unet": UNET, "vae": KL}
    composition = editor(tiny_recipe, generator={**EDITING["generator"], "config": config})
    generator = composition.model.designs["image"].made_by().requires_grad_(False)
    encoded: list[int] = []
    encode = type(generator).encode
    monkeypatch.setattr(type(generator), "encode", lambda self, x: encoded.append(len(x)) or encode(self, x))
    reduced: dict[str, torch.Tensor] = {}

    def loss(*shown: Image.Image) -> list[float]:
        rows = [[user(image(one), "make it red"), assistant(made("a red cat", TWO))] for one in shown]
        batch = collate([composition.processor.encode(row) for row in rows], composition.processor.pad_id)
        torch.manual_seed(0)
        if name == "diffusion":  # the states do not depend on the picture
            step = Step(composition.model, batch, reduced=reduced)
            step.out.states[:] = [torch.zeros_like(state) for state in step.out.states]
            torch.manual_seed(0)
            return objective(name)(step).each.tolist()
        return objective(name)(Step(composition.model, batch, reduced=reduced)).each.tolist()

    first = loss(ONE, ONE)
    assert encoded == [1, 1]  # the target and the source, both of two rows
    assert loss(ONE, ONE) == first
    assert loss(TWO, ONE)[0] != first[0]
    assert loss(TWO, ONE)[1] == pytest.approx(first[1])
    assert encoded == [1, 1]  # what was a target is a source


def test_a_checkpoint_makes_the_same_of_the_same_source(tiny_recipe, tmp_path):
    composition = editor(tiny_recipe)
    composition.save(tmp_path / "model")
    again = Composition.load(tmp_path / "model")
    assert again.model.designs["image"].edits
    for turns in TURNS[:2]:
        assert drawn(again, *turns) == drawn(composition, *turns)


def test_ask_changes_a_picture_from_the_shell(tiny_recipe, tmp_path, monkeypatch, capsys):
    composition = editor(tiny_recipe)
    tokens = composition.model.designs["image"].tokens
    files = [tmp_path / "one.png", tmp_path / "two.png"]
    for file, shown in zip(files, (ONE, TWO), strict=True):
        shown.save(file)
    with torch.no_grad():
        for file in files:
            example = composition.processor.encode([user(image(str(file)), "make it blue")], generate=True)
            state = last_state(composition, example)
            tokens.head[0] += 100 * state / state.norm()
    composition.save(tmp_path / "model")
    found = []
    for file in files:
        told = ("make it blue", "--image", file, "-m", tmp_path / "model", "--seed", "3", "--max-new-tokens", "2")
        code, said, _ = run_command(monkeypatch, capsys, "ask", *told, "--json", "--out", tmp_path / "out")
        assert code == 0
        parts = [part for part in json.loads(said)["parts"] if part["type"] == "image_url"]
        found.append(Image.open(parts[0]["image_url"]["url"]))
    assert found[0].size == (8, 8)
    assert found[0].tobytes() != found[1].tobytes()
