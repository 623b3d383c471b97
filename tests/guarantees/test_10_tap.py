"""Guarantee 10: the states that a span is made of are the same in teacher-forced training and in step-by-step generation,
and so is what is made of them."""

from __future__ import annotations

import pytest
import torch
from tests.conftest import LLAMA, T5, picture
from tests.outputs import FAMILIES, with_output

from polymodal.content import assistant, image, user
from polymodal.errors import RecipeError
from polymodal.model.composition import Composition
from polymodal.model.filling import fill
from polymodal.model.generation import Sampling, generate
from polymodal.model.row import Row
from polymodal.model.sequence import Example, collate
from polymodal.parts.tiny import FAMILIES as BACKBONES

CONFIGS = {"llama": LLAMA, "t5": T5, **{name: BACKBONES[name] for name in ("gemma3", "mamba2", "opt", "gpt2")}}
# A text before the picture, and one picture that the model is shown and one that it makes.
ASKED = [user("draw ", image(picture(3)), " red")]


def composed(tiny_recipe, family: str, backbone: str = "llama") -> Composition:
    torch.manual_seed(0)
    composition = Composition.from_recipe(with_output(tiny_recipe, family, CONFIGS[backbone]))
    with torch.no_grad():
        for design in composition.model.designs.values():
            for weight in design.tokens.parameters():  # they differ, as learned ones do
                weight.add_(torch.randn_like(weight) * weight.std())
            if design.projector is not None:
                for weight in design.projector.parameters():
                    weight.add_(torch.randn_like(weight) * 0.1)
    return composition


def rows(composition: Composition, example: Example) -> dict[str, Row]:
    """The example behind its own cache, behind one that `generate` has filled, and without one."""
    out = {"own": Row(composition.model, example)}
    if out["own"].cache is not None:
        short = Sampling(max_new_tokens=1)
        made = generate(composition.model, [example], short, composition.processor.stop_ids, composition.processor.pad_id)
        out["generated"] = Row(composition.model, example, made.cache)
        out["uncached"] = Row(composition.model, example)
        uncached = out["uncached"]
        uncached.cache, uncached._before = None, composition.model.embed(collate([example], 0))
    return out


def trained(composition: Composition, target) -> tuple[torch.Tensor, torch.Tensor]:
    """The tapped states of the one span of an answer, and all hidden states of the example with its ids as given."""
    example = composition.processor.encode([*ASKED, assistant(image(target))])
    out = composition.model(collate([example], composition.processor.pad_id))
    return out.states[0], out


SIGNALS = [family for family in FAMILIES if family.startswith("signals")]


@pytest.mark.parametrize("backbone", CONFIGS)
@pytest.mark.parametrize("family", SIGNALS)
@torch.no_grad()
def test_the_condition_of_a_span_is_the_same_when_it_is_learned_and_when_it_is_made(family, backbone, tiny_recipe):
    if FAMILIES[family].get("tap", {}).get("layer") is not None and backbone in ("t5", "opt"):
        with pytest.raises(RecipeError, match="tap.layer 0 cannot be tapped"):
            composed(tiny_recipe, family, backbone)
        return
    composition = composed(tiny_recipe, family, backbone)
    design = composition.model.designs["image"]
    states, _ = trained(composition, picture(1, (8, 8)))
    wanted = design.condition(states[None])
    prompt = composition.processor.encode(ASKED, generate=True)
    for name, row in rows(composition, prompt).items():
        given = fill(design, row, None, torch.Generator()).given
        assert torch.allclose(given, wanted, atol=1e-4), name
    where = "at" if design.tap.where == "predicting" else "predicting"
    design.tap = design.tap.model_copy(update={"where": where})
    shifted, _ = trained(composition, picture(1, (8, 8)))
    assert not torch.allclose(design.condition(shifted[None]), wanted, atol=1e-3)  # a shifted tap would be noticed


@pytest.mark.parametrize("backbone", CONFIGS)
@torch.no_grad()
def test_codes_are_said_with_the_logits_that_they_are_learned_with(backbone, tiny_recipe, monkeypatch):
    from polymodal.model import filling

    composition = composed(tiny_recipe, "codes", backbone)
    design, prompt = composition.model.designs["image"], composition.processor.encode(ASKED, generate=True)
    start, size = design.grammar.start, design.grammar.vocabulary
    seen: list[torch.Tensor] = []
    drawn = filling._drawn
    monkeypatch.setattr(filling, "_drawn", lambda logits, *rest: seen.append(logits) or drawn(logits, *rest))
    for name, row in rows(composition, prompt).items():
        seen.clear()
        content = fill(design, row, None, torch.Generator().manual_seed(1))
        example = composition.processor.encode([*ASKED, assistant(image(picture(1, (8, 8))))])
        example.made[:] = [m.__class__(**{**m.__dict__, "content": content.given[0]}) for m in example.made]
        out = composition.model(collate([example], composition.processor.pad_id))
        own = (out.labels >= start) & (out.labels < start + size)
        assert out.labels[own].tolist() == content.ids, name
        assert torch.allclose(torch.stack(seen), out.logits[own][:, start : start + size], atol=1e-4), name


@pytest.mark.parametrize("family", ["masked", "latents"])
@torch.no_grad()
def test_a_block_has_the_states_that_it_is_learned_with(family, tiny_recipe, monkeypatch):
    composition = composed(tiny_recipe, family)
    design, prompt = composition.model.designs["image"], composition.processor.encode(ASKED, generate=True)
    example = composition.processor.encode([*ASKED, assistant(image(picture(1, (8, 8))))])
    out = composition.model(collate([example], composition.processor.pad_id))
    (filled,) = out.filled.values()
    for name, row in rows(composition, prompt).items():
        if name == "uncached":
            continue  # only backbones that see no blocks are run so, and they refuse these families
        row.keep(design.tokens.embedding[:1])
        peeked = [row.peek(filled.rows[0], together=True) for _ in range(2)]  # what is peeked at leaves nothing behind
        assert torch.equal(*peeked), name
        assert torch.allclose(peeked[0], out.states[0], atol=1e-4), name
