"""eSpeak NG from Debian packages, runnable where it lies. Decides that it is silent: it writes files, it plays nothing.

libespeak-ng is linked to libpcaudio, the way to a sound card, and that to PulseAudio and ALSA with some twenty
libraries more, which a machine without sound lacks. None of it is fetched: a stand-in of a few hundred bytes takes its
name, a shared library whose functions all return 0. No compiler is needed to make it.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

from polymodal.errors import AssetError

SOUND_FUNCTIONS = (
    "create_audio_device_object",
    "audio_object_open",
    "audio_object_close",
    "audio_object_destroy",
    "audio_object_write",
    "audio_object_drain",
    "audio_object_flush",
    "audio_object_strerror",
)
# "return 0" by ELF machine number: x86-64 (xor eax, eax; ret) and AArch64 (mov x0, #0; ret).
_RETURN_ZERO = {62: bytes.fromhex("31c0c3"), 183: bytes.fromhex("000080d2c0035fd6")}


def espeak_ng(kept: Path, ready: Path) -> None:
    """Move bin/ and lib/, put the stand-in beside them, and try the program on one word.

    Raises AssetError for a processor without a stand-in, or with the program's own words if it does not run.
    """
    for part in ("bin", "lib"):
        shutil.move(kept / part, ready / part)
    machine = struct.unpack_from("<H", (ready / "lib" / "libespeak-ng.so.1").read_bytes(), 18)[0]
    (ready / "lib" / "libpcaudio.so.0").write_bytes(stand_in("libpcaudio.so.0", SOUND_FUNCTIONS, machine))

    command = [str(ready / "bin" / "espeak-ng"), f"--path={ready / 'lib'}", "-q", "--ipa", "-v", "en-us", "hello"]
    environment = {**os.environ, "LD_LIBRARY_PATH": str(ready / "lib")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0 or not done.stdout.strip():
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1].split(": ", 1)[-1]
        raise AssetError(f"espeak-ng does not run on this machine: {said}")


def stand_in(name: str, functions: tuple[str, ...], machine: int, version: str = "") -> bytes:
    """A 64-bit little-endian ELF shared library `name` in which each of `functions` returns 0.

    machine: the ELF number of the processor. version: of the functions, if the library has versioned symbols. Raises
    AssetError for another processor than x86-64 and AArch64. Two segments: code and tables (read, execute), and the
    dynamic section (read, write: the loader of older glibc relocates it in place). Format: System V ABI, chapters 4 and
    5; Linux Standard Base, symbol versioning.
    """
    if machine not in _RETURN_ZERO:
        raise AssetError(f"{name}: no stand-in for the sound library on processors of ELF machine {machine}")
    code, count = _RETURN_ZERO[machine], len(functions) + 1
    names = (
        b"\0".join([b"", *(f.encode() for f in functions), name.encode(), *([version.encode()] if version else [])]) + b"\0"
    )
    at_code = 64 + 4 * 56  # behind the header and four program headers
    at_hash = at_code + 16
    at_symbols = _aligned(at_hash + 4 * (3 + count))
    at_names = at_symbols + 24 * count
    at_versions = _aligned(at_names + len(names))
    soname = names.index(name.encode() + b"\0")
    versions, version_tags = _versions(count, name, soname, version, names, at_versions) if version else (b"", [])
    at_dynamic = _aligned(at_versions + len(versions))
    page = 0x10000  # the largest page size of either processor: keeps the two segments on different pages

    # One bucket, in which every symbol is chained to the next.
    hashes = struct.pack(f"<{3 + count}I", 1, count, 1, 0, *range(2, count), 0)
    symbols = bytes(24)
    for function in functions:  # name, GLOBAL FUNC, default visibility, a defined section, address, size
        symbols += struct.pack("<IBBHQQ", names.index(function.encode() + b"\0"), 0x12, 0, 1, at_code, len(code))
    tags = [(14, soname), (4, at_hash), (6, at_symbols), (5, at_names), (10, len(names)), (11, 24), *version_tags, (0, 0)]
    dynamic = b"".join(struct.pack("<qQ", *tag) for tag in tags)

    def segment(kind: int, flags: int, offset: int, address: int, size: int, align: int) -> bytes:
        return struct.pack("<IIQQQQQQ", kind, flags, offset, address, address, size, size, align)

    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header += struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, 4, 64, 0, 0)
    header += segment(1, 5, 0, 0, at_dynamic, page)  # LOAD, read and execute
    header += segment(1, 6, at_dynamic, page + at_dynamic, len(dynamic), page)  # LOAD, read and write
    header += segment(2, 6, at_dynamic, page + at_dynamic, len(dynamic), 8)  # DYNAMIC
    header += segment(0x6474E551, 6, 0, 0, 0, 16)  # GNU_STACK: not executable

    file = bytearray(at_dynamic)
    parts = ((0, header), (at_code, code), (at_hash, hashes), (at_symbols, symbols), (at_names, names))
    for offset, part in (*parts, (at_versions, versions)):
        file[offset : offset + len(part)] = part
    return bytes(file) + dynamic


def _versions(
    count: int, name: str, soname: int, version: str, names: bytes, at: int
) -> tuple[bytes, list[tuple[int, int]]]:
    """Tables that give every function the one `version`, and their entries in the dynamic section."""
    table = struct.pack(f"<{count}H", 0, *[2] * (count - 1)).ljust(_aligned(2 * count), b"\0")
    definitions = b""
    for index, flags, label, at_label in ((1, 1, name, soname), (2, 0, version, names.index(version.encode() + b"\0"))):
        following = 28 if index == 1 else 0
        definitions += struct.pack("<HHHHIII", 1, flags, index, 1, _hash(label), 20, following)
        definitions += struct.pack("<II", at_label, 0)
    return table + definitions, [(0x6FFFFFF0, at), (0x6FFFFFFC, at + len(table)), (0x6FFFFFFD, 2)]


def _hash(label: str) -> int:
    """The hash of a name in ELF tables (System V ABI, figure 5-13)."""
    value = 0
    for byte in label.encode():
        value = (value << 4) + byte
        high = value & 0xF0000000
        value = (value ^ high >> 24) & ~high & 0xFFFFFFFF
    return value


def _aligned(offset: int) -> int:
    """The next multiple of 8."""
    return offset + -offset % 8
