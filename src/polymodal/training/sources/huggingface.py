"""Datasets of the library `datasets`. Decides that its rows come undecoded: media go through our gate, as all media do.

`with_format("arrow")` gives a picture or recording as the bytes or the path that it is stored as, so that no decoder but
ours ever sees it, and nothing is decoded before it is asked for. What is on this machine (a saved data set, Parquet, Arrow,
CSV, JSON) is read without a network.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from polymodal.content import MODALITIES, Part, from_json
from polymodal.errors import ContentError, DataError, RecipeError, nearest
from polymodal.training.data import Sample
from polymodal.training.sources.dialogues import FIELDS, ROLES, dialogue
from polymodal.training.sources.paths import anchored, anchored_message
from polymodal.training.sources.templates import exchange, validated

QUESTION = [{"ask": "{question}", "answer": "{answer}"}]
_FILES = {"parquet": "parquet", "arrow": "arrow", "csv": "csv", "json": "json", "jsonl": "json"}


class DatasetsSource:
    """A data set by its Hub name, its folder (`save_to_disk`) or its file. `columns` maps a field to a column: modalities
    (`image: picture`) are what is shown, all others fill the `templates` (by default `{question}` and `{answer}`). With
    `columns: {messages: COLUMN}` a row is a conversation: in OpenAI's form, where `{"type": "image"}` takes the next of
    the column `images`, or with placeholders as ShareGPT's. Raises `RecipeError` where `datasets` is not installed or a
    column is not there, `DataError` naming the row and the column."""

    def __init__(
        self,
        path: str,
        columns: dict[str, str],
        templates: list[dict[str, str]] | None = None,
        split: str = "train",
        name: str | None = None,
    ) -> None:
        self.label, self.columns = Path(path).name, columns
        self.folder = Path(path).expanduser() if Path(path).expanduser().is_dir() else Path(path).expanduser().parent
        data = _load(path, name, split)
        for field, column in columns.items():
            if column not in data.column_names:
                raise RecipeError(f"data columns.{field}: '{path}' has no '{column}'{nearest(column, data.column_names)}")
        self.rows = data.with_format("arrow")
        if not len(self.rows):
            raise DataError(f"{path}: split '{split}' has no rows")
        self.media = [(modality, columns[modality]) for modality in MODALITIES if modality in columns]
        self.templates = [] if "messages" in columns else validated(templates or QUESTION, columns, f"data '{self.label}'")

    def __len__(self) -> int:
        return len(self.rows)

    def sample(self, index: int, rng: random.Random) -> Sample:
        name = f"{self.label}:{index}"
        (row,) = self.rows[index : index + 1].to_pylist()
        row = {field: row[column] for field, column in self.columns.items()}
        if "messages" in row:
            return Sample(self._conversation(row, name), name)
        media = [Part(modality, media=self._item(row[modality], f"{name}: {column}")) for modality, column in self.media]
        fields = {key: value if isinstance(value, (str, type(None))) else str(value) for key, value in row.items()}
        return Sample(exchange(self.templates, fields, media, rng, name), name)

    def _conversation(self, row: dict[str, Any], name: str) -> list[Any]:
        media = {modality: self._items(row, modality, name) for modality in FIELDS}
        turns = row["messages"]
        if not isinstance(turns, list) or not turns or not all(isinstance(turn, dict) for turn in turns):
            raise DataError(f"{name}: column '{self.columns['messages']}' must be a list of turns")
        if isinstance(turns[0].get("content", turns[0].get("value")), str):
            return dialogue(turns, media, name, ROLES)
        waiting = {modality: iter(items) for modality, items in media.items()}
        try:
            filled = [
                {"role": turn.get("role"), "content": [_filled(part, waiting) for part in turn.get("content") or []]}
                for turn in turns
            ]
            messages = from_json(filled)
        except ContentError as error:
            raise DataError(f"{name}: {error}") from error
        for modality, items in waiting.items():
            if left := len(list(items)):
                raise DataError(
                    f"{name}: {len(media[modality])} items in '{modality}s', but {len(media[modality]) - left} places"
                )
        return [anchored_message(message, self.folder) for message in messages]

    def _items(self, row: dict[str, Any], modality: str, name: str) -> list[Any]:
        found = [value for field in FIELDS[modality] if (value := row.get(field)) is not None]
        items = [item for value in found for item in (value if isinstance(value, list) else [value])]
        return [self._item(item, f"{name}: '{modality}s'") for item in items]

    def _item(self, value: Any, where: str) -> Any:
        """What the library stores of a picture: its bytes, or its path; or a path as a plain string."""
        if isinstance(value, dict) and ("bytes" in value or "path" in value):
            value = value.get("bytes") or value.get("path")
        if not value or not isinstance(value, (str, bytes)):
            raise DataError(f"{where} holds no media (it must be a path, bytes, or an Image or Audio feature)")
        return anchored(value, self.folder)


def _filled(part: Any, waiting: dict[str, Any]) -> Any:
    """A content part without the fields that Arrow fills with null, and `{"type": "image"}` with the next picture."""
    if not isinstance(part, dict):
        return part
    kind = part.get("type")
    if kind in waiting and part.get(kind) is None:
        item = next(waiting[kind], None)
        if item is None:
            raise ContentError(f"there are more places for '{kind}' than items in '{kind}s'")
        return {"type": kind, kind: item}
    return {key: value for key, value in part.items() if value is not None and key in ("type", kind)}


def _load(path: str, name: str | None, split: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise RecipeError(
            f"data of kind 'datasets' needs the extra: pip install 'polymodal[datasets]' ({error})"
        ) from error
    place = Path(path).expanduser()
    builder = _FILES.get(place.suffix[1:].lower())
    if builder and not place.is_file():
        raise DataError(f"{path}: there is no such file")
    try:
        if (place / "state.json").is_file():
            return datasets.load_from_disk(str(place))
        if (place / "dataset_dict.json").is_file():
            splits = datasets.load_from_disk(str(place))
            if split not in splits:
                raise DataError(f"{path}: has no split '{split}'{nearest(split, splits)}")
            return splits[split]
        if builder:
            return datasets.load_dataset(builder, data_files=str(place), split=split)
        return datasets.load_dataset(str(place) if place.exists() else path, name, split=split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:  # FileNotFoundError and connection errors too
        raise DataError(f"{path}: cannot be loaded ({' '.join(str(error).split())[:200]})") from error
