"""w2v-BERT 2.0 (arXiv 2312.05187; w2v-BERT, 2108.06209), transformers' class: a conformer over a filter bank."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from polymodal.errors import MediaError, RecipeError
from polymodal.parts.base import Encoder, Features, Inputs, run_by_shape
from polymodal.parts.sources import load_strictly, pretrained, transformers_config

RATE, LEAST = 16_000, 560  # samples: two frames of 25 ms, 10 ms apart, are one feature


class W2vBert(Encoder):
    """`path` or `config`; the checkpoint's own preprocessing is saved with it. Features: 50 a second, before an adapter
    that a checkpoint tuned for transcripts may have. In training no feature is masked and no layer is left out."""

    modality = "audio"

    def __init__(
        self, path: str | None = None, config: dict[str, Any] | None = None, preprocessor: dict[str, Any] | None = None
    ) -> None:
        super().__init__()
        import transformers

        settings: Any = transformers_config(path, config, "encoder")
        cls: Any = transformers.Wav2Vec2BertModel
        if not isinstance(settings, cls.config_class):
            raise RecipeError(f"encoder 'w2v-bert' takes w2v-BERT 2.0, not '{settings.model_type}'")
        settings.add_adapter = settings.use_intermediate_ffn_before_adapter = False
        settings.mask_time_prob = settings.mask_feature_prob = settings.layerdrop = 0.0
        if path is not None:
            self.network = load_strictly(cls, path, "encoder", config=settings)
            self.extractor = pretrained(transformers.SeamlessM4TFeatureExtractor, path, "encoder.path")
        else:
            self.network = cls(settings)
            self.extractor = transformers.SeamlessM4TFeatureExtractor(**preprocessor or {})
        self.width = settings.hidden_size
        self.options = {"config": settings.to_dict(), "preprocessor": self.extractor.to_dict()}

    def prepare(self, media: Any) -> Inputs:
        """Float32 mono samples [S] at 16 kHz -> input_features [F, 160], two frames each; an odd one at the end is cut."""
        samples = np.asarray(media)
        if len(samples) < LEAST:
            raise MediaError(
                f"a recording of {len(samples) / RATE:.3f} s is too short for this encoder ({LEAST / RATE:g} s)"
            )
        out = self.extractor(samples, sampling_rate=RATE, pad_to_multiple_of=None, return_tensors="pt")
        return {"input_features": out["input_features"][0]}

    def length(self, inputs: Inputs) -> int:
        return len(inputs["input_features"])

    def forward(self, items: list[Inputs]) -> Features:
        def run(batch: Inputs) -> Tensor:
            return self.network(batch["input_features"]).last_hidden_state

        return Features(run_by_shape(items, run))
