"""Pictures of image features (SEED-X's de-tokenizer, arXiv 2404.14396): a diffusion model whose condition is what an
image encoder sees in the target. Decides that a projector behind a backbone is aligned to features, where GILL's is to
captions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from polymodal.errors import DataError, RecipeError
from polymodal.parts.base import Positive
from polymodal.parts.generators.diffusion import ImageDiffusion
from polymodal.parts.generators.image_conditions import ImageConditions
from polymodal.parts.generators.pictures import pictures
from polymodal.parts.output import Target


class FeatureDecoder(ImageDiffusion):
    """`of`: an image encoder as a recipe names it, its `path` within; `positions`: Q, to which its features are averaged.
    All else is `diffusion`'s; a network of another width than the features wants diffusers' `encoder_hid_dim`. Raises
    `RecipeError` when it first sees features of a width that is not the network's."""

    def __init__(
        self,
        of: dict[str, Any],
        positions: Positive,
        path: str | None = None,
        config: dict[str, dict[str, Any]] | None = None,
        steps: Positive = 20,
        guidance: float = 1.0,
        size: Positive | None = None,
        source: bool = False,
        source_guidance: float = 1.0,
    ) -> None:
        seen = {"kind": "pictures", "of": of, "positions": positions}
        made: dict[str, Any] = {"steps": steps, "guidance": guidance, "size": size}
        super().__init__(path, config, seen, **made, source=source, source_guidance=source_guidance)
        kept = {key: self.options[key] for key in ("config", *made, "source", "source_guidance")}
        self.options = {"of": of, "positions": positions, **kept}

    def condition(self, targets: Sequence[Target]) -> Tensor:
        """What the image encoder sees in the prepared pictures. Raises `DataError` for a target without one."""
        prepared = [target.prepared for target in targets if target.prepared is not None]
        if len(prepared) < len(targets):
            raise DataError(f"{len(targets) - len(prepared)} targets of the generator have no picture to take features of")
        assert isinstance(self.texts, ImageConditions)
        if self.texts.width != self.width:
            raise RecipeError(f"generator.of: its features are {self.texts.width} wide, the network reads {self.width}")
        seen = [picture for item in prepared for picture in pictures(item[None])]
        return self.texts(seen).to(self.unconditional)
