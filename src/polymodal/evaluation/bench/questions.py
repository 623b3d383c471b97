"""Questions of the benchmark: how a draw becomes what a model is asked. Decides the settings that every task has (answers
chosen by likelihood, written, or written behind a chain of thought; 0, 1 or 4 examples before the question), and the two
controls that stand beside half of the questions, for any model:

* blind: the same question without what it is about;
* shuffled: with what another question of the task is about, drawn by hash, whatever its answer is: questions that stand
  beside each other are balanced, and may all be of one answer. Which half it is, is drawn, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from polymodal import assets
from polymodal.content import Message, Part, assistant, user
from polymodal.evaluation.bench.drawing import Drawn, balanced, order
from polymodal.evaluation.bench.tasks import Task, chosen
from polymodal.evaluation.files import Files
from polymodal.evaluation.protocol import Prompt, Question
from polymodal.training.sources.corpus import media_of

SHOTS = (0, 1, 4)
CONTROLLED = 0.5  # of the questions: controls are read as means, and cost as much as the score itself
THINK = "Think step by step."
Media = tuple[Part, ...]


@dataclass(frozen=True)
class Setting:
    """`how`: `likelihood`, `written` or `thought`. `shots`: examples before the question."""

    how: str = "likelihood"
    shots: int = 0

    @property
    def name(self) -> str:
        return "-".join([*([] if self.how == "likelihood" else [self.how]), *([f"{self.shots}shot"] if self.shots else [])])


SETTINGS = [Setting(how, shots) for how in ("likelihood", "written", "thought") for shots in SHOTS]


def read(files: Files, shots: int) -> Iterator[Question]:
    """Each question of the tasks of `files.split`, half of them with controls behind them. `files.data`: the folder of the
    cache, or the file system's usual one. Raises `EvaluationError` for what is not built."""
    root = None if files.data == assets.root() else files.data
    for task in chosen(files.split, root):
        asked, spare = balanced(task.name, task.pool(root), task.size, 0 if task.form == "made" else max(SHOTS))
        shown = [_media(one) for one in asked]
        before = [(one, _media(one)) for one in spare[:shots]]
        keys = [one.key or one.answer for one in asked]
        majority = max(map(keys.count, keys)) / len(keys) if keys and task.form == "choice" else 0.0
        controlled = _controlled(task, asked)
        for i, (one, media) in enumerate(zip(asked, shown, strict=True)):
            question = _question(task, one, media, before, majority)
            yield question
            if not media or i not in controlled:
                continue
            yield _control(question, "blind", (), before)
            yield _control(question, "shuffled", shown[_other(task, asked, i)], before)


def _controlled(task: Task, asked: Sequence[Drawn]) -> set[int]:
    """The places of the questions that have controls."""
    places = sorted(range(len(asked)), key=lambda i: order(f"{task.name} controlled", asked[i].id))
    return {*places[: round(len(asked) * CONTROLLED + 0.01)]}


def _other(task: Task, asked: Sequence[Drawn], i: int) -> int:
    """The place of another question than the i-th; its own where there is no other."""
    others = [j for j in range(len(asked)) if j != i]
    return min(others, key=lambda j: order(f"{task.name} shuffled", f"{asked[i].id} {asked[j].id}"), default=i)


def _media(one: Drawn) -> Media:
    return tuple(media_of(item) for item in one.items)


def _question(task: Task, one: Drawn, media: Media, before: Sequence[tuple[Drawn, Media]], majority: float) -> Question:
    extra: dict[str, Any] = {
        "task": task.name,
        "modality": task.modality,
        "skill": task.skill,
        "form": task.form,
        "part": one.part,
        "chance": 1 / len(one.options) if one.options else _chance(one),
        "majority": majority,
        "ceiling": task.ceiling[0],
        "own": len(media),
    }
    if one.options:
        extra["options"] = list(one.options)
    if one.wanted:
        extra["wanted"] = dict(one.wanted)
    if before:
        extra["shots"] = [{"ask": shot.ask, "answer": shot.answer, "own": len(seen)} for shot, seen in before]
    name = f"{task.name}/{one.id}"
    every = (*(part for _, seen in before for part in seen), *media)
    return Question(name, one.ask, every, one.answer, extra, name)


def _control(question: Question, control: str, media: Media, before: Sequence[tuple[Drawn, Media]]) -> Question:
    extra = {**question.extra, "control": control, "own": len(media)}
    every = (*(part for _, seen in before for part in seen), *media)
    return replace(question, id=f"{question.id}#{control}", media=every, extra=extra)


def _chance(one: Drawn) -> float:
    return 1 / len(one.wanted["among"]) if "among" in one.wanted else 0.0


def prompt(question: Question, how: str) -> Prompt:
    """The examples as turns of a conversation, then the question. What is to be made is not reasoned about."""
    extra, at = question.extra, 0
    turns: list[Message] = []
    for shot in extra.get("shots", ()):
        seen, at = question.media[at : at + shot["own"]], at + shot["own"]
        if extra["form"] == "made":  # nothing made is at hand to be shown: an example is the words of the wish
            continue
        turns += [user(*seen, shot["ask"]), assistant(shot["answer"])]
    options = tuple(extra.get("options", ()))
    ask = question.text
    if extra["form"] == "made":
        return Prompt((user(ask),), makes=True)
    if how == "likelihood" and options:
        return Prompt((*turns, user(*question.media[at:], ask)), options)
    offered = "Answer with one of these: " + " ".join(options) if options else "Write the answer alone."
    if how == "thought":  # in two rounds: however long a thought is, an answer is asked for
        return Prompt((*turns, user(*question.media[at:], f"{ask} {THINK}")), then=(user(offered),))
    if options:
        ask += f" {offered}"
    return Prompt((*turns, user(*question.media[at:], ask)))
