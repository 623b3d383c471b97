"""Rows of JSON files. Decides that no file is ever held in memory: an index of byte offsets, and one row parsed when asked.

A `.json` file that begins with `[` is a list whose elements are the rows; every other file has one row per line. The index
takes 16 bytes a row, so that a file of 10 GB and ten million rows costs 160 MB, and one pass over the file.
"""

from __future__ import annotations

import json
import mmap
import re
from array import array
from bisect import bisect_right
from pathlib import Path
from typing import Any

from polymodal.errors import DataError
from polymodal.media import gate
from polymodal.training.sources.paths import root

# What a list is cut by, without parsing its elements: a bracket and all before it that holds none, strings being passed
# over whole; and, where elements are no objects or lists, a string or a number, `true` ...
_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_BRACKET = re.compile(rb'[^"\[\]{}]*(?:' + _STRING + rb'[^"\[\]{}]*)*([\[\]{}])', re.DOTALL)
_SCALAR = re.compile(_STRING + rb'|[^\s,"]+', re.DOTALL)
_MARK = b"\xef\xbb\xbf"  # the byte order mark that Windows programs begin a file with


class Rows:
    """The rows of a JSONL file or of a JSON list. `rows[i]` is the i-th, parsed; `name(i)` is what errors call it: the
    file and its line, or its place in the list, counted from 1. Raises `DataError`."""

    def __init__(self, path: str | Path, holds: str = "row") -> None:
        self.file = Path(path).expanduser()
        shown = gate.display(str(path))
        if self.file.is_dir():
            raise DataError(f"{shown}: there is no such file, but a folder (of kind 'captions' or 'interleaved'?)")
        if not self.file.is_file():
            raise DataError(f"{shown}: there is no such file")
        self._start, self._size, self._blank = array("Q"), array("Q"), array("Q")
        with open(self.file, "rb") as stream:
            is_list = self.file.suffix.lower() == ".json" and stream.read(4096).removeprefix(_MARK).lstrip()[:1] == b"["
        if is_list:
            self._scan_list(shown)
        else:
            self._scan_lines(shown)
        if not self._start:
            raise DataError(f"{shown}: the file holds no {holds}")

    def __len__(self) -> int:
        return len(self._start)

    def __getitem__(self, index: int) -> Any:
        with open(self.file, "rb") as stream:
            stream.seek(self._start[index])
            data = stream.read(self._size[index])
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
            raise DataError(f"{self.name(index)}: not JSON ({error})") from error

    def name(self, index: int) -> str:
        return f"{self.file.name}:{index + 1 + bisect_right(self._blank, index)}"

    def _scan_lines(self, shown: str) -> None:
        with open(self.file, "rb") as stream:
            at = 0
            for number, line in enumerate(stream, 1):  # lines end at \n alone, not at the separators within a string
                skip = len(_MARK) if number == 1 and line.startswith(_MARK) else 0
                if line[skip:].strip():
                    try:
                        line.decode()
                    except UnicodeDecodeError as error:
                        raise DataError(f"{shown}: row {number} is not UTF-8 ({error})") from error
                    self._start.append(at + skip)
                    self._size.append(len(line) - skip)
                else:
                    self._blank.append(len(self._start))
                at += len(line)

    def _scan_list(self, shown: str) -> None:
        depth = 0
        with open(self.file, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            end = len(_MARK) if data[:3] == _MARK else 0
            while match := _BRACKET.match(data, end):
                bracket, at = match[1], match.start(1)
                if depth == 0 and self._start:
                    raise DataError(f"{shown}: something follows its list; if each line is a row, name it .jsonl")
                if depth == 1:
                    for scalar in _SCALAR.finditer(data, end, at):
                        self._start.append(scalar.start())
                        self._size.append(len(scalar[0]))
                    if bracket in b"[{":
                        self._start.append(at)
                elif depth == 2 and bracket in b"]}":
                    self._size.append(at + 1 - self._start[-1])
                depth += 1 if bracket in b"[{" else -1
                end = match.end()
        if depth:
            raise DataError(f"{shown}: its list does not end (row {len(self._start)} is the last); is the file cut short?")


class Conversations:
    """A file of conversations, one a row. `media`: the folder their paths start from, by default the file's own."""

    def __init__(self, path: str, media: str | None = None) -> None:
        self.rows = Rows(path, "conversation")
        self.media = root(self.rows.file, media)

    def __len__(self) -> int:
        return len(self.rows)
