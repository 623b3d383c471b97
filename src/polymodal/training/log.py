"""The log of a run. Decides what is said of every `log_every` steps, and that a loss is a mean over tokens: over all the
tokens since the last row, for each objective and for each source apart, however they fell into batches.

`log.jsonl` is always written, one object per line; a resumed run goes on from the line of its checkpoint. TensorBoard
(`run.tensorboard`) shows the same numbers.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, cuda

from polymodal.errors import RecipeError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from polymodal.training.distributed import Processes
    from polymodal.training.stage import Stage
    from polymodal.training.state import Progress

FILE = "log.jsonl"
OnLog = Callable[[dict[str, Any]], None]


class Log:
    """`folder`: the run's. `stages`: all of the recipe, so that a row can say its place in the whole run. `on_log`
    receives what the file receives. Of several `processes`, each says what it saw and the main one writes the sum. Raises
    `RecipeError` if `tensorboard` is asked for and not installed."""

    def __init__(
        self,
        folder: Path,
        stages: Sequence[Stage],
        on_log: OnLog | None = None,
        tensorboard: bool = False,
        processes: Processes | None = None,
    ) -> None:
        self.file, self.on_log, self.processes = folder / FILE, on_log, processes
        self.main = processes is None or processes.main
        self.board = _board(folder / "tensorboard") if tensorboard and self.main else None
        self._before: dict[str, int] = {}  # steps of the stages before each
        self.total = 0  # steps of the whole run
        for stage in stages:
            self._before[stage.name], self.total = self.total, self.total + stage.length
        self._pace: tuple[str, int, float] = ("", 0, 0.0)  # a stage, and the steps and seconds of it in this process
        self._clear()

    def _clear(self) -> None:
        self._clear_counts()
        self.steps, self.busy, self.norm = 0, 0.0, 0.0
        self.since = time.perf_counter()

    def _clear_counts(self) -> None:
        self.sums: dict[str, list[float]] = {}
        self.examples = self.real = self.padded = 0

    def add(
        self,
        losses: Mapping[str, tuple[Tensor, Tensor]],
        sources: Sequence[str],
        mask: Tensor,
        norm: float,
        busy: float,
    ) -> None:
        """One step. `losses`: {objective: (sums [B], token counts [B])}; `sources` [B]: where each example came from;
        `mask` [B, T]: False where a position is padding; `norm`: of the gradient, before it was clipped; `busy`: seconds
        not spent waiting for data."""
        for name, (each, counts) in losses.items():
            for source, value, count in zip(sources, each.tolist(), counts.tolist(), strict=True):
                for key in (name, f"{name}/{source}"):
                    total = self.sums.setdefault(key, [0.0, 0.0])
                    total[0], total[1] = total[0] + value, total[1] + count
        self.steps, self.examples = self.steps + 1, self.examples + len(sources)
        self.real, self.padded = self.real + int(mask.sum()), self.padded + mask.numel()
        self.busy, self.norm = self.busy + busy, max(self.norm, norm)

    def place(self, stage: Stage, progress: Progress) -> dict[str, Any]:
        """Where a run stands: the stage, its step, and the step of the whole run."""
        before = self._before[stage.name]
        return {"stage": stage.name, "step": progress.step, "global_step": before + progress.step}

    def write(self, stage: Stage, progress: Progress, lr: float) -> None:
        """A row on the steps since the last one."""
        if self.processes is not None:
            self._join(self.processes.gather((self.sums, self.examples, self.real, self.padded)))
        elapsed = time.perf_counter() - self.since
        name, steps, seconds = self._pace
        if name != stage.name:
            steps, seconds = 0, 0.0
        self._pace = (stage.name, steps + self.steps, seconds + elapsed)
        row = {
            **self.place(stage, progress),
            "steps": stage.length,
            "lr": lr,
            "loss": {key: round(a / max(b, 1), 4) for key, (a, b) in sorted(self.sums.items())},
            "grad_norm": round(self.norm, 3),
            "examples_per_s": round(self.examples / elapsed, 2),
            "tokens_per_s": round(self.real / elapsed),
            "data_wait": round(max(0.0, 1 - self.busy / elapsed), 3),
            "padding": round(1 - self.real / self.padded, 3),
            **memory(),
            "seconds": round(progress.seconds, 1),
            "eta": round((stage.length - progress.step) * self._pace[2] / self._pace[1]),
        }
        self._append(row)
        self._clear()

    def _join(self, parts: Sequence[tuple[dict[str, list[float]], int, int, int]]) -> None:
        """What all processes saw, in place of what this one saw."""
        self._clear_counts()
        for sums, examples, real, padded in parts:
            for key, (a, b) in sums.items():
                total = self.sums.setdefault(key, [0.0, 0.0])
                total[0], total[1] = total[0] + a, total[1] + b
            self.examples, self.real, self.padded = self.examples + examples, self.real + real, self.padded + padded

    def evaluation(self, stage: Stage, progress: Progress, results: dict[str, Any]) -> None:
        """A row of evaluation results: {name: result} under the key `evaluation`."""
        self._append({**self.place(stage, progress), "evaluation": results})

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What happens meanwhile (an evaluation) counts neither as training nor as waiting."""
        began = time.perf_counter()
        yield
        self.since += time.perf_counter() - began

    def _append(self, row: dict[str, Any]) -> None:
        if not self.main:
            return
        with open(self.file, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        if self.board is not None:
            for tag, value in scalars(row):
                self.board.add_scalar(tag, value, row["global_step"])
            self.board.flush()
        if self.on_log is not None:
            self.on_log(row)


def read(file: Path) -> list[dict[str, Any]]:
    """The rows of a log, also of one that is being written: a last line without its end is left out."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]


def scalars(row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """(tag, value) of every number in a row, nested keys joined by a slash; places in the run are no values."""
    for key, value in row.items():
        if isinstance(value, Mapping):
            yield from scalars(value, f"{prefix}{key}/")
        elif isinstance(value, (int, float)) and key not in ("step", "steps", "global_step"):
            yield prefix + key, value


def memory() -> dict[str, float]:
    """GB (1e9 bytes) that this process holds and that it has held at most; on a GPU, also the most held there."""
    import psutil

    info = psutil.Process().memory_info()
    peak = getattr(info, "peak_wset", None)  # Windows says it here
    if peak is None:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    sizes = {"memory_gb": info.rss, "peak_memory_gb": peak}
    if cuda.is_available():
        sizes["peak_gpu_gb"] = cuda.max_memory_allocated()
    return {key: round(size / 1e9, 3) for key, size in sizes.items()}


def _board(folder: Path) -> SummaryWriter:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise RecipeError("run.tensorboard needs the package tensorboard: pip install 'polymodal[tensorboard]'") from error
    return SummaryWriter(str(folder))
