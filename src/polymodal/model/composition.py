"""A composition: a model with its processor, ready to be asked. Decides the Python surface of the package."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from polymodal.content import Message, Part
from polymodal.model import checkpoint
from polymodal.model.answering import Progress, respond
from polymodal.model.composing import compose
from polymodal.model.config import ModelRecipe, model_recipe, read_yaml
from polymodal.model.conversation import Answer, Conversation
from polymodal.model.generation import generate
from polymodal.model.modeling import MultimodalLM
from polymodal.model.processor import Processor
from polymodal.model.sampling import Sampling


@dataclass
class Composition:
    """Get one from `polymodal.load(folder)` or `Composition.from_recipe(file)`."""

    model: MultimodalLM
    recipe: ModelRecipe
    about: dict[str, Any] = field(default_factory=dict)  # how it was made; saved with it

    def __post_init__(self) -> None:
        backbone = self.model.backbone
        self.processor = Processor(
            backbone.tokenizer,
            self.model.modalities,
            backbone.chat_format,
            backbone.seq2seq,
            backbone.closing,
            self.model.designs,
        )

    @classmethod
    def from_recipe(cls, recipe: str | Path | dict[str, Any] | ModelRecipe, overrides: Sequence[str] = ()) -> Composition:
        """Compose from a YAML file, its parsed form, or a validated recipe."""
        if isinstance(recipe, (str, Path)):
            recipe = model_recipe(read_yaml(recipe, overrides), str(recipe))
        elif isinstance(recipe, dict):
            recipe = model_recipe(recipe)
        return cls(compose(recipe), recipe)

    def ask(
        self,
        question: str,
        images: Sequence[Any] = (),
        audio: Sequence[Any] = (),
        videos: Sequence[Any] = (),
        *,
        media: Sequence[Part] = (),
        sampling: Sampling | None = None,
        on_text: Callable[[str], None] | None = None,
        on_step: Progress | None = None,
    ) -> Answer:
        """One question about any number of pictures, recordings and clips (paths, bytes, PIL images, arrays), and of
        `media`: parts of any modality, such as `Part("points", media="chair.ply")`. What it makes is in `Answer.media`."""
        return self.chat(sampling=sampling).ask(
            question, images, audio, videos, media=media, on_text=on_text, on_step=on_step
        )

    def chat(self, system: str | None = None, sampling: Sampling | None = None) -> Conversation:
        """A conversation that keeps its caches."""
        return Conversation(self, system, sampling or Sampling())

    def generate(self, conversations: Sequence[Sequence[Message]], sampling: Sampling | None = None) -> list[list[Part]]:
        """The assistant's next turn of each conversation, as one batch, whatever media each holds. A turn in which
        something is made is answered by itself, and so is one behind media whose positions see one another."""
        sampling, stops = sampling or Sampling(), self.processor.stop_ids
        examples = [
            self.processor.encode(messages, generate=True, name=f"conversation {i}")
            for i, messages in enumerate(conversations)
        ]
        openers, own = self.model.openers if sampling.spans else {}, self.model.own_ids
        out: dict[int, list[Part]] = {}
        together = [i for i, example in enumerate(examples) if not any(made.blocks for made in example.made)]
        if together:
            batch = [examples[i] for i in together]
            never = [i for i in own if i not in openers]
            made = generate(
                *(self.model, batch, sampling, [*stops, *openers], self.processor.pad_id),
                never=never,
                begins=True,
                grammars=self.processor.grammars,
            )
            for i, ids, ended in zip(together, made.ids, made.ended, strict=True):
                if ended not in openers:
                    out[i] = self.processor.decode(ids)
        for i, example in enumerate(examples):
            if i not in out:
                out[i] = respond(self, example, sampling).parts
        return [out[i] for i in range(len(examples))]

    @classmethod
    def load(cls, folder: str | Path) -> Composition:
        """From a checkpoint folder; see `polymodal.model.checkpoint.load`. A generator whose weights are not here is done
        without: the model says so when it should make something."""
        return cls(*checkpoint.load(Path(folder), lenient=True))

    def save(self, folder: str | Path, link: bool = True, dtype: torch.dtype | None = None, merge: bool = False) -> None:
        """Write a checkpoint folder; see `polymodal.model.checkpoint.save`."""
        checkpoint.save(self.model, self.recipe, self.about, Path(folder), link, dtype, merge)
