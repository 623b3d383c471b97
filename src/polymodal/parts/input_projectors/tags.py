"""Tags projector: what an encoder would call a picture, in the backbone's own words (Tag2Text, arXiv 2303.05657; ConSE,
1312.5650). A classifier reads the feature of the whole, or what changes in a clip; the words of the likeliest names become
positions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from polymodal.errors import RecipeError
from polymodal.parts.base import Features, InputProjector, Vocabulary, Writing
from polymodal.parts.input_projectors.classifiers import Cosine, Frozen, Ordered
from polymodal.parts.input_projectors.mlp import Above, Positive
from polymodal.parts.sources import locate, read_lines


class Tags(InputProjector):
    """One item -> `top` names of `tokens` positions each, plus a learned vector times how likely each is. Named is the
    first feature, each of those `at`, or all `clip` features in their order, as one event.

    `names`: a list, or a file of one name a line; a blank one is never said, and equal ones are one name that is as likely
    as all of them (so the kinds of its classes make a classifier one of kinds). `classifier`: a folder whose
    `model.safetensors` ends in a layer `_fc` over them, which stays as it is; without it, one of rank `rank` learns by the
    objective `tags`. `sharpen` multiplies its logits: of a style that it never saw a classifier is less sure than right."""

    words: Tensor
    group: Tensor

    def __init__(
        self,
        width_in: int,
        width_out: int,
        names: list[str] | str,
        top: Positive = 3,
        tokens: Positive = 4,
        rank: Positive = 256,
        noise: float = 0.0,
        sharpen: Above = 1.0,
        classifier: str | None = None,
        at: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] | None = None,
        clip: Positive | None = None,
    ) -> None:
        super().__init__()
        self.names = read_lines(names) if isinstance(names, str) else list(names)
        self.top, self.tokens, self.noise, self.sharpen = top, tokens, noise, sharpen
        self.index = {name: i for i, name in enumerate(self.names) if name}
        self.said = list(dict.fromkeys(name for name in self.names if name))
        if len(self.said) < top:
            raise RecipeError(f"projector 'tags': 'names' are {len(self.said)}, 'top' wants {top}")
        if classifier is None and len(self.said) < sum(map(bool, self.names)):
            raise RecipeError(
                "projector 'tags': 'names' that are equal need a 'classifier'; what learns cannot tell them apart"
            )
        if clip is not None and (classifier or at):
            raise RecipeError("projector 'tags': 'clip' reads every feature and learns; drop 'at' and 'classifier'")
        self.options = {"names": self.names}
        self.at, self.clip = at or [0], clip
        self.certainty = nn.Parameter(torch.randn(width_out) * 0.02)
        own = Frozen(Path(locate(classifier)), len(self.names), width_in) if classifier else None
        learning = Ordered(width_in, clip, len(self.names), rank) if clip else Cosine(width_in, len(self.names), rank)
        self.classifier = own or learning

    def speak(self, vocabulary: Vocabulary, writing: Writing | None = None) -> None:
        self.vocabulary = vocabulary
        self.register_buffer("words", vocabulary.spelled(self.said, self.tokens), persistent=False)
        self.register_buffer("silent", torch.tensor([not name for name in self.names]), persistent=False)
        place = {name: i for i, name in enumerate(self.said)}
        self.register_buffer("group", torch.tensor([place.get(name, 0) for name in self.names]), persistent=False)

    def length(self, n: int) -> int:
        """Raises `RecipeError` if the N features are not `clip`, or too few for `at`."""
        if n != (self.clip or n) or n <= max(self.at):
            wanted = f"'clip' is {self.clip}" if self.clip else f"'at' reads number {max(self.at)}"
            raise RecipeError(f"projector 'tags': {wanted}, but an item has {n} features")
        return len(self.at) * self.top * self.tokens

    def scores(self, features: Features) -> Tensor:
        """Logits [M * A, names] of the A features of each item that are named; of a clip A is 1."""
        read = [rows[None] if self.clip else rows[self.at] for rows in features.tokens]
        x = torch.cat(read)  # [M * A, De], of clips [M, N, De]
        noise = self.noise * torch.randn_like(x) if self.training else torch.zeros(())
        return (self.sharpen * self.classifier(x + noise * x)).masked_fill(self.get_buffer("silent"), float("-inf"))

    def forward(self, features: Features) -> list[Tensor]:
        each = self.scores(features).softmax(-1)  # of a blank name 0
        likely = each.new_zeros(len(each), len(self.said)).index_add(1, self.group, each)
        sure, best = likely.topk(self.top)
        said = self.vocabulary.embed(self.words[best]) + (sure[..., None, None] * self.certainty)
        return list(said.reshape(len(features.tokens), -1, said.shape[-1]))
