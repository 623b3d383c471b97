"""When to make something is learned from prompts that are read once."""

from __future__ import annotations

import pytest
import torch

from polymodal.content import Part, assistant, user
from polymodal.errors import DataError, RecipeError
from polymodal.model.composition import Composition
from polymodal.model.sequence import collate
from polymodal.training.objectives import objective
from polymodal.training.stage import select
from polymodal.training.step import Step
from tests.conftest import picture
from tests.outputs import drawing, with_output


@pytest.fixture
def composition(tiny_recipe) -> Composition:
    recipe = with_output(tiny_recipe, "signals")
    recipe["model"]["opening"] = {"layers": [0, 1]}
    made = Composition.from_recipe(recipe)
    select(made.model, {"opening.*": 1e-2})
    return made


@pytest.fixture
def batch(composition):
    asked, drawn = drawing()
    bare = assistant(*[part for part in drawn.parts if part.type != "text"])
    talks = [[asked, bare], [user("What is a heart?"), assistant("a form")], [user("Hello, you!"), assistant("Hello!")]]
    return collate([composition.processor.encode(talk) for talk in talks], composition.processor.pad_id)


def test_a_prompt_is_read_once(composition, batch, monkeypatch):
    model, kept = composition.model, {}
    first = objective("open")(Step(model, batch, reduced=kept)).each
    monkeypatch.setattr(type(model.backbone), "hidden", lambda *given, **named: pytest.fail("read again"))
    again = objective("open")(Step(model, batch, reduced=kept))
    torch.testing.assert_close(again.each, first)
    assert again.counts.tolist() == [1, 1, 1]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_of_prompts_that_are_known_no_picture_is_encoded_again(composition, monkeypatch, precision):
    model, processor, kept = composition.model, composition.processor, {}
    shown = [user(Part("image", media=picture(seed, (16, 16))), "What is this?") for seed in (1, 2)]
    talks = [[each, assistant("a form")] for each in shown]

    def run(*which, kept):
        batch = collate([processor.encode(talks[i]) for i in which], processor.pad_id)
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            return objective("open")(Step(model, batch, reduced=kept)).each

    whole = run(0, 1, kept={})
    run(0, kept=kept)
    encoded, encode = [], type(model).encode
    monkeypatch.setattr(type(model), "encode", lambda self, items: encoded.extend(items) or encode(self, items))
    again = run(0, 1, kept=kept)
    torch.testing.assert_close(again, whole, rtol=0.02, atol=1e-4)
    assert len(encoded) == 1
    run(0, 1, kept=kept)
    assert len(encoded) == 1


def test_it_learns_to_open_where_it_should_and_nowhere_else_and_says_so(composition, batch):
    """What training reads of a prompt is what an answer that begins is decided by."""
    model, kept = composition.model, {}
    backbone = {name: weight.clone() for name, weight in model.backbone.named_parameters()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 0.02)
    model.opening.train()
    losses = []
    for _ in range(300):
        loss = objective("open")(Step(model, batch, reduced=kept)).each.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    assert losses[-1] < losses[0] / 50
    assert all(torch.equal(weight, backbone[name]) for name, weight in model.backbone.named_parameters())
    asked = [drawing()[0], user("What is a heart?"), user("Hello, you!")]
    together = composition.generate([[message] for message in asked])
    assert [any(part.type == "image" for part in parts) for parts in together] == [True, False, False]


def test_every_answer_of_a_conversation_counts_and_is_read_as_it_is_when_it_is_given(composition, monkeypatch):
    """Behind the answer and the medium before it: neither is what is answered."""
    model, processor, kept = composition.model, composition.processor, {}
    shown = user(Part("image", media=picture(1, (16, 16))), "What is this?")
    talk = [*drawing(), shown, assistant("a form"), user("And now?"), assistant("a form again")]
    batch = collate([processor.encode(talk)], processor.pad_id)
    out = objective("open")(Step(model, batch, reduced=kept))
    assert out.counts.tolist() == [3]
    found, decided = [], type(model.opening).decided
    monkeypatch.setattr(type(model.opening), "decided", lambda *given: found.append(given[1]) or decided(*given))
    for end, read in zip((1, 3, 5), kept.values(), strict=True):
        composition.generate([talk[:end]])
        torch.testing.assert_close(found.pop()[0], read, rtol=1e-4, atol=1e-5)


def test_what_it_cannot_learn_by_is_refused(composition, tiny_recipe, batch):
    packed = collate([composition.processor.encode(drawing())] * 2, composition.processor.pad_id, packing=200)
    with pytest.raises(RecipeError, match="not packed"):
        objective("open")(Step(composition.model, packed))
    with pytest.raises(RecipeError, match="needs 'opening'"):
        objective("open")(Step(Composition.from_recipe(with_output(tiny_recipe, "signals")).model, batch))
    batch.turns[0] = (0, 0, 0)
    with pytest.raises(DataError, match="behind a prompt"):
        objective("open")(Step(composition.model, batch))
    select(composition.model, {"outputs.*.tokens.*": 1e-2})
    with pytest.raises(RecipeError, match=r"tokens\.embedding' learns"):
        objective("open")(Step(composition.model, batch))
