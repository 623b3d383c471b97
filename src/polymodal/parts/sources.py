"""Where a part's pretrained weights come from. Decides the three forms of `path` in a recipe, and what proves identity.

`asset:NAME` is a converted package in the cache (`polymodal assets`), an existing folder is itself, anything else is a
Hub id. A linked source is identified by what it was made of (an asset: its packages' bytes and its converter) or by the
sha256 of its weight files, so that a checkpoint which refers to a frozen part notices when that part
is not the one it was trained with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal import assets
from polymodal.errors import AssetError, CheckpointError, RecipeError

if TYPE_CHECKING:
    from torch import Tensor, nn


def locate(path: str) -> str:
    """A folder or Hub id that `from_pretrained` accepts. Raises `AssetError` with the command that fetches an asset, and
    `RecipeError` for a folder that is not there (a Hub would be asked for it, and its answer would mislead)."""
    if path.startswith("asset:"):
        return str(assets.path(path.removeprefix("asset:")))
    if (path.startswith(".") or Path(path).is_absolute()) and not Path(path).is_dir():
        raise RecipeError(f"{path}: there is no such folder")
    return path


def pretrained(cls: Any, path: str, key: str, **options: Any) -> Any:
    """`cls.from_pretrained` of a source. Raises `RecipeError` naming the recipe's `key` if `cls` cannot read it."""
    from safetensors import SafetensorError

    try:
        return cls.from_pretrained(locate(path), **options)
    except (OSError, ValueError, SafetensorError) as error:
        raise RecipeError(f"{key} '{path}' cannot be read: {_first_line(error)}") from error
    except RecipeError as error:
        raise RecipeError(f"{key} {error}") from error


def digests(path: str) -> dict[str, str]:
    """What identifies a source's weights: `{"pin": hex}` for an asset (its packages' bytes and its converter), otherwise
    `{file: sha256}` of every weight file. A Hub id is looked up in the local Hub cache."""
    if path.startswith("asset:"):
        return {"pin": assets.pin(path.removeprefix("asset:"))}
    folder = Path(locate(path))
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        try:
            folder = Path(snapshot_download(path, local_files_only=True))
        except (OSError, ValueError) as error:
            raise AssetError(f"{path} is not in the local Hub cache; `hf download {path}` gets it") from error
    return {file.name: sha256(file) for file in sorted(folder.glob("*.safetensors"))}


def check(path: str, expected: dict[str, str], role: str) -> None:
    """Raises `CheckpointError` if the source no longer holds the weights a checkpoint was saved with."""
    found = digests(path)
    for name, digest in expected.items():
        if found.get(name) != digest:
            raise CheckpointError(f"{role}: {path} is not the one this checkpoint was made with ({name}: sha256 differs)")


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
    from huggingface_hub.errors import StrictDataclassError

    if (path is None) == (config is None):
        raise RecipeError(f"{role} needs either 'path' (pretrained) or 'config' (random weights), and not both")
    if path is not None:
        return pretrained(transformers.AutoConfig, path, f"{role}.path")
    options = dict(config or {})
    kind = options.pop("model_type", None)
    if kind not in transformers.CONFIG_MAPPING:
        raise RecipeError(f"{role}.config needs a 'model_type' that transformers knows, not {kind!r}")
    try:
        return transformers.AutoConfig.for_model(kind, **options)
    except (StrictDataclassError, ValueError) as error:
        raise RecipeError(f"{role}.config: {' '.join(str(error).split())}") from error


def load_strictly(cls: Any, path: str, role: str, **options: Any) -> Any:
    """`cls.from_pretrained`, refusing missing or mismatched tensors (unexpected ones are other parts of a larger
    checkpoint, such as CLIP's text tower). Raises `RecipeError` naming the first tensor."""
    options.setdefault("dtype", "float32")  # not the checkpoint's: half precision on disk still computes in full
    # Misshapen tensors are reported rather than raised by transformers, so that the first can be named below.
    strict = {"output_loading_info": True, "ignore_mismatched_sizes": True}
    module, info = pretrained(cls, path, f"{role}.path", **strict, **options)
    absent = sorted([*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])])
    if absent:
        raise RecipeError(
            f"{role}.path '{path}' lacks the weights of {cls.__name__}: '{absent[0]}' is missing or misshapen"
        )
    return module


def read_lines(file: str) -> list[str]:
    """The lines of a text file, blank ones too. Raises `RecipeError` if it cannot be read."""
    try:
        return Path(file).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file}: cannot be read ({error})") from error


def read_tensor(file: Path, name: str) -> Tensor:
    """One tensor of a weight file. Raises `CheckpointError` if it is not there."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as tensors:
            return tensors.get_tensor(name)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{file}: has no tensor '{name}' ({error})") from error


def read_tensors(file: Path, part: nn.Module) -> None:
    """Load a weight file into `part`. Raises `CheckpointError` naming the tensor that is missing, extra or misshapen."""
    copy_tensors(file, part.state_dict())


def copy_tensors(file: Path, expected: Mapping[str, Tensor]) -> None:
    """As `read_tensors`, into tensors by name."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not file.is_file():
        raise CheckpointError(f"{file}: this weight file is missing")
    try:
        found = load_file(file)
    except SafetensorError as error:
        raise CheckpointError(f"{file}: not a complete safetensors file ({error})") from error
    for problem, names in (("missing", expected.keys() - found.keys()), ("unexpected", found.keys() - expected.keys())):
        if names:
            raise CheckpointError(f"{file}: tensor '{min(names)}' is {problem} ({len(names)} in all)")
    for key, tensor in expected.items():
        if tensor.shape != found[key].shape:
            raise CheckpointError(f"{file}: tensor '{key}' is {list(found[key].shape)}, not {list(tensor.shape)}")
    with torch.no_grad():
        for key, tensor in expected.items():
            tensor.copy_(found[key])


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
