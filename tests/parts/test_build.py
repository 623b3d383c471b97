"""Parts by name: the house's own, a user's own by dotted path, and errors that name the key and its nearest match."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
import torch
from pydantic import Field
from torch import nn

from polymodal.content import assistant, image, user
from polymodal.errors import RecipeError
from polymodal.model.composition import Composition
from polymodal.model.sequence import collate
from polymodal.parts.base import Encoder, Features, InputProjector, build, run_by_shape
from polymodal.parts.encoders import ENCODERS
from polymodal.parts.input_projectors import INPUT_PROJECTORS
from tests.conftest import picture


class MeanColour(Encoder):
    """A user's own encoder: one feature, the mean colour."""

    modality = "image"
    width = 3

    def __init__(self, gain: float = 1.0, mode: Literal["rgb", "bgr"] = "rgb") -> None:
        super().__init__()
        self.gain, self.options = gain, {"gain": gain, "mode": mode}

    def prepare(self, media):
        pixels = torch.tensor(list(media.resize((1, 1)).getpixel((0, 0))), dtype=torch.float32)
        return {"colour": pixels / 255 * self.gain}

    def length(self, inputs):
        return 1

    def forward(self, items):
        return Features(run_by_shape(items, lambda batch: batch["colour"][:, None]))


class Doubling(InputProjector):
    """A user's own projector: each feature stands twice."""

    def __init__(self, width_in: int, width_out: int, scale: Annotated[float, Field(gt=0)] = 1.0) -> None:
        super().__init__()
        self.linear, self.scale = nn.Linear(width_in, width_out), scale

    def length(self, n):
        return 2 * n

    def forward(self, features):
        return [self.scale * self.linear(x).repeat(2, 1) for x in features.tokens]


HERE = "tests.parts.test_build"


def test_a_users_own_classes_work_by_dotted_path(tiny_recipe, tmp_path):
    """Composed, trained a step, saved and loaded like the house's own."""
    import polymodal

    own = {
        "encoder": {"kind": f"{HERE}.MeanColour", "gain": 2.0},
        "projector": {"kind": f"{HERE}.Doubling", "scale": 0.5},
    }
    composition = Composition.from_recipe(tiny_recipe(image=own))
    assert isinstance(composition.model.modalities["image"].encoder, MeanColour)
    example = composition.processor.encode([user(image(picture(1)), "what is this?"), assistant("red")])
    assert [span.length for span in example.spans] == [2]
    composition.model(collate([example], composition.processor.pad_id)).logits.sum().backward()
    assert composition.model.modalities["image"].projector.linear.weight.grad.any()
    composition.save(tmp_path / "model")
    again = polymodal.load(tmp_path / "model").model.modalities["image"]
    assert again.encoder.gain == 2.0
    assert again.projector.scale == 0.5


class Gained(nn.Module):
    """As few lines as an encoder can have: no base class, no `options`."""

    modality, width = "image", 3

    def __init__(self, gain: float = 1.0):
        super().__init__()
        self.gain = gain

    def prepare(self, media):
        return {"colour": torch.tensor([media.resize((1, 1)).getpixel((0, 0))]) / 255 * self.gain}

    def length(self, inputs):
        return 1

    def forward(self, items):
        return Features([item["colour"] for item in items])


def test_a_class_that_names_no_options_is_rebuilt_with_the_recipes(tiny_recipe, tmp_path):
    import polymodal

    own = {"encoder": {"kind": f"{HERE}.Gained", "gain": 3.0}, "projector": {"kind": "linear"}}
    composition = Composition.from_recipe(tiny_recipe(image=own))
    composition.save(tmp_path / "model")
    assert polymodal.load(tmp_path / "model").model.modalities["image"].encoder.gain == 3.0


def refusal(recipe, table=ENCODERS, *context) -> str:
    with pytest.raises(RecipeError) as caught:
        build("inputs.image.encoder", table, recipe, *context)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_unknown_kind_names_the_nearest():
    assert "inputs.image.encoder.kind 'whispr'" in refusal({"kind": "whispr"})
    assert "did you mean 'whisper'" in refusal({"kind": "whispr"})
    assert "did you mean 'pixel-shuffle'" in refusal({"kind": "pixelshuffle"}, INPUT_PROJECTORS)


def test_a_missing_kind_lists_the_choices():
    for recipe in ({}, {"kind": None}, {"kind": 3}):
        message = refusal(recipe)
        assert "needs a 'kind'" in message
        assert "efficientnet-lite" in message


@pytest.mark.parametrize("kind", ["no.such.module.Class", f"{HERE}.NoSuchClass", "tests..Class", ".Class", "tests."])
def test_a_dotted_path_that_leads_nowhere_is_refused_by_name(kind):
    assert f"'{kind}' cannot be imported" in refusal({"kind": kind})


@pytest.mark.parametrize("kind", ["math.pi", f"{HERE}.HERE", "json.decoder"])
def test_a_dotted_path_to_no_class_is_refused(kind):
    assert f"'{kind}'" in refusal({"kind": kind})


def test_an_unknown_option_names_the_nearest():
    message = refusal({"kind": "mlp", "dept": 2}, INPUT_PROJECTORS, 4, 4)
    assert "'mlp' has no option 'dept' (did you mean 'depth'?)" in message
    assert "did you mean 'gain'" in refusal({"kind": f"{HERE}.MeanColour", "gian": 1})


def test_widths_are_no_options():
    """The composition supplies them; a recipe that sets one would be a second opinion."""
    assert "no option 'width_in'" in refusal({"kind": "mlp", "width_in": 4}, INPUT_PROJECTORS, 4, 4)


def test_an_option_of_the_wrong_type_is_refused_by_name():
    assert "option 'depth'" in refusal({"kind": "mlp", "depth": "deep"}, INPUT_PROJECTORS, 4, 4)
    assert "option 'depth'" in refusal({"kind": "mlp", "depth": 0}, INPUT_PROJECTORS, 4, 4)
    assert "option 'scale'" in refusal({"kind": f"{HERE}.Doubling", "scale": -1}, INPUT_PROJECTORS, 4, 4)
    assert "option 'mode'" in refusal({"kind": f"{HERE}.MeanColour", "mode": "cmyk"})


def test_numbers_that_mean_the_same_are_converted():
    projector = build("projector", INPUT_PROJECTORS, {"kind": "mlp", "depth": "3"}, 4, 4)
    assert len(projector.layers) == 3


def test_a_part_that_misses_its_promises_is_refused_when_composed(tiny_recipe):
    """A class that is no encoder at all is found out when composing, not in the middle of a run."""
    own = {"encoder": {"kind": "torch.nn.Identity"}, "projector": {"kind": "mlp"}}
    with pytest.raises(RecipeError, match=r"inputs.image.encoder.*torch.nn.Identity"):
        Composition.from_recipe(tiny_recipe(image=own))


def test_items_of_equal_shape_are_run_together_and_come_back_in_order():
    calls = []

    def run(batch):
        calls.append(len(batch["x"]))
        return batch["x"] * 2

    items = [{"x": torch.full((n,), float(i))} for i, n in enumerate([2, 3, 2, 2, 3])]
    out = run_by_shape(items, run)
    assert sorted(calls) == [2, 3]
    assert [rows.tolist() for rows in out] == [[2.0 * i] * n for i, n in enumerate([2, 3, 2, 2, 3])]
    assert run_by_shape([], run) == []
