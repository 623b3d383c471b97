"""Where weights come from: three forms of `path`, and proof that a source is still the one it was."""

from __future__ import annotations

import hashlib

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from polymodal.errors import AssetError, CheckpointError, PolymodalError, RecipeError
from polymodal.parts import sources


@pytest.fixture
def folder(tmp_path):
    save_file({"weight": torch.ones(2, 3), "bias": torch.zeros(2)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def test_a_folder_and_a_hub_id_are_themselves(folder):
    assert sources.locate(str(folder)) == str(folder)
    assert sources.locate("google/siglip-base") == "google/siglip-base"


@pytest.mark.parametrize("path", ["/no/such/folder", "./no-such-folder", "../no-such-folder"])
def test_a_folder_that_is_not_there_is_never_asked_of_a_hub(path):
    with pytest.raises(RecipeError, match="there is no such folder"):
        sources.locate(path)
    with pytest.raises(PolymodalError, match="there is no such folder"):
        sources.digests(path)


def test_an_asset_that_is_not_fetched_names_the_command(monkeypatch, tmp_path):
    monkeypatch.setenv("POLYMODAL_HOME", str(tmp_path))
    with pytest.raises(AssetError, match="polymodal assets fetch"):
        sources.locate("asset:efficientnet-lite0")


def test_a_hub_id_that_is_not_in_the_cache_names_the_command(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(AssetError, match="`hf download nobody/nothing` gets it"):
        sources.digests("nobody/nothing")


def test_digests_are_those_of_the_weight_files_alone(folder):
    expected = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert sources.digests(str(folder)) == {"model.safetensors": expected}


def test_a_source_that_changed_is_refused_by_part_and_file(folder):
    known = sources.digests(str(folder))
    sources.check(str(folder), known, "backbone")
    save_file({"weight": torch.zeros(2, 3)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"backbone: .* is not the one .*model.safetensors"):
        sources.check(str(folder), known, "backbone")
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"backbone: .* is not the one .*model.safetensors"):
        sources.check(str(folder), known, "backbone")


def test_weights_are_read_into_a_module_strictly(folder):
    module = nn.Linear(3, 2)
    sources.read_tensors(folder / "model.safetensors", module)
    assert torch.equal(module.weight, torch.ones(2, 3))
    with pytest.raises(CheckpointError, match=r"model.safetensors: tensor 'bias' is unexpected"):
        sources.read_tensors(folder / "model.safetensors", nn.Linear(3, 2, bias=False))
    with pytest.raises(CheckpointError, match=r"tensor 'weight' is \[2, 3\], not \[2, 4\]"):
        sources.read_tensors(folder / "model.safetensors", nn.Linear(4, 2))
    with pytest.raises(CheckpointError, match=r"tensor '0.bias' is missing"):
        sources.read_tensors(folder / "model.safetensors", nn.Sequential(nn.Linear(3, 2)))
