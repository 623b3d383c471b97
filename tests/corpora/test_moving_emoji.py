from __future__ import annotations

import io

import av
import numpy as np
import pytest
from PIL import Image

from polymodal.corpora import moving_emoji, read
from polymodal.corpora.building import Recipe, run
from polymodal.errors import DataError, MediaError


def animation(file, count, duration=42):
    """A red bar that becomes longer."""
    frames = [Image.new("RGBA", (64, 64), (0, 0, 0, 0)) for _ in range(count)]
    for number, frame in enumerate(frames):
        frame.paste((200, 30, 30, 255), (0, 20, 4 + 56 * number // count, 40))
    file.parent.mkdir(parents=True, exist_ok=True)
    frames[0].save(file, save_all=True, append_images=frames[1:], duration=duration, lossless=True)


def shown(video: bytes) -> list[np.ndarray]:
    with av.open(io.BytesIO(video)) as container:
        assert container.streams.video[0].average_rate == moving_emoji.FPS
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.fixture
def folders(emoji_packages, tmp_path):
    home = tmp_path / "moving-emoji"
    animation(home / "assets" / "1f985.webp", 36)
    animation(home / "assets" / "2600-fe0f.webp", 24)
    animation(home / "assets" / "1f9ff.webp", 24)  # without a name in the test's emojibase
    return {"emojibase": emoji_packages["emojibase"], "moving-emoji": home}


@pytest.fixture
def items(folders, tmp_path):
    run(Recipe("moving-emoji", 1), lambda: moving_emoji.jobs(folders), tmp_path)
    return {item.id: item for item in read("moving-emoji", tmp_path)}


def test_each_emoji_moves_once_and_stands_still_once(items):
    assert set(items) == {"moving-1f985", "still-1f985", "moving-2600", "still-2600"}
    moving, still = (shown(items[f"{state}-1f985"].read()) for state in ("moving", "still"))
    assert len(moving) == len(still) == int(36 * 0.042 * moving_emoji.FPS)
    red = [int((frame[112, :, 1] < 128).sum()) for frame in moving]
    assert red == sorted(red)
    assert red[-1] > 3 * red[0]
    assert all(np.abs(frame.astype(int) - still[0]).max() < 16 for frame in still)  # but for the codec
    assert np.abs(moving[-1].astype(int) - moving[0]).max() > 100
    assert [items[f"{state}-1f985"].questions[0].answer for state in ("moving", "still")] == ["moving", "still"]


def test_a_video_is_on_white_and_has_the_name_of_the_emoji(items):
    item = items["moving-2600"]
    assert (item.modality, item.caption, item.concept_split) == ("video", "sun", item.split)
    frame = shown(item.read())[0]
    assert frame.shape == (224, 224, 3)
    assert frame[10, 112].min() > 245


def test_the_same_animation_gives_the_same_bytes(folders):
    job = moving_emoji.jobs(folders)[0]
    assert list(job.make()) == list(job.make())


def test_what_cannot_be_decoded_or_is_too_short_is_refused(tmp_path):
    (tmp_path / "text.webp").write_text("no animation")
    animation(tmp_path / "short.webp", 3)
    with pytest.raises(MediaError, match="not an animation"):
        moving_emoji.sampled(tmp_path / "text.webp")
    with pytest.raises(MediaError, match="shorter than two frames"):
        moving_emoji.sampled(tmp_path / "short.webp")


def test_an_asset_without_named_animations_is_refused(folders, tmp_path):
    with pytest.raises(DataError, match="no emoji with a name"):
        moving_emoji.jobs({**folders, "moving-emoji": tmp_path})
