"""The recipe of a model: typed, validated, saved with the checkpoint. Decides what a recipe may say.

    model:
      backbone: {path: asset:smollm2-135m-instruct}
      inputs:
        image:
          encoder: {kind: efficientnet-lite, path: asset:efficientnet-lite0}
          projector: {kind: mlp}
      outputs:
        image:
          span: {kind: signals, tokens: 8}
          projector: {kind: transformer}
          generator: {kind: diffusion, path: some/diffusers-checkpoint}

Each part is `{"kind": NAME or DOTTED.PATH, **options}`; its options are its constructor's arguments, so there is no second
list of them to keep in step. Relative folders in a recipe are relative to the recipe, those in an override to where it was
typed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from polymodal.content import MODALITIES
from polymodal.errors import RecipeError, nearest
from polymodal.model.grammar import Body
from polymodal.model.strict import Strict
from polymodal.parts.peft import Adapter

PartRecipe = dict[str, Any]


class InputRecipe(Strict):
    """One input modality. `fusion`: how the projector's features reach the backbone. `before`, `after`: text around each
    item in the prompt."""

    encoder: PartRecipe
    projector: PartRecipe
    fusion: PartRecipe = Field(default_factory=lambda: {"kind": "placement"})
    before: str = ""
    after: str = "\n"


class Tap(Strict):
    """Which states of the backbone a span is made of: of the layer numbered `layer` (absent, the last states of all), `at`
    the positions of its body or those `predicting` them, with the embeddings that stand there added or not."""

    layer: int | None = None
    where: Literal["at", "predicting"] = "at"
    add_inputs: bool = False


class OutputRecipe(Strict):
    """One output. `modality`: what it makes, if its name does not say so. `generator`: what makes it; `projector`: from
    states of the backbone to what the generator takes, where that is no id. `seen`: behind its span the backbone is shown
    what was made, through the input of that modality."""

    modality: str = ""
    span: Body
    tap: Tap = Field(default_factory=Tap)
    projector: PartRecipe | None = None
    generator: PartRecipe
    seen: bool = False


class OpeningRecipe(Strict):
    """When an output opens is read from the states of these `layers`, by `parts.opening.Opening`."""

    layers: list[int]
    margin: float = 0.0


class ModelRecipe(Strict):
    """What `compose` builds. `shared`: parts that several inputs use, by name. `opening`: when to make something; without
    it an opener is said like any other token. `peft`: {pattern over module names: adapter}; stages add theirs. `seed` draws
    the weights that no source provides."""

    backbone: PartRecipe
    shared: dict[str, PartRecipe] = Field(default_factory=dict)
    inputs: dict[str, InputRecipe] = Field(default_factory=dict)
    outputs: dict[str, OutputRecipe] = Field(default_factory=dict)
    opening: OpeningRecipe | None = None
    peft: dict[str, Adapter] = Field(default_factory=dict)
    seed: int = 0

    @model_validator(mode="after")
    def _named(self) -> ModelRecipe:
        for name, output in self.outputs.items():
            output.modality = output.modality or name
        return self


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
    _anchor(data, file.resolve().parent)
    for override in overrides:
        _override(data, override)
    _anchor(data, Path.cwd())  # what is still relative was typed by somebody who stands there
    return data


def model_recipe(data: dict[str, Any], where: str = "recipe") -> ModelRecipe:
    """The `model` of a recipe, validated. Raises `RecipeError` naming the key and the nearest match."""
    if "model" not in data:
        raise RecipeError(f"{where} needs the key 'model'{nearest('model', data)}")
    recipe = validate(ModelRecipe, data["model"], f"{where}: model")
    for name in recipe.inputs:
        if name not in MODALITIES:
            raise RecipeError(f"{where}: model.inputs has no modality '{name}'{nearest(name, MODALITIES)}")
    for name, output in recipe.outputs.items():
        if output.modality not in MODALITIES:
            raise RecipeError(
                f"{where}: model.outputs.{name} makes '{output.modality}', which is no modality; "
                f"say which in 'modality'{nearest(output.modality, MODALITIES)}"
            )
    for pattern, adapter in recipe.peft.items():
        if adapter.rate is not None:
            raise RecipeError(f"{where}: model.peft.{pattern}.rate: it is a stage that trains, and has a rate")
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
    """The known keys at a place of the schema: follow field names, and kinds where there are several; skip over list
    indices and dict keys."""
    current = [schema]
    for step in location:
        fields = [model.model_fields[str(step)] for model in current if str(step) in model.model_fields]
        inner = [model for field in fields for model in _models(field.annotation)]
        chosen = [
            model
            for model in current
            if "kind" in model.model_fields and step in get_args(model.model_fields["kind"].annotation)
        ]
        current = inner or chosen or current
    return [key for model in current for key in model.model_fields]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The schemas that an annotation speaks of, however deep."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


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
    """Make what names a file or folder absolute. In `run` everything does; elsewhere only a leading dot says so, and
    `asset:x` and Hub ids stay as they are."""
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        _anchor(child, folder)
    if isinstance(node, dict):
        for key in ("path", "tokenizer", "names", "store"):
            if isinstance(node.get(key), str) and node[key].startswith("."):
                node[key] = str((folder / node[key]).resolve())
        if isinstance(run := node.get("run"), dict):
            _absolute(run, ("folder", "cache", "init_from"), folder)
            if isinstance(begun := run.get("init_from"), dict):  # one for each pattern
                _absolute(begun, begun, folder)


def _absolute(places: dict[str, Any], keys: Iterable[str], folder: Path) -> None:
    for key in keys:
        if isinstance(place := places.get(key), str):
            places[key] = str((folder / Path(place).expanduser()).resolve())
