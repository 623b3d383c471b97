"""A run that is killed (SIGKILL, in a process of its own): at most the batch in flight is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from polymodal.content import user
from polymodal.evaluation import run
from polymodal.evaluation.predictions import Header, Writer, read
from polymodal.evaluation.protocol import Prompt, Protocol, Question, Record, accuracy
from polymodal.model.composition import Composition
from polymodal.model.generation import Sampling

BATCH, QUESTIONS, TOLD = 4, 64, 12
SHORT = Sampling(max_new_tokens=2)
PROTOCOL = Protocol(
    "killed",
    "test",
    "",
    lambda files: iter(()),
    lambda question: Prompt((user(question.text),)),
    accuracy,
    lambda question, answer: Record(question.id, 1.0),
)
ROOT = Path(__file__).resolve().parents[2]


def go(recipe: str, path: str) -> None:
    """The child: asks slowly, and says of each batch that it was told of it."""
    composition = Composition.from_recipe(json.loads(Path(recipe).read_text()))
    questions = [Question(str(i), f"what is {i}?", reference="x") for i in range(QUESTIONS)]

    def told(new: int) -> None:
        sys.stdout.write(f"{new}\n")
        sys.stdout.flush()
        time.sleep(0.05)

    with Writer(Path(path), Header("killed@test", "tiny", SHORT.model_dump(), None, QUESTIONS)) as writer:
        run.ask(composition, PROTOCOL, questions, writer, "tiny", SHORT, batch=BATCH, on_answers=told)


def child(recipe: Path, path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", f"from tests.evaluation.test_kill import go; go({str(recipe)!r}, {str(path)!r})"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT)))}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT)


def test_a_kill_loses_at_most_the_batch_in_flight_and_the_run_goes_on(tiny_recipe, tmp_path):
    recipe, path = tmp_path / "recipe.json", tmp_path / "a.jsonl"
    recipe.write_text(json.dumps(tiny_recipe()))
    process = child(recipe, path)
    assert process.stdout is not None
    told = 0
    while told < TOLD:
        told += int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    told += sum(map(int, process.stdout.read().split()))
    assert process.wait() == -signal.SIGKILL
    saved = read(path)
    assert told <= len(saved.predictions) <= told + BATCH
    assert len(saved.predictions) < QUESTIONS
    with child(recipe, path) as again:
        assert again.stdout is not None
        rest = sum(map(int, again.stdout.read().split()))
    assert again.returncode == 0
    assert rest == QUESTIONS - len(saved.predictions)
    assert len(read(path).predictions) == QUESTIONS
