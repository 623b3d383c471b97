"""Media that no input takes are read as the codes or latents that an output would have made them of (AnyGPT, Show-o)."""

from __future__ import annotations

import pytest
import torch
from tests.conftest import picture
from tests.outputs import FSQ, with_output
from tests.training.runs import write_pictures

from polymodal.content import Part, assistant, image, user
from polymodal.errors import ContentError, MediaError
from polymodal.model.composition import Composition
from polymodal.model.generation import Sampling
from polymodal.training.cache import FeatureCache
from polymodal.training.filling import forecast
from polymodal.training.sources.messages import MessagesSource


def composed(tiny_recipe, family):
    recipe = with_output(tiny_recipe, family)
    recipe["model"]["inputs"] = {}
    return Composition.from_recipe(recipe)


def asked(i: int):
    return [user(image(picture(i, (8, 8))), "what is this?"), assistant("a cat")]


@pytest.mark.parametrize("family", ["codes", "masked"])
def test_the_codes_of_a_picture_stand_in_the_prompt_and_are_not_learned(family, tiny_recipe):
    composition = composed(tiny_recipe, family)
    design = composition.model.designs["image"]
    example = composition.processor.encode(asked(1))
    (made,) = example.made
    codes = design.encode(design.prepare(picture(1, (8, 8)))[None])[0]
    assert example.ids[made.start : made.start + made.length].tolist() == (codes + design.grammar.start).tolist()
    assert example.ids[made.start - 1] == design.grammar.opener
    assert not example.supervised[made.start - 1 : made.start + made.length + 1].any()
    assert example.supervised.any()


@pytest.mark.parametrize("family", ["codes", "masked", "latents"])
def test_an_answer_depends_on_the_picture_that_is_read(family, tiny_recipe):
    composition = composed(tiny_recipe, family)
    one, same, other = (composition.model(_batch(composition, i)).logits for i in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)


def test_a_conversation_encodes_it_once(tiny_recipe, monkeypatch):
    composition, calls = composed(tiny_recipe, "codes"), []
    generator = composition.model.designs["image"].generator
    whole = generator.encode
    monkeypatch.setattr(generator, "encode", lambda targets: calls.append(len(targets)) or whole(targets))
    chat = composition.chat(sampling=Sampling(max_new_tokens=2))
    chat.ask("what is this?", images=[picture(1, (8, 8))])
    chat.ask("is it red?")
    assert calls == [1]


@pytest.mark.parametrize(
    ("outputs", "error", "says"), [(2, ContentError, "say which in the part's 'output'"), (0, MediaError, "no image")]
)
def test_what_cannot_be_read_or_could_be_twice_is_refused(outputs, error, says, tiny_recipe):
    recipe = with_output(tiny_recipe, "signals" if not outputs else "codes")
    recipe["model"]["inputs"] = {}
    if outputs == 2:
        recipe["model"]["outputs"]["other"] = {"modality": "image", "span": {"kind": "codes"}, "generator": FSQ}
    composition = Composition.from_recipe(recipe)
    with pytest.raises(error, match=says):
        composition.processor.encode(asked(1))
    if outputs == 2:
        chosen = Part("image", media=picture(1, (8, 8)), output="other")
        (made,) = composition.processor.encode([user(chosen, "what?"), assistant("a cat")]).made
        assert made.output == "other"


def test_an_input_comes_before_an_output(tiny_recipe):
    composition = Composition.from_recipe(with_output(tiny_recipe, "codes"))
    example = composition.processor.encode(asked(1))
    assert not example.made
    assert [item.modality for item in example.media] == ["image"]


def test_no_encoder_is_thought_to_see_it(tiny_recipe, tmp_path):
    """The cache of features counts what encoders will run on."""
    composition = composed(tiny_recipe, "codes")
    source = MessagesSource(str(write_pictures(tmp_path / "data", n=2)))
    said = forecast(FeatureCache(tmp_path / "cache", composition.model), {"pictures": source})
    assert (said.items, said.missing) == (0, 0)


def _batch(composition, i):
    from polymodal.model.sequence import collate

    return collate([composition.processor.encode(asked(i))], composition.processor.pad_id)
