"""Every audio encoder of transformers that the house names, at tiny random width."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from polymodal.errors import MediaError, RecipeError
from polymodal.parts.tiny_encoders import AUDIO as ENCODERS
from polymodal.parts.tiny_encoders import WHISPER
from tests.conftest import sound
from tests.parts.encoders.contract import check_lengths_and_neighbours, check_options_rebuild, features, make


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, int(16000 * seconds)).astype(np.float32)


RECORDINGS = [noise(0.4), sound(0.05)[0], sound(1.0, 220)[0], noise(2.345, 3), noise(0.4, 4)]


@pytest.fixture(scope="module", params=ENCODERS)
def named(request):
    kind, config = ENCODERS[request.param]
    return kind, make(kind, config=dict(config))


def test_length_is_what_is_emitted_alone_or_in_a_batch(named):
    check_lengths_and_neighbours(named[1], RECORDINGS)


def test_options_and_weights_make_the_same_encoder_again(named):
    check_options_rebuild(named[1], named[0], RECORDINGS)


def test_gradients_reach_the_encoder_when_it_trains(named):
    encoder = named[1]
    encoder([encoder.prepare(RECORDINGS[2])]).tokens[0].square().sum().backward()
    reached = [p.grad is not None and bool(p.grad.abs().max() > 0) for p in encoder.parameters()]
    assert sum(reached) > len(reached) // 2
    encoder.zero_grad()


@pytest.mark.parametrize("seconds", [0.02, 0.021, 0.0251, 0.1, 0.3333, 0.99, 1.0, 1.01, 2.0])
def test_whisper_length_holds_for_any_duration(seconds):
    encoder = make("whisper", config={**WHISPER, "max_source_positions": 50})
    inputs = encoder.prepare(noise(seconds))
    (tokens,) = features(encoder, [noise(seconds)])
    assert len(tokens) == encoder.length(inputs) == int(np.ceil(int(16000 * seconds) / 320))


def test_whisper_equals_transformers_own_encoder_at_a_full_window():
    encoder = make("whisper", config={**WHISPER, "max_source_positions": 50})
    inputs = encoder.prepare(noise(1.0))
    with torch.no_grad():
        own = encoder.network(inputs["input_features"][None]).last_hidden_state[0]
    assert torch.allclose(features(encoder, [noise(1.0)])[0], own, atol=1e-5)


def test_whisper_encodes_long_recordings_window_by_window():
    """Each window of a long spectrogram gives what it gives alone, the last shorter one included."""
    encoder = make("whisper", config={**WHISPER, "max_source_positions": 50})
    mels = encoder.prepare(noise(2.5))["input_features"]
    with torch.no_grad():
        whole = encoder([{"input_features": mels}]).tokens[0]
        windows = [encoder([{"input_features": w}]).tokens[0] for w in mels.split(100, dim=-1)]
    assert [len(w) for w in windows] == [50, 50, 25]
    assert torch.allclose(whole, torch.cat(windows), atol=1e-5)


def test_whisper_default_window_is_thirty_seconds():
    encoder = make("whisper", config=dict(WHISPER))
    assert encoder.window == 3000
    (tokens,) = features(encoder, [noise(31.0)])
    assert len(tokens) == 31 * 50


@pytest.mark.parametrize("name", ["hubert", "wav2vec2", "wavlm"])
def test_a_recording_too_short_for_one_feature_is_refused(name):
    kind, config = ENCODERS[name]
    encoder = make(kind, config=dict(config))
    with pytest.raises(MediaError, match="too short"):
        encoder.prepare(noise(0.02))
    shortest = next(n for n in range(1, 16000) if encoder._features(n) >= 1)
    assert len(features(encoder, [noise(1)[:shortest]])[0]) == 1


def test_loudness_is_removed_where_the_checkpoint_asks_for_it():
    kind, config = ENCODERS["hubert"]
    loud, quiet = noise(0.5), noise(0.5) * 0.1
    a, b = features(make(kind, config=dict(config), normalize=True), [loud, quiet])
    assert torch.allclose(a, b, atol=1e-2)
    encoder = make(kind, config=dict(config), normalize=False)
    assert torch.equal(encoder.prepare(quiet)["input_values"], torch.from_numpy(quiet))
    check_options_rebuild(encoder, kind, RECORDINGS)


def test_clap_takes_the_start_of_a_long_recording():
    kind, config = ENCODERS["clap"]
    encoder = make(kind, config=dict(config))
    long = noise(12.0)
    other_end, other_start = long.copy(), long.copy()
    other_end[165_000:] = 0
    other_start[:60_000] = 0
    same, end, start = features(encoder, [long, other_end, other_start])
    assert torch.equal(same, features(encoder, [long])[0])
    assert torch.allclose(same, end, atol=1e-3)
    assert not torch.allclose(same, start, atol=1e-1)


_EXTRACTORS = {
    "waveform": lambda: transformers.Wav2Vec2FeatureExtractor(do_normalize=False),
    "ast": lambda: transformers.ASTFeatureExtractor(max_length=128, mean=-6.8, std=5.5),
    "clap": lambda: transformers.ClapFeatureExtractor(feature_size=64, truncation="rand_trunc", frequency_min=50),
    "whisper": lambda: transformers.WhisperFeatureExtractor(feature_size=80),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_a_folder_saved_by_transformers_is_read_with_its_own_preprocessing(name, tmp_path):
    """And both survive the way through a checkpoint: the saved options give the same features, not the defaults."""
    kind, config = ENCODERS[name]
    encoder = make(kind, config=dict(config))
    network = encoder.network
    if kind == "whisper":
        whole = transformers.WhisperModel(network.config)
        whole.encoder.load_state_dict(network.state_dict())
        network = whole
    network.save_pretrained(tmp_path)
    extractor = _EXTRACTORS.get(name, _EXTRACTORS["waveform"])()
    extractor.save_pretrained(tmp_path)
    loaded = make(kind, path=str(tmp_path))
    for key, tensor in encoder.network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[key], tensor), key
    check_lengths_and_neighbours(loaded, RECORDINGS)
    check_options_rebuild(loaded, kind, RECORDINGS)
    if kind == "waveform":
        assert loaded.normalize is False
    elif kind == "spectrogram":  # what was saved is used: the default gives other inputs
        key = "input_values"
        assert not torch.allclose(loaded.prepare(RECORDINGS[0])[key], encoder.prepare(RECORDINGS[0])[key])


def _whole(name: str) -> transformers.PreTrainedModel:
    kind, config = ENCODERS[name]
    config = {k: v for k, v in config.items() if k != "model_type"}
    text = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    if name == "clap":
        return transformers.ClapModel(transformers.ClapConfig(audio_config=config, text_config={**text, "vocab_size": 50}))
    if name == "ast":
        return transformers.ASTForAudioClassification(transformers.ASTConfig(**config))
    if name == "wav2vec2":
        return transformers.Wav2Vec2ForCTC(transformers.Wav2Vec2Config(**config, vocab_size=32))
    return transformers.WhisperForConditionalGeneration(transformers.WhisperConfig(**config))


@pytest.mark.parametrize(
    ("name", "inner"),
    [
        ("clap", "audio_model"),
        ("ast", "audio_spectrogram_transformer"),
        ("wav2vec2", "wav2vec2"),
        ("whisper", "model.encoder"),
    ],
)
def test_the_encoder_of_a_whole_checkpoint_is_taken(name, inner, tmp_path):
    torch.manual_seed(0)
    whole = _whole(name).eval()
    whole.save_pretrained(tmp_path)
    _EXTRACTORS.get(name, _EXTRACTORS["waveform"])().save_pretrained(tmp_path)
    encoder = make(ENCODERS[name][0], path=str(tmp_path))
    own = whole.get_submodule(inner).state_dict()
    for key, tensor in encoder.network.state_dict().items():
        assert torch.equal(own[key], tensor), key
    check_lengths_and_neighbours(encoder, RECORDINGS[:2])


@pytest.mark.parametrize("name", ["hubert", "ast", "whisper"])
def test_a_missing_tensor_is_named(name, tmp_path):
    kind, config = ENCODERS[name]
    network = make(kind, config=dict(config)).network
    if kind == "whisper":
        network = transformers.WhisperModel(network.config)
    network.save_pretrained(tmp_path)
    _EXTRACTORS.get(name, _EXTRACTORS["waveform"])().save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    lost = next(key for key in sorted(state) if ".0." in key and "weight" in key and "encoder" in key)
    del state[lost]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RecipeError, match=r"encoder.path .*'.*layers?\.0\..*weight' is missing"):
        make(kind, path=str(tmp_path))


def test_another_kind_of_network_is_refused_by_name():
    with pytest.raises(RecipeError, match="clap_audio_model, not 'hubert'"):
        make("spectrogram", config=dict(ENCODERS["hubert"][1]))
    with pytest.raises(RecipeError, match="not 'audio-spectrogram-transformer'"):
        make("waveform", config=dict(ENCODERS["ast"][1]))
    with pytest.raises(RecipeError, match="not 'hubert'"):
        make("whisper", config=dict(ENCODERS["hubert"][1]))
