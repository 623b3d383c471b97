"""Files as their authors released them: read by name, copied into a checkpoint, and never run."""

from __future__ import annotations

import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from polymodal.errors import RecipeError
from polymodal.model.composition import Composition
from polymodal.parts import released
from tests.parts.encoders import test_beats as beats


class Touch:
    def __init__(self, file):
        self.file = str(file)

    def __reduce__(self):
        return open, (self.file, "w")


def test_code_in_a_file_is_not_run(tmp_path):
    (tmp_path / "weights.pt").write_bytes(pickle.dumps(Touch(tmp_path / "ran")))
    torch.save({"model": Touch(tmp_path / "ran")}, tmp_path / "zip.pt")
    for name in ("weights.pt", "zip.pt"):
        with pytest.raises(RecipeError, match=f"{name}' cannot be read as weights"):
            released.read(str(tmp_path / name))
    assert not (tmp_path / "ran").exists()


def test_a_folder_with_one_file_is_that_file_whatever_its_format(tmp_path):
    layer = nn.Linear(2, 3)
    save_file(layer.state_dict(), tmp_path / "model.safetensors")
    assert torch.equal(released.read(str(tmp_path))["weight"], layer.weight)
    torch.save(layer.state_dict(), tmp_path / "model.pth")
    with pytest.raises(RecipeError, match="is 2 files of weights; give the released file"):
        released.read(str(tmp_path))
    with pytest.raises(RecipeError, match="there is no such folder"):
        released.read(str(tmp_path / "none.pth"))


def test_a_checkpoint_needs_the_released_file_no_more(tmp_path, tiny_recipe):
    options, (sound, _) = beats.released(tmp_path / "beats.pt")
    audio = {"encoder": {"kind": "beats", **options}, "projector": {"kind": "mlp", "stack": 8}}
    model = Composition.from_recipe(tiny_recipe(audio=audio))
    model.save(tmp_path / "saved")
    (tmp_path / "beats.pt").unlink()
    again = Composition.load(tmp_path / "saved")
    before, after = (m.model.modalities["audio"].encoder for m in (model, again))
    inputs = before.prepare(sound)
    with torch.no_grad():
        assert torch.equal(before([inputs]).tokens[0], after([inputs]).tokens[0])
