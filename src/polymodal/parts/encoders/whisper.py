"""Whisper's encoder (arXiv 2212.04356) at the recording's true length: 50 features per second.

Whisper itself pads every recording to 30 s. Its encoder is told nothing about the padding, and costs as much for one
second as for thirty; here a recording is encoded at its own length (measured in `benchmarks/`: far cheaper, and the
projector is trained on exactly these features). Longer recordings are encoded in windows of 30 s.

Its early layers know sounds that are no speech (Whisper-AT, arXiv 2307.03183): how their states are distributed over the
recording names an instrument that its transcript leaves out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from polymodal.errors import RecipeError
from polymodal.parts.base import Encoder, Features, Inputs, Positive, run_by_shape
from polymodal.parts.sources import load_strictly, pretrained, transformers_config


class WhisperSpeech(Encoder):
    """`path` of a Whisper checkpoint, or `config` (random). `prepare` takes float32 mono samples at 16 kHz.
    `moments: n`: in place of 50 features a second two, the mean and the standard deviation over the recording of the states
    behind n layers."""

    modality = "audio"

    def __init__(
        self, path: str | None = None, config: dict[str, Any] | None = None, moments: Positive | None = None
    ) -> None:
        super().__init__()
        from transformers import WhisperFeatureExtractor
        from transformers.models.whisper.modeling_whisper import WhisperEncoder, WhisperModel

        settings = transformers_config(path, config, "encoder")
        if settings.model_type != "whisper":
            raise RecipeError(f"encoder 'whisper' takes a Whisper checkpoint, not '{settings.model_type}'")
        if path is not None:
            self._keep(load_strictly(WhisperModel, path, "encoder", config=settings))
            self.extractor = pretrained(WhisperFeatureExtractor, path, "encoder.path")
        else:
            self.network = WhisperEncoder(settings)
            self.extractor = WhisperFeatureExtractor(feature_size=settings.num_mel_bins)
        self.width = settings.d_model
        self.window = 2 * settings.max_source_positions  # mel frames in one window
        self.options = {"config": settings.to_dict()}
        self.moments = moments
        if moments is not None:
            self.options["moments"] = moments
            if moments > settings.encoder_layers:
                said = f"{moments} layers, but it has {settings.encoder_layers}"
                raise RecipeError(f"encoder of kind 'whisper', option 'moments': {said}")

    def _keep(self, whole: Any) -> None:
        """Of a pretrained WhisperModel, what this encoder runs."""
        self.network = whole.encoder

    def prepare(self, media: Any) -> Inputs:
        """Samples [S] at 16 kHz -> input_features [mels, F], F even, 100 frames per second."""
        hop = 2 * self.extractor.hop_length  # an even number of frames: the encoder's second convolution halves them
        padded = torch.zeros(-(-len(media) // hop) * hop)
        padded[: len(media)] = torch.as_tensor(media)
        whole = {"padding": "do_not_pad", "truncation": False}  # the extractor's defaults make every recording 30 s
        mels = self.extractor(padded.numpy(), sampling_rate=16000, return_tensors="pt", **whole)
        return {"input_features": mels.input_features[0]}

    def length(self, inputs: Inputs) -> int:
        return 2 if self.moments else inputs["input_features"].shape[-1] // 2

    def forward(self, items: list[Inputs]) -> Features:
        run = self._distribution if self.moments else self._encode
        return Features(run_by_shape(items, lambda batch: run(batch["input_features"])))

    def _distribution(self, mels: Tensor) -> Tensor:  # [B, mels, F] -> [B, 2, De]
        heard = self._encode(mels, self.moments)
        return torch.stack((heard.mean(1), heard.std(1, correction=0)), dim=1)

    def _encode(self, mels: Tensor, layers: int | None = None) -> Tensor:  # [B, mels, F] -> [B, F / 2, De]
        """Behind the first `layers`, or behind all and the last norm."""
        return torch.cat([self._window(window, layers) for window in mels.split(self.window, dim=-1)], dim=1)

    def _window(self, mels: Tensor, layers: int | None) -> Tensor:
        # WhisperEncoder.forward refuses any length but 30 s; its own modules in its own order do not.
        net = self.network
        x = nn.functional.gelu(net.conv2(nn.functional.gelu(net.conv1(mels)))).transpose(1, 2)
        x = x + net.embed_positions.weight[: x.shape[1]]
        for layer in net.layers[:layers]:
            x = layer(x, None)
        return net.layer_norm(x) if layers is None else x
