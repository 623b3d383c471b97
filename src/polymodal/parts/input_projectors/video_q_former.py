"""Q-Former over frames (Video-LLaMA, arXiv 2306.02858): a first one reads each frame by itself, learned vectors say when
each was, and a second reads the queries of all. Its branch of sound is the same without the first: a clip of a recording is
one feature (ImageBind's), which gets its vector as it is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from polymodal.errors import RecipeError
from polymodal.parts.base import Features, InputProjector, Positive, build
from polymodal.parts.input_projectors.q_former import QFormer


class VideoQFormer(InputProjector):
    """At most `frames` frames of `cells` features each -> `queries` positions. `frame`: the options of the `q-former` that
    reads each frame; without it the features are read as they are. The others are of the second, Video-LLaMA's own."""

    def __init__(
        self,
        width_in: int,
        width_out: int,
        frame: dict[str, Any] | None = None,
        cells: Positive = 1,
        frames: Positive = 32,
        queries: Positive = 32,
        depth: Positive = 2,
        hidden: Positive = 768,
        heads: Positive = 12,
        every: Positive = 1,
    ) -> None:
        super().__init__()
        self.cells, self.reads = cells, frame is not None
        width, self.rows = width_in, cells
        if frame is not None:
            options = {"kind": "q-former", "queries": 32, **frame, "window": cells}
            self.frame: QFormer = build("projector.frame", {"q-former": QFormer}, options, width_in, width_out)
            width, self.rows = self.frame.leave.in_features, len(self.frame.queries)
            self.frame.leave = nn.Identity()  # the second reads its states, not their projection
            self.reads_question, self.options = self.frame.reads_question, {"frame": getattr(self.frame, "options", {})}
        self.time = nn.Parameter(torch.randn(frames, 1, width) * 0.02)
        self.video = QFormer(width, width_out, queries, depth, hidden, heads, every)

    def length(self, n: int) -> int:
        """Raises `RecipeError` if the N features are no whole frames, or of too many."""
        frames, rest = divmod(n, self.cells)
        if rest or not frames:
            raise RecipeError(f"projector 'video-q-former': {n} features are no frames of {self.cells}; set its 'cells'")
        if frames > len(self.time):
            raise RecipeError(f"projector 'video-q-former': {frames} frames are over {len(self.time)}; set its 'frames'")
        return self.video.length(n)

    def forward(self, features: Features) -> list[Tensor]:
        states = self.frame(features) if self.reads else features.tokens
        timed = [x.unflatten(0, (-1, self.rows)) for x in states]  # [F, rows, width]
        return self.video(Features([(x + self.time[: len(x)]).flatten(0, 1) for x in timed]))
