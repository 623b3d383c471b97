"""What published checkpoints are of. Decides that the shape of a published model can be known without its weights: a part's
recipe with a `path` becomes one with the `config` that transformers or diffusers has for it, whose weights would be random.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from polymodal.errors import RecipeError

SEVERAL = "channel-concat", "sequence-append"  # kinds of encoders whose `of` are several, each with its own `path`


_AROUND = "prompted", "frames"  # kinds of generators whose `of` is another, with its `path` beside it
# A voice is a graph in a file, which no config describes: speech that is as large as its decoder stands for it.
_SPEECH = {"kind": "latent-speech", "config": {}, "conditions": {"positions": 128, "config": {"model_type": "bert"}}}


@cache
def known() -> dict[str, dict[str, Any]]:
    """{Hub id: transformers config} of the checkpoints that presets name, and {file: sizes} of what its authors released,
    but for sizes that are the encoder's own."""
    return yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))


def unfetched(recipe: dict[str, Any]) -> dict[str, Any]:
    """The recipe of an encoder or backbone with its `path` replaced by the `config` of what stands there; one without a
    `path` is itself, and encoders side by side are so each. Raises `RecipeError` for a checkpoint that is not known."""
    if recipe.get("kind") in SEVERAL:
        return {**recipe, "of": {name: unfetched(part) for name, part in recipe["of"].items()}}
    if "path" not in recipe:
        return dict(recipe)
    if recipe["path"] not in known():
        raise RecipeError(f"'{recipe['path']}': what this checkpoint is of is not written in {Path(__file__).stem}.yaml")
    options = {key: value for key, value in recipe.items() if key != "path"}
    config = {"config": dict(known()[recipe["path"]])}
    if "names" in options and recipe.get("kind") == "grounding-dino":  # which no shape depends on
        options = {**{key: value for key, value in options.items() if key != "names"}, "ids": [101, 1012, 102]}
    return {**options, "of": {**recipe["of"], **config}} if "of" in recipe else {**options, **config}


def unfetched_generator(recipe: dict[str, Any]) -> dict[str, Any]:
    """The same of a generator, and of the encoder that it is aligned to. Of a pipeline of diffusers the `config` is that of
    its components, and `conditions` that of its text encoder; a `voice` becomes words that speech is made of."""
    if recipe["kind"] == "voice":
        return {"kind": "prompted", "of": dict(_SPEECH)}
    if recipe["kind"] in _AROUND:
        inner = {**recipe["of"], **({"path": recipe["path"]} if "path" in recipe else {})}
        return {**{k: v for k, v in recipe.items() if k != "path"}, "of": unfetched_generator(inner)}
    out = {**recipe, "of": unfetched(recipe["of"])} if "of" in recipe else dict(recipe)
    told = recipe.get("conditions", {})
    if "path" in told:
        own = {key: value for key, value in told.items() if key != "path"}
        out["conditions"] = {**own, "config": unfetched({"path": f"{told['path']} (text)"})["config"]}
    if "path" not in recipe:
        return out
    config = unfetched({"path": recipe["path"]})["config"]
    out = {key: value for key, value in out.items() if key not in ("path", "subfolder")}
    if "scheduler" not in config:
        return {**out, "config": config}
    out["config"] = {key: value for key, value in config.items() if key != "conditions"}
    if not out.get("conditions", {}).keys() & {"config", "of"} and out["kind"] != "feature-decoder":
        out["conditions"] = {**config["conditions"], **told}
    return out
