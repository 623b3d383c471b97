"""Encoders side by side: what stands beside what, and what does not fit together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from polymodal.errors import RecipeError
from polymodal.model.composition import Composition
from polymodal.parts.tiny import RELEASED, VISION
from polymodal.parts.tiny_encoders import WHISPER
from tests.conftest import LLAMA, picture
from tests.parts.encoders.contract import check_lengths_and_neighbours, check_options_rebuild, features, make

SPEECH = {"kind": "whisper", "config": {**WHISPER, "max_source_positions": 50}}
SOUND = {"kind": "beats", "config": RELEASED["beats"]}
HEARD = {"speech": SPEECH, "sound": SOUND}
SEEN = {name: {"kind": "vision", "config": dict(VISION[name])} for name in ("clip", "dinov2")}
PICTURES = [picture(1), picture(2, (28, 28))]


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, int(16000 * seconds)).astype(np.float32)


RECORDINGS = [noise(1.0), noise(0.4, 1), noise(0.2, 2)]


@pytest.mark.parametrize(("of", "pad", "media"), [(HEARD, 9, RECORDINGS), (SEEN, 0, PICTURES)], ids=["heard", "seen"])
def test_length_is_what_is_emitted_and_options_rebuild(of, pad, media):
    encoder = make("channel-concat", of=of, pad=pad)
    check_lengths_and_neighbours(encoder, media)
    check_options_rebuild(encoder, "channel-concat", media)


def test_each_has_its_own_columns_and_what_one_lacks_at_the_end_is_zero():
    """As SALMONN pads BEATs, whose patches are 0.16 s long, to Whisper."""
    encoder = make("channel-concat", of=HEARD, pad=9)
    (rows,) = features(encoder, RECORDINGS[:1])
    assert (encoder.width, encoder.modality) == (24 + 32, "audio")
    assert rows.shape == (50, 56)
    each = {name: features(part, RECORDINGS[:1])[0] for name, part in encoder.of.items()}
    assert [len(x) for x in each.values()] == [50, 48]
    assert torch.allclose(rows[:, :24], torch.nn.functional.layer_norm(each["speech"], (24,)), atol=1e-5)
    assert torch.allclose(rows[:48, 24:], torch.nn.functional.layer_norm(each["sound"], (32,)), atol=1e-5)
    assert not rows[48:, 24:].any()


@pytest.mark.parametrize("seconds", [0.18, 0.3349, 0.9999, 1.5, 31.0])
def test_whisper_and_beats_differ_by_nine_features_at_most(seconds):
    encoder = make("channel-concat", of=HEARD, pad=9)
    assert encoder.length(encoder.prepare(noise(seconds))) == int(np.ceil(int(16000 * seconds) / 320))


def test_features_that_do_not_stand_side_by_side_are_refused_before_anything_runs():
    finer = {"kind": "vision", "config": {**VISION["clip"], "image_size": 56}}
    encoder = make("channel-concat", of={"coarse": SEEN["dinov2"], "fine": finer})
    with pytest.raises(RecipeError, match="features 16 of 'coarse', 64 of 'fine'; .* 'pad', 0"):
        encoder.length(encoder.prepare(picture(1)))
    with pytest.raises(RecipeError, match="takes audio and image, not one medium"):
        make("channel-concat", of={"a": SPEECH, "b": finer})
    with pytest.raises(RecipeError, match=r"encoder.of.a.kind 'wisper' is not known \(did you mean 'whisper'"):
        make("channel-concat", of={"a": {"kind": "wisper"}, "b": SPEECH})
    with pytest.raises(RecipeError, match="takes nothing, not one medium"):
        make("channel-concat", of={})


def test_a_checkpoint_holds_both_and_answers_alike(tmp_path, tokenizer_folder):
    backbone = {"config": dict(LLAMA), "tokenizer": tokenizer_folder}
    audio = {"encoder": {"kind": "channel-concat", "of": HEARD, "pad": 9}, "projector": {"kind": "linear", "stack": 4}}
    composition = Composition.from_recipe({"model": {"backbone": backbone, "inputs": {"audio": audio}}})
    composition.save(tmp_path / "model")
    assert {key.split(".")[1] for key in load_file(tmp_path / "model/inputs.audio.encoder.safetensors")} == {*HEARD}
    again = Composition.load(tmp_path / "model")
    for a, b in zip(
        *(features(c.model.modalities["audio"].encoder, RECORDINGS) for c in (composition, again)), strict=True
    ):
        assert torch.equal(a, b)
