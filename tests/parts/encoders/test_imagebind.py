"""ImageBind: the authors' names and shapes, and what each medium looks like to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from polymodal.errors import MediaError, RecipeError
from polymodal.media import load_video
from polymodal.media.series import Series
from polymodal.parts.encoders.fbank import fbank, frames
from polymodal.parts.encoders.imagebind_inputs import Depth, Films, Motions, Pictures, Sounds, Temperatures
from polymodal.parts.encoders.imagebind_network import CELLS, CONTEXT, HUGE, ImageBind, Size
from tests.conftest import picture, sound
from tests.parts.encoders.contract import check_lengths_and_neighbours, check_options_rebuild, features, make
from tests.parts.encoders.published import published, save, shapes

TINY = {"width": 16, "depth": 2, "heads": 2, "space": 12}
CHANNELS = ["ax", "ay", "az", "wx", "wy", "wz"]
FAR = {"unit": "metres", "focal": 525.0}


def film(seed: int = 0, seconds: float = 3.0, size=(24, 20)):
    return load_video(([picture(seed + i, size) for i in range(int(4 * seconds))], 4))


def depth(seed: int = 0, size=(30, 40)) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.5, 8, size).astype(np.float32)


def motion(seed: int = 0, length: int = 2000) -> Series:
    return Series(np.random.default_rng(seed).normal(size=(length, 6)).astype(np.float32), 400.0, tuple(CHANNELS), None)


def noise(seed: int, seconds: float) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, int(16000 * seconds)).astype(np.float32)


MEDIA = {
    "image": ({}, [picture(1), picture(2, (28, 40))]),
    "video": ({"clips": 2}, [film(0), film(50, 1.0, (20, 24))]),
    "audio": ({"clips": 2}, [noise(1, 3), noise(2, 0.5)]),
    "depth": (FAR, [depth(0), depth(1, (50, 20))]),
    "thermal": ({"unit": "celsius", "range": [0, 50]}, [10 * depth(0), 3 * depth(1, (50, 20))]),
    "imu": ({"channels": CHANNELS}, [motion(0), motion(1, 2400)]),
}


def encoder(modality: str, **options):
    return make("imagebind", modality=modality, config=TINY, input=MEDIA[modality][0], **options)


def released(file: Path) -> tuple[dict, list]:
    """A file of tiny towers as the authors lay theirs out, what a recipe needs to read it, and media for it."""
    torch.manual_seed(1)
    save(ImageBind(dict.fromkeys(HUGE, Size(TINY["width"], TINY["depth"], TINY["heads"])), TINY["space"]), file)
    return {"path": str(file), "config": TINY}, MEDIA["image"][1]


def test_the_state_dict_is_the_published_one_name_for_name_and_shape_for_shape():
    with torch.device("meta"):
        whole = ImageBind(HUGE)
    assert shapes(whole) == published("imagebind_huge")
    assert sum(tensor.numel() for tensor in whole.parameters()) > 1.19e9  # 1.2 billion, as its authors say


@pytest.mark.parametrize("kind", ["embedding", "views", "patches"])
@pytest.mark.parametrize("modality", MEDIA)
def test_length_is_what_is_emitted_alone_or_in_a_batch(modality, kind):
    check_lengths_and_neighbours(encoder(modality, features=kind), MEDIA[modality][1])


@pytest.mark.parametrize("modality", MEDIA)
def test_options_and_weights_make_the_same_encoder_again(modality):
    check_options_rebuild(encoder(modality, features="patches"), "imagebind", MEDIA[modality][1])


@pytest.mark.parametrize("modality", MEDIA)
def test_a_tower_is_read_from_the_authors_file_of_all(modality, tmp_path):
    written, _ = released(tmp_path / "imagebind_huge.pth")
    options, (item, _) = MEDIA[modality]
    loaded = encoder(modality, path=written["path"])
    whole = ImageBind(dict.fromkeys(HUGE, Size(TINY["width"], TINY["depth"], TINY["heads"])), TINY["space"]).eval()
    whole.load_state_dict(torch.load(written["path"]))
    views = loaded.prepare(item)["views"]
    with torch.no_grad():
        expected = whole(loaded.tower, views)[0].mean(0)
    assert torch.allclose(features(loaded, [item])[0][0], expected, atol=1e-5)
    assert loaded.options["input"] == options


def test_a_file_that_lacks_a_tensor_or_has_one_of_another_shape_is_refused(tmp_path):
    tower = encoder("depth").network
    state = save(tower, tmp_path / "weights.pth")
    name = "modality_heads.depth.2.weight"
    for changed, said in (
        ({name: torch.zeros(3, 3)}, rf"tensor '{name}' is \[3, 3\], and should be \[12, 16\]"),
        ({name.replace("2", "7"): state[name]}, "belongs to nothing in this encoder"),
    ):
        torch.save(state | changed, tmp_path / "weights.pth")
        with pytest.raises(RecipeError, match=said):
            encoder("depth", path=str(tmp_path))
    (tmp_path / "weights.pth").write_bytes(b"no weights")
    with pytest.raises(RecipeError, match="cannot be read as weights"):
        encoder("depth", path=str(tmp_path))


def test_text_is_in_the_space_too_and_what_follows_its_end_changes_nothing():
    torch.manual_seed(0)
    network = ImageBind({"text": Size(16, 2, 2)}, 12).eval()
    ids = torch.zeros(2, CONTEXT, dtype=torch.long)
    ids[:, :4] = torch.tensor([49406, 320, 1929, 49407])
    ids[1, 9:] = 55
    with torch.no_grad():
        embeddings, _ = network("text", ids)
    assert torch.allclose(embeddings[0], embeddings[1], atol=1e-5)
    assert embeddings.norm(dim=-1).allclose(torch.tensor(1 / 0.07))


def test_embeddings_have_the_length_that_each_was_trained_with():
    for modality, length in {"image": 1, "audio": 20, "depth": 5, "thermal": 10, "imu": 5}.items():
        (out, *_) = features(encoder(modality, features="views"), MEDIA[modality][1])
        assert out.norm(dim=-1).allclose(torch.tensor(float(length)), rtol=1e-4), modality


def test_a_picture_is_both_frames_of_a_film_and_white_is_white():
    views = Pictures().views(picture(0, (60, 20)).point(lambda _: 255))
    assert views.shape == (1, 3, 2, 224, 224)
    assert torch.equal(views[:, :, 0], views[:, :, 1])
    assert views[0, :, 0, 5, 5].tolist() == pytest.approx([1.930336, 2.074884, 2.145897], abs=1e-4)


def test_a_film_is_seen_at_both_ends_of_each_span_and_in_three_squares():
    # a picture each second, as grey as the second is late; left is darker than right
    shades = [np.tile(np.linspace(0, 20, 64, dtype=np.uint8)[None, :, None] + 10 * i, (32, 1, 3)) for i in range(6)]
    views = Films(clips=3).views(load_video((np.stack(shades), 1)))
    assert views.shape == (9, 3, 2, 224, 224)
    middle = (views[1::3, 0].mean((-1, -2)) * 0.26862954 + 0.48145466) * 255
    assert ((middle - 10) / 10).round().tolist() == [[0, 1], [2, 3], [4, 5]]
    assert (views[0].mean(), views[1].mean(), views[2].mean()) == tuple(sorted(views[:3].mean((1, 2, 3, 4)).tolist()))


def test_a_short_film_ends_with_its_last_frame():
    (first, *_) = Films(clips=1).views(load_video(([picture(0), picture(1)], 2)))
    assert not torch.equal(first[:, 0], first[:, 1])


def test_silence_behind_a_short_recording_is_standardised_as_silence():
    (view,) = Sounds().views(noise(0, 1.0))
    assert view.shape == (1, 128, 204)
    assert frames(16000) == 98
    assert (view[..., 98:] == view[0, 0, -1]).all()
    assert float(view[0, 0, -1]) == pytest.approx(4.268 / 9.138)
    with pytest.raises(MediaError, match=r"0\.010 s is too short for this encoder \(0\.025 s\)"):
        Sounds().views(noise(0, 0.01))


def test_a_recording_is_heard_at_its_begin_its_middle_and_its_end():
    long = noise(0, 6.0)
    views = Sounds().views(long)
    for view, start in zip(views, (0, 32000, 64000), strict=True):
        assert torch.equal(view, Sounds().views(long[start : start + 32000])[0])


def test_the_filter_bank_is_loudest_where_the_tone_is():
    samples, _ = sound(1.0, 1000.0)
    bank = fbank(samples, "povey")
    assert bank.shape == (98, 128)
    mel = lambda hertz: 1127 * np.log(1 + hertz / 700)  # noqa: E731
    place = (mel(1000) - mel(20)) / (mel(8000) - mel(20)) * 129 - 1
    assert abs(float(bank.mean(0).argmax()) - place) < 1
    louder = (fbank(2 * noise(0, 1), "povey") - fbank(noise(0, 1), "povey")).median()
    assert float(louder) == pytest.approx(2 * np.log(2), abs=1e-3)  # power, in logarithms


def test_depth_is_read_as_disparity_and_units_agree():
    metres = np.full((8, 8), 2.0, np.float32)
    view = Depth("metres", focal=500).views(metres)
    assert view.shape == (1, 1, 224, 224)
    assert float(view[0, 0, 3, 3]) == pytest.approx((500 * 0.075 / 2 / 75 - 0.0418) / 0.0295, rel=1e-4)
    assert torch.allclose(Depth("millimetres", focal=500).views(1000 * metres), view, atol=1e-4)
    assert torch.allclose(Depth("disparity").views(500 * 0.075 / metres), view, atol=1e-4)


def test_near_is_clipped_and_what_was_not_measured_is_far():
    read = Depth("metres", focal=500)
    nearest, unknown = ((share - 0.0418) / 0.0295 for share in (1, 0))
    assert float(read.views(np.full((8, 8), 0.02))[0, 0, 0, 0]) == pytest.approx(nearest, rel=1e-4)
    holes = np.full((8, 8), np.nan)
    holes[0, 0] = 2.0
    assert float(read.views(holes)[0, 0, -1, -1]) == pytest.approx(unknown, rel=1e-4)
    for wrong, said in ((np.zeros((8, 8)), "not a single measured pixel"), (np.full((8, 8), -1.0), "a pixel below 0")):
        with pytest.raises(MediaError, match=said):
            read.views(wrong)
    with pytest.raises(RecipeError, match="needs 'focal'"):
        Depth("metres")


def test_temperature_is_one_channel_from_0_to_1():
    view = Temperatures("celsius", (0, 40)).views(np.full((8, 16), 30.0))
    assert view.shape == (1, 1, 224, 224)
    assert torch.allclose(view, torch.tensor(0.75))


def test_motion_comes_in_windows_of_five_seconds_and_each_sensor_stays_together():
    series = motion(0, 2400)
    views = Motions(CHANNELS).views(series)
    assert views.shape == (2, 6, 2000)
    assert torch.equal(views[1, 3, :400], torch.from_numpy(series.samples[2000:, 3]))
    assert (views[1, :, 400:] == 0).all()
    network = ImageBind({"imu": Size(16, 1, 2)}, 12)
    stem = network.modality_preprocessors["imu"].imu_stem
    seen: list[torch.Tensor] = []
    stem.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    network("imu", views)
    assert seen[0].shape == (2, CELLS["imu"], 48)
    assert torch.equal(seen[0][0, 1, 8:16], views[0, 1, 8:16])  # the second window: the second sensor's eight samples


def test_motion_of_another_rate_or_of_five_channels_is_refused():
    with pytest.raises(MediaError, match="50 Hz, but this encoder takes 400 Hz"):
        Motions(CHANNELS).views(motion()._replace(rate=50.0))
    with pytest.raises(RecipeError, match=r"option 'channels': List should have at least 6 items"):
        make("imagebind", modality="imu", config=TINY, input={"channels": CHANNELS[:5]})


def test_an_unknown_size_and_neither_path_nor_size_are_refused():
    with pytest.raises(RecipeError, match="option 'config' has no 'layers' "):
        make("imagebind", modality="image", config={"layers": 3})
    with pytest.raises(RecipeError, match="needs a 'path' .* or a 'config'"):
        make("imagebind", modality="image")
