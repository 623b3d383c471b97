"""The cache folder of fetched assets. Decides when an asset is ready, and that it becomes so in one step.

    <root>/assets/NAME/       ready folders; `.asset.json` lists every file with its sha256 and size
    <root>/downloads/NAME/    package files, kept until the ready folder exists
    <root>/staging/NAME/      what a fetch is building, renamed into assets/ when it is whole
    <root>/locks/NAME.lock    held while a process fetches NAME; freed by the system when the process dies

A ready folder is therefore either absent or complete, whenever the process or the machine stops. Nothing but `fetch`
downloads, and nothing but `fetch` writes here.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from polymodal.assets import catalog as catalogs
from polymodal.assets import convert, sources
from polymodal.assets.catalog import Asset, Catalog
from polymodal.assets.sources import Progress
from polymodal.errors import AssetError

MANIFEST = ".asset.json"
State = Literal["ready", "absent", "outdated", "damaged"]


def root() -> Path:
    """The cache folder: the environment variable POLYMODAL_HOME if it is set, else ~/.cache/polymodal.

    This is the one environment variable that polymodal reads, because where caches lie is a property of the machine.
    """
    return Path(os.environ.get("POLYMODAL_HOME") or "~/.cache/polymodal").expanduser()


def path(name: str, *, root: Path | None = None, catalog: Catalog | None = None) -> Path:
    """The ready folder of an asset. Never downloads.

    Raises AssetError, with the command that gets it, if it is not there or not in the form this version makes.
    """
    asset = _asset(name, catalog)
    folder = _folder(asset, root)
    reason = {
        "absent": f"{name} is not here; get it with",
        "outdated": f"{name} was fetched by another version of polymodal; get this one's with",
        "damaged": f"{name} has lost or changed files; repair it with",
    }
    found = _state(asset, folder)
    if found != "ready":
        raise AssetError(f"{reason[found]}: polymodal assets fetch {name}")
    return folder


def state(name: str, *, root: Path | None = None, catalog: Catalog | None = None) -> State:
    """ready, absent, outdated (made from another catalogue entry or by another converter) or damaged.

    Damage is seen here by the files' presence and sizes only, in milliseconds; `verify` reads every byte.
    """
    asset = _asset(name, catalog)
    return _state(asset, _folder(asset, root))


def digests(name: str, *, root: Path | None = None, catalog: Catalog | None = None) -> dict[str, str]:
    """sha256 of each file of a ready asset by its relative path, as recorded when it was fetched.

    Raises AssetError if the asset is not ready.
    """
    folder = path(name, root=root, catalog=catalog)
    return {file: entry["sha256"] for file, entry in manifest(folder)["files"].items()}


def pin(name: str, *, root: Path | None = None, catalog: Catalog | None = None) -> str:
    """What a ready asset was made of, as one sha256: its packages' bytes and the converter's version. The same on every
    machine, where the converted files may differ by a library's version. Raises AssetError if the asset is not ready."""
    return manifest(path(name, root=root, catalog=catalog))["pin"]


def manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a ready folder. Raises AssetError if it is missing or no JSON."""
    try:
        return json.loads((folder / MANIFEST).read_text("utf-8"))
    except (FileNotFoundError, json.JSONDecodeError) as error:
        raise AssetError(f"{folder / MANIFEST}: not a readable manifest ({error})") from error


def verify(name: str, *, root: Path | None = None, catalog: Catalog | None = None) -> None:
    """Hash every file again.

    Raises AssetError naming the first file that is missing or not as it was fetched, or if the asset is absent.
    """
    asset = _asset(name, catalog)
    folder = _folder(asset, root)
    if _state(asset, folder) in ("absent", "outdated"):
        path(name, root=root, catalog=catalog)  # raises what is wrong
    for file, entry in manifest(folder)["files"].items():
        if not (folder / file).is_file():
            raise AssetError(f"{name}: {file} is missing; repair it with: polymodal assets fetch {name}")
        if sources.sha256(folder / file) != entry["sha256"]:
            raise AssetError(f"{name}: {file} has changed; repair it with: polymodal assets fetch {name}")


def fetch(
    name: str,
    progress: Callable[[Progress], None] | None = None,
    *,
    root: Path | None = None,
    catalog: Catalog | None = None,
) -> Path:
    """Make an asset ready and return its folder; at once if it is ready already.

    A killed fetch continues with the package files that had arrived. A second process waits for the first. Raises
    AssetError if a client, the network, the disk or a checksum fails; nothing is then visible under assets/.
    """
    asset = _asset(name, catalog)
    home, folder = _home(root), _folder(asset, root)
    report = progress or (lambda _: None)
    if _state(asset, folder) == "ready":
        return folder
    with _explained(asset, home), _locked(asset, home, report):
        if _state(asset, folder) != "ready":  # unless the process that held the lock has made it so
            _check_space(asset, home)
            _build(asset, home, folder, report)
    return folder


def _build(asset: Asset, home: Path, folder: Path, report: Callable[[Progress], None]) -> None:
    """Download, unpack, convert, list, and swap the result into place."""
    downloads, staging = home / "downloads" / asset.name, home / "staging" / asset.name
    if staging.exists():
        shutil.rmtree(staging)  # of a killed run
    kept, ready = staging / "kept", staging / "ready"
    kept.mkdir(parents=True)
    ready.mkdir()
    try:
        packages = sources.collect(asset, downloads, kept, report)
        for file, expected in asset.contents.items():
            if not (kept / file).is_file() or sources.sha256(kept / file) != expected:
                raise AssetError(f"{asset.name}: refused, {file} is not the pinned file")
        if asset.convert:
            report(Progress(asset.name, f"converting ({asset.convert})"))
        convert.convert(asset.convert, kept, ready)
        report(Progress(asset.name, "hashing"))
        _write_manifest(asset, packages, ready)
        folder.parent.mkdir(exist_ok=True)
        if folder.exists():
            os.replace(folder, staging / "old")
        os.replace(ready, folder)
        shutil.rmtree(downloads)
    finally:
        shutil.rmtree(staging)
        if downloads.is_dir() and not any(downloads.iterdir()):
            downloads.rmdir()


def _write_manifest(asset: Asset, packages: list[dict[str, Any]], ready: Path) -> None:
    files = sorted(path for path in ready.rglob("*") if path.is_file())
    for file in files:  # some writers make files that only their owner may read
        file.chmod(file.stat().st_mode | 0o444)
    step = convert.converter(asset.convert)
    entry = {
        "name": asset.name,
        "licence": asset.licence,
        "source": {"kind": asset.source.kind, "packages": packages},
        "converter": {"name": asset.convert, "version": step.version} if step else None,
        "pin": _pin(asset),
        "files": {
            file.relative_to(ready).as_posix(): {"sha256": sources.sha256(file), "bytes": file.stat().st_size}
            for file in files
        },
    }
    (ready / MANIFEST).write_text(json.dumps(entry, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _asset(name: str, catalog: Catalog | None) -> Asset:
    return (catalog or catalogs.builtin()).get(name)


def _home(given: Path | None) -> Path:
    return (given or root()).absolute()


def _folder(asset: Asset, given: Path | None) -> Path:
    return _home(given) / "assets" / asset.name


def _pin(asset: Asset) -> str:
    step = convert.converter(asset.convert)
    return asset.pin(step.version if step else None)


def _state(asset: Asset, folder: Path) -> State:
    if not folder.exists():
        return "absent"
    try:
        found = manifest(folder)
    except AssetError:
        return "damaged"
    if found["pin"] != _pin(asset):
        return "outdated"
    for file, entry in found["files"].items():
        try:
            if os.stat(folder / file).st_size != entry["bytes"]:
                return "damaged"
        except FileNotFoundError:
            return "damaged"
    return "ready"


@contextmanager
def _locked(asset: Asset, home: Path, report: Callable[[Progress], None]) -> Iterator[None]:
    """One process at a time builds an asset; the others wait and then find it ready."""
    from filelock import FileLock, Timeout

    (home / "locks").mkdir(parents=True, exist_ok=True)
    lock = FileLock(home / "locks" / f"{asset.name}.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        report(Progress(asset.name, "waiting for another process that is fetching it"))
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _check_space(asset: Asset, home: Path) -> None:
    download = sum(package.bytes or 0 for package in getattr(asset.source, "packages", ()))
    needed, free = download + 2 * asset.mb * 1e6, shutil.disk_usage(home).free  # kept and ready files at once
    if free < needed:
        raise AssetError(
            f"{asset.name} needs {needed / 1e6:.0f} MB while it is made, {home} has {free / 1e6:.0f} MB free; "
            "make room or choose another folder with POLYMODAL_HOME"
        )


@contextmanager
def _explained(asset: Asset, home: Path) -> Iterator[None]:
    """A cache folder that cannot be written is the user's to solve, in one line."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT):
            raise
        raise AssetError(
            f"{asset.name}: cannot write in {home} ({error.strerror}); choose another folder with POLYMODAL_HOME"
        ) from error
