"""A checkpoint of transformers is asked as its own processor and class would ask it."""

from __future__ import annotations

import pytest
import torch

from polymodal.content import audio, image, user
from polymodal.errors import EvaluationError
from polymodal.evaluation.checkpoint import Checkpoint
from polymodal.evaluation.foreign import ask
from polymodal.evaluation.predictions import Header, Writer, read, rescore
from polymodal.evaluation.protocol import Prompt
from polymodal.evaluation.protocols import PROTOCOLS
from polymodal.model.generation import Sampling
from tests.conftest import picture, run_command
from tests.evaluation import authors
from tests.model.test_importing import llava

SHORT = Sampling(max_new_tokens=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("checkpoint") / "tiny"
    llava(made)
    return made


@pytest.fixture(scope="module")
def checkpoint(folder):
    return Checkpoint(folder)


def prompt(text: str, seed: int, *options: str) -> Prompt:
    return Prompt((user(image(picture(seed)), text),), options)


@torch.no_grad()
def test_an_answer_is_what_the_processor_and_the_model_give_alone(checkpoint):
    turns = [{"role": "user", "content": [{"type": "image", "image": picture(1)}, {"type": "text", "text": "what is it?"}]}]
    inputs = checkpoint.processor.apply_chat_template(
        turns, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    ids = checkpoint.model.generate(**inputs, max_new_tokens=4, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    alone = checkpoint.processor.decode(ids, skip_special_tokens=True).strip()
    asked = [prompt("what is it?", 1), Prompt((user("hello world"),)), prompt("a much longer question about the mat?", 2)]
    answers = checkpoint.answers(asked, SHORT)
    assert answers[0].text == alone
    assert [answer.error for answer in answers] == [None, None, None]
    assert checkpoint.answers(asked[1:2], SHORT)[0].text == answers[1].text


@torch.no_grad()
def test_options_are_ranked_by_the_sum_over_their_tokens(checkpoint):
    (answer,) = checkpoint.answers([prompt("what is this?", 3, "yes", "no, it is a dog")], SHORT)
    text = checkpoint._written(prompt("what is this?", 3))[0]
    for option, found in zip(("yes", "no, it is a dog"), answer.likelihoods, strict=True):
        inputs = checkpoint.processor(text=[text + option], images=[picture(3)], return_tensors="pt")
        before = checkpoint.processor(text=[text], images=[picture(3)], return_tensors="pt")["input_ids"].shape[1]
        scores = checkpoint.model(**inputs).logits[0].log_softmax(-1)
        ids = inputs["input_ids"][0]
        wanted = sum(float(scores[i - 1, ids[i]]) for i in range(before, len(ids)))
        assert found == pytest.approx(wanted, abs=1e-3)


def test_the_picture_decides_and_what_it_cannot_be_asked_is_an_error_of_that_question(checkpoint):
    asked = [prompt("is it?", 1, "yes", "no"), Prompt((user(audio((torch.zeros(800).numpy(), 16000)), "hear?"),))]
    asked += [Prompt((user(image("gone.png"), "what?"),)), prompt("is it?", 4, "yes", "no")]
    first, second, third, fourth = checkpoint.answers(asked, SHORT)
    assert first.likelihoods != fourth.likelihoods
    assert "'audio'" in second.error
    assert "gone.png" in third.error


def test_a_run_goes_on_where_it_ended_and_is_scored_as_any(checkpoint, tmp_path):
    files, chosen = authors.pope(tmp_path), PROTOCOLS["pope@official"]
    questions = list(chosen.read(files))
    told: list[int] = []
    for _ in range(2):
        header = Header(chosen.id, checkpoint.name, SHORT.model_dump(), None, len(questions))
        with Writer(tmp_path / "a.jsonl", header) as writer:
            ask(checkpoint, chosen, questions, writer, SHORT, batch=2, on_answers=told.append)
    assert sum(told) == len(questions)
    assert len(rescore(read(tmp_path / "a.jsonl"), chosen)) == len(questions)


def test_one_command_asks_it(folder, tmp_path, monkeypatch, capsys):
    authors.pope(tmp_path)
    asked = ("eval", f"transformers:{folder}", "-b", "pope", "-d", str(tmp_path), "-o", str(tmp_path / "a.jsonl"), "--json")
    code, out, err = run_command(monkeypatch, capsys, *asked)
    assert code == 0, err
    assert '"model": "tiny-' in out


@pytest.mark.parametrize("broken", ["no folder", "transformers reads no model", "no chat template"])
def test_what_is_no_checkpoint_is_refused_by_name(broken, folder, tmp_path):
    if broken != "no folder":
        (tmp_path / "it").mkdir()
        (tmp_path / "it/config.json").write_text('{"model_type": "bert"}')
    if broken == "no chat template":
        llava(tmp_path / "it", template=None)
    with pytest.raises(EvaluationError, match=broken):
        Checkpoint(tmp_path / "it")
