"""Checkpoints: one folder, complete, strict, loadable by its path alone.

    polymodal.json                 format, recipe, and for each part where its weights are
    backbone/                      a transformers folder with its tokenizer
    inputs.image.encoder.safetensors, inputs.image.projector.safetensors, ...
    outputs.image.tokens.safetensors, outputs.image.projector.safetensors, outputs.image.generator.safetensors, ...
    backbone.peft.safetensors ...  the adapters attached to a part; the part itself is stored, or linked, without them

A part that still holds exactly the weights of its source may be *linked*: the folder names the source and what
identifies it (`sources.digests`) instead of copying it. That is how two trained projectors are a whole model.
Linked or not, a missing, unexpected or misshapen tensor is an error, never a warning.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from polymodal.errors import AssetError, CheckpointError
from polymodal.model.composing import BACKBONES, compose
from polymodal.model.config import ModelRecipe, validate
from polymodal.model.modeling import MultimodalLM
from polymodal.parts import peft, sources
from polymodal.parts.backbones import Backbone
from polymodal.parts.base import Encoder, build
from polymodal.parts.encoders import ENCODERS
from polymodal.parts.generators import GENERATORS
from polymodal.parts.output import Generator

FORMAT = 1
MANIFEST = "polymodal.json"


def save(
    model: MultimodalLM,
    recipe: ModelRecipe,
    about: dict[str, Any],
    folder: Path,
    link: bool = True,
    dtype: torch.dtype | None = None,
    merge: bool = False,
) -> None:
    """Write the checkpoint atomically: `folder` is replaced by a complete one or left as it was.

    `link`: refer to unchanged pretrained parts by source and digest, where the source is an asset or a Hub id (a folder of
    this machine is copied); False copies every part, for a folder that needs nothing else (but the asset that a `tags`
    projector names as its `classifier`). `dtype`: how projectors, fusions and adapters are stored where nothing is lost by
    it (float16 halves them). `merge`: add the adapters to the weights they stand beside, and store plain parts. Raises
    `RecipeError` if a kind of adapter cannot be merged.
    """
    recipe = recipe.model_copy(deep=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        manifest: dict[str, Any] = {"format": FORMAT, "parts": {}, "about": about}
        if merge:
            recipe.peft = {}
        for name, tensors in _adapters(model, recipe).items():
            _write_tensors(staging / f"{name}.safetensors", tensors, dtype)
            manifest["parts"][name] = {"file": f"{name}.safetensors"}
        with peft.detached(model, merge):
            for name, part, options in _parts(model, recipe):
                if part is None:
                    raise CheckpointError(f"{name} is not here, so the model cannot be saved: {_why(model, name)}")
                if not isinstance(part, Generator) or part.state_dict():
                    manifest["parts"][name] = _save_part(name, part, options, staging, link, dtype)
        manifest["recipe"] = recipe.model_dump()
        (staging / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        _swap(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _save_part(
    name: str, part: nn.Module, options: dict[str, Any], staging: Path, link: bool, dtype: torch.dtype | None
) -> dict[str, Any]:
    """The manifest's entry of a part, once it is written; `options` become those that rebuild it."""
    if link and _is_source(name, part, options):
        return {"source": options["path"], "sha256": sources.digests(options["path"])}
    if isinstance(part, Backbone):
        part.lm.save_pretrained(staging / "backbone")
        part.tokenizer.save_pretrained(staging / "backbone")
        _replace(options, {"path": "backbone", **part.options})
        return {"folder": "backbone"}
    _write_tensors(staging / f"{name}.safetensors", part.state_dict(), None if isinstance(part, Encoder) else dtype)
    if isinstance(part, Encoder | Generator):
        _replace(options, getattr(part, "options", {}))
    else:  # what a projector read from elsewhere, such as the names of tags, goes with it
        _update(options, getattr(part, "options", {}))
    return {"file": f"{name}.safetensors"}


def load(folder: Path, lenient: bool = False) -> tuple[MultimodalLM, ModelRecipe, dict[str, Any]]:
    """The model of a checkpoint folder, its recipe, and how it was made. `lenient`: a generator that is linked and not
    here is done without.

    Raises `CheckpointError` naming the file or tensor that is wrong, or `AssetError` with the command that fetches a
    linked part.
    """
    manifest = _manifest(folder)
    recipe = validate(ModelRecipe, manifest.get("recipe"), f"{folder / MANIFEST}: recipe")
    own: dict[str, Path] = {}
    for name, _, options in _parts(None, recipe):
        where = manifest["parts"].get(name)
        if where is None and name.endswith(".generator"):  # one without weights
            continue
        if not isinstance(where, dict):
            raise CheckpointError(f"{folder / MANIFEST}: there is no entry for the part '{name}'")
        if "source" in where:
            options["path"] = where["source"]
            try:
                sources.check(where["source"], where["sha256"], name)
            except AssetError:
                if not (lenient and name.endswith(".generator")):
                    raise
        elif "folder" in where:
            options["path"] = str((folder / where["folder"]).resolve())
        else:
            own[name] = folder / where["file"]
    model = compose(recipe, lenient)
    parts = {name: part for name, part, _ in _parts(model, recipe)}
    with peft.detached(model):
        for name, file in own.items():
            if parts[name] is not None:  # the projector of a generator that is done without
                sources.read_tensors(file, parts[name])
    for name, tensors in _adapters(model, recipe).items():
        where = manifest["parts"].get(name)
        if not isinstance(where, dict) or "file" not in where:
            raise CheckpointError(f"{folder / MANIFEST}: there is no entry for the part '{name}'")
        sources.copy_tensors(folder / where["file"], tensors)
    return model, recipe, manifest.get("about", {})


def _parts(model: MultimodalLM | None, recipe: ModelRecipe) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """(name, module, the recipe's options for it) of every part; the options are the recipe's own dicts."""
    yield "backbone", model and model.backbone, recipe.backbone
    for name, options in recipe.shared.items():
        yield f"shared.{name}", model and model.shared[name], options
    for name, part in recipe.inputs.items():
        for key in ("encoder", "projector", "fusion"):
            if key != "fusion" or part.fusion["kind"] != "placement":
                yield f"inputs.{name}.{key}", model and getattr(model.modalities[name], key), getattr(part, key)
    for name, output in recipe.outputs.items():
        design = model and model.designs[name]
        yield f"outputs.{name}.tokens", design and design.tokens, {}
        if output.span.kind in ("signals", "latents"):
            yield f"outputs.{name}.projector", design and design.projector, output.projector or {}
        yield f"outputs.{name}.generator", design and design.generator, output.generator
    if recipe.opening is not None:
        yield "opening", model and model.opening, {}


def _why(model: MultimodalLM, name: str) -> str:
    return model.designs[name.split(".")[1]].missing


def _adapters(model: MultimodalLM, recipe: ModelRecipe) -> dict[str, dict[str, Any]]:
    """{part.peft: the weights of its adapters}, of the parts that have some; none where the recipe says of none."""
    here = [(name, part) for name, part, _ in _parts(model, recipe) if part is not None]  # all but a missing generator
    found = {f"{name}.peft": peft.weights(part) for name, part in here} if recipe.peft else {}
    return {name: tensors for name, tensors in found.items() if tensors}


def _is_source(name: str, part: nn.Module, options: dict[str, Any]) -> bool:
    """Whether a part still holds its source's weights, bit for bit. Builds the source again to be sure."""
    path = options.get("path")
    if not isinstance(path, str) or Path(path).exists():
        return False
    table = BACKBONES if name == "backbone" else GENERATORS if isinstance(part, Generator) else ENCODERS
    source = build(name, table, {"kind": "transformers", **options} if name == "backbone" else options).state_dict()
    return all(torch.equal(tensor, source[key]) for key, tensor in part.state_dict().items())


def _replace(options: dict[str, Any], architecture: dict[str, Any]) -> None:
    """Options that rebuild a part without its source."""
    kind = {"kind": options["kind"]} if "kind" in options else {}
    options.clear()
    options.update(kind, **json.loads(json.dumps(architecture, default=str)))


def _update(options: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Put `changes` into `options`, however deep."""
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(options.get(key), dict):
            _update(options[key], value)
        else:
            options[key] = value


def _write_tensors(file: Path, tensors: Mapping[str, torch.Tensor], dtype: torch.dtype | None) -> None:
    from safetensors.torch import save_file

    state = {k: _stored(v, dtype) for k, v in tensors.items()}
    save_file({k: v.detach().clone().contiguous() for k, v in state.items()}, file)


def _stored(tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    """The tensor in `dtype`, if every value of it is one of that type's."""
    if dtype is None or not tensor.is_floating_point():
        return tensor
    small = tensor.to(dtype)
    return small if torch.equal(small.to(tensor.dtype), tensor) else tensor


def _manifest(folder: Path) -> dict[str, Any]:
    file = folder / MANIFEST
    if not file.is_file():
        raise CheckpointError(f"{folder}: not a checkpoint folder, it has no {MANIFEST}")
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{file}: not JSON ({error})") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("parts"), dict):
        raise CheckpointError(f"{file}: has no 'parts'")
    if manifest.get("format") != FORMAT:
        raise CheckpointError(f"{file}: format {manifest.get('format')!r}, but this version reads format {FORMAT}")
    return manifest


def _swap(staging: Path, folder: Path) -> None:
    """Put a complete folder in place; the one it replaces is removed only after that."""
    staging.chmod(0o755)
    for file in staging.iterdir():  # safetensors makes files that only their owner may read
        file.chmod(0o644)
    if not folder.exists():
        os.replace(staging, folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
    os.replace(folder, old / folder.name)
    os.replace(staging, folder)
    shutil.rmtree(old)
