"""polymodal: an LLM made to see and hear by composing five parts, from one install.

>>> import polymodal
>>> model = polymodal.load("nano")
>>> model.ask("What kind of thing is this?", images=["cat.jpg"]).text
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polymodal.model.composition import Composition

__version__ = "0.1.0"
__all__ = ["__version__", "load"]

CHECKPOINTS = {"nano": Path(__file__).parent / "checkpoints" / "nano"}


def load(model: str | Path = "nano") -> Composition:
    """A checkpoint, ready to be asked: the name of a bundled one (`nano`), or a folder."""
    from polymodal.model.composition import Composition

    return Composition.load(CHECKPOINTS.get(str(model), Path(model)))
