"""Where samples come from. A source is chosen by `kind`: a name of SOURCES, or the dotted path of a user's own class."""

from __future__ import annotations

from typing import Any

from polymodal.parts.base import build
from polymodal.training.data import Source
from polymodal.training.sources.captions import CaptionsSource
from polymodal.training.sources.class_features import ClassFeaturesSource
from polymodal.training.sources.corpus import CorpusSource
from polymodal.training.sources.dialogues import LlavaSource, ShareGPTSource
from polymodal.training.sources.followed import FollowedSource
from polymodal.training.sources.huggingface import DatasetsSource
from polymodal.training.sources.interleaved import InterleavedSource
from polymodal.training.sources.joined import JoinedSource
from polymodal.training.sources.messages import MessagesSource
from polymodal.training.sources.mixed import MixedSource
from polymodal.training.sources.spoken import SpokenSource
from polymodal.training.sources.webdataset import WebDatasetSource

SOURCES = {
    "messages": MessagesSource,
    "llava": LlavaSource,
    "sharegpt": ShareGPTSource,
    "captions": CaptionsSource,
    "interleaved": InterleavedSource,
    "datasets": DatasetsSource,
    "webdataset": WebDatasetSource,
    "corpus": CorpusSource,
    "spoken": SpokenSource,
    "joined": JoinedSource,
    "mixed": MixedSource,
    "followed": FollowedSource,
    "class-features": ClassFeaturesSource,
}


def build_source(name: str, recipe: dict[str, Any]) -> Source:
    """A source by name or by the dotted path of a user's own class."""
    return build(f"data.{name}", SOURCES, recipe)
