"""MultimodalLM: encode, project, place, run the backbone, and give logits where they are needed.

An ordinary `nn.Module`, in five steps that are five methods. Parameter names are `backbone.*`, `inputs.NAME.encoder.*`,
`inputs.NAME.projector.*`, `inputs.NAME.fusion.*`, `outputs.NAME.tokens.*`, `.projector.*` and `.generator.*`, and
`opening.*` (adapters change none of them: `parts.peft`): the patterns of a training stage match against them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from polymodal import media
from polymodal.content import Part
from polymodal.model.outputs import Filled, OutputDesign
from polymodal.model.sequence import (
    Batch,
    MediaItem,
    blocks,
    latest,
    place,
    put,
    shared_prefix,
    standing,
    standing_in,
    tapped,
)
from polymodal.parts import prefix
from polymodal.parts.backbones import Backbone
from polymodal.parts.base import Encoder, Features, Fusion, InputProjector, Inputs
from polymodal.parts.opening import Opening
from polymodal.parts.own_tokens import Extension


class Modality(nn.Module):
    """An encoder, its projector and its fusion, and the text around an item in the prompt. A `Port` of the processor."""

    def __init__(
        self,
        encoder: Encoder,
        projector: InputProjector,
        fusion: Fusion,
        before: str = "",
        after: str = "",
        shares: Iterable[str] = (),
    ) -> None:
        super().__init__()
        self.shares = list(shares)  # the names of shared parts that it uses
        self.encoder, self.projector, self.fusion, self.before, self.after = encoder, projector, fusion, before, after

    @property
    def parts(self) -> dict[str, nn.Module]:
        """Encoder, projector and fusion by name; a fusion without weights is none."""
        parts = {"encoder": self.encoder, "projector": self.projector, "fusion": self.fusion}
        return {name: part for name, part in parts.items() if name != "fusion" or [*part.parameters()]}

    @property
    def reads_question(self) -> bool:
        return self.projector.reads_question

    @property
    def width(self) -> int:
        return self.encoder.width

    def load(self, part: Part) -> Any:
        """The media of a part as its encoder takes them. Raises `MediaError`."""
        read = self.encoder.media_reader
        return media.load(part) if read is None else read(part.media)

    def prepare(self, media: Any) -> Inputs:
        return self.encoder.prepare(media)

    def positions(self, inputs: Inputs) -> int:
        return self.projected(self.encoder.length(inputs))

    def projected(self, n: int) -> int:
        """Positions that N encoder features take."""
        return self.fusion.length(self.projector.length(n))


@dataclass
class Output:
    """`logits` [S, V] that predict the S supervised tokens of a batch, their ids `labels` [S], the example `owner` [S] each
    belongs to, and `projected`, one [N', D] per media item (for objectives that look at them). Of what the batch makes:
    `states`, those that each span is tapped at [n, D], and what they were `filled` with, by output."""

    logits: Tensor
    labels: Tensor
    owner: Tensor
    projected: list[Tensor]
    states: list[Tensor] = field(default_factory=list)
    filled: dict[str, Filled] = field(default_factory=dict)


class MultimodalLM(nn.Module):
    """Any encoders and projectors in front of any backbone, any projectors and generators behind it. Build one with
    `composing.compose`."""

    def __init__(
        self,
        backbone: Backbone,
        inputs: dict[str, Modality],
        shared: dict[str, nn.Module],
        outputs: dict[str, OutputDesign] | None = None,
        opening: Opening | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.shared = nn.ModuleDict(shared)
        self.inputs = nn.ModuleDict(inputs)
        self.outputs = nn.ModuleDict(outputs or {})
        self.opening = opening
        if outputs:
            Extension(backbone, [output.tokens for output in outputs.values()])
        self.encoded = 0  # items that went through an encoder; tests and benchmarks count with it

    @property
    def modalities(self) -> dict[str, Modality]:
        return {name: part for name, part in self.inputs.items() if isinstance(part, Modality)}

    @property
    def designs(self) -> dict[str, OutputDesign]:
        """The outputs by their names."""
        return {name: part for name, part in self.outputs.items() if isinstance(part, OutputDesign)}

    @property
    def openers(self) -> dict[int, str]:
        """The ids that open a span, and the names of the outputs."""
        return {design.grammar.opener: name for name, design in self.designs.items()}

    @property
    def own_ids(self) -> list[int]:
        """The ids of all outputs."""
        return [i for design in self.designs.values() for i in design.grammar.own]

    @property
    def parts(self) -> dict[str, nn.Module]:
        """All parts by their names: those of a checkpoint's files and of parameters."""
        parts: dict[str, nn.Module] = {"backbone": self.backbone}
        parts |= {f"shared.{name}": part for name, part in self.shared.items()}
        for name, modality in self.modalities.items():
            parts |= {f"inputs.{name}.{key}": part for key, part in modality.parts.items()}
        for name, design in self.designs.items():
            parts |= {f"outputs.{name}.{key}": part for key, part in design.parts.items()}
        return parts if self.opening is None else parts | {"opening": self.opening}

    @property
    def device(self) -> torch.device:
        return self.backbone.lm.device

    def encode(self, items: list[MediaItem]) -> list[Tensor]:
        """M media items -> M x [N, De]. An encoder with nothing to train runs without a graph."""
        out: dict[int, Tensor] = {i: item.encoded for i, item in enumerate(items) if item.encoded is not None}
        for name in {item.modality for item in items}:
            rows = [i for i, item in enumerate(items) if item.modality == name and i not in out]
            if not rows:
                continue
            encoder = self.modalities[name].encoder
            frozen = not any(p.requires_grad for p in encoder.parameters())
            inputs = [{k: v.to(self.device) for k, v in (items[i].inputs or {}).items()} for i in rows]
            with torch.no_grad() if frozen else nullcontext():
                out.update(zip(rows, encoder(inputs).tokens, strict=True))
            self.encoded += len(rows)
        return [out[i] for i in range(len(items))]

    def project(
        self, items: list[MediaItem], encoded: list[Tensor], questions: Sequence[str | None] | None = None
    ) -> list[Tensor]:
        """M x [N, De] -> M x [N', D]. `questions`: what stands with each item, for projectors that read it."""
        out: list[Tensor] = [torch.empty(0)] * len(items)
        for name in {item.modality for item in items}:
            rows = [i for i, item in enumerate(items) if item.modality == name]
            modality = self.modalities[name]
            projector, used = modality.projector, [self.shared[each] for each in modality.shares]
            dtype = next(p for part in (projector, *used) for p in part.parameters()).dtype
            tokens = [encoded[i].to(self.device, dtype) for i in rows]
            asked = None if questions is None else [questions[i] for i in rows]
            for i, projected in zip(rows, projector(Features(tokens, asked)), strict=True):
                out[i] = projected
        return out

    def features(self, items: list[MediaItem], questions: Sequence[str | None] | None = None) -> list[Tensor]:
        """Projected features of every item, computed once where a conversation kept them. `questions`: as in `project`."""
        lacking = [i for i, item in enumerate(items) if item.projected is None]
        todo = [items[i] for i in lacking]
        asked = None if questions is None else [questions[i] for i in lacking]
        fresh = iter(self.project(todo, self.encode(todo), asked)) if todo else iter(())
        return [item.projected if item.projected is not None else next(fresh) for item in items]

    def embed(self, batch: Batch, features: list[Tensor] | None = None) -> Tensor:
        """Input embeddings [B, T, D] with media in its places. Raises `CountMismatch`."""
        text = self.backbone.embed(batch.ids.to(self.device))
        features = self.features(batch.media, batch.questions) if features is None else features
        fusions = [self.modalities[item.modality].fusion for item in batch.media]
        return place(text, [fusion.placed(rows) for fusion, rows in zip(fusions, features, strict=True)], batch)

    @contextmanager
    def attending(self, batch: Batch, features: list[Tensor]) -> Iterator[None]:
        """Around a run of the backbone over a batch, or over its last columns and what is generated after them: each
        position can look at the features, one [N', D] per media item, of what stands before it."""
        with ExitStack() as stack:
            for name, part in self.modalities.items():
                if part.fusion.attends:
                    own = [rows for item, rows in zip(batch.media, features, strict=True) if item.modality == name]
                    stack.enter_context(part.fusion.attending(own, latest(batch, name), standing(batch, name) >= 0))
            yield

    def zero(self, parts: Iterable[str]) -> Tensor | None:
        """0, as a function of everything that learns in some parts beside the backbone; None if nothing does. Added to
        the backbone's inputs, it gives the gradient of a process that holds text alone what those of the others have."""
        shares = {name: modality.shares for name, modality in self.modalities.items()}
        inputs = [part.split(".")[1] for part in parts if part.startswith("inputs.")]
        parts = {*parts, *(f"shared.{shared}" for name in inputs for shared in shares[name])}
        learning = [p for name in sorted(parts) for p in self.get_submodule(name).parameters() if p.requires_grad]
        return torch.stack([0 * p.sum() for p in learning]).sum() if learning else None

    def fill(self, batch: Batch) -> tuple[Batch, dict[str, Filled]]:
        """What the spans of a batch hold in training, by output, and the batch with the ids that this is."""
        filled: dict[str, Filled] = {}
        for name, design in self.designs.items():
            spans = [i for i, made in enumerate(batch.made) if made.output == name]
            found = design.fill(batch.made, spans) if spans else None
            if found is not None:
                filled[name] = found
                if found.rows is None:  # codes are ids
                    batch = put(batch, spans, found.truth + design.grammar.start)
        return batch, filled

    def forward(self, batch: Batch, features: list[Tensor] | None = None, zero: Tensor | None = None) -> Output:
        """Logits at the supervised positions only: position t is predicted by the state at t - 1. `features`: of the
        batch's media, where they are computed already."""
        batch, filled = self.fill(batch) if batch.made else (batch, {})
        features = self.features(batch.media, batch.questions) if features is None else features
        embeds, mask = self.embed(batch, features), batch.mask.to(self.device)
        for found in filled.values():
            if found.rows is not None:
                embeds = standing_in(embeds, [batch.made[i] for i in found.spans], found.rows)
        if zero is not None:
            embeds = embeds + zero.to(embeds.dtype)
        positions = None if batch.positions is None else batch.positions.to(self.device)
        attends = any(part.fusion.attends for part in self.modalities.values())
        if attends and positions is not None:
            _ = self.backbone.packing  # tried out on text, before there is anything to look at
        taps = [self.designs[made.output].tap for made in batch.made]
        with self.backbone.watching({tap.layer for tap in taps if tap.layer is not None}) as watched:
            if batch.target is not None and batch.target_mask is not None:
                target, wanted = batch.target.to(self.device), batch.target_mask.to(self.device)
                hidden = self.backbone.hidden(embeds, mask, target, positions)
                owner = torch.arange(len(wanted), device=self.device)[:, None].expand_as(wanted)
                chosen, table, lag = hidden, self.backbone.embed(target), 0
            else:
                segments = batch.segments.to(self.device)
                target, owner = batch.ids.to(self.device)[:, 1:], segments[:, 1:]
                # The first token of an example is predicted by nothing, least of all by the example before it in the row.
                wanted = batch.supervised.to(self.device)[:, 1:] & (owner == segments[:, :-1])
                seen = blocks(batch)
                apart = attends or seen is not None or any(tap.layer is not None for tap in taps)
                shared = 0 if apart else shared_prefix(batch)
                start = self.backbone.embed(batch.ids[:1, :shared].to(self.device)) if shared >= prefix.SHORTEST else None
                with self.attending(batch, features):
                    hidden = self.backbone.hidden(embeds, mask, positions=positions, start=start, blocks=seen)
                chosen, table, lag = hidden[:, :-1], embeds, 1
        states = [
            tapped(hidden if tap.layer is None else watched[tap.layer], table, made, tap, lag)
            for made, tap in zip(batch.made, taps, strict=True)
        ]
        return Output(self.backbone.head(chosen[wanted]), target[wanted], owner[wanted], features, states, filled)
