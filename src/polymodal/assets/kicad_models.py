"""The parts of KiCad's library. Decides how many of a family are kept.

The package holds 6,227 parts, 278 of them pin headers of one pitch, in 90 families of 1 to 375. At most PARTS of a family
are kept, those whose names have the lowest sha1: spread over the family, and the same on every machine.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from polymodal.errors import AssetError

PARTS = 15  # of a family


def kicad_models(kept: Path, ready: Path) -> None:
    """<family>.3dshapes/<part>.wrl of the parts that are kept. Raises AssetError if there are none."""
    families = sorted(kept.glob("*.3dshapes"))
    if not families:
        raise AssetError("kicad-models: no folder *.3dshapes in its package")
    for family in families:
        (ready / family.name).mkdir()
        parts = sorted(family.glob("*.wrl"), key=lambda file: hashlib.sha1(file.stem.encode()).hexdigest())
        for part in parts[:PARTS]:
            shutil.move(part, ready / family.name / part.name)
