"""How a map of depth or temperature is drawn in grey. Decides that near and hot are white, and what has no number black.

Depth becomes disparity, one over the distance, as in ImageBind (arXiv 2305.05665): near things differ most. What the
numbers are, and which of them are black and white, is stated and never guessed from a file: one shade is one distance
everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from polymodal.errors import MediaError, RecipeError

if TYPE_CHECKING:
    from PIL.Image import Image

UNITS = {  # unit -> the least number it allows; a distance or disparity of 0 is a pixel at which nothing was measured
    "depth": {"metres": 0.0, "millimetres": 0.0, "disparity": 0.0},
    "thermal": {"kelvin": 0.0, "celsius": -273.15, "levels": -np.inf},
}


@dataclass(frozen=True)
class Shading:
    """`range`: the numbers, in `unit`, at the ends of the scale; what lies beyond them is drawn as they are."""

    modality: Literal["depth", "thermal"]
    unit: str
    range: tuple[float, float]

    def __post_init__(self) -> None:
        units, (low, high) = UNITS[self.modality], self.range
        if self.unit not in units:
            known = " or ".join(units)
            raise RecipeError(f"encoder of maps, option 'unit': {self.modality} is in {known}, not '{self.unit}'")
        if not low < high or (self.inverse and low <= 0):
            lowest = " above 0" if self.inverse else ""
            raise RecipeError(f"encoder of maps, option 'range': [{low:g}, {high:g}] is not low{lowest} and high")

    @property
    def inverse(self) -> bool:
        return self.unit in ("metres", "millimetres")

    def draw(self, values: np.ndarray) -> Image:
        """A map [height, width] as a grey picture in RGB. Raises `MediaError` for numbers that cannot be in its unit."""
        from PIL import Image

        grey = np.round(255 * self.shades(np.asarray(values))).astype(np.uint8)
        return Image.fromarray(np.repeat(grey[..., None], 3, axis=2))

    def shades(self, values: np.ndarray) -> np.ndarray:
        """[height, width] -> from 0, black, to 1, white."""
        known = np.isfinite(values)
        if self.modality == "depth":
            known &= values != 0
        if not known.any():
            raise MediaError(f"a {self.modality} map without a single measured pixel")
        least, lowest = values[known].min(), UNITS[self.modality][self.unit]
        if least < lowest:
            raise MediaError(f"a {self.modality} map with {least:g}, below {lowest:g}: it is not in {self.unit}")
        low, high = self.range
        values = np.where(known, values, high)
        if self.inverse:
            values, low, high = 1 / values, 1 / high, 1 / low
        return np.where(known, np.clip((values - low) / (high - low), 0, 1), 0)
