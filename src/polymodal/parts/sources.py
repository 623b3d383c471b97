"""Where a part's pretrained weights come from. Decides the three forms of `path` in a recipe, and what proves identity.

`asset:NAME` is a converted package in the cache (`polymodal assets`), an existing folder is itself, anything else is a
Hub id. A linked source is identified by the sha256 of its weight files, so that a checkpoint which refers to a frozen
part notices when that part is not the one it was trained with.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from polymodal import assets
from polymodal.errors import CheckpointError, RecipeError


def locate(path: str) -> str:
    """A folder or Hub id that `from_pretrained` accepts. Raises `AssetError` with the command that fetches an asset."""
    if path.startswith("asset:"):
        return str(assets.path(path.removeprefix("asset:")))
    return path


def digests(path: str) -> dict[str, str]:
    """sha256 of every weight file of a source: `{file: hex}`. A Hub id is looked up in the local Hub cache."""
    if path.startswith("asset:"):
        recorded = assets.digests(path.removeprefix("asset:"))
        return {name: digest for name, digest in recorded.items() if name.endswith(".safetensors")}
    folder = Path(path)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        folder = Path(snapshot_download(path, local_files_only=True))
    return {file.name: sha256(file) for file in sorted(folder.glob("*.safetensors"))}


def check(path: str, expected: dict[str, str], role: str) -> None:
    """Raises `CheckpointError` if the source no longer holds the weights a checkpoint was saved with."""
    found = digests(path)
    for name, digest in expected.items():
        if found.get(name) != digest:
            raise CheckpointError(f"{role}: {path}/{name} is not the file this checkpoint was made with (sha256 differs)")


def sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(stream)


def _digest(stream: Any) -> str:  # Python 3.10 has no hashlib.file_digest
    digest = hashlib.sha256()
    for block in iter(lambda: stream.read(1 << 20), b""):
        digest.update(block)
    return digest.hexdigest()


def transformers_config(path: str | None, config: dict[str, Any] | None, role: str) -> Any:
    """The transformers config of a part: read from `path`, or built from a dict with a `model_type`."""
    import transformers

    if (path is None) == (config is None):
        raise RecipeError(f"{role} needs either 'path' (pretrained) or 'config' (random weights), and not both")
    if path is not None:
        try:
            return transformers.AutoConfig.from_pretrained(locate(path))
        except (OSError, ValueError) as error:
            raise RecipeError(f"{role}.path '{path}' cannot be read: {str(error).splitlines()[0]}") from error
    options = dict(config or {})
    kind = options.pop("model_type", None)
    if kind not in transformers.CONFIG_MAPPING:
        raise RecipeError(f"{role}.config needs a 'model_type' that transformers knows, not {kind!r}")
    return transformers.AutoConfig.for_model(kind, **options)


def load_strictly(cls: Any, path: str, role: str, **options: Any) -> Any:
    """`cls.from_pretrained`, refusing missing or mismatched tensors (unexpected ones are other parts of a larger
    checkpoint, such as CLIP's text tower). Raises `RecipeError` naming the first tensor."""
    try:
        module, info = cls.from_pretrained(locate(path), output_loading_info=True, **options)
    except OSError as error:
        raise RecipeError(f"{role}.path '{path}' cannot be loaded: {str(error).splitlines()[0]}") from error
    missing = sorted(info["missing_keys"])
    if missing or info["mismatched_keys"]:
        name = missing[0] if missing else sorted(map(str, info["mismatched_keys"]))[0]
        raise RecipeError(f"{role}.path '{path}' lacks the weights of {cls.__name__}: '{name}' is missing or misshapen")
    return module
