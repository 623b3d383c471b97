from __future__ import annotations

import struct
import zlib

import pytest

from polymodal.assets.qt_resources import qt_resources
from polymodal.errors import AssetError


def rcc(files: dict[str, bytes], flags: int = 1) -> bytes:
    """A resource file of version 2 with `files` (folder/name) as Qt writes them: folders first, then what is in them."""
    tree: dict = {}
    for path, data in files.items():
        *folders, name = path.split("/")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = data
    nodes, names, blobs = b"", b"", b""
    queue = [("", tree)]
    for name, content in queue:  # grows meanwhile: breadth first, so that children are neighbours
        place, names = len(names), names + struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
        if isinstance(content, dict):
            nodes += struct.pack(">IHIIQ", place, 2, len(content), len(queue), 0)
            queue += content.items()
        else:
            stored = struct.pack(">I", len(content)) + zlib.compress(content) if flags & 1 else content
            nodes += struct.pack(">IHHHIQ", place, flags, 0, 0, len(blobs), 0)
            blobs += struct.pack(">I", len(stored)) + stored
    start = 20
    header = struct.pack(">4s4I", b"qres", 2, start + len(blobs) + len(names), start, start + len(blobs))
    return header + blobs + names + nodes


FILES = {"app/cat.txt": b"meow" * 99, "app/more/Hundé.txt": b"", "top": b"\x00"}


@pytest.mark.parametrize("flags", [0, 1], ids=["plain", "zlib"])
def test_every_file_lies_where_the_archive_says(tmp_path, flags):
    (tmp_path / "a.rcc").write_bytes(rcc(FILES, flags))
    (tmp_path / "b.rcc").write_bytes(rcc({"app/b": b"b"}, flags))
    qt_resources(tmp_path, tmp_path / "ready")
    for path, data in (*FILES.items(), ("app/b", b"b")):
        assert (tmp_path / "ready" / path).read_bytes() == data


@pytest.mark.parametrize(
    ("archive", "reason"),
    [
        (b"PK", "damaged"),
        (b"what" + bytes(40), "no resource file"),
        (rcc({"../out": b"x"}), "outside"),
        (rcc({"a/b": b"x" * 50}, 0)[:40], "damaged"),
        (rcc({"a": b"x"}, 4), "zstd"),
    ],
    ids=["stub", "other", "escape", "cut", "zstd"],
)
def test_what_cannot_be_taken_out_safely_is_refused(tmp_path, archive, reason):
    (tmp_path / "a.rcc").write_bytes(archive)
    with pytest.raises(AssetError, match=rf"a\.rcc: .*{reason}"):
        qt_resources(tmp_path, tmp_path / "ready")
    assert not (tmp_path / "out").exists()


def test_two_archives_with_one_path_and_a_folder_without_archives_are_refused(tmp_path):
    with pytest.raises(AssetError, match="found none"):
        qt_resources(tmp_path, tmp_path / "ready")
    for name in "ab":
        (tmp_path / f"{name}.rcc").write_bytes(rcc({"same": b"x"}))
    with pytest.raises(AssetError, match="overwrite"):
        qt_resources(tmp_path, tmp_path / "ready")
