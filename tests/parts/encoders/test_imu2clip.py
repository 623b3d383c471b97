"""IMU2CLIP: the authors' names and shapes, windows of five seconds, and a file of theirs by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from polymodal.errors import MediaError, RecipeError
from polymodal.parts.encoders.imu2clip import SIZES, Imu2Clip
from tests.parts.encoders.contract import check_lengths_and_neighbours, check_options_rebuild, features, make
from tests.parts.encoders.published import published, save, shapes
from tests.parts.encoders.test_series import series as three

NAMES = ["accl_x", "accl_y", "accl_z", "gyro_x", "gyro_y", "gyro_z"]
TINY = {"width": 8, "space": 12, "window": 150}


def series(length: int, seed: int = 0, **known):
    twice = [three(length, seed + i).samples for i in (0, 50)]
    known = {"rate": 200.0, "channels": tuple(NAMES), "units": None, **known}
    return three()._replace(samples=torch.cat([torch.from_numpy(part) for part in twice], dim=1).numpy(), **known)


RECORDINGS = [series(150), series(20, 1), series(400, 2)]


def released(file: Path) -> tuple[dict, list]:
    """A tiny file, what a recipe needs to read it, and media for it."""
    torch.manual_seed(1)
    save(Imu2Clip(NAMES, config=TINY), file)
    return {"channels": NAMES, "path": str(file), "config": TINY}, RECORDINGS


def test_the_state_dict_is_the_published_one_name_for_name_and_shape_for_shape():
    with torch.device("meta"):
        encoder = Imu2Clip(NAMES, config=SIZES)
    assert shapes(encoder) == published("imu2clip")


def test_length_is_what_is_emitted_alone_or_in_a_batch():
    encoder = make("imu2clip", channels=NAMES, config=TINY)
    assert [encoder.length(encoder.prepare(one)) for one in RECORDINGS] == [1, 1, 3]
    check_lengths_and_neighbours(encoder, RECORDINGS)
    check_options_rebuild(encoder, "imu2clip", RECORDINGS)


def test_a_file_of_its_authors_code_is_read_by_name_and_run_as_theirs(tmp_path):
    options, media = released(tmp_path / "src_encoder.pt")
    loaded, held = make("imu2clip", **options), torch.load(options["path"])
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, held[name]), name
    x = F.group_norm(loaded.prepare(media[0])["samples"], 2, held["net.0.weight"], held["net.0.bias"])
    for i in (1, 2, 3):
        x = F.max_pool1d(F.conv1d(x, held[f"net.{i}.net.0.weight"], dilation=2), 3)
    x = F.group_norm(x, 4, held["net.4.weight"], held["net.4.bias"])
    state = torch.zeros(1, TINY["space"])
    for channel in range(TINY["width"]):  # one step of the GRU each, of all times
        gates = F.linear(x[:, channel], held["net.5.weight_ih_l0"], held["net.5.bias_ih_l0"])
        before = F.linear(state, held["net.5.weight_hh_l0"], held["net.5.bias_hh_l0"])
        (r, z, n), (hr, hz, hn) = gates.chunk(3, 1), before.chunk(3, 1)
        update = (z + hz).sigmoid()
        state = (1 - update) * torch.tanh(n + (r + hr).sigmoid() * hn) + update * state
    assert torch.allclose(features(loaded, media)[0], state, atol=1e-5)


def test_a_long_recording_is_read_window_by_window_and_the_last_filled_with_zeros():
    encoder = make("imu2clip", channels=NAMES, config=TINY)
    whole, first = features(encoder, [series(400, 2), series(400, 2)._replace(samples=series(400, 2).samples[:150])])
    assert torch.allclose(whole[:1], first, atol=1e-6)
    assert not encoder.prepare(series(400, 2))["samples"][2, :, 100:].any()


def test_what_is_not_its_own_is_refused():
    encoder = make("imu2clip", channels=NAMES, config=TINY)
    with pytest.raises(MediaError, match="rate: a series of 50 Hz, but this encoder takes 200 Hz"):
        encoder.prepare(series(30, rate=50.0))
    with pytest.raises(RecipeError, match="needs a 'path' .* or a 'config'"):
        make("imu2clip", channels=NAMES)
    for channels in (NAMES[:5], []):
        with pytest.raises(RecipeError, match="option 'channels'"):
            make("imu2clip", channels=channels, config=TINY)
    for size, said in (
        ({"window": 60}, "a 'window' of 60 samples? is too short"),
        ({"width": 6}, "'width', 6, is no multiple"),
    ):
        with pytest.raises(RecipeError, match=said):
            make("imu2clip", channels=NAMES, config={**TINY, **size})
