"""Recordings as codes: EnCodec (arXiv 2210.13438) of transformers. Decides how several codebooks become one sequence:
frame by frame, of each frame its codebooks in order, each with ids of its own (AnyGPT, arXiv 2402.12226).

Learned elsewhere: its codebooks are moving averages of what an adversarial training sees, which `fit` is not."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from polymodal.errors import MediaError, RecipeError
from polymodal.parts.base import Positive
from polymodal.parts.output import Generator
from polymodal.parts.sources import load_strictly, transformers_config

HEARD = 16_000  # samples per second of a decoded recording
SLACK = 0.1  # seconds that a recording may be too long: its end is cut off


class EncodecAudio(Generator):
    """`path` or `config` of a mono EnCodec without chunks (24 and 32 kHz). `seconds` of every recording: shorter ones
    end in silence, longer ones are refused or, with `cut`, only begun. `books`: how many codebooks of each frame are
    kept, coarse ones first. N = frames * books, vocabulary = books * size. Raises `RecipeError` for more books than
    there are."""

    modality = "audio"
    takes = "codes"

    def __init__(
        self,
        seconds: Annotated[float, Field(gt=0)],
        path: str | None = None,
        config: dict[str, Any] | None = None,
        books: Positive = 4,
        cut: bool = False,
    ) -> None:
        super().__init__()
        import transformers

        settings = transformers_config(path, config, "generator")
        if settings.model_type != "encodec":
            raise RecipeError(f"generator 'encodec' takes EnCodec, not '{settings.model_type}'")
        if settings.audio_channels != 1 or settings.normalize or settings.chunk_length_s is not None:
            raise RecipeError("generator 'encodec' takes mono and whole recordings: EnCodec of 24 or 32 kHz, not of 48")
        if path is not None:
            self.network = load_strictly(transformers.EncodecModel, path, "generator", config=settings)
        else:
            try:
                self.network = transformers.EncodecModel(settings)
            except ValueError as error:
                raise RecipeError(f"generator.config: {error}") from error
            for layer in self.network.quantizer.layers:  # transformers leaves them at zero: all codes would be one
                nn.init.normal_(layer.codebook.embed)
        found = len(self.network.quantizer.layers)
        if books > found:
            raise RecipeError(f"generator.books: {books} are more than the {found} codebooks there are")
        self.seconds, self.books, self.cut, self.rate = seconds, books, cut, settings.sampling_rate
        self.samples, self.entries = round(seconds * self.rate), settings.codebook_size
        self.positions = -(-self.samples // settings.hop_length) * books
        self.vocabulary, self.width = books * self.entries, settings.codebook_dim
        described = json.loads(settings.to_json_string(use_diff=False))
        self.options = {"seconds": seconds, "config": described, "books": books, "cut": cut}

    def prepare(self, media: Any) -> Tensor:
        """Float32 mono samples at 16 kHz -> as many as there are in `seconds`, at the codec's rate. Raises `MediaError`
        for a recording that is longer."""
        import soxr

        if not self.cut and len(media) > (self.seconds + SLACK) * HEARD:
            way_out = f"the generator makes {self.seconds:g} s; cut it, or set 'cut'"
            raise MediaError(f"a recording of {len(media) / HEARD:.2f} s is too long: {way_out}")
        samples = torch.as_tensor(soxr.resample(media, HEARD, self.rate))[: self.samples]
        return nn.functional.pad(samples, (0, self.samples - len(samples)))

    @torch.no_grad()
    def encode(self, targets: Tensor) -> Tensor:
        bandwidth = self.network.config.target_bandwidths[-1]  # of all codebooks: the first are the same with more behind
        codes = self.network.encode(targets[:, None], bandwidth=bandwidth).audio_codes[0, :, : self.books]
        return (codes.transpose(1, 2) + self._first(targets)).flatten(1)  # [S, books, frames] -> [S, N]

    def make(
        self,
        given: Tensor | Sequence[str],
        random: torch.Generator,
        on_step: Callable[[int, int], None] | None = None,
    ) -> list[Any]:
        """S codes -> S recordings, float32 from -1 to 1. An id of another book's stands for the same entry of its own."""
        assert isinstance(given, Tensor)  # it takes no text
        codes = (given.unflatten(1, (-1, self.books)) % self.entries).transpose(1, 2)
        with torch.no_grad():
            made = self.network.decode(codes[None], [None]).audio_values[:, 0, : self.samples]
        if on_step is not None:
            on_step(1, 1)
        return [(samples.numpy(), self.rate) for samples in made.float().clamp(-1, 1).cpu()]

    def _first(self, like: Tensor) -> Tensor:  # the first id of each codebook
        return torch.arange(self.books, device=like.device) * self.entries
