"""Transformers audio encoders that read the waveform: HuBERT, Wav2Vec2, WavLM. About 50 features per second."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from polymodal.errors import MediaError, RecipeError
from polymodal.parts.base import Encoder, Features, Inputs, run_by_shape
from polymodal.parts.sources import load_strictly, pretrained, transformers_config


class WaveformAudio(Encoder):
    """`path` or `config`. Samples are scaled to zero mean and unit variance where the checkpoint asks for it."""

    modality = "audio"

    def __init__(
        self, path: str | None = None, config: dict[str, Any] | None = None, normalize: bool | None = None
    ) -> None:
        super().__init__()
        import transformers

        settings = transformers_config(path, config, "encoder")
        if not hasattr(settings, "conv_stride"):
            kind = settings.model_type
            raise RecipeError(f"encoder 'waveform' takes HuBERT, Wav2Vec2, WavLM and their like, not '{kind}'")
        if path is not None:
            self.network = load_strictly(transformers.AutoModel, path, "encoder", config=settings)
            extractor = pretrained(transformers.AutoFeatureExtractor, path, "encoder.path")
            normalize = extractor.do_normalize if normalize is None else normalize
        else:
            self.network = transformers.AutoModel.from_config(settings)
        self.normalize = True if normalize is None else normalize
        self.width = settings.hidden_size
        self.options = {"config": settings.to_dict(), "normalize": self.normalize}

    def prepare(self, media: Any) -> Inputs:
        """Float32 mono samples [S] at 16 kHz -> input_values [S]."""
        samples = torch.as_tensor(media)
        if self._features(len(samples)) < 1:
            raise MediaError(f"a recording of {len(samples) / 16000:.3f} s is too short for this encoder (0.05 s)")
        if self.normalize:
            samples = (samples - samples.mean()) / torch.sqrt(samples.var(correction=0) + 1e-7)
        return {"input_values": samples}

    def length(self, inputs: Inputs) -> int:
        return self._features(inputs["input_values"].shape[-1])

    def _features(self, samples: int) -> int:
        for kernel, stride in zip(self.network.config.conv_kernel, self.network.config.conv_stride, strict=True):
            samples = (samples - kernel) // stride + 1
        return samples

    def forward(self, items: list[Inputs]) -> Features:
        def run(batch: Inputs) -> Tensor:
            return self.network(batch["input_values"]).last_hidden_state

        return Features(run_by_shape(items, run))
