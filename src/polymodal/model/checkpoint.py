"""Checkpoints: one folder, complete, strict, loadable by its path alone.

    polymodal.json                 format, recipe, and for each part where its weights are
    backbone/                      a transformers folder with its tokenizer
    inputs.image.encoder.safetensors, inputs.image.projector.safetensors, ...

A part that still holds exactly the weights of its source may be *linked*: the folder names the source and what
identifies it (`sources.digests`) instead of copying it. That is how two trained projectors are a whole model.
Linked or not, a missing, unexpected or misshapen tensor is an error, never a warning.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from polymodal.errors import CheckpointError
from polymodal.model.config import ModelRecipe, validate
from polymodal.model.modeling import BACKBONES, MultimodalLM, compose
from polymodal.parts import sources
from polymodal.parts.base import build
from polymodal.parts.encoders import ENCODERS

FORMAT = 1
MANIFEST = "polymodal.json"


def save(
    model: MultimodalLM,
    recipe: ModelRecipe,
    about: dict[str, Any],
    folder: Path,
    link: bool = True,
    dtype: torch.dtype | None = None,
) -> None:
    """Write the checkpoint atomically: `folder` is replaced by a complete one or left as it was.

    `link`: refer to unchanged pretrained parts by source and digest, where the source is an asset or a Hub id (a folder of
    this machine is copied); False copies everything, for a folder that needs nothing else. `dtype`: how projectors
    are stored where nothing is lost by it (float16 halves them).
    """
    recipe = recipe.model_copy(deep=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        manifest: dict[str, Any] = {"format": FORMAT, "parts": {}, "about": about}
        for name, part, options in _parts(model, recipe):
            if link and _is_source(name, part, options):
                source = options["path"]
                manifest["parts"][name] = {"source": source, "sha256": sources.digests(source)}
            elif name == "backbone":
                model.backbone.lm.save_pretrained(staging / "backbone")
                model.backbone.tokenizer.save_pretrained(staging / "backbone")
                manifest["parts"][name] = {"folder": "backbone"}
                _replace(options, {"path": "backbone", **model.backbone.options})
            else:
                _write_tensors(staging / f"{name}.safetensors", part, dtype if name.endswith("projector") else None)
                manifest["parts"][name] = {"file": f"{name}.safetensors"}
                if name.endswith("encoder"):
                    _replace(options, getattr(part, "options", {}))
        manifest["recipe"] = recipe.model_dump()
        (staging / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        _swap(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def load(folder: Path) -> tuple[MultimodalLM, ModelRecipe, dict[str, Any]]:
    """The model of a checkpoint folder, its recipe, and how it was made.

    Raises `CheckpointError` naming the file or tensor that is wrong, or `AssetError` with the command that fetches a
    linked part.
    """
    manifest = _manifest(folder)
    recipe = validate(ModelRecipe, manifest.get("recipe"), f"{folder / MANIFEST}: recipe")
    own: dict[str, Path] = {}
    for name, _, options in _parts(None, recipe):
        where = manifest["parts"].get(name)
        if not isinstance(where, dict):
            raise CheckpointError(f"{folder / MANIFEST}: there is no entry for the part '{name}'")
        if "source" in where:
            options["path"] = where["source"]
            sources.check(where["source"], where["sha256"], name)
        elif "folder" in where:
            options["path"] = str((folder / where["folder"]).resolve())
        else:
            own[name] = folder / where["file"]
    model = compose(recipe)
    parts = {name: part for name, part, _ in _parts(model, recipe)}
    for name, file in own.items():
        sources.read_tensors(file, parts[name])
    return model, recipe, manifest.get("about", {})


def _parts(model: MultimodalLM | None, recipe: ModelRecipe) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """(name, module, the recipe's options for it) of every part; the options are the recipe's own dicts."""
    yield "backbone", model and model.backbone, recipe.backbone
    for name, part in recipe.inputs.items():
        yield f"inputs.{name}.encoder", model and model.modalities[name].encoder, part.encoder
        yield f"inputs.{name}.projector", model and model.modalities[name].projector, part.projector


def _is_source(name: str, part: nn.Module, options: dict[str, Any]) -> bool:
    """Whether a part still holds its source's weights, bit for bit. Builds the source again to be sure."""
    path = options.get("path")
    if not isinstance(path, str) or Path(path).is_dir():
        return False
    table = BACKBONES if name == "backbone" else ENCODERS
    source = build(name, table, {"kind": "transformers", **options} if name == "backbone" else options).state_dict()
    return all(torch.equal(tensor, source[key]) for key, tensor in part.state_dict().items())


def _replace(options: dict[str, Any], architecture: dict[str, Any]) -> None:
    """Options that rebuild a part without its source."""
    kind = {"kind": options["kind"]} if "kind" in options else {}
    options.clear()
    options.update(kind, **json.loads(json.dumps(architecture, default=str)))


def _write_tensors(file: Path, part: nn.Module, dtype: torch.dtype | None) -> None:
    from safetensors.torch import save_file

    state = {k: _stored(v, dtype) for k, v in part.state_dict().items()}
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
    if not folder.exists():
        os.replace(staging, folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
    os.replace(folder, old / folder.name)
    os.replace(staging, folder)
    shutil.rmtree(old)
