"""The contracts of the parts. Decides what an encoder, an input projector and a fusion promise, and how a recipe names one.
What output projectors and generators promise is in `parts.output`.

Shapes: `M` media items, `N` features of one item, `De` encoder width, `D` backbone width.

The promise that holds the house together: the number of positions a media item takes in the sequence is
`fusion.length(projector.length(encoder.length(inputs)))`, known *before* any of them runs. The processor places that many
positions, the model checks that as many features came out (`CountMismatch` otherwise), and nobody guesses.
"""

from __future__ import annotations

import importlib
import inspect
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import pydantic
import torch
from torch import Tensor, nn

from polymodal.errors import RecipeError, nearest

Positive = Annotated[int, pydantic.Field(ge=1)]  # of an option: how many there are
Inputs = dict[str, Tensor]  # what one media item becomes before its encoder; no batch dimension of its own


@dataclass
class Features:
    """What an encoder emits: `tokens`, M tensors [N, De], one per item, lengths free to differ. `questions`: the text that
    stands with each item, for projectors that read it."""

    tokens: list[Tensor]
    questions: list[str | None] | None = None


@dataclass(frozen=True)
class Writing:
    """What an encoder can write: `logits` reads features [..., De] as [..., texts]; an empty text says nothing."""

    logits: Callable[[Tensor], Tensor]
    texts: list[str]


class Encoder(nn.Module):
    """A modality encoder. It owns its preprocessing, so that it cannot drift from the weights.

    `modality`: which parts of a message it takes. `width`: De. `revision`: raised when the same weights and options begin
    to give other features, so that no cache gives old ones. `options`: what rebuilds this architecture without its source
    (saved with the checkpoint; the recipe's own options where a class names none). Optional constructor options every
    encoder of ours shares: `path` (`asset:NAME`, a Hub id or a folder) for pretrained weights, or `config` for random ones.
    """

    modality: str
    width: int
    revision: int = 1
    options: dict[str, Any]
    writing: Writing | None = None  # of an encoder whose features are words to be
    media_reader: Callable[[Any], Any] | None = None  # what reads its media, where it is not the modality's own reader

    @abstractmethod
    def prepare(self, media: Any) -> Inputs:
        """ONE decoded media item -> model inputs. Raises `MediaError` for what does not fit the encoder's contract."""

    @abstractmethod
    def length(self, inputs: Inputs) -> int:
        """N, the number of features `forward` will emit for these inputs, without running the encoder."""

    @abstractmethod
    def forward(self, items: list[Inputs]) -> Features:
        """M prepared items -> M feature tensors [N, De]."""


FILLER = "."  # what positions with nothing to say should say: a token that a backbone reads past


@dataclass(frozen=True)
class Vocabulary:
    """A backbone's words, for projectors that speak them: `ids` tokenises a text, `embed` maps ids [...] to [..., D]."""

    ids: Callable[[str], list[int]]
    embed: Callable[[Tensor], Tensor]

    def spelled(self, names: list[str], tokens: int) -> Tensor:
        """Ids [names, tokens] of each name inside a sentence, cut or filled up with the last token of FILLER."""
        fill = self.ids(FILLER)[-1:] * tokens
        return torch.tensor([(self.ids(f" {name}") + fill)[:tokens] for name in names])


class InputProjector(nn.Module):
    """Maps encoder features to backbone embeddings. The first two constructor arguments are De and D. `reads_question`:
    what it makes of an item also depends on the text of the turn in which the item stands (`Features.questions`)."""

    reads_question = False

    def speak(self, vocabulary: Vocabulary, writing: Writing | None = None) -> None:
        """Called once by the composition, before anything else: the backbone's words, and what the encoder can write."""

    @abstractmethod
    def length(self, n: int) -> int:
        """Positions in the sequence (N') for N encoder features."""

    @abstractmethod
    def forward(self, features: Features) -> list[Tensor]:
        """M x [N, De] -> M x [N', D]."""


class Fusion(nn.Module):
    """How projected features reach the backbone. The constructor's first argument is the `Backbone`, which a fusion may
    hook into but does not own. `attends`: the backbone's layers have to know of the items, by `attending`. `stands`: the
    features stand in the sequence; otherwise its layers look at them."""

    attends = False
    stands = True

    @abstractmethod
    def length(self, n: int) -> int:
        """Positions in the sequence for n projected features."""

    @abstractmethod
    def placed(self, features: Tensor) -> Tensor:
        """[N, D] -> [length(N), D]: what stands at the positions of an item."""

    @contextmanager
    def attending(self, features: list[Tensor], latest: Tensor, own: Tensor) -> Iterator[None]:
        """Around a run of the backbone. `features`: M x [N, D], this modality's items of the batch. `latest` [B, T]: the
        item that each position of the batch looks at, -1 for none. `own` [B, T]: whether one of them stands there."""
        yield


def build(role: str, table: Mapping[str, Any], recipe: Mapping[str, Any], *context: Any) -> Any:
    """The part a recipe names: `{"kind": NAME | DOTTED.PATH, **options}` -> instance.

    `kind` is a key of `table` or the dotted path of a user's own class; options are checked against the constructor's
    signature and annotations. `context`: leading positional arguments the composition supplies (widths).
    Raises `RecipeError` naming the key and the nearest match.
    """
    options = dict(recipe)
    kind = options.pop("kind", None)
    if not isinstance(kind, str):
        raise RecipeError(f"{role} needs a 'kind'{nearest('', table)}")
    factory = _resolve(role, kind, table)
    return factory(*context, **_checked(role, kind, factory, options, skip=len(context)))


def _resolve(role: str, kind: str, table: Mapping[str, Any]) -> Callable[..., Any]:
    entry = table.get(kind)
    if entry is None and "." not in kind:
        raise RecipeError(f"{role}.kind '{kind}' is not known{nearest(kind, table)}; or give the dotted path of a class")
    if entry is not None and not isinstance(entry, str):
        return entry
    module, _, name = (entry or kind).rpartition(".")  # our own tables hold dotted paths too: nothing loads unasked
    try:
        factory = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:  # ValueError: '.Class'
        raise RecipeError(f"{role}.kind '{kind}' cannot be imported: {error}") from error
    if not callable(factory):
        raise RecipeError(f"{role}.kind '{kind}' is no class: it is of type {type(factory).__name__}")
    return factory


def _checked(role: str, kind: str, factory: Callable[..., Any], options: dict[str, Any], skip: int) -> dict[str, Any]:
    """The options, validated and converted by the factory's own annotations."""
    signature = inspect.signature(factory, eval_str=True)
    parameters = list(signature.parameters.values())[skip:]
    fields: dict[str, Any] = {
        p.name: (Any if p.annotation is p.empty else p.annotation, ... if p.default is p.empty else p.default)
        for p in parameters
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }
    for key in options:
        if key not in fields:
            raise RecipeError(f"{role} '{kind}' has no option '{key}'{nearest(key, fields)}")
    config = pydantic.ConfigDict(arbitrary_types_allowed=True, protected_namespaces=())
    try:
        model = pydantic.create_model(f"{role}_options", __config__=config, **fields)(**options)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        raise RecipeError(f"{role} '{kind}', option '{'.'.join(map(str, first['loc']))}': {first['msg']}") from error
    return {name: getattr(model, name) for name in model.model_fields_set}


def run_by_shape(items: list[Inputs], run: Callable[[Inputs], Iterable[Tensor]]) -> list[Tensor]:
    """Stack items of equal shapes into one call each and put the outputs back in order: no padding ever reaches an
    encoder, so an item's features do not depend on its neighbours.

    `run` takes inputs with a leading batch dimension and returns one tensor per item.
    """
    groups: dict[tuple, list[int]] = {}
    for i, item in enumerate(items):
        groups.setdefault(tuple((k, tuple(v.shape)) for k, v in sorted(item.items())), []).append(i)
    out: dict[int, Tensor] = {}
    for members in groups.values():
        stacked = {key: torch.stack([items[i][key] for i in members]) for key in items[members[0]]}
        out.update(zip(members, run(stacked), strict=True))
    return [out[i] for i in range(len(items))]
