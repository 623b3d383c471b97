"""Nothing is claimed of a component of the surveys that is not shown here: every row that says it runs is built and run."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from polymodal import assets, cli
from polymodal.content import image as media
from polymodal.content import user
from polymodal.evaluation.choice import likelihoods
from polymodal.model.composing import BACKBONES
from polymodal.model.composition import Composition
from polymodal.parts import survey, tiny, tiny_generators
from polymodal.parts.backbones import Backbone
from polymodal.parts.base import build
from polymodal.parts.encoders import ENCODERS
from polymodal.parts.generators import GENERATORS
from polymodal.parts.input_projectors import INPUT_PROJECTORS
from polymodal.parts.output import Generator
from polymodal.parts.output_projectors import OUTPUT_PROJECTORS
from polymodal.parts.shared import SHARED
from polymodal.parts.survey import Row, rows
from tests.conftest import picture, sound
from tests.docs.test_docs import ROOT
from tests.parts.encoders import test_audio as audio
from tests.parts.encoders import test_beats as beats
from tests.parts.encoders import test_beit3 as beit3
from tests.parts.encoders import test_clip_convnext as clip_convnext
from tests.parts.encoders import test_clip_resnet as clip_resnet
from tests.parts.encoders import test_eva2_clip as eva2_clip
from tests.parts.encoders import test_grounding_dino as grounding_dino
from tests.parts.encoders import test_imagebind as imagebind
from tests.parts.encoders import test_internvideo as internvideo
from tests.parts.encoders import test_nfnet as nfnet
from tests.parts.encoders import test_pix2struct as pix2struct
from tests.parts.encoders import test_pointbert as pointbert
from tests.parts.encoders import test_ram_plus as ram_plus
from tests.parts.encoders import test_vision as vision
from tests.parts.encoders import test_w2v_bert as w2v_bert
from tests.parts.encoders.contract import check_lengths_and_neighbours, features, make
from tests.parts.generators.contract import equal
from tests.parts.test_input_projectors import IN, OUT, PROJECTORS, VOCABULARY, asked, marked

CLAIMED = [row for row in rows() if row.state != "not yet"]
RELEASED = {  # kind -> what makes a tiny file of the authors' own layout
    "imagebind": imagebind.released,
    "beats": beats.released,
    "pointbert": pointbert.released,
    "beit3": beit3.released,
    "clip-resnet": clip_resnet.released,
    "clip-convnext": clip_convnext.released,
    "eva2-clip": eva2_clip.released,
    "internvideo": internvideo.released,
    "nfnet": nfnet.released,
    "ram-plus": ram_plus.released,
}
ALSO = {"pmc-clip-rn50": clip_resnet.pmc_clip}  # row -> the same, of another file of its kind
SAVED = {  # kind -> what makes a tiny folder as transformers saves the published one
    "grounding-dino": grounding_dino.saved,
    "pix2struct": pix2struct.saved,
    "w2v-bert": w2v_bert.saved,
}
TOWERS = {config["model_type"]: (name, config) for name, config in vision.ENCODERS.items()}
TOWERS |= {config["model_type"]: (name, config) for name, (_, config) in audio.ENCODERS.items() if name != "hubert-large"}


def named(row: Row) -> str:
    return row.id


def check_encoder(row: Row, tmp_path, _) -> None:
    recipe = row.recipe or {}
    if "projector" in recipe:  # what surveys call an encoder, and stands behind one here
        check_projector(row, tmp_path, "")
        return
    if recipe["kind"] in RELEASED:
        options, media = ALSO.get(row.id, RELEASED[recipe["kind"]])(tmp_path / recipe["path"])
        check_lengths_and_neighbours(make(**recipe | options), media)
        return
    if recipe["kind"] in SAVED:
        options, media = SAVED[recipe["kind"]](tmp_path)
        check_lengths_and_neighbours(make(**recipe | options), media)
        check_lengths_and_neighbours(make(**tiny.part(recipe)), media)
        return
    recipe = tiny.part(row.recipe or {}, row.model_type)
    kind = recipe.get("of", recipe)["config"].get("model_type")
    media = (
        [picture(1), picture(2, (28, 28))]
        if {"image", "segmentation"} & set(row.takes)
        else [sound(0.5)[0], audio.noise(0.7)]
    )
    encoder = make(**recipe)
    check_lengths_and_neighbours(encoder, media)
    if "path" not in (row.recipe or {}):
        return
    name = TOWERS[kind][0]
    if isinstance(media[0], Image.Image):  # as it is published: in a whole model where that is known
        whole = vision._whole(name) if name in vision._INNER else getattr(encoder, "of", encoder).network
        vision._save_with_processor(whole, name, tmp_path)
    else:
        whole = audio._whole(name) if name in ("clap", "whisper") else encoder.network
        whole.save_pretrained(tmp_path)
        audio._EXTRACTORS.get(name, audio._EXTRACTORS["waveform"])().save_pretrained(tmp_path)
    check_lengths_and_neighbours(make(**{**(row.recipe or {}), "path": str(tmp_path)}), media)


def check_fusion(row: Row, tokenizer: str) -> None:
    """A backbone of as many layers as the recipe needs says something else of another picture, once gates are open."""
    backbone = {"config": {**tiny.FAMILIES["llama"], "num_hidden_layers": 4}, "tokenizer": tokenizer}
    encoder = {"kind": "vision", "config": dict(vision.ENCODERS["clip"])}
    image = {"encoder": encoder, **(row.recipe or {})}
    composition = Composition.from_recipe({"model": {"backbone": backbone, "inputs": {"image": image}}})
    with torch.no_grad():
        for name, gate in composition.model.inputs.named_parameters():
            gate.add_(1.5 if name.endswith("gate") else 0)
    scores = [likelihoods(composition, [user(media(picture(i)), "what?")], ["a", "cat"]) for i in (1, 2)]
    assert not torch.allclose(*scores, rtol=0, atol=1e-4)


def check_projector(row: Row, tmp_path, tokenizer: str) -> None:
    recipe = dict(row.recipe or {})
    if "output" in recipe:
        check_read(row, tokenizer, tmp_path)
        return
    if "fusion" in recipe:
        check_fusion(row, tokenizer)
        return
    if "encoder" in recipe:
        check_lengths_and_neighbours(make(**recipe.pop("encoder")), [picture(1), picture(2, (28, 28))])
    for options in recipe.pop("shared", {}).values():
        part = build("shared", SHARED, {**options, "width": OUT, "depth": 1, "hidden": 16, "heads": 2})
        assert part([torch.randn(n, OUT) for n in (3, 7)]).shape == (2, part.queries, OUT)
    recipe = dict(recipe.get("projector", recipe))
    sizes = {"q-former": {"queries": 5, "depth": 2, "hidden": 16, "heads": 2}}.get(recipe["kind"])
    recipe |= sizes or PROJECTORS[recipe["kind"]] | recipe
    projector = build("projector", INPUT_PROJECTORS, recipe, IN, OUT)
    items = [torch.randn(n, IN) for n in (16, 9)]
    if recipe["kind"] == "mq-former":
        items = [marked(x) for x in items]
    projector.speak(VOCABULARY)
    assert [tuple(out.shape) for out in projector(asked(items))] == [(projector.length(len(x)), OUT) for x in items]


def said_by(backbone: Backbone) -> torch.Tensor:
    """Logits of a sentence, through the methods that a model uses."""
    ids = torch.tensor([backbone.ids("the quick brown fox")])
    with torch.no_grad():
        return backbone.head(backbone.hidden(backbone.embed(ids), torch.ones_like(ids), target=ids))


def check_backbone(row: Row, tmp_path, tokenizer: str) -> None:
    family = "t5-gated" if row.id in ("flan-t5", "ul2") else row.model_type
    recipe = tiny.part(row.recipe or {}, family)
    backbone = build("backbone", BACKBONES, {"kind": "transformers", "tokenizer": tokenizer, **recipe}).eval()
    logits = said_by(backbone)
    assert torch.isfinite(logits).all()
    assert not torch.allclose(logits[0, 0], logits[0, -1])
    if "path" not in (row.recipe or {}):
        return
    backbone.lm.save_pretrained(tmp_path)
    backbone.tokenizer.save_pretrained(tmp_path)
    again = build("backbone", BACKBONES, {"kind": "transformers", **(row.recipe or {}), "path": str(tmp_path)}).eval()
    assert torch.equal(said_by(again), logits)


def check_read(row: Row, tokenizer: str, folder: Path) -> None:
    """A picture that no input takes is read as the codes of an output."""
    output = dict((row.recipe or {})["output"])
    output["generator"] = tiny_generators.generator(output["generator"], folder)
    backbone = {"config": dict(tiny.FAMILIES["llama"]), "tokenizer": tokenizer}
    composition = Composition.from_recipe({"model": {"backbone": backbone, "outputs": {"image": output}}})
    scores = [likelihoods(composition, [user(media(picture(i)), "what?")], ["a", "cat"]) for i in (1, 2)]
    assert not torch.allclose(*scores, rtol=0, atol=1e-4)


def check_output_projector(row: Row, tmp_path: Path, tokenizer: str) -> None:
    projector = build("projector", OUTPUT_PROJECTORS, tiny_generators.projector(row.recipe or {}), 5, IN, 5, 12)
    one, two = projector(torch.randn(2, 5, IN))
    assert one.shape == (5, 12)
    assert not torch.allclose(one, two)


def check_generator(row: Row, tmp_path: Path, tokenizer: str) -> None:
    """It makes something, alike for a seed; what is published as a pipeline of diffusers is read from one."""
    recipe = row.recipe or {}
    small = tiny_generators.generator(recipe, tmp_path)
    generator = build("generator", GENERATORS, small).eval()
    assert generator.modality in row.takes
    assert generator.takes == ("codes" if recipe["kind"] == "vq" else "condition")
    if "path" in recipe:
        save_pipeline(generator, tmp_path)
        kept = {key: value for key, value in small.items() if key != "config"}
        generator = build("generator", GENERATORS, {**kept, "path": str(tmp_path)}).eval()
    conditions = torch.randn(1, generator.positions, generator.width)
    given = torch.randint(generator.vocabulary, (1, generator.positions)) if generator.vocabulary else conditions
    made, again = (generator.make(given, torch.Generator().manual_seed(0)) for _ in range(2))
    assert equal(made, again)


def save_pipeline(generator: Generator, folder: Path) -> None:
    """In the layout of diffusers: a folder of each component, and a list of their classes."""
    found = {"_class_name": "DiffusionPipeline"}
    parts = {"unet": generator.network, "vae": generator.vae, "scheduler": generator.scheduler}
    parts |= {"vocoder": generator.vocoder} if generator.modality == "audio" else {}
    for name, part in parts.items():
        part.save_pretrained(folder / name)
        found[name] = [type(part).__module__.split(".")[0], type(part).__name__]
    (folder / "model_index.json").write_text(json.dumps(found))


CHECKS = {"modality encoder": check_encoder, "input projector": check_projector, "LLM backbone": check_backbone}
CHECKS |= {"output projector": check_output_projector, "modality generator": check_generator}


@pytest.mark.parametrize("row", CLAIMED, ids=named)
def test_what_claims_to_run_runs(row, tmp_path, tokenizer_folder):
    torch.manual_seed(0)
    CHECKS[row.role](row, tmp_path, tokenizer_folder)


@pytest.mark.weights
@pytest.mark.parametrize("row", [row for row in CLAIMED if row.state == "runs with real weights"], ids=named)
def test_what_claims_real_weights_runs_with_them(row):
    encoder = build("encoder", ENCODERS, row.recipe).eval()
    (out,) = features(encoder, [sound(1.0)[0]])
    assert out.shape == (50, encoder.width)
    assert out.std() > 0.1


def test_every_component_of_the_surveys_has_one_row():
    """As many as the surveys name, of each role."""
    assert Counter(row.role for row in rows()) == {
        "modality encoder": 39,
        "input projector": 26,
        "LLM backbone": 31,
        "output projector": 2,
        "modality generator": 15,
        "grounding decoder": 11,
    }
    assert len({row.id for row in rows()}) == 124


@pytest.mark.parametrize("row", rows(), ids=named)
def test_a_row_claims_no_more_than_its_recipe(row):
    """Real weights are an asset's; a published checkpoint says its class; what falls short says why."""
    path = (row.recipe or {}).get("path", "")
    assert (row.state == "not yet") == (row.recipe is None)
    assert (row.state == "runs with real weights") == path.startswith("asset:")
    own = (row.recipe or {}).get("kind") in RELEASED
    assert bool(path) == (bool(row.model_type) or own or (row.role == "modality generator" and row.state == "runs tiny"))
    assert own == row.note.startswith("unverified on real weights")
    if row.state in ("not yet", "architecture only"):
        assert row.note
        assert not path
    if path.startswith("asset:"):
        assert path.removeprefix("asset:") in assets.catalog.builtin().assets


def test_palm_is_what_its_paper_says():
    """Parallel layers behind one norm, one key and value head, no biases, one table for input and output; 2204.02311."""
    (row,) = [row for row in rows() if row.id == "palm"]
    config = (row.recipe or {})["config"]
    import transformers

    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(**config))
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    assert not [name for name in shapes if name.endswith("bias")]
    assert shapes["model.layers.0.self_attn.k_proj.weight"] == (256, 4096)
    assert [name for name in shapes if name.startswith("model.layers.0.") and "norm" in name] == [
        "model.layers.0.input_layernorm.weight"
    ]
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert 8.4e9 < sum(p.numel() for p in model.parameters()) < 8.8e9  # 8.63 billion in the paper


def test_the_page_is_what_the_rows_say():
    """Write it again with: python -m polymodal.cli parts list --markdown"""
    assert (ROOT / "docs/parts.md").read_text(encoding="utf-8") == survey.markdown()


def test_the_command_lists_every_row_for_people_and_programs():
    run = CliRunner()
    listed = json.loads(run.invoke(cli.app, ["parts", "list", "--json"]).stdout)
    assert [entry["id"] for entry in listed] == [row.id for row in rows()]
    assert {entry["state"] for entry in listed} <= set(survey.MEANING)
    table = run.invoke(cli.app, ["parts", "list"], env={"COLUMNS": "200"}).stdout
    for row in rows():
        assert row.name in table
    assert run.invoke(cli.app, ["parts", "list", "--markdown"]).stdout == survey.markdown()
