"""The tasks. Decides what each is asked, which corpora it needs, and the ceiling that its score is read against.

A ceiling is an estimate of what a score can be at most, with what it is estimated by: 1 where a question is answered by
what was rendered and nothing else, or what somebody had who knew more than the model does.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from polymodal import assets, corpora
from polymodal.errors import EvaluationError, nearest
from polymodal.evaluation.bench import drawing
from polymodal.evaluation.bench.drawing import Drawn, Pool, calls_it, exercise, looks_like, named, own

EXACT = (1.0, "by construction: the answer is what was rendered")
SKILLS = ("perception", "reasoning", "hallucination", "robustness", "making", "text")


@dataclass(frozen=True)
class Task:
    """`modality`: what is shown, or made. `form`: `choice` of options, `heard` (words written down) or `made`. `size`: of
    its questions. `ceiling`: a number and what it is estimated by."""

    name: str
    modality: str
    skill: str
    needs: tuple[str, ...]
    pool: Pool
    form: str = "choice"
    size: int = 24
    ceiling: tuple[float, str] = EXACT

    def missing(self, root: Path | None) -> list[str]:
        return [name for name in self.needs if not corpora.is_built(name, root)]


def _own(corpus: str, types: str, modality: str | None = None) -> Pool:
    return lambda root: own(root, corpus, types.split(), modality)


_instrument = partial(named, corpus="instruments", ask="Which instrument is this?", answer=calls_it)
_exercise = partial(
    named, corpus="motion", ask="Which exercise is this?", answer=exercise, where={"group": ("watch-motion",)}
)
_furniture = partial(named, corpus="furniture", ask="What is this?", answer=looks_like)


def _emoji(root: Path | None) -> list[Drawn]:
    # Of trained concepts, by a vendor that no training has
    return named(root, "emoji", "What is this?", calls_it, where={"split": ("held-out",), "concept_split": ("train",)})


HEARING = (0.93, "1 - word error rate of Whisper-base by itself: 240 sentences of the corpus utterances (docs, nano)")
JOE = (0.94, "1 - word error rate of Whisper-base by itself: 200 sentences of this corpus (docs, nano)")
TASKS: tuple[Task, ...] = (
    Task("emoji-names", "image", "perception", ("emoji",), _emoji, ceiling=(1.0, "drawings made to be told apart")),
    Task("scenes-what", "image", "perception", ("scenes",), _own("scenes", "what shape")),
    Task("scenes-colour", "image", "perception", ("scenes",), _own("scenes", "background color")),
    Task("scenes-count", "image", "reasoning", ("scenes",), _own("scenes", "count")),
    Task("scenes-where", "image", "reasoning", ("scenes",), _own("scenes", "where side")),
    Task("scenes-bigger", "image", "reasoning", ("scenes",), _own("scenes", "bigger")),
    Task("reading", "image", "perception", ("text-images",), _own("text-images", "text text-unseen")),
    Task("charts", "image", "reasoning", ("charts",), _own("charts", "extreme-color extreme-label compare trend")),
    Task("heat-maps", "image", "reasoning", ("heat-maps",), lambda root: own(root, "heat-maps", _types("heat-maps", root))),
    Task("presence", "image", "hallucination", ("scenes",), drawing.presence, size=48),
    Task("styles", "image", "robustness", ("emoji", "emoji-3d"), drawing.styles, size=50),
    Task("clips-what", "video", "perception", ("moving-stickers",), _own("moving-stickers", "what")),
    Task("clips-action", "video", "perception", ("moving-stickers",), _own("moving-stickers", "way size turn presence")),
    Task("clips-order", "video", "reasoning", ("moving-stickers",), _own("moving-stickers", "first last mover")),
    Task("speech", "speech", "perception", ("sentences",), partial(drawing.spoken, corpus="sentences"), "heard", 24, JOE),
    Task(
        "voices",
        "speech",
        "robustness",
        ("utterances",),
        partial(drawing.spoken, corpus="utterances"),
        "heard",
        24,
        HEARING,
    ),
    Task("instruments", "sound", "perception", ("instruments",), _instrument, ceiling=(1.0, "recordings of one font")),
    Task("instruments-kind", "sound", "perception", ("instruments",), _own("instruments", "kind")),
    Task("melodies", "sound", "reasoning", ("instruments",), _own("instruments", "direction tempo")),
    Task("furniture", "3d", "perception", ("furniture",), _furniture, ceiling=(1.0, "models with names of their own")),
    Task("exercises", "imu", "perception", ("motion",), _exercise, ceiling=(1.0, "exercises as their authors label them")),
    Task("watch-arm", "imu", "reasoning", ("motion",), _own("motion", "side")),
    Task("depth-count", "depth", "perception", ("solids",), _own("solids", "count", "depth")),
    Task("depth-nearest", "depth", "reasoning", ("solids",), _own("solids", "nearest nearer within", "depth")),
    Task("thermal-count", "thermal", "perception", ("solids",), _own("solids", "count", "thermal")),
    Task("thermal-hottest", "thermal", "reasoning", ("solids",), _own("solids", "hottest warmer above", "thermal")),
    Task(
        "mixed-seen-heard",
        "mixed",
        "perception",
        ("emoji", "emoji-motions", "instruments"),
        lambda root: drawing.mixed(root, {"image": _emoji, "audio": _instrument, "video": drawing.motions}),
    ),
    Task(
        "mixed-senses",
        "mixed",
        "perception",
        ("solids", "motion"),
        lambda root: drawing.mixed(root, {"depth": _own("solids", "count", "depth"), "imu": _exercise}),
    ),
    Task(
        "draws",
        "making",
        "making",
        ("emoji", "emoji-3d"),
        drawing.drawings,
        "made",
        16,
        (1.0, "assumed: how real drawings are judged was not measured"),
    ),
    Task("speaks", "making", "making", ("requests",), drawing.sentences, "made", 12, HEARING),
    Task("plays", "making", "making", ("instruments",), drawing.melodies, "made", 12),
    Task("animates", "making", "making", ("emoji-motions",), drawing.clips, "made", 11),
    Task("only-words", "making", "hallucination", ("requests",), drawing.nothing, "made", 16),
    Task(
        "replies",
        "text",
        "text",
        ("requests",),
        drawing.replies,
        ceiling=(1.0, "the untrained backbone, whose own replies they are"),
    ),
)
BY_NAME = {task.name: task for task in TASKS}
BUILD = "polymodal corpus build bench --tested --root DIR, then --data DIR"


def _types(corpus: str, root: Path | None) -> list[str]:
    return sorted({q.type for item in drawing.unseen(corpus, root) for q in item.questions if q.options})


def chosen(split: str | None, root: Path | None) -> list[Task]:
    """The tasks of a split: all by default; `built`, those whose corpora are here; or tasks, modalities and skills by name,
    with + between them. Raises `EvaluationError` naming what has to be built, and the command that builds it."""
    if split == "built":
        found = [task for task in TASKS if not task.missing(root)]
        if not found:
            raise EvaluationError(f"{_where(root)}: no corpus of the benchmark is built there; begin with: {BUILD}")
        return found
    names = split.split("+") if split else []
    known = dict.fromkeys(name for task in TASKS for name in (task.name, task.modality, task.skill))
    for name in names:
        if name not in known:
            raise EvaluationError(f"--split: no task, modality or skill '{name}'{nearest(name, list(known))}")
    found = [task for task in TASKS if not names or {task.name, task.modality, task.skill} & set(names)]
    lacking = {task.name: missing for task in found if (missing := task.missing(root))}
    if lacking:
        needed = " ".join(dict.fromkeys(name for missing in lacking.values() for name in missing))
        raise EvaluationError(
            f"{_where(root)}: tasks {', '.join(lacking)} need corpora that are not built there ({needed}); build them "
            f"with: {BUILD}, or ask only what is there with --split built"
        )
    return found


def _where(root: Path | None) -> Path:
    return assets.root() if root is None else root
