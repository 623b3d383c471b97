"""The benchmark of clips reads motion from pixels: it is right of clips whose motion is known, whoever drew them. Those of
clips and of sounds measure what their recipes make."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from polymodal.corpora import emoji_motions
from polymodal.corpora.moving_stickers import MOTIONS, drawn
from polymodal.model.config import read_yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import clips_made
import sounds_made


def clip(motion: str, seed: int) -> np.ndarray:
    """A flag on a pole, that looks different however it is turned."""
    flag = Image.new("RGBA", (40, 60))
    pencil = ImageDraw.Draw(flag)
    pencil.rectangle((0, 0, 8, 59), fill=(90, 50, 20, 255))
    pencil.rectangle((8, 0, 39, 26), fill=(200, 30, 30, 255))
    ground = Image.new("RGB", (emoji_motions.SIDE, emoji_motions.SIDE), "white")
    frames = emoji_motions.track("flag", motion, random.Random(seed))
    return np.stack([np.asarray(drawn(frame, ground, {"flag": flag}).resize((64, 64))) for frame in frames])


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_motion_is_read_from_the_pixels(motion):
    assert [clips_made.motion(clip(motion, seed)) for seed in range(5)] == [motion] * 5


def test_an_empty_page_shows_no_motion():
    assert clips_made.motion(np.full((8, 64, 64, 3), 255, np.uint8)) == "nothing"


def test_what_is_cropped_fills_the_picture():
    ink = clips_made.cropped(clip("moves left", 0)).min(-1) < 200
    ys, _ = np.nonzero(ink)
    assert np.ptp(ys) > 44


@pytest.mark.parametrize(("benchmark", "recipe"), [(clips_made, "v3-pt-clip"), (sounds_made, "v3-pt-sound")])
def test_a_benchmark_measures_an_output_that_its_recipe_has(benchmark, recipe):
    recipes = Path(__file__).resolve().parents[1] / "recipes/nano"
    for name in (recipe, "v3-sft"):
        assert benchmark.OUTPUT in read_yaml(recipes / f"{name}.yaml")["model"]["outputs"]
