"""From a recipe to a model. Decides that parts which do not fit their neighbours are refused before anything runs."""

from __future__ import annotations

import torch

from polymodal.errors import RecipeError
from polymodal.model.config import ModelRecipe
from polymodal.model.modeling import Modality, MultimodalLM
from polymodal.model.outputs import build_outputs
from polymodal.parts import peft
from polymodal.parts.backbones import Backbone
from polymodal.parts.base import Vocabulary, build
from polymodal.parts.encoders import ENCODERS
from polymodal.parts.fusion import FUSIONS
from polymodal.parts.input_projectors import INPUT_PROJECTORS
from polymodal.parts.opening import Opening
from polymodal.parts.shared import SHARED, resolved
from polymodal.parts.shared import names as shares

BACKBONES = {"transformers": Backbone}


def compose(recipe: ModelRecipe, lenient: bool = False) -> MultimodalLM:
    """Build every part a recipe names and join them. `lenient`: do without a generator whose weights are not here. Raises
    `RecipeError` if a part does not fit its neighbours."""
    torch.manual_seed(recipe.seed)
    backbone = build("backbone", BACKBONES, {"kind": "transformers", **recipe.backbone})
    shared = {name: build(f"shared.{name}", SHARED, options) for name, options in recipe.shared.items()}
    inputs: dict[str, Modality] = {}
    for name, part in recipe.inputs.items():
        encoder = build(f"inputs.{name}.encoder", ENCODERS, part.encoder)
        takes = getattr(encoder, "modality", "nothing (an encoder says its 'modality')")
        if takes != name:
            raise RecipeError(f"inputs.{name}.encoder '{part.encoder.get('kind')}' takes {takes}, not {name}")
        if not hasattr(encoder, "options"):  # a class that does not say what rebuilds it is rebuilt as it was built
            encoder.options = {key: value for key, value in part.encoder.items() if key != "kind"}
        options = resolved(f"inputs.{name}.projector", part.projector, shared)
        for key, width in (("width_in", encoder.width), ("width_out", backbone.width)):
            if options.pop(key, width) != width:
                raise RecipeError(
                    f"inputs.{name}.projector.{key} is {part.projector[key]}, but the "
                    f"{'encoder emits' if key == 'width_in' else 'backbone takes'} width {width}"
                )
        projector = build(f"inputs.{name}.projector", INPUT_PROJECTORS, options, encoder.width, backbone.width)
        projector.speak(Vocabulary(backbone.ids, backbone.embed), getattr(encoder, "writing", None))
        fusion = build(f"inputs.{name}.fusion", FUSIONS, part.fusion, backbone)
        inputs[name] = Modality(encoder, projector, fusion, part.before, part.after, shares(part.projector))
    outputs = build_outputs(recipe.outputs, backbone, lenient)
    for name, output in recipe.outputs.items():
        if output.seen and output.modality not in inputs:
            raise RecipeError(f"outputs.{name}.seen: there is no input that sees its {output.modality}")
        # On the device `meta` nothing can be tried out, and nothing runs.
        if outputs[name].grammar.blocks and backbone.lm.device.type != "meta" and not backbone.sees_blocks:
            kind = f"'{backbone.lm.config.model_type}' backbone"
            raise RecipeError(
                f"outputs.{name}.span: in a {kind} positions cannot see one another; use 'codes' or 'signals'"
            )
    opening = None
    if recipe.opening is not None:
        if not outputs:
            raise RecipeError("'opening' says when to make something, and there is no output")
        opening = Opening(len(outputs), backbone, recipe.opening.layers, recipe.opening.margin)
    model = MultimodalLM(backbone, inputs, shared, outputs, opening).eval()
    peft.attach(model, recipe.peft)
    return model
