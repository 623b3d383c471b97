"""Transformers audio encoders that read a spectrogram of fixed size: AST (arXiv 2104.01778) and CLAP (2211.06687)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from polymodal.errors import RecipeError
from polymodal.parts.base import Encoder, Features, Inputs, run_by_shape
from polymodal.parts.sources import load_strictly, pretrained, transformers_config

_TOWER = {r"^audio_model\.": ""}  # where checkpoints of the whole of CLAP keep their tower


class SpectrogramAudio(Encoder):
    """`path` or `config`; the checkpoint's own preprocessing is saved with it. `prepare` takes 16 kHz samples, resamples
    where the encoder wants another rate, and pads or cuts to the encoder's window (AST: 10.24 s, CLAP: 10 s)."""

    modality = "audio"

    def __init__(
        self, path: str | None = None, config: dict[str, Any] | None = None, preprocessor: dict[str, Any] | None = None
    ) -> None:
        super().__init__()
        import transformers

        full = transformers_config(path, config, "encoder")
        settings = getattr(full, "audio_config", full)
        self.kind = settings.model_type
        classes = {
            "audio-spectrogram-transformer": transformers.ASTModel,
            "clap_audio_model": transformers.ClapAudioModel,
        }
        if self.kind not in classes:
            raise RecipeError(f"encoder 'spectrogram' takes {' or '.join(classes)}, not '{self.kind}'")
        if path is not None:
            self.network = load_strictly(classes[self.kind], path, "encoder", config=settings, key_mapping=_TOWER)
            self.extractor = pretrained(transformers.AutoFeatureExtractor, path, "encoder.path")
        else:
            self.network = classes[self.kind](settings)
            self.extractor = self._extractor(settings, preprocessor)
        self.width = settings.hidden_size
        self.options = {"config": settings.to_dict(), "preprocessor": self.extractor.to_dict()}

    def _extractor(self, settings: Any, saved: dict[str, Any] | None) -> Any:
        """The extractor of a random encoder, or the one saved with a checkpoint (mean and scale differ between them)."""
        import transformers

        if self.kind == "clap_audio_model":
            options = saved or {"feature_size": settings.num_mel_bins, "truncation": "rand_trunc"}
            return transformers.ClapFeatureExtractor(**options)
        options = saved or {"max_length": settings.max_length, "num_mel_bins": settings.num_mel_bins}
        return transformers.ASTFeatureExtractor(**options)

    def prepare(self, media: Any) -> Inputs:
        """Float32 mono samples [S] at 16 kHz -> the extractor's spectrogram."""
        import numpy as np
        import soxr

        rate = self.extractor.sampling_rate
        samples = media if rate == 16000 else soxr.resample(np.asarray(media), 16000, rate)
        if self.kind == "clap_audio_model":  # a random crop of long recordings is for training: take the start
            samples = samples[: self.extractor.nb_max_samples]
        out = self.extractor(samples, sampling_rate=rate, return_tensors="pt")
        return {"input_values": next(iter(out.values()))[0]}

    def length(self, inputs: Inputs) -> int:
        settings = self.network.config
        if self.kind == "clap_audio_model":  # Swin over a square of spec_size: patches halve between stages
            stride = settings.patch_stride[0] * 2 ** (len(settings.depths) - 1)
            return (settings.spec_size // stride) ** 2
        frames, mels = inputs["input_values"].shape[-2:]
        patch = settings.patch_size
        return ((mels - patch) // settings.frequency_stride + 1) * ((frames - patch) // settings.time_stride + 1)

    def forward(self, items: list[Inputs]) -> Features:
        def run(batch: Inputs) -> Tensor:
            values = batch["input_values"]
            if self.kind == "clap_audio_model":
                no_fusion = torch.zeros(len(values), 1, dtype=torch.bool)
                out = self.network(input_features=values, is_longer=no_fusion).last_hidden_state
                return out.flatten(2).transpose(1, 2)  # [B, De, h, w]
            out = self.network(values).last_hidden_state
            return out[:, 2:]  # AST's class and distillation tokens

        return Features(run_by_shape(items, run))
