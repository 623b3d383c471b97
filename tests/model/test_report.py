"""What `compose` says of a composition is what the composition is."""

from __future__ import annotations

import copy

import pytest
import torch
import transformers
from rich.console import Console
from tests.conftest import CLIP, LLAMA, T5, picture, sound

from polymodal.content import assistant, audio, image, user
from polymodal.model.composition import Composition
from polymodal.model.report import _LLAVA_TEXT, describe, exportability, table
from polymodal.model.sequence import collate
from polymodal.parts import peft


@pytest.fixture(scope="module")
def report(tiny):
    return describe(tiny, [{"inputs.*.projector.*": 1e-3}, {"backbone.lm.model.layers.1.*": 1e-4}])


def row(report, name):
    return next(r for r in report["parts"] if r["part"] == name)


def test_parts_and_their_parameters_are_the_models_own(tiny, report):
    names = [r["part"] for r in report["parts"]]
    assert names == [
        "backbone",
        "inputs.image.encoder",
        "inputs.image.projector",
        "inputs.audio.encoder",
        "inputs.audio.projector",
    ]
    assert sum(r["parameters"] for r in report["parts"]) == sum(p.numel() for p in tiny.model.parameters())
    assert row(report, "backbone")["bytes"] == 4 * row(report, "backbone")["parameters"]
    kinds = [r["kind"] for r in report["parts"]]
    assert kinds == ["llama", "vision", "mlp", "whisper", "mlp"]


def test_trained_is_what_any_stage_names(tiny, report):
    projector = row(report, "inputs.image.projector")
    assert projector["trained"] == projector["parameters"] > 0
    layer = sum(p.numel() for p in tiny.model.backbone.lm.model.layers[1].parameters())
    assert row(report, "backbone")["trained"] == layer
    assert row(report, "inputs.image.encoder")["trained"] == 0
    assert all(r["trained"] == 0 for r in describe(tiny)["parts"])


def test_adapters_are_rows_of_their_own(tiny_recipe):
    """The part above them is as large as it was without; what a stage's adapters train is theirs alone."""
    recipe = tiny_recipe()
    plain = row(describe(Composition.from_recipe(recipe)), "backbone")
    recipe["model"]["peft"] = {"backbone.lm.*.q_proj": {"kind": "lora", "r": 4}, "backbone.lm.*norm": {"kind": "layernorm"}}
    adapted = Composition.from_recipe(recipe)
    rates = dict.fromkeys(peft.named(adapted.model, adapted.recipe.peft), 1e-3)
    found = describe(adapted, [rates])
    assert row(found, "backbone") == plain
    adapters = row(found, "backbone.peft")
    assert adapters["kind"] == "layernorm, lora"
    assert adapters["trained"] == adapters["parameters"] == 2 * 4 * (32 + 32) + 5 * 32
    assert not any(r["part"] == "inputs.image.encoder.peft" for r in found["parts"])
    assert exportability(adapted)[1] == "it has adapters: save it with merge=True first"


def test_positions_are_those_an_item_really_takes(tiny, report):
    wide, ten_seconds = image(picture(1, (320, 240))), audio(sound(10.0))
    for name, part in (("image", wide), ("audio", ten_seconds)):
        example = tiny.processor.encode([user(part, "?")], generate=True)
        assert report["positions"][name] == example.spans[0].length


def test_ready_features_of_any_number_get_no_number_of_positions(tiny_recipe):
    clip = {"kind": "tags", "names": ["rises", "falls"], "top": 1, "clip": 5}  # of five, and of no other number
    recipe = tiny_recipe(image={"encoder": {"kind": "precomputed", "modality": "image", "width": 6}, "projector": clip})
    assert describe(Composition.from_recipe(recipe))["positions"] == {}


def test_the_table_shows_every_part_and_the_verdict(report):
    console = Console(width=140, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table(report))
    shown = console.export_text()
    for r in report["parts"]:
        assert r["part"] in shown
    assert "not exportable to LLaVA" in shown
    assert "16 positions" in shown
    total = sum(r["parameters"] for r in report["parts"]) / 1e6
    assert f"{total:.2f} M" in shown


_IMAGE = {"encoder": {"kind": "vision", "config": dict(CLIP)}, "projector": {"kind": "mlp"}}


@pytest.mark.parametrize("kind", ["siglip_vision_model", "dinov2", "vit"])
def test_an_encoder_whose_last_norm_llava_skips_is_not_called_exportable(tiny_recipe, kind):
    """LLaVA's class takes the states before that norm: near enough to be overlooked, and wrong."""
    part = copy.deepcopy(_IMAGE)
    part["encoder"]["config"]["model_type"] = kind
    possible, reason = exportability(Composition.from_recipe(tiny_recipe(image=part)))
    assert not possible
    assert "not CLIP" in reason


@pytest.mark.parametrize("text", _LLAVA_TEXT)
def test_llava_of_transformers_holds_what_is_called_exportable(tiny_recipe, text):
    """The verdict is not an opinion: the stock class takes these weights and gives these logits."""
    recipe = tiny_recipe(config={**LLAMA, "model_type": text, "head_dim": 8}, image=copy.deepcopy(_IMAGE))
    composition = Composition.from_recipe(recipe)
    assert exportability(composition)[0]
    model = composition.model
    part, lm = model.modalities["image"], model.backbone.lm
    unused = len(model.backbone.tokenizer) - 1
    config = transformers.LlavaConfig(
        vision_config=part.encoder.network.config,
        text_config=lm.config,
        image_token_id=unused,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
    )
    stock = transformers.LlavaForConditionalGeneration(config).eval()
    stock.model.vision_tower.load_state_dict(part.encoder.network.state_dict())
    stock.model.language_model.load_state_dict(lm.model.state_dict())
    stock.lm_head.load_state_dict(lm.lm_head.state_dict())
    for layer, own in zip(("linear_1", "linear_2"), part.projector.layers, strict=True):
        getattr(stock.model.multi_modal_projector, layer).load_state_dict(own.state_dict())
    example = composition.processor.encode([user(image(picture(1)), "what is this?"), assistant("a cat")])
    assert unused not in example.ids
    batch = collate([example], composition.processor.pad_id)
    (span,) = example.spans
    ids = batch.ids.clone()
    ids[0, span.start : span.start + span.length] = unused
    with torch.no_grad():
        mine = model(batch).logits
        pixels = example.media[0].inputs["pixel_values"][None]
        whole = stock(input_ids=ids, attention_mask=batch.mask.long(), pixel_values=pixels).logits[0]
    at = example.supervised.nonzero()[:, 0]
    assert torch.allclose(mine, whole[at - 1], atol=1e-4)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda r: r["inputs"].update(image={**_IMAGE, "projector": {"kind": "linear"}}), "MLP of two layers"),
        (lambda r: r["inputs"].update(image={**_IMAGE, "projector": {"kind": "mlp", "norm": True}}), "without norm"),
        (lambda r: r["inputs"].update(image={**_IMAGE, "projector": {"kind": "mlp", "hidden": 64}}), "as wide inside"),
        (lambda r: r["inputs"].update(image={**_IMAGE, "projector": {"kind": "mlp", "stack": 2}}), "stacking"),
        (lambda r: r["inputs"].update(image={**_IMAGE, "encoder": {"kind": "efficientnet-lite"}}), "image encoder"),
        (lambda r: r["backbone"].update(config={**LLAMA, "model_type": "olmo2"}), "'olmo2' backbone"),
        (lambda r: r["backbone"].update(config=dict(T5), chat_format=None), "'t5' backbone"),
        (lambda r: r.update(inputs={}), "one modality"),
    ],
)
def test_why_a_composition_cannot_be_exported_is_said(tiny_recipe, change, why):
    recipe = tiny_recipe(image=copy.deepcopy(_IMAGE))
    change(recipe["model"])
    possible, reason = exportability(Composition.from_recipe(recipe))
    assert not possible
    assert why in reason


def test_a_second_modality_is_no_llava(tiny):
    assert exportability(tiny) == (False, "LLaVA has one modality, image; this has image, audio")


def test_a_model_without_inputs_is_described_too(tiny_recipe):
    recipe = tiny_recipe()
    recipe["model"]["inputs"] = {}
    report = describe(Composition.from_recipe(recipe))
    assert [r["part"] for r in report["parts"]] == ["backbone"]
    assert report["positions"] == {}
    table(report)


def test_pictures_of_another_size_are_not_called_exportable(tiny_recipe):
    part = {"encoder": {"kind": "vision", "config": dict(CLIP), "size": 56}, "projector": {"kind": "mlp"}}
    exportable, reason = exportability(Composition.from_recipe(tiny_recipe(image=part)))
    assert not exportable
    assert "own size" in reason


def test_tiles_are_not_called_exportable(tiny_recipe):
    part = {"encoder": {"kind": "vision", "config": dict(CLIP), "tiles": 2}, "projector": {"kind": "mlp"}}
    possible, reason = exportability(Composition.from_recipe(tiny_recipe(image=part)))
    assert not possible
    assert "tiles" in reason
