"""Media that have been read, kept for whoever shows them again. Decides that a medium is decoded and encoded once, for all
requests, until there is no room for it.

It is the `prepared` of the processor, as a conversation's is, with a bound and for many threads. An item is known by a
framed SHA-256 of its bytes, of everything that decides what is made of them (each encoder's options, weights and revision,
the name of the model) and of a salt, so that those who must not know of one another's media do not.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Iterator, MutableMapping

from torch import Tensor

from polymodal import media
from polymodal.model.modeling import MultimodalLM
from polymodal.model.sequence import MediaItem
from polymodal.training.cache import encoder_key


class Items:
    """At most `room` bytes of items; those that were used longest ago go first."""

    def __init__(self, model: MultimodalLM, name: str, room: int) -> None:
        encoders = {kind: encoder_key(part.encoder) for kind, part in model.modalities.items()}
        self.scope = media.digest(b"polymodal.serving.1", name.encode(), json.dumps(encoders, sort_keys=True).encode())
        self.room = room
        self._items: OrderedDict[str, MediaItem] = OrderedDict()
        self._lock = threading.Lock()

    def key(self, salt: str, key: str) -> str:
        return media.digest(self.scope.encode(), salt.encode(), key.encode())

    def get(self, salt: str, key: str) -> MediaItem | None:
        with self._lock:
            found = self._items.get(known := self.key(salt, key))
            if found is not None:
                self._items.move_to_end(known)
            return found

    def put(self, salt: str, key: str, item: MediaItem) -> None:
        with self._lock:
            self._items[known := self.key(salt, key)] = item
            self._items.move_to_end(known)
            self._trim()

    def trim(self) -> None:
        """After items have been encoded, which changes their sizes."""
        with self._lock:
            self._trim()

    @property
    def nbytes(self) -> int:
        with self._lock:
            return sum(map(_size, self._items.values()))

    def __len__(self) -> int:
        return len(self._items)

    def _trim(self) -> None:
        held = sum(map(_size, self._items.values()))
        while held > self.room and self._items:
            held -= _size(self._items.popitem(last=False)[1])


class Shelf(MutableMapping[str, MediaItem]):
    """The items as one request sees them: `prepared` of the processor. What it has found stays with it, whatever others
    make of the room."""

    def __init__(self, items: Items, salt: str) -> None:
        self.all, self.salt = items, salt
        self._own: dict[str, MediaItem] = {}

    def __getitem__(self, key: str) -> MediaItem:
        if key not in self._own:
            found = self.all.get(self.salt, key)
            if found is None:
                raise KeyError(key)
            self._own[key] = found
        return self._own[key]

    def __setitem__(self, key: str, item: MediaItem) -> None:
        self._own[key] = item
        self.all.put(self.salt, key, item)

    def __delitem__(self, key: str) -> None:
        del self._own[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._own)

    def __len__(self) -> int:
        return len(self._own)


def _size(item: MediaItem) -> int:
    tensors: list[Tensor | None] = [item.encoded, item.projected, *(item.inputs or {}).values()]
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)
