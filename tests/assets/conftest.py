"""Fake packages and catalogues: wheels that pip finds in a folder of this machine, with no network."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from polymodal.assets.catalog import Catalog


def write_wheel(folder: Path, name: str, files: dict[str, bytes], version: str = "1.0") -> Path:
    """A wheel that pip accepts: the files, and the metadata it insists on."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as bundle:
        for member, data in files.items():
            bundle.writestr(member, data)
        bundle.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        bundle.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        bundle.writestr(f"{info}/LICENSE", "Do what you like.\n")
        bundle.writestr(f"{info}/RECORD", "")
    return path


def write_tgz(path: Path, files: dict[str, bytes | tuple[str, bytes]]) -> Path:
    """A gzipped tar; a value (target, b"") makes a symbolic link."""
    with tarfile.open(path, "w:gz") as tar:
        for member, value in files.items():
            info = tarfile.TarInfo(member)
            if isinstance(value, tuple):
                info.type, info.linkname = tarfile.SYMTYPE, value[0]
                tar.addfile(info)
            else:
                info.size = len(value)
                tar.addfile(info, io.BytesIO(value))
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def entry(wheel: Path, **changes) -> dict:
    """A catalogue entry that keeps the folder data/ of a fake wheel."""
    package = {"name": wheel.name.split("-")[0].replace("_", "-"), "version": "1.0", "sha256": sha256(wheel)}
    package |= {"keep": ["data/*"], "strip": 1}
    base = {"role": "corpus", "about": "a test", "licence": "MIT", "mb": 0.1}
    return base | {"source": {"kind": "wheel", "packages": [package]}} | changes


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """pip without index or configuration: it finds only what lies in tmp_path/wheels."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("POLYMODAL_HOME", str(tmp_path / "home"))
    (tmp_path / "wheels").mkdir()
    return tmp_path / "wheels"


@pytest.fixture
def catalog(offline):
    """A catalogue of one asset, `words`, made of two files of one fake wheel."""
    wheel = write_wheel(offline, "word-list", {"data/en.txt": b"house\n", "data/sub/de.txt": b"Haus\n", "x.py": b"1/0"})
    return Catalog.model_validate({"assets": {"words": entry(wheel)}, "sets": {"all-words": ["words"]}})
