"""The recipe of a model: typed, validated, saved with the checkpoint. Decides what a recipe may say.

    model:
      backbone: {path: asset:smollm2-135m-instruct}
      inputs:
        image:
          encoder: {kind: efficientnet-lite, path: asset:efficientnet-lite0}
          projector: {kind: mlp}

Each part is `{"kind": NAME or DOTTED.PATH, **options}`; its options are its constructor's arguments, so there is no second
list of them to keep in step. Relative folders in `path` are relative to the recipe, never to the working directory.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from polymodal.content import MODALITIES
from polymodal.errors import RecipeError, nearest

PartRecipe = dict[str, Any]


class Strict(BaseModel):
    """Unknown keys are errors everywhere in a recipe."""

    model_config = ConfigDict(extra="forbid")


class InputRecipe(Strict):
    """One input modality. `before`, `after`: text around each item in the prompt."""

    encoder: PartRecipe
    projector: PartRecipe
    before: str = ""
    after: str = "\n"


class ModelRecipe(Strict):
    """What `compose` builds. `seed` draws the weights that no source provides."""

    backbone: PartRecipe
    inputs: dict[str, InputRecipe] = Field(default_factory=dict)
    seed: int = 0


def read_yaml(path: str | Path, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """A recipe file with dotted overrides (`model.inputs.image.projector.depth=1`) applied. Raises `RecipeError`."""
    file = Path(path)
    if not file.is_file():
        raise RecipeError(f"{file}: there is no such recipe")
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise RecipeError(f"{file}: a recipe is a mapping with the key 'model'")
    for override in overrides:
        _override(data, override)
    _anchor(data, file.resolve().parent)
    return data


def model_recipe(data: dict[str, Any], where: str = "recipe") -> ModelRecipe:
    """The `model` of a recipe, validated. Raises `RecipeError` naming the key and the nearest match."""
    if "model" not in data:
        raise RecipeError(f"{where} needs the key 'model'{nearest('model', data)}")
    recipe = validate(ModelRecipe, data["model"], f"{where}: model")
    for name in recipe.inputs:
        if name not in MODALITIES:
            raise RecipeError(f"{where}: model.inputs has no modality '{name}'{nearest(name, MODALITIES)}")
    return recipe


def validate(schema: type[Any], data: Any, where: str) -> Any:
    """`schema.model_validate` with one-line errors: the dotted key, and for an unknown key the nearest known one."""
    try:
        return schema.model_validate(data)
    except ValidationError as error:
        found = error.errors()
        # A misspelt key is also a missing one; what was written says more than what was not.
        first = next((e for e in found if e["type"] == "extra_forbidden"), found[0])
        key = ".".join([where, *map(str, first["loc"])])
        if first["type"] == "extra_forbidden":
            hint = nearest(str(first["loc"][-1]), _keys(schema, first["loc"][:-1]))
            raise RecipeError(f"{key} is not a key of a recipe{hint}") from error
        raise RecipeError(f"{key}: {first['msg']}") from error


def _keys(schema: type[BaseModel], location: Iterable[Any]) -> list[str]:
    """The known keys at a place of the schema: follow field names, skip over list indices and dict keys."""
    current = schema
    for step in location:
        field = current.model_fields.get(str(step))
        if field is None:
            continue
        candidates = [field.annotation, *getattr(field.annotation, "__args__", ())]
        current = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), current)
    return list(current.model_fields)


def _override(data: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    *path, last = key.split(".")
    if not equals or not all((*path, last)):
        raise RecipeError(f"an override reads KEY.KEY=VALUE, not '{override}'")
    node: Any = data
    for step in path:
        place = _place(node, step, key)
        node = node.setdefault(place, {}) if isinstance(node, dict) else node[place]
    place = _place(node, last, key)
    try:
        node[place] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise RecipeError(f"override '{key}': '{value}' is not YAML") from error


def _place(node: Any, step: str, key: str) -> str | int:
    """What a step of an override is in `node`: a key of a mapping, or an index of a list."""
    if isinstance(node, dict):
        return step
    if not isinstance(node, list):
        raise RecipeError(f"override '{key}': there is no '{step}' in what is a value, not keys")
    if not step.isdigit() or int(step) >= len(node):
        raise RecipeError(f"override '{key}': '{step}' is no place of a list of {len(node)} (the first is 0)")
    return int(step)


def _anchor(node: Any, folder: Path) -> None:
    """Make `path: ./weights` absolute. Only a leading dot marks a folder: `asset:x` and Hub ids stay as they are."""
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        _anchor(child, folder)
    if isinstance(node, dict):
        for key in ("path", "tokenizer"):
            if isinstance(node.get(key), str) and node[key].startswith("."):
                node[key] = str((folder / node[key]).resolve())
