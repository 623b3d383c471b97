"""Qt's resource files (.rcc) as plain files. Decides that reading them needs neither Qt nor another dependency.

The format is that of Qt's `rcc` (qtbase, rcc.cpp): a header, a tree of fixed-size nodes, names in UTF-16 and the files,
each as it is or compressed by zlib. Files compressed by zstd are refused: the archives this is for have none.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from polymodal.errors import AssetError

_COMPRESSED, _FOLDER, _ZSTD = 1, 2, 4
_NODE = {1: 14, 2: 22, 3: 22}  # bytes of a node by version of the format


def qt_resources(kept: Path, ready: Path) -> None:
    """The files of every .rcc file in `kept`, below `ready` under the paths they have there.

    Raises AssetError if there is none, or one is damaged, holds a path that leaves `ready`, or two hold the same path.
    """
    archives = sorted(kept.glob("*.rcc"))
    if not archives:
        raise AssetError("expected .rcc files to convert, found none")
    for archive in archives:
        for path, data in members(archive):
            target = ready / path
            if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or "\\" in path:
                raise AssetError(f"{archive.name}: refused, its file '{path}' would be written outside the asset's folder")
            if target.exists():
                raise AssetError(f"{archive.name}: '{path}' would overwrite a file of another archive")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)


def members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """(path, bytes) of each file in an archive. Raises AssetError if it is damaged or holds a file compressed by zstd."""
    data = archive.read_bytes()
    try:
        magic, version, *tables = struct.unpack_from(">4s4I", data)
        if magic != b"qres" or version not in _NODE:
            raise AssetError(f"{archive.name}: no resource file of Qt in the versions 1 to 3")
        yield from _walk(data, archive.name, _NODE[version], tuple(tables), 0, "")
    except (struct.error, zlib.error, UnicodeDecodeError, RecursionError) as error:
        raise AssetError(f"{archive.name}: a damaged resource file of Qt ({error})") from error


def _walk(
    data: bytes, archive: str, size: int, tables: tuple[int, ...], node: int, path: str
) -> Iterator[tuple[str, bytes]]:
    """The files at and below a node. `tables`: where the nodes, the files and the names begin."""
    nodes, files, names = tables
    place = nodes + node * size
    name, flags = struct.unpack_from(">IH", data, place)
    if node:  # the root has no name
        (length,) = struct.unpack_from(">H", data, names + name)
        start = names + name + 6  # behind the length and a hash
        path = f"{path}/{data[start : start + 2 * length].decode('utf-16-be')}".removeprefix("/")
    if flags & _FOLDER:
        count, first = struct.unpack_from(">II", data, place + 6)
        for child in range(first, first + count):
            yield from _walk(data, archive, size, tables, child, path)
        return
    if flags & _ZSTD:
        raise AssetError(f"{archive}: '{path}' is compressed by zstd, which is not read")
    (offset,) = struct.unpack_from(">I", data, place + 10)
    (length,) = struct.unpack_from(">I", data, files + offset)
    start = files + offset + 4
    if start + length > len(data):
        raise AssetError(f"{archive}: '{path}' is cut short")
    content = data[start : start + length]
    yield path, zlib.decompress(content[4:]) if flags & _COMPRESSED else content  # 4: the size when decompressed
