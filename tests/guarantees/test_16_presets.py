"""Guarantee 16: each preset composes at tiny width, takes a training step in each of its stages, answers, and makes a
medium of each of its outputs.

Parts, options, patterns and rates are the preset's; widths, data and lengths are a test's."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from tests.conftest import picture, sound
from tests.training import runs

from polymodal import presets
from polymodal.content import Part
from polymodal.media.writing import mp4
from polymodal.model.composing import compose
from polymodal.model.composition import Composition
from polymodal.model.generation import Sampling
from polymodal.parts import peft, tiny
from polymodal.presets import composing
from polymodal.training.loop import train
from polymodal.training.stage import plan, train_recipe

COMPOSED = [name for name in presets.names() if presets.load(name).model is not None]
CLOUD = np.random.default_rng(0).random((150, 6), dtype=np.float32)
CLIP = [picture(seed, (32, 24)) for seed in range(3)]
DEPTH, HEAT = CLOUD[:, :4] + 1, 255 * CLOUD[:, :4]  # maps, in metres and in levels
MOTION = CLOUD.repeat(6, axis=0)  # of no stated rate: ImageBind reads 400 samples a second, IMU2CLIP 200
MEDIA = {"image": picture(1), "audio": sound(1.0), "points": CLOUD, "video": (CLIP, 2), "depth": DEPTH}
MEDIA |= {"thermal": HEAT, "imu": MOTION}
OUTPUTS = sorted({output for name in COMPOSED for output in (presets.load(name).model or {}).get("outputs", {})})
MAKING = {"condition", "regression", "contrast", "diffusion", "masked", "flow", "generate", "autoencode"}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return tiny.save_tokenizer(tmp_path_factory.mktemp("bytes"))


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """A few conversations about media of each modality, and some without."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "video.mp4").write_bytes(mp4(CLIP, 8))
    written = {"video": "video.mp4"}
    for name, array in {"points": CLOUD, "depth": DEPTH, "thermal": HEAT, "imu": MOTION}.items():
        written[name] = f"{name}.npy"
        np.save(folder / written[name], array)
    rows = {name: runs._row([{"type": name, name: file}, "what is this?"], "a chair") for name, file in written.items()}
    picture(1).save(folder / "made.png")
    soundfile.write(folder / "made.wav", *sound(1.0))
    made = {"image": "made.png", "audio": "made.wav", "video": "video.mp4"}
    for name, file in made.items():
        rows |= {f"{name} of {output}": _making(name, file, output) for output in OUTPUTS}
    return {
        "image": runs.write_pictures(folder, n=2),
        "audio": runs.write_recordings(folder, n=2, question="what is this?"),
        **{name: runs._write(folder / f"{name}.jsonl", [row, row]) for name, row in rows.items()},
        "text": runs.write_talk(folder),
    }


def _making(modality: str, file: str, output: str) -> dict[str, Any]:
    """A conversation in which an output makes a medium, between words."""
    made = {"type": modality, modality: file, "caption": "a chair", "output": output}
    row = runs._row(["make a chair"], "")
    row["messages"][1]["content"] = [{"type": "text", "text": "here: "}, made, {"type": "text", "text": " a chair"}]
    return row


def planned(preset: presets.Preset, files: dict[str, Path], folder: Path, tokenizer: str) -> dict[str, Any]:
    """The preset at tiny width as a run: one step of each stage, over a source of each modality and of text (which the
    objective `reference` does not take), and of what each output makes. Two where gates that begin at 0 keep the first from
    what stands before them."""
    model = composing.shrunk(preset, tokenizer)
    outputs = [f"{output.modality or name} of {name}" for name, output in model.outputs.items()]
    sources = [*model.inputs, "text", *outputs]
    gated = any(part.fusion["kind"] != "placement" for part in model.inputs.values())
    short = {"steps": 2 if gated else 1, "batch": 2 * len(sources), "grouping": 1, "warmup": 0, "limit": 2048}
    stages = [{**stage, **short, "data": dict.fromkeys(sources, 1.0)} for stage in preset.model_dump()["stages"]]
    for stage in stages:
        stage.pop("epochs", None)
        if "reference" in stage.get("objectives", {}):
            stage["data"].pop("text")
        if stage.get("objectives", {"lm": 1}).keys() <= MAKING:  # it learns from what those outputs make that it trains
            parts = {".".join(pattern.split(".")[:2]) for pattern in stage["train"]}
            own = [s for s in outputs if any(fnmatchcase(f"outputs.{s.split(' of ')[1]}", part) for part in parts)]
            stage |= {"data": dict.fromkeys(own or outputs, 1.0), "batch": 2 * len(own or outputs)}
    data = {name: {"kind": "messages", "path": str(files[name])} for name in sources}
    run = {"folder": str(folder), "log_every": 1}
    return {"model": model.model_dump(), "data": data, "stages": stages, "run": run}


@pytest.mark.parametrize("name", COMPOSED)
def test_a_preset_composes_takes_a_step_in_each_stage_answers_and_makes_what_it_makes(name, files, tmp_path, tokenizer):
    preset = presets.load(name)
    if not preset.stages:
        composition = composing.Composition.from_recipe(composing.shrunk(preset, tokenizer))
    else:
        recipe = train_recipe(planned(preset, files, tmp_path / "run", tokenizer))
        model = compose(recipe.model)
        rates = plan(model, recipe.model.model_copy(deep=True), recipe.stages)
        before = {key: value.clone() for key, value in peft.named_parameters(model).items()}
        rows: list[dict[str, Any]] = []
        composition = train(recipe, rows.append)
        losses = [row for row in rows if "loss" in row]
        assert [*dict.fromkeys(row["stage"] for row in losses)] == [stage["name"] for stage in preset.stages]
        assert all(np.isfinite([*row["loss"].values()]).all() for row in losses)
        after = peft.named_parameters(composition.model)
        fresh = peft.weights(composition.model)  # an adapter's own start is random, and drawn for each composition
        changed = {key for key, value in before.items() if key not in fresh and not torch.equal(value, after[key])}
        patterns = {pattern for stage in rates for pattern in stage}
        assert not [key for key in changed if not any(fnmatchcase(key, pattern) for pattern in patterns)]
        for stage in recipe.stages:
            for pattern in stage.train:
                assert any(fnmatchcase(key, pattern) for key in changed), f"{stage.name}: nothing of '{pattern}' has moved"
            if stage.peft:
                assert any(value.any() for key, value in fresh.items() if key in peft.named(composition.model, stage.peft))
    media = [Part(name, media=MEDIA[name]) for name in composition.model.modalities]
    answer = composition.ask("what is this?", media=media, sampling=Sampling(max_new_tokens=2))
    assert answer.tokens["media"] > 0 or not media
    assert 1 <= answer.tokens["generated"] <= 2
    for output in composition.model.designs:
        made = making(composition, output)
        assert (made.type, made.output, made.failed) == (composition.model.designs[output].modality, output, None)
        assert made.media is not None


def making(composition: Composition, output: str) -> Part:
    """What a model makes that opens a span of this output at once: its opener is what its state points to."""
    head, states = composition.model.backbone.lm.get_output_embeddings(), []
    seen = head.register_forward_pre_hook(lambda module, args: states.append(args[0].flatten(0, -2)[-1].float()))
    composition.ask("make a chair", sampling=Sampling(max_new_tokens=1))
    seen.remove()
    opener = composition.model.designs[output].tokens.head[0]
    before = opener.detach().clone()
    with torch.no_grad():
        opener.copy_(1e3 * states[0] / states[0].norm())
        answer = composition.ask("make a chair", sampling=Sampling(max_new_tokens=3, most_media=1, seed=0))
        opener.copy_(before)
    return answer.media[0]
