"""Nothing is claimed of a published system that its file does not hold, and the commands say what the files say."""

from __future__ import annotations

import json

import pytest
import torch
import yaml
from typer.testing import CliRunner

from polymodal import cli, presets
from polymodal.content import MODALITIES
from polymodal.errors import RecipeError
from polymodal.model.config import model_recipe, read_yaml
from polymodal.parts import checkpoints, survey, tiny
from polymodal.parts.sources import transformers_config
from polymodal.presets import composing
from polymodal.training.stage import read_stages, train_recipe
from tests.conftest import run_command
from tests.docs.test_docs import ROOT

TABLE_1 = [
    "anymal",
    "blip-2",
    "chatspot",
    "cogvlm",
    "dlp",
    "dress",
    "flamingo",
    "idefics",
    "instructblip",
    "internvl",
    "llava",
    "llava-1.5",
    "llavar",
    "lynx",
    "lyrics",
    "minigpt-4",
    "minigpt-v2",
    "mplug-docowl",
    "mplug-owl",
    "otter",
    "pali-x",
    "pandagpt",
    "qwen-audio",
    "qwen-vl",
    "rlhf-v",
    "silkie",
    "video-chatgpt",
    "video-llama",
    "videochat",
    "vila",
    "x-instructblip",
    "x-llm",
]
MAKING = [  # of Table 1, too
    "codi-2",
    "dreamllm",
    "emu",
    "gill",
    "lavit",
    "minigpt-5",
    "mm-interleaved",
    "modaverse",
    "next-gpt",
]
ALSO_NAMED = [
    "chatbridge",
    "embodiedgpt",
    "kosmos-1",
    "llama-adapter",
    "mobilevlm",
    "monkey",
    "onellm",
    "palm-e",
    "salmonn",
]
ALSO_MAKING = [  # what the two surveys, and the first one's site, name beside Table 1 that makes media
    "anygpt",
    "audiogpt",
    "audiopalm",
    "clova",
    "cm3leon",
    "controlllm",
    "diffusiongpt",
    "emu-2",
    "fromage",
    "gemini",
    "gpt4tools",
    "hugginggpt",
    "interngpt",
    "kosmos-g",
    "libra",
    "llava-plus",
    "llmbind",
    "m2ugen",
    "mllm-tool",
    "rpg",
    "speechgpt",
    "teal",
    "unified-io-2",
    "video-lavit",
    "viscpm",
    "visual-chatgpt",
    "vita",
    "vitron",
    "vl-gpt",
]
# Positions of a picture (of 10 s of sound, of a cloud) that each paper states, or that follow from what it states.
STATED = {
    "llava": ("image", 256),
    "llava-1.5": ("image", 576),
    "llava-next": ("image", 2880),
    "minigpt-4": ("image", 32),
    "blip-2": ("image", 32),
    "qwen-vl": ("image", 256),
    "lynx": ("image", 32),
    "cogvlm": ("image", 256),
    "monkey": ("image", 1280),
    "minigpt-v2": ("image", 256),
    "video-chatgpt": ("video", 356),
    "mplug-owl": ("image", 65),
    "chatbridge": ("video", 32),
    "kosmos-1": ("image", 64),
    "mobilevlm": ("image", 144),
    "onellm": ("image", 30),
    "qwen-audio": ("audio", 250),
    "pointllm": ("points", 512),
    "salmonn": ("audio", 30),
    "video-llama": ("video", 32),
    "videochat": ("video", 96),
    "internvl": ("image", 96),
    "instructblip": ("image", 32),
    "rlhf-v": ("image", 64),
    "x-llm": ("video", 160),
    "x-instructblip": ("video", 160),
    "gill": ("image", 4),
    "next-gpt": ("audio", 1),
    "seed-x": ("image", 64),
    "janus-pro": ("image", 576),
    "internlm-xcomposer2": ("image", 1225),
    "libra": ("image", 576),
    "viscpm": ("image", 64),
    "vita": ("audio", 125),
}
# Of an output: what its span holds, and what its generator takes, as each paper states it.
SPANS = {
    ("gill", "image"): (8, 77, 768),
    ("next-gpt", "image"): (4, 77, 1024),
    ("next-gpt", "video"): (24, 77, 1024),
    ("next-gpt", "audio"): (8, 1, 512),
    ("minigpt-5", "image"): (8, 77, 1024),
    ("dreamllm", "image"): (64, 64, 1024),
    ("seed-x", "image"): (64, 64, 1664),
    ("show-o", "image"): (256, 256, 8192),
    ("janus-pro", "image"): (576, 576, 16384),
    ("emu3", "image"): (8100, 8100, 32768),
    ("anygpt", "music"): (1000, 1000, 8192),
    ("unified-io-2", "image"): (1024, 1024, 16384),
    ("transfusion", "image"): (256, 256, 32),
    ("libra", "image"): (576, 576, 512),
    ("viscpm", "image"): (77, 77, 1024),
}
ABSENT = presets.Preset(  # as one that is not there yet: every one of today's has a recipe
    id="absent",
    about=presets.About(
        name="Absent", paper="arXiv:2401.13601", year=2024, takes=["image"], design="a → b", missing=["q-former", "a part"]
    ),
)
RECIPES = {
    "kosmos-1": "kosmos-1",
    "llama-adapter": "llama-adapter",
    "llava-1.5": "llava-1.5-7b",
    "llava-next": "llava-next-7b",
    "minigpt-4": "minigpt-4",
    "vila": "vila-7b",
}


def test_every_system_of_table_1_that_answers_with_text_or_media_and_every_other_that_is_asked_for_has_one_file():
    assert sorted(name for name in presets.names() if presets.load(name).about.table) == sorted([*TABLE_1, *MAKING])
    assert len(TABLE_1) == 32  # and two of the 43 answer with places in a picture: BuboGPT and Shikra
    assert all(presets.load(name).about.makes for name in MAKING)
    assert set(ALSO_NAMED) <= set(presets.names())
    assert [name for name in presets.names() if name in ALSO_MAKING and presets.load(name).about.makes] == ALSO_MAKING


@pytest.mark.parametrize("name", presets.names())
def test_a_preset_claims_no_more_than_it_holds(name):
    """A model that takes less than the paper's is a part of it; what is not there says why, exactly."""
    preset = presets.load(name)
    about = preset.about
    assert about.paper.startswith(("arXiv:", "https://"))
    assert {*about.takes, *about.makes} <= set(MODALITIES)
    if preset.model is None:
        assert about.missing
        assert not preset.stages
        return
    assert preset.stages or about.missing
    outputs = preset.model.get("outputs", {})
    made = {output.get("modality", name): output["span"]["kind"] for name, output in outputs.items()}
    read = {modality for modality, kind in made.items() if kind in ("codes", "masked", "latents")}  # without an input
    inputs = set(preset.model.get("inputs", {}))
    assert inputs <= set(about.takes)
    assert set(made) <= set(about.makes)
    assert (set(about.takes) <= inputs | read and set(made) == set(about.makes)) or about.missing
    assert (preset.state == "in part") == bool(about.missing)


@pytest.mark.parametrize("name", presets.names())
def test_what_a_system_lacks_is_not_there(name):
    """Fails once a part that it lacks is there: then it wants it in its `model`."""
    there = {row.id for row in survey.rows() if row.state != "not yet"}
    assert not set(presets.load(name).about.missing) & there


@pytest.mark.parametrize("name", [name for name in presets.names() if presets.load(name).model is not None])
def test_a_preset_is_a_recipe_that_the_readers_of_recipes_read(name):
    data = read_yaml(presets.file(name))
    model, stages = model_recipe(data), read_stages(data)
    assert (model, stages) == composing.recipe(presets.load(name))
    places = {source: {"kind": "messages", "path": "rows.jsonl"} for stage in stages for source in stage.data}
    if stages:
        assert train_recipe({**data, "data": places, "run": {"folder": "run"}}).stages == stages


@pytest.mark.parametrize(("name", "file"), RECIPES.items())
def test_a_preset_and_the_recipe_of_its_run_say_the_same(name, file):
    """Parts, and of each stage its name, what learns, how fast, of which data and for how long."""
    preset, recipe = presets.load(name), yaml.safe_load((ROOT / f"recipes/{file}.yaml").read_text())
    assert preset.model == recipe["model"]
    keys = ("name", "train", "peft", "data", "steps", "epochs", "batch")
    assert [[stage.get(key) for key in keys] for stage in preset.stages] == [
        [stage.get(key) for key in keys] for stage in recipe["stages"]
    ]


@pytest.mark.parametrize("name", STATED)
def test_positions_are_those_of_the_paper(name, tmp_path):
    """Counted on the parts at their own size; the backbone, which does not change them, has one layer."""
    model = composing.published(presets.load(name), tiny.save_tokenizer(tmp_path))
    model.backbone["config"]["num_hidden_layers"] = 1
    with torch.device("meta"):
        composition = composing.Composition(composing.compose(model), model)
    modality, positions = STATED[name]
    assert composing.describe(composition)["positions"][modality] == positions


@pytest.mark.parametrize(("name", "output"), SPANS)
def test_spans_are_those_of_the_paper(name, output, tmp_path):
    """Counted on the parts at their own size, as positions are."""
    model = composing.published(presets.load(name), tiny.save_tokenizer(tmp_path))
    model.backbone["config"]["num_hidden_layers"] = 1
    model.inputs, model.outputs = {}, {output: model.outputs[output].model_copy(update={"seen": False})}
    with torch.device("meta"):
        composition = composing.Composition(composing.compose(model), model)
    span = composing.describe(composition)["spans"][output]
    assert (span["length"], span["positions"], span.get("vocabulary", span.get("width"))) == SPANS[name, output]


def test_checkpoints_are_of_what_the_survey_says_and_transformers_knows_them():
    kinds = {row.recipe["path"]: row.model_type for row in survey.rows() if row.recipe and "path" in row.recipe}
    for path, config in checkpoints.known().items():
        if "model_type" not in config:  # a file of its authors: one of the survey's, or its sizes are said
            assert config or any(row.recipe and row.recipe.get("path") == path for row in survey.rows())
            continue
        assert kinds.get(path, config["model_type"]) == config["model_type"]
        assert transformers_config(None, config, "part").model_type == config["model_type"]


def test_the_page_is_what_the_files_say():
    """Write it again with: python -m polymodal.cli presets list --markdown"""
    assert (ROOT / "docs/presets.md").read_text(encoding="utf-8") == presets.markdown()


def test_the_command_lists_every_system_for_people_and_programs():
    run = CliRunner()
    listed = json.loads(run.invoke(cli.app, ["presets", "list", "--json"]).stdout)
    assert {entry["id"] for entry in listed} == set(presets.names())
    assert {entry["state"] for entry in listed} <= set(presets.MEANING)
    table = run.invoke(cli.app, ["presets", "list"], env={"COLUMNS": "200"}).stdout
    for name in presets.names():
        assert name in table
    assert run.invoke(cli.app, ["presets", "list", "--markdown"]).stdout == presets.markdown()


def test_the_picture_shows_parts_positions_what_learns_in_each_stage_and_what_differs(monkeypatch, capsys):
    """As the guide shows it, to the character."""
    monkeypatch.setenv("COLUMNS", "100")
    code, out, _ = run_command(monkeypatch, capsys, "presets", "show", "llava-1.5")
    assert code == 0
    page = (ROOT / "docs/guide/presets.md").read_text(encoding="utf-8")
    (shown,) = [part.split("```")[0] for part in page.split("```text\n")[1:]]
    assert shown.rstrip() in "\n".join(line.rstrip() for line in out.splitlines())
    assert "Unlike the paper" in out
    assert "arXiv:2310.03744" in out


@pytest.mark.parametrize(
    ("name", "shows"),
    [
        ("otter", ("image fusion", "64 features of 4,096", "1 position of 4,096")),
        ("dlp", ("shared prompts", "width 2560, queries 32")),
        ("onellm", ("shared experts", "of kind vision", "a depth map")),
        ("lyrics", ("5,346 features of 2,052", "groups visual queries 32 reads 0", "64 positions of 5,120")),
        ("next-gpt", ("24 signals", "77 vectors of 1,024", "audio generator", "a recording", "embeddings added")),
        ("modaverse", ("up to 77 tokens of text", "prompted damo-vilab/text-to-video-ms-1.7b", "a clip")),
        ("vita", ("up to 256 tokens of text", "voice asset:piper-joe", "a graph in a file", "a recording")),
        ("pandagpt", ("input unit metres", "10 s of sensors", "1 feature of 1,024")),
    ],
)
def test_the_picture_shows_fusion_what_is_shared_and_parts_inside_parts(name, shows, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "130")
    code, out, _ = run_command(monkeypatch, capsys, "presets", "show", name)
    assert code == 0
    told = " ".join(out.replace("│", " ").split())
    assert all(part in told for part in shows)


def test_the_picture_of_a_system_that_is_not_there_says_what_is_missing(monkeypatch, capsys):
    monkeypatch.setattr(presets, "load", lambda name: ABSENT)
    code, out, _ = run_command(monkeypatch, capsys, "presets", "show", "absent")
    assert code == 0
    assert "not yet" in out
    assert all(part in out for part in ("Q-Former", "a part"))


def test_a_system_that_is_not_there_is_not_composed(monkeypatch, capsys):
    monkeypatch.setattr(presets, "load", lambda name: ABSENT)
    code, out, err = run_command(monkeypatch, capsys, "presets", "compose", "absent", "--tiny")
    assert (code, out) == (2, "")
    assert "Absent cannot be composed yet; what is missing: Q-Former, a part" in err
    assert err.count("\n") == 1


def test_the_recipe_of_a_preset_can_be_copied(monkeypatch, capsys):
    code, out, _ = run_command(monkeypatch, capsys, "presets", "show", "qwen-audio", "--recipe")
    assert (code, out) == (0, presets.file("qwen-audio").read_text(encoding="utf-8"))


def test_composing_tiny_shows_the_shape_of_every_step(monkeypatch, capsys):
    code, out, _ = run_command(monkeypatch, capsys, "presets", "compose", "minigpt-4", "--tiny")
    assert code == 0
    for shape in ("[3, 28, 28]", "[16, 24]", "[32, 32]"):  # a picture of 4 x 4 patches, 32 queries
        assert shape in out
    assert "tokens generated" in out


def test_composing_tiny_shows_what_is_made_and_what_it_is_made_of(monkeypatch, capsys):
    code, out, _ = run_command(monkeypatch, capsys, "presets", "compose", "gill", "--tiny")
    assert code == 0
    told = " ".join(out.replace("│", " ").split())
    assert "image: condition [Q, Dg] [77, 12]" in told
    assert "image: made 16 x 16 pixels" in told
    assert "output image: 8 signals become 77 vectors of 12" in told
    assert all(f"outputs.image.{part}" in told for part in ("tokens", "projector", "generator"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("show", "lava"), "there is no preset 'lava' (did you mean 'llava'?)"),
        (("compose", "minigpt4", "--tiny"), "did you mean 'minigpt-4'?"),
    ],
)
def test_what_cannot_be_had_is_refused_in_a_line(arguments, says, monkeypatch, capsys):
    code, out, err = run_command(monkeypatch, capsys, "presets", *arguments)
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1


def test_a_voice_which_is_a_file_is_stood_in_for_by_speech_that_words_make():
    made = checkpoints.unfetched_generator({"kind": "voice", "path": "asset:piper-joe"})
    assert (made["kind"], made["of"]["kind"], "path" in made) == ("prompted", "latent-speech", False)


def test_a_checkpoint_that_is_not_known_is_named():
    with pytest.raises(RecipeError, match="'a/b': what this checkpoint is of"):
        checkpoints.unfetched({"path": "a/b"})
