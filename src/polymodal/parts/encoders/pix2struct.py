"""Pix2Struct's vision transformer (arXiv 2210.03347), transformers' class: a picture keeps its shape and is cut into as
many patches as are allowed, each with its row and column."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from polymodal.errors import RecipeError
from polymodal.parts.base import Encoder, Features, Inputs, run_by_shape
from polymodal.parts.sources import load_strictly, pretrained, transformers_config

_TOWER = {
    r"^encoder\.(?=embeddings\.|encoder\.|layernorm\.)": ""
}  # where whole models keep it, which has an `encoder` itself


class Pix2StructImages(Encoder):
    """`path` or `config`; the checkpoint's own preprocessing is saved with it. `most`: patches of a picture at most, the
    checkpoint's own if nothing is said. No question is drawn above a picture, as some checkpoints were trained with: it
    stands in the text."""

    modality = "image"

    def __init__(
        self,
        path: str | None = None,
        config: dict[str, Any] | None = None,
        preprocessor: dict[str, Any] | None = None,
        most: Annotated[int, Field(ge=1)] | None = None,
    ) -> None:
        super().__init__()
        import transformers

        full: Any = transformers_config(path, config, "encoder")
        settings, cls = getattr(full, "vision_config", full), transformers.Pix2StructVisionModel
        if not isinstance(settings, transformers.Pix2StructVisionConfig):
            raise RecipeError(f"encoder 'pix2struct' takes Pix2Struct, not '{settings.model_type}'")
        if path is not None:
            self.network = load_strictly(cls, path, "encoder", config=settings, key_mapping=_TOWER)
            self.processor = pretrained(transformers.Pix2StructImageProcessorPil, path, "encoder.path")
        else:
            self.network = cls(settings)
            self.processor = transformers.Pix2StructImageProcessorPil(**preprocessor or {})
        self.processor.is_vqa = False
        self.processor.max_patches = most or self.processor.max_patches
        self.width = settings.hidden_size
        self.options = {"config": settings.to_dict(), "preprocessor": self.processor.to_dict(), "most": most}

    def prepare(self, media: Any) -> Inputs:
        """A `PIL.Image` -> flattened_patches [N, 2 + 3 * height * width of a patch], which begin with row and column."""
        out = self.processor(media, return_tensors="pt")
        return {"flattened_patches": out["flattened_patches"][0][out["attention_mask"][0].bool()]}

    def length(self, inputs: Inputs) -> int:
        return len(inputs["flattened_patches"])

    def forward(self, items: list[Inputs]) -> Features:
        def run(batch: Inputs) -> Tensor:
            patches = batch["flattened_patches"]  # all are real; a black one must not be taken for padding
            return self.network(patches, attention_mask=patches.new_ones(patches.shape[:2])).last_hidden_state

        return Features(run_by_shape(items, run))
