"""Tags projector: what an encoder would call a picture, in the backbone's own words (Tag2Text, arXiv 2303.05657; ConSE,
1312.5650). A classifier reads the feature of the whole, or what changes in a clip; the words of the likeliest names become
positions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from polymodal.errors import RecipeError
from polymodal.parts.base import Features, InputProjector, Positive, Vocabulary, Writing
from polymodal.parts.input_projectors.classifiers import Cosine, Discriminant, Frozen, Ordered
from polymodal.parts.input_projectors.mlp import Above
from polymodal.parts.sources import locate, read_lines


class Tags(InputProjector):
    """One item -> `top` names of `tokens` positions each, plus a learned vector times how likely each is. Named is one of:
    each of the features `at` (the first), the `whole` (so many of the first features as one, or the `mean` of all), or what
    happens in a `clip` of so many features in their order.

    `names`: a list, or a file of one name a line; a blank one is never said, and equal ones are one name that is as likely
    as all of them (so the kinds of its classes make a classifier one of kinds). `classifier`: a folder whose
    `model.safetensors` ends in a layer `_fc` over them, which stays as it is; without it, one of rank `rank` learns by the
    objective `tags`, or with `shrink` a linear discriminant, for a few dozen examples of each name. `sharpen` multiplies
    its logits: of a style that it never saw a classifier is less sure than right."""

    words: Tensor
    group: Tensor
    silent: Tensor

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
        whole: Positive | Literal["mean"] | None = None,
        clip: Positive | None = None,
        shrink: Annotated[float, Field(gt=0, le=1)] | None = None,
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
        if sum(option is not None for option in (at, whole, clip)) > 1:
            raise RecipeError("projector 'tags': 'at', 'whole' and 'clip' are three ways to read an item; keep one")
        if clip is not None and classifier:
            raise RecipeError("projector 'tags': a 'clip' is read by what learns; drop its 'classifier'")
        if shrink is not None and (classifier or clip):
            raise RecipeError("projector 'tags': 'shrink' is for a discriminant; drop its 'classifier' and 'clip'")
        self.options = {"names": self.names}
        self.at, self.whole, self.clip = at or [0], whole, clip
        self.certainty = nn.Parameter(torch.randn(width_out) * 0.02)
        width = whole * width_in if isinstance(whole, int) else width_in
        own = Frozen(Path(locate(classifier)), len(self.names), width) if classifier else None
        if own is not None:
            self.classifier: nn.Module = own
        elif shrink is not None:
            self.classifier = Discriminant(width, len(self.names), shrink)
        else:
            self.classifier = Ordered(width, clip, len(self.names), rank) if clip else Cosine(width, len(self.names), rank)

    def speak(self, vocabulary: Vocabulary, writing: Writing | None = None) -> None:
        self.vocabulary = vocabulary
        self.register_buffer("words", vocabulary.spelled(self.said, self.tokens), persistent=False)
        self.register_buffer("silent", torch.tensor([not name for name in self.names]), persistent=False)
        place = {name: i for i, name in enumerate(self.said)}
        self.register_buffer("group", torch.tensor([place.get(name, 0) for name in self.names]), persistent=False)

    def length(self, n: int) -> int:
        """Raises `RecipeError` if the N features are not `clip`, or too few for `at` or `whole`."""
        least = self.whole if isinstance(self.whole, int) else max(self.at) + 1
        if n < least or n != (self.clip or n):
            wanted = f"'clip' is {self.clip}" if self.clip else f"it reads {least}"
            raise RecipeError(f"projector 'tags': {wanted}, but an item has {n} features")
        return len(self.at) * self.top * self.tokens

    def read(self, rows: Tensor) -> Tensor:
        """The features [N, De] of an item -> what its names are told by, [A, De]."""
        if self.clip:
            return rows[None]
        if self.whole == "mean":
            return rows.mean(0, keepdim=True)
        return rows[: self.whole].flatten()[None] if self.whole else rows[self.at]

    def rows(self, features: Features) -> Tensor:
        """What the names of all items are told by, [M * A, De]; of clips [M, N, De]."""
        return torch.cat([self.read(rows) for rows in features.tokens])

    def scores(self, features: Features) -> Tensor:
        """Logits [M * A, names] of the A features of each item that are named; of a whole or a clip A is 1."""
        x = self.rows(features)
        noise = self.noise * torch.randn_like(x) if self.training else torch.zeros(())
        return (self.sharpen * self.classifier(x + noise * x)).masked_fill(self.silent, float("-inf"))

    def forward(self, features: Features) -> list[Tensor]:
        each = self.scores(features).softmax(-1)  # of a blank name 0
        likely = each.new_zeros(len(each), len(self.said)).index_add(1, self.group, each)
        sure, best = likely.topk(self.top)
        said = self.vocabulary.embed(self.words[best]) + (sure[..., None, None] * self.certainty)
        return list(said.reshape(len(features.tokens), -1, said.shape[-1]))
