"""Raw pixels in place of an encoder (Fuyu, adept.ai, 2023): a picture at its own size and shape is cut into patches,
and a linear projector is all that stands between them and the backbone. Decides how the end of a row is said: one more
feature, all zeros but in the last column, which is zero in every patch. What a linear layer makes of it is a learned vector
that is the same everywhere, as Fuyu's token `|NEWLINE|` is; without rows, pictures of equal area would look alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from polymodal.errors import MediaError
from polymodal.parts.base import Encoder, Features, Inputs, Positive


class Patches(Encoder):
    """`patch`: the side of a patch in pixels. `largest`: height and width in pixels; a picture that is larger is made
    smaller until it fits, and no other is touched. `rows`: say where each of them ends. Nothing in it learns."""

    modality = "image"

    def __init__(self, patch: Positive = 30, largest: tuple[Positive, Positive] = (1080, 1920), rows: bool = True) -> None:
        super().__init__()
        import transformers

        height, width = self.largest = largest
        self.patch, self.rows, self.width = patch, rows, 3 * patch**2 + rows
        size = {"height": height, "width": width}
        self.processor: Any = transformers.FuyuImageProcessorPil(size=size, do_pad=False)
        self.options = {"patch": patch, "largest": list(largest), "rows": rows}

    def prepare(self, media: Any) -> Inputs:
        """A `PIL.Image` -> pixels [3, H, W] from -1 to 1, whole patches: nearly black, as theirs, at right and below.
        Raises `MediaError` for one so narrow that nothing of it is left when it fits."""
        scale = min(1.0, self.largest[0] / media.height, self.largest[1] / media.width)
        if int(scale * min(media.size)) < 1:
            said = "{1} x {0}".format(*self.largest)
            raise MediaError(f"a picture of {media.width} x {media.height} pixels is none when it fits into {said}")
        ((pixels,),) = self.processor([[media]])["images"]
        _, height, width = pixels.shape
        border = (0, -height % self.patch), (0, -width % self.patch)
        filled = np.pad(pixels, ((0, 0), *border), constant_values=2 / 255 - 1)
        return {"pixels": torch.from_numpy(filled.astype(np.float32))}

    def length(self, inputs: Inputs) -> int:
        height, width = (side // self.patch for side in inputs["pixels"].shape[-2:])
        return height * (width + self.rows)

    def forward(self, items: list[Inputs]) -> Features:
        out = []
        for item in items:  # [3, H, W] -> [rows, columns, De], of a patch its rows, its columns, its colours
            cut = item["pixels"].unflatten(1, (-1, self.patch)).unflatten(3, (-1, self.patch))
            grid = cut.permute(1, 3, 2, 4, 0).flatten(2)
            if self.rows:
                end = grid.new_zeros(len(grid), 1, self.width)
                end[..., -1] = 1
                grid = torch.cat((nn.functional.pad(grid, (0, 1)), end), dim=1)
            out.append(grid.flatten(0, 1))
        return Features(out)
