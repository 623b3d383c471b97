"""Taking members out of package files. Decides which members may be written, and where.

Only regular files, and links to files that are kept too, are ever written, with plain paths that stay inside the target
folder; a member that would leave it is refused by name (the attack known as zip-slip). Links become copies, so that a
ready folder is plain files on every file system.
"""

from __future__ import annotations

import posixpath
import shutil
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from polymodal.assets.catalog import Package
from polymodal.errors import AssetError

# Licence texts travel with what they license, whichever members are kept.
_LICENCES = (
    "*.dist-info/LICEN*",
    "*.dist-info/NOTICE*",
    "*.dist-info/licenses/*",
    "package/LICEN*",
    "package/NOTICE*",
    "usr/share/doc/*/copyright",
)


class _Member(NamedTuple):
    """One member that is no folder: its checked path, and its bytes or the path of the member it links to (or neither)."""

    path: str
    data: IO[bytes] | None
    link: str | None = None
    executable: bool = False


def unpack(archive: Path, package: Package, target: Path) -> None:
    """Write the members that `package` keeps, and its licences, below `target`.

    Raises AssetError for a file that is no archive, a member whose path leaves `target`, two members on one path, or a
    pattern that no member matches.
    """
    try:
        _unpack(archive, package, target)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error) as error:
        raise AssetError(f"{archive.name}: not a readable archive ({error})") from error


def _unpack(archive: Path, package: Package, target: Path) -> None:
    unmatched = set(package.keep)
    links: dict[str, tuple[Path, str]] = {}
    written: dict[str, Path] = {}
    for member in _members(archive):
        matching = [pattern for pattern in package.keep if fnmatchcase(member.path, pattern)]
        unmatched.difference_update(matching)
        if matching:
            parts = PurePosixPath(member.path).parts[package.strip :]
            path = target / package.into / Path(*parts)
        elif member.data and any(fnmatchcase(member.path, pattern) for pattern in _LICENCES):
            folder = package.name.lstrip("@").replace("/", "-")
            path = target / "licences" / folder / PurePosixPath(member.path).name
        else:
            continue
        if path.exists():
            raise AssetError(f"{archive.name}: '{member.path}' would overwrite another kept file")
        path.parent.mkdir(parents=True, exist_ok=True)
        if member.data:
            with path.open("wb") as out:
                shutil.copyfileobj(member.data, out, 1 << 20)
            path.chmod(0o755 if member.executable else 0o644)
            written[member.path] = path
        elif member.link:
            links[member.path] = (path, member.link)  # copied once all files are there
        else:
            raise AssetError(f"{archive.name}: '{member.path}' is neither a file nor a link within the archive")
    for path, original in links.values():
        for _ in links:  # it may be a link itself
            original = links[original][1] if original in links else original
        if original not in written:
            raise AssetError(f"{archive.name}: '{path.name}' links to '{original}', which is no file that is kept")
        shutil.copy(written[original], path)
    if unmatched:
        raise AssetError(f"{archive.name}: nothing in it matches '{min(unmatched)}'")


def _members(archive: Path) -> Iterator[_Member]:
    if archive.suffix == ".whl":
        yield from _zip_members(archive)
    elif archive.suffix == ".deb":
        yield from _deb_members(archive)
    else:
        with tarfile.open(archive, "r|gz") as tar:
            yield from _tar_members(archive, tar)


def _zip_members(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as bundle:
        for info in bundle.infolist():
            path = _checked(archive, info.filename)
            if not info.is_dir():
                with bundle.open(info) as data:
                    yield _Member(path, data, executable=bool(info.external_attr >> 16 & 0o100))


def _tar_members(archive: Path, tar: tarfile.TarFile) -> Iterator[_Member]:
    for info in tar:
        path = _checked(archive, info.name)
        if info.isfile():
            yield _Member(path, tar.extractfile(info), executable=bool(info.mode & 0o100))
        elif not info.isdir():
            yield _Member(path, None, link=_target(path, info.linkname) if info.issym() else None)


def _deb_members(archive: Path) -> Iterator[_Member]:
    """dpkg-deb knows every compression that .deb files use, and needs no root."""
    command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as dpkg:
        assert dpkg.stdout is not None  # it is a pipe
        with tarfile.open(fileobj=dpkg.stdout, mode="r|") as tar:
            yield from _tar_members(archive, tar)
        dpkg.stdout.read()  # the padding behind the last member; closing early would end dpkg-deb with an error
    if dpkg.returncode != 0:
        raise AssetError(f"{archive.name}: not a readable Debian package")


def _target(path: str, link: str) -> str | None:
    """The path of the member that a link names relative to its own folder; None if it is outside the archive."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
    return None if not link or target.startswith(("/", "..")) or target == "." else target


def _checked(archive: Path, member: str) -> str:
    """The member's path in plain form. Raises AssetError if it would leave the folder it is unpacked into."""
    path = PurePosixPath(member)
    if path.is_absolute() or ".." in path.parts or "\\" in member or ":" in member.split("/")[0]:
        raise AssetError(f"{archive.name}: refused, its member '{member}' would be written outside the asset's folder")
    return str(path)
