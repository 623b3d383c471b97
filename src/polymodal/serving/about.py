"""What a model is made of, for whoever asks its server. Decides what is told: kinds and sizes, and no path."""

from __future__ import annotations

from typing import Any

from torch import nn

from polymodal.model.composition import Composition


def parts(composition: Composition) -> dict[str, Any]:
    """The five parts: `inputs`, each with its `modality`, `encoder` and `projector`; the `backbone`; `outputs`, each with
    its `name`, `modality`, what its `span` holds, its `projector` and `generator` (None where there is none).
    `parameters`: how many numbers each of them has."""
    recipe, model = composition.recipe, composition.model
    inputs = [
        {
            "modality": name,
            "encoder": _kind(recipe.inputs[name].encoder["kind"]),
            "projector": _kind(recipe.inputs[name].projector["kind"]),
            "parameters": _count(part),
        }
        for name, part in model.modalities.items()
    ]
    outputs = []
    for name, design in model.designs.items():
        output = recipe.outputs[name]
        projector = None if design.projector is None else _kind((output.projector or {"kind": "flow"})["kind"])
        generator = None if design.generator is None else _kind(output.generator["kind"])
        about = {"name": name, "modality": design.modality, "span": output.span.kind}
        outputs.append({**about, "projector": projector, "generator": generator, "parameters": _count(design)})
    backbone = recipe.backbone.get("path") or recipe.backbone.get("config", {}).get("model_type", "")
    return {
        "inputs": inputs,
        "backbone": {"kind": _kind(str(backbone)), "parameters": _count(model.backbone)},
        "outputs": outputs,
    }


def _kind(name: str) -> str:
    """Of a path, an asset or a class of somebody's own, the last name."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2].rpartition(":")[2]
    return (last.rpartition(".")[2] if last.replace(".", "").isidentifier() else last)[:60]


def _count(module: nn.Module) -> int:
    return sum(weights.numel() for weights in module.parameters())
