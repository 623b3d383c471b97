"""A folder of media with captions. Decides where a caption is looked for, and that a pair becomes a question and an answer.

Two customs: a text file beside each item (`cat.jpg`, `cat.txt`), or one table in the folder (`metadata.csv` or
`metadata.jsonl` with `file_name`), as Hugging Face's ImageFolder and AudioFolder read it.
"""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

from polymodal.content import Part
from polymodal.errors import DataError
from polymodal.media import gate
from polymodal.training.data import Sample
from polymodal.training.sources.paths import MODALITY
from polymodal.training.sources.rows import Rows
from polymodal.training.sources.templates import exchange, validated

CAPTION = [{"ask": "", "answer": "{caption}"}]  # pre-training on pairs: the item, then its caption


class CaptionsSource:
    """Media of a folder and its folders, each asked one of the `templates` at random; without templates the answer to an
    item is its caption alone. `{caption}` is the text beside it, or the column `text` or `caption` of the table, the other
    columns of which are fields too. Raises `DataError` naming the file or the row of the table."""

    def __init__(self, path: str, templates: list[dict[str, str]] | None = None) -> None:
        self.folder = Path(path).expanduser()
        if not self.folder.is_dir():
            raise DataError(f"{gate.display(path)}: there is no such folder")
        self.table = _table(self.folder)
        self.files: list[Path] = []
        columns = {"caption"}
        if self.table is None:
            self.files = sorted(file for file in self.folder.rglob("*") if _suffix(file) in MODALITY)
            if not self.files:
                raise DataError(f"{gate.display(path)}: holds no picture, recording or clip, and no table 'metadata.csv'")
        else:
            columns |= set(_checked(self.table[0], self.table.name(0)))
        self.templates = validated(templates or CAPTION, columns, f"data '{self.folder.name}'")

    def __len__(self) -> int:
        return len(self.files) if self.table is None else len(self.table)

    def sample(self, index: int, rng: random.Random) -> Sample:
        if self.table is None:
            file = self.files[index]
            name = str(file.relative_to(self.folder))
            fields: dict[str, Any] = {"caption": _caption(file, self.folder)}
        else:
            name = self.table.name(index)
            fields = _checked(self.table[index], name)
            file = self.folder / fields["file_name"]
            if _suffix(file) not in MODALITY:
                raise DataError(f"{name}: '{file.name}' is no picture, recording or clip by its ending")
            fields = {**fields, "caption": fields.get("caption") or fields.get("text") or None}
        part = Part(MODALITY[_suffix(file)], media=str(file))
        return Sample(exchange(self.templates, fields, [part], rng, name), name)


class _Csv:
    """The rows of a CSV file, which may run over several lines; errors name the row, the heading being row 1."""

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            with open(file, encoding="utf-8-sig", newline="") as stream:
                self.rows: list[dict[str, Any]] = list(csv.DictReader(stream))
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{file.name}: is not a CSV file in UTF-8 ({error})") from error
        if not self.rows:
            raise DataError(f"{file.name}: the table has no rows")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.rows[index]
        if None in row or None in row.values():
            raise DataError(f"{self.name(index)}: has more or fewer cells than the heading has columns")
        return row

    def name(self, index: int) -> str:
        return f"{self.file.name}:{index + 2}"


def _table(folder: Path) -> Rows | _Csv | None:
    if (folder / "metadata.csv").is_file():
        return _Csv(folder / "metadata.csv")
    return Rows(folder / "metadata.jsonl") if (folder / "metadata.jsonl").is_file() else None


def _checked(row: Any, name: str) -> dict[str, Any]:
    if not isinstance(row, dict) or not isinstance(row.get("file_name"), str):
        has = ", ".join(map(str, row)) if isinstance(row, dict) else "no columns"
        raise DataError(f"{name}: column 'file_name' is missing (it has: {has})")
    return {key: value if isinstance(value, (str, type(None))) else str(value) for key, value in row.items()}


def _caption(file: Path, folder: Path) -> str:
    beside = file.with_suffix(".txt")
    name = file.relative_to(folder)
    try:
        caption = beside.read_text(encoding="utf-8-sig").strip()
    except FileNotFoundError as error:
        raise DataError(f"{name}: has no caption; there is no '{beside.name}' beside it") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{name}: its caption '{beside.name}' cannot be read ({error})") from error
    if not caption:
        raise DataError(f"{name}: its caption '{beside.name}' is empty")
    return caption


def _suffix(file: Path) -> str:
    return file.suffix[1:].lower()
