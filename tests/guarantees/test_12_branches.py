"""Guarantee 12: a way of decoding with two branches is the same with caches as without, at the first step and at the
twentieth; neither branch changes what the other has cached."""

from __future__ import annotations

import pytest
import torch
from tests.conftest import T5
from tests.guarantees.test_10_tap import composed
from tests.outputs import FAMILIES, FSQ

from polymodal.content import user
from polymodal.model import filling
from polymodal.model.row import Row
from polymodal.model.sequence import collate

LARGE = {**FSQ, "size": 10}  # 25 codes
BRANCHED = {
    "codes": {"span": {"kind": "codes", "guidance": 3.0}, "generator": LARGE},
    "masked": {"span": {"kind": "masked", "guidance": 3.0, "steps": 20}, "generator": LARGE},
    "latents": {**FAMILIES["latents"], "span": {"kind": "latents", "guidance": 3.0, "steps": 20}},
}


def without_cache(row: Row, example) -> Row:
    row.cache, row._before = None, row.model.embed(collate([example], 0))
    return row


@pytest.mark.parametrize("family", BRANCHED)
@torch.no_grad()
def test_guided_spans_are_the_same_with_caches_as_without(family, tiny_recipe, monkeypatch):
    monkeypatch.setitem(FAMILIES, "branched", BRANCHED[family])
    composition = composed(tiny_recipe, "branched")
    model, processor = composition.model, composition.processor
    design = model.designs["image"]
    asked, free = (processor.encode([user(words)], generate=True) for words in ("draw a red cat", ""))
    if (
        family != "codes"
    ):  # without a cache, positions of a block would need a mask that `Row` never makes: it is given here
        monkeypatch.setattr(Row, "_run", blockwise_run)
    steps: dict[bool, list[torch.Tensor]] = {True: [], False: []}
    made = {}
    guided = filling._guided
    for cached, seen in steps.items():
        rows = [Row(model, asked), Row(model, free)]
        if not cached:
            rows = [without_cache(row, example) for row, example in zip(rows, (asked, free), strict=True)]

        def watched(each, guidance, seen=seen):
            seen.append(torch.stack([side.flatten() for side in each]))
            return guided(each, guidance)

        monkeypatch.setattr(filling, "_guided", watched)
        made[cached] = filling.fill(design, *rows, torch.Generator().manual_seed(2)).given
    for step in (0, 19):
        assert torch.allclose(steps[True][step], steps[False][step], atol=1e-3), step
        first, second = steps[True][step]
        assert not torch.allclose(first, second, atol=1e-3)  # the branches are two
    assert torch.allclose(made[True].float(), made[False].float(), atol=1e-3)


def blockwise_run(self: Row, rows: torch.Tensor, together: bool) -> torch.Tensor:
    from polymodal.parts import blockwise

    if self.cache is not None:
        return blockwise.run(self.backbone.lm, rows, self.cache, together)
    whole = torch.cat([self._before, rows], 1)
    blocks = torch.full(whole.shape[:2], -1)
    if together:
        blocks[:, -rows.shape[1] :] = 0
    return self.backbone.hidden(whole, torch.ones_like(blocks, dtype=torch.bool), blocks=blocks)[:, -rows.shape[1] :]


@torch.no_grad()
def test_guidance_of_one_is_what_was_asked_for_and_a_branch_of_a_seq2seq_backbone_reads_something(tiny_recipe):
    from polymodal.model.generation import Sampling

    composition = composed(tiny_recipe, "codes, guided")
    each = [torch.tensor([1.0, 2.0]), torch.tensor([0.0, 3.0])]
    assert torch.equal(filling._guided(each, 1.0), each[0])
    assert filling._guided(each, 3.0).tolist() == [3.0, 0.0]
    from tests.conftest import LLAMA
    from tests.outputs import eager, with_output

    from polymodal.model.composition import Composition

    for config in (LLAMA, T5):
        composition = eager(Composition.from_recipe(with_output(tiny_recipe, "codes, guided", config)))
        answer = composition.ask("draw a cat", sampling=Sampling(max_new_tokens=2, seed=1, most_media=1))
        assert [part.type for part in answer.media] == ["image"]
