"""Grounding DINO (arXiv 2303.05499) as transformers has it: Swin's maps of several scales, behind the layers in which they
and the words of what is looked for read each other. It is not used as a detector: boxes and scores are not read."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from polymodal.errors import RecipeError
from polymodal.parts.base import Encoder, Features, Inputs, run_by_shape
from polymodal.parts.sources import load_strictly, pretrained, transformers_config

Level = Annotated[int, Field(ge=0)]


class GroundingDino(Encoder):
    """`path` and the `names` of what it looks for; or `config`, the token `ids` of "cat. dog." and an image `preprocessor`.
    Features [N, 256]: what its encoder makes of the cells of the scales `levels`, each row by row. Of Grounding-DINO-T 0 is
    a cell for 8 x 8 pixels of a picture whose shorter side is 800, 1 for 16, 2 for 32, 3 for 64."""

    modality = "image"

    def __init__(
        self,
        path: str | None = None,
        names: Annotated[list[str], Field(min_length=1)] | None = None,
        config: dict[str, Any] | None = None,
        ids: list[int] | None = None,
        preprocessor: dict[str, Any] | None = None,
        levels: Annotated[list[Level], Field(min_length=1)] | None = None,
    ) -> None:
        super().__init__()
        import transformers

        if (path is None) != (names is None) or (config is None) != (ids is None):
            raise RecipeError("encoder 'grounding-dino' needs 'names' beside 'path', or 'ids' beside 'config'")
        settings: Any = transformers_config(path, config, "encoder")
        cls: Any = transformers.GroundingDinoModel
        if not isinstance(settings, cls.config_class):
            raise RecipeError(f"encoder 'grounding-dino' takes Grounding DINO, not '{settings.model_type}'")
        settings.decoder_layers = 1  # nothing reads it, and transformers runs no encoder without one
        if path is not None:
            self.network = load_strictly(cls, path, "encoder", config=settings)
            self.processor = pretrained(transformers.GroundingDinoImageProcessorPil, path, "encoder.path")
            tokenizer = pretrained(transformers.AutoTokenizer, path, "encoder.path")
            ids = tokenizer(". ".join(name.lower() for name in names or []) + ".").input_ids
        else:
            self.network = cls(settings)
            self.processor = transformers.GroundingDinoImageProcessorPil(**preprocessor or {})
        self.levels, self.width = levels or [2], settings.d_model
        if max(self.levels) >= settings.num_feature_levels:
            raise RecipeError(f"encoder 'grounding-dino' has {settings.num_feature_levels} 'levels', counted from 0")
        self.register_buffer("ids", torch.tensor(ids), persistent=False)
        saved = {"config": settings.to_dict(), "preprocessor": self.processor.to_dict()}
        self.options = {**saved, "ids": ids, "levels": self.levels}

    def prepare(self, media: Any) -> Inputs:
        """A `PIL.Image` -> pixel_values [3, h, w], its shape kept."""
        return {"pixel_values": self.processor(media, return_tensors="pt", do_pad=False)["pixel_values"][0]}

    def _sizes(self, inputs: Inputs) -> list[int]:
        """Cells of each scale: a patch has 4 x 4 pixels, and each further side is half of the last, rounded up."""
        height, width = (-(-side // 4) for side in inputs["pixel_values"].shape[-2:])
        stages = list(self.network.config.backbone_config.out_indices)  # stage 1 is that of the patches
        levels = [*stages, *range(stages[-1] + 1, 99)][: self.network.config.num_feature_levels]
        return [-(-height // 2 ** (level - 1)) * -(-width // 2 ** (level - 1)) for level in levels]

    def length(self, inputs: Inputs) -> int:
        sizes = self._sizes(inputs)
        return sum(sizes[level] for level in self.levels)

    def forward(self, items: list[Inputs]) -> Features:
        def run(batch: Inputs) -> Tensor:  # [B, N, De]
            pixels = batch["pixel_values"]
            words = self.get_buffer("ids").expand(len(pixels), -1)
            states = self.network(pixel_values=pixels, input_ids=words).encoder_last_hidden_state_vision
            scales = states.split(self._sizes({"pixel_values": pixels[0]}), dim=1)
            return torch.cat([scales[level] for level in self.levels], dim=1)

        return Features(run_by_shape(items, run))
