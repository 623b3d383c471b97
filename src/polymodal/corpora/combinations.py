"""Combinations of a concept and a design. Decides which no generator is trained on, so that what it makes of them is what
it understood of both, and not what it remembers.

Of 30 % of the concepts, by hash, one design is held out. The two Fluent styles are one design (94 % of their pictures look
alike) and are held out together. A held-out combination tests something only where its concept is drawn in other designs,
too.
"""

from __future__ import annotations

import hashlib
from typing import Literal

Combinations = Literal["trained", "held-out"]
DESIGNS = ("noto", "twemoji", "fluent")
_OF = {"fluent-flat": "fluent", "fluent-3d": "fluent"}  # vendors whose design has another name than they
SHARE = 30  # percent of the concepts


def design(vendor: str) -> str:
    return _OF.get(vendor, vendor)


def combination(concept: str, vendor: str) -> Combinations:
    """Which of the two a concept in the design of a vendor is."""
    some = _place(f"combination {concept}") % 100 < SHARE
    return "held-out" if some and DESIGNS[_place(f"design {concept}") % 3] == design(vendor) else "trained"


def _place(text: str) -> int:
    return int(hashlib.sha1(text.encode()).hexdigest(), 16)
