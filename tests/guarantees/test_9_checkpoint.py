"""Guarantee 9: a checkpoint folder is complete, strict and loadable by its path alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.conftest import T5, picture, sound

import polymodal
import polymodal.errors
from polymodal.content import assistant, audio, image, user
from polymodal.errors import CheckpointError
from polymodal.model.composition import Composition
from polymodal.model.sequence import collate
from polymodal.parts import peft

CHILD = """
import sys, torch
sys.path.insert(0, {root!r})
torch.set_num_threads(1)
import polymodal
import polymodal.errors
from tests.guarantees.test_9_checkpoint import logits
torch.save(logits(polymodal.load({folder!r})), {out!r})
"""


def logits(composition: Composition) -> torch.Tensor:
    turns = [user(image(picture(1)), audio(sound(0.5)), "what is this?"), assistant("a cat")]
    batch = collate([composition.processor.encode(turns)], composition.processor.pad_id)
    with torch.no_grad():
        return composition.model(batch).logits


@pytest.mark.parametrize("kind", ["causal", "seq2seq"])
def test_saved_moved_and_loaded_in_a_new_process_gives_equal_logits(kind, tiny_recipe, tmp_path):
    recipe = tiny_recipe() if kind == "causal" else tiny_recipe(config=T5, chat_format=None)
    composition = Composition.from_recipe(recipe)
    composition.save(tmp_path / "a" / "model")
    shutil.move(tmp_path / "a", tmp_path / "elsewhere")
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    script = CHILD.format(root=root, folder=str(tmp_path / "elsewhere" / "model"), out=str(tmp_path / "out.pt"))
    subprocess.run([sys.executable, "-c", script], check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"}, cwd=tmp_path)
    assert torch.equal(torch.load(tmp_path / "out.pt"), logits(composition))


def test_what_is_saved_can_be_read_by_others(tiny, tmp_path):
    tiny.save(tmp_path / "model")
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in [tmp_path / "model", *(tmp_path / "model").iterdir()])


ADAPTERS = {
    "backbone.lm.*.self_attn.[qv]_proj": {"kind": "lora", "r": 4},
    "backbone.lm.*.layers.1.self_attn": {"kind": "prefix", "length": 3},
    "backbone.lm.*norm": {"kind": "layernorm"},
    "inputs.image.encoder.*_proj": {"kind": "lora", "r": 2, "alpha": 3.0},
}


def adapted(recipe, *patterns: str) -> Composition:
    """With adapters that are no longer the identity."""
    recipe["model"]["peft"] = {pattern: ADAPTERS[pattern] for pattern in patterns or ADAPTERS}
    composition = Composition.from_recipe(recipe)
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in peft.weights(composition.model).values():
            weight.add_(torch.randn(weight.shape, generator=random) * 0.2)
    return composition


def test_adapters_are_saved_moved_and_loaded_in_a_new_process(tiny_recipe, tmp_path):
    """Each in a file of its own beside the part, which is linked as if it had none."""
    recipe = tiny_recipe()
    plain = logits(Composition.from_recipe(recipe))
    composition = adapted(recipe)
    assert not torch.allclose(logits(composition), plain, atol=1e-2)
    composition.save(tmp_path / "a" / "model")
    shutil.move(tmp_path / "a", tmp_path / "elsewhere")
    folder = tmp_path / "elsewhere" / "model"
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    script = CHILD.format(root=root, folder=str(folder), out=str(tmp_path / "out.pt"))
    subprocess.run([sys.executable, "-c", script], check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"}, cwd=tmp_path)
    assert torch.equal(torch.load(tmp_path / "out.pt"), logits(composition))
    again = polymodal.load(folder)
    again.save(tmp_path / "again")
    assert torch.equal(logits(polymodal.load(tmp_path / "again")), logits(composition))


def test_a_backbone_with_adapters_stays_linked(asset, tiny_recipe, tmp_path):
    recipe = tiny_recipe()
    recipe["model"]["backbone"] = {"path": "asset:llm", "chat_format": "chatml"}
    composition = adapted(recipe)
    composition.save(tmp_path / "model", dtype=torch.float16)
    files = {file.name for file in (tmp_path / "model").iterdir()}
    assert "backbone" not in files
    assert {"backbone.peft.safetensors", "inputs.image.encoder.peft.safetensors"} <= files
    assert "inputs.audio.encoder.peft.safetensors" not in files
    assert torch.equal(logits(polymodal.load(tmp_path / "model")), logits(composition))
    edit(
        tmp_path / "model" / "backbone.peft.safetensors",
        lambda s: s.pop("lm.model.layers.0.self_attn.q_proj.lora_A.weight"),
    )
    with pytest.raises(CheckpointError, match=r"backbone.peft.safetensors: tensor 'lm.*q_proj.lora_A.weight' is missing"):
        polymodal.load(tmp_path / "model")
    (tmp_path / "model" / "backbone.peft.safetensors").unlink()
    with pytest.raises(CheckpointError, match="backbone.peft.safetensors: this weight file is missing"):
        polymodal.load(tmp_path / "model")


def test_merged_adapters_are_plain_weights(tiny_recipe, tmp_path):
    patterns = [pattern for pattern, options in ADAPTERS.items() if options["kind"] != "prefix"]
    composition = adapted(tiny_recipe(), *patterns)
    before = logits(composition)
    composition.save(tmp_path / "model", merge=True)
    assert not list((tmp_path / "model").glob("*.peft.safetensors"))
    merged = polymodal.load(tmp_path / "model")
    assert merged.recipe.peft == {}
    assert not peft.weights(merged.model)
    assert torch.allclose(logits(merged), before, atol=1e-5)
    assert torch.equal(logits(composition), before)  # nothing was merged in memory


def test_a_prefix_cannot_be_merged_and_nothing_is_written(tiny_recipe, tmp_path):
    composition = adapted(tiny_recipe())
    with pytest.raises(polymodal.errors.RecipeError, match="cannot be merged"):
        composition.save(tmp_path / "model", merge=True)
    assert not (tmp_path / "model").exists()


@pytest.fixture(scope="module")
def saved(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "model"
    tiny.save(folder)
    return folder


@pytest.fixture
def broken(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "model")


def edit(file, change):
    state = load_file(file)
    change(state)
    save_file(state, file)


@pytest.mark.parametrize("part", ["inputs.image.projector", "inputs.audio.encoder"])
def test_a_missing_tensor_is_named(part, broken):
    edit(broken / f"{part}.safetensors", lambda s: s.pop(sorted(s)[0]))
    name = sorted(load_file(broken / f"{part}.safetensors"))  # whatever is left
    with pytest.raises(CheckpointError, match=rf"{part}.safetensors: tensor '.*' is missing"):
        polymodal.load(broken)
    assert name


def test_an_extra_tensor_is_named(broken):
    edit(broken / "inputs.image.projector.safetensors", lambda s: s.update(stowaway=torch.zeros(1)))
    with pytest.raises(CheckpointError, match="tensor 'stowaway' is unexpected"):
        polymodal.load(broken)


def test_a_misshapen_tensor_is_named(broken):
    edit(broken / "inputs.image.projector.safetensors", lambda s: s.update({"layers.0.bias": torch.zeros(3)}))
    with pytest.raises(CheckpointError, match=r"'layers.0.bias' is \[3\], not \[32\]"):
        polymodal.load(broken)


def test_a_backbone_that_lacks_a_tensor_is_refused(broken):
    edit(broken / "backbone" / "model.safetensors", lambda s: s.pop("model.layers.0.mlp.up_proj.weight"))
    with pytest.raises(polymodal.errors.PolymodalError, match="up_proj"):
        polymodal.load(broken)


@pytest.mark.parametrize(
    "file", ["polymodal.json", "inputs.image.projector.safetensors", "inputs.audio.encoder.safetensors"]
)
def test_a_missing_or_cut_file_is_named(file, broken):
    whole = (broken / file).read_bytes()
    (broken / file).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=file):
        polymodal.load(broken)
    (broken / file).unlink()
    with pytest.raises(CheckpointError, match=file):
        polymodal.load(broken)


def test_another_format_is_refused(broken):
    manifest = json.loads((broken / "polymodal.json").read_text())
    (broken / "polymodal.json").write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(CheckpointError, match="format 99"):
        polymodal.load(broken)


@pytest.fixture
def asset(saved, tmp_path, monkeypatch):
    """A fetched asset 'llm', pinned by its weights."""
    from polymodal import assets
    from polymodal.parts.sources import sha256

    folder = shutil.copytree(saved / "backbone", tmp_path / "assets" / "llm")
    monkeypatch.setattr(assets, "path", lambda name: folder)
    monkeypatch.setattr(assets, "pin", lambda name: sha256(folder / "model.safetensors"))
    return folder


def linked(tiny_recipe) -> Composition:
    recipe = tiny_recipe()
    recipe["model"]["backbone"] = {"path": "asset:llm", "chat_format": "chatml"}
    return Composition.from_recipe(recipe)


def test_a_linked_part_must_be_the_one_it_was_trained_with(asset, tiny_recipe, tmp_path):
    """A checkpoint that refers to its backbone notices when the backbone is another one."""
    composition = linked(tiny_recipe)
    composition.save(tmp_path / "model")
    assert not (tmp_path / "model" / "backbone").exists()
    assert torch.equal(logits(polymodal.load(tmp_path / "model")), logits(composition))
    edit(asset / "model.safetensors", lambda s: s["model.norm.weight"].add_(0.1))
    with pytest.raises(CheckpointError, match="is not the one this checkpoint was made with"):
        polymodal.load(tmp_path / "model")


def test_a_part_that_was_trained_is_never_linked(asset, tiny_recipe, tmp_path):
    composition = linked(tiny_recipe)
    with torch.no_grad():
        composition.model.backbone.lm.model.norm.weight.mul_(1.5)
    composition.save(tmp_path / "model")
    assert (tmp_path / "model" / "backbone").is_dir()
    assert torch.equal(logits(polymodal.load(tmp_path / "model")), logits(composition))


def test_a_folder_of_this_machine_is_copied_not_linked(saved, tmp_path):
    """A checkpoint saved again does not come to depend on the folder it was loaded from."""
    first = shutil.copytree(saved, tmp_path / "first")
    composition = polymodal.load(first)
    composition.save(tmp_path / "second")
    shutil.rmtree(first)
    assert torch.equal(logits(polymodal.load(tmp_path / "second")), logits(composition))


def test_a_failed_save_leaves_the_old_checkpoint_whole(tiny, broken, monkeypatch):
    before = logits(polymodal.load(broken))

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("polymodal.model.checkpoint._write_tensors", fail)
    with pytest.raises(OSError, match="disk full"):
        tiny.save(broken)
    assert [p.name for p in broken.parent.iterdir()] == ["model"]
    assert torch.equal(logits(polymodal.load(broken)), before)


def test_a_folder_that_is_no_checkpoint_says_so(tmp_path):
    with pytest.raises(CheckpointError, match=r"has no polymodal.json"):
        polymodal.load(tmp_path)
