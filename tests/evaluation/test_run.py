"""Asking: on a tiny random model, through files in the authors' formats."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from polymodal.content import assistant, user
from polymodal.errors import EvaluationError
from polymodal.evaluation import run
from polymodal.evaluation.files import Files
from polymodal.evaluation.predictions import Header, Writer, read
from polymodal.evaluation.protocol import Answer, Prompt, Question, in_rounds
from polymodal.evaluation.protocols import PROTOCOLS
from polymodal.model.composition import Composition
from polymodal.model.generation import Sampling
from tests.conftest import run_command
from tests.evaluation import authors
from tests.evaluation.authors import put

SHORT = Sampling(max_new_tokens=4)


def asked(tiny, protocol: str, files: Files, path, batch: int = 16, most: int | None = None):
    """The answers by id, with how many pictures were encoded."""
    chosen = PROTOCOLS[protocol]
    questions = list(chosen.read(files))
    before = tiny.model.encoded
    with Writer(path, Header(protocol, "tiny", SHORT.model_dump(), None, len(questions))) as writer:
        run.ask(tiny, chosen, questions[:most], writer, "tiny", SHORT, batch=batch)
    saved = read(path)
    return {name: found.answer for name, found in saved.predictions.items()}, tiny.model.encoded - before


def test_one_picture_is_encoded_once_for_all_its_questions_and_one_prompt_asked_once(tiny, tmp_path, monkeypatch):
    sizes = []
    generate = run.generate
    monkeypatch.setattr(
        run,
        "generate",
        lambda model, examples, *rest, **more: sizes.append(len(examples)) or generate(model, examples, *rest, **more),
    )
    answers, encoded = asked(tiny, "pope@official", authors.pope(tmp_path), tmp_path / "a.jsonl")
    assert len(answers) == 6
    assert encoded == 1
    assert sizes == [4]  # the snowboard of the three splits is one question
    assert answers["random:1"] == answers["popular:1"] == answers["adversarial:1"]


def test_batches_say_what_single_questions_say(tiny, tmp_path):
    files = authors.vqav2(tmp_path)
    together, _ = asked(tiny, "vqav2@official", files, tmp_path / "a.jsonl")
    apart, _ = asked(tiny, "vqav2@official", files, tmp_path / "b.jsonl", batch=1)
    assert together == apart


@pytest.mark.parametrize(
    "protocol", ["seed-bench-img@likelihood", "mmmu@official", "mmbench@circular-exact", "iconqa@letter"]
)
def test_options_are_ranked_several_pictures_shown_and_bytes_read(protocol, tiny, tmp_path):
    benchmark = protocol.partition("@")[0]
    answers, _ = asked(tiny, protocol, authors.MADE[benchmark](tmp_path), tmp_path / "a.jsonl")
    assert all(answer.error is None for answer in answers.values())
    if protocol.endswith("likelihood"):
        assert all(len(answer.likelihoods) == 4 for answer in answers.values())


def test_rounds_follow_each_other_with_what_was_said_before_and_are_saved(tiny, tmp_path):
    def prompt(question):
        rounds = (user("and then?"), user("the end?")) if question.id == "1" else ()
        return Prompt((user(question.text),), then=rounds)

    protocol = replace(PROTOCOLS["gqa@official"], prompt=prompt)
    questions = [Question(str(i), f"what is {i}?", reference="x") for i in range(3)]
    path = tmp_path / "a.jsonl"

    def go():
        with Writer(path, Header("gqa@official", "tiny", SHORT.model_dump(), None, 3)) as writer:
            run.ask(tiny, protocol, questions, writer, "tiny", SHORT, batch=2)
        return {name: found.answer for name, found in read(path).predictions.items()}

    answers = go()

    def alone(*turns):
        (parts,) = tiny.generate([list(turns)], SHORT)
        return "".join(part.text or "" for part in parts).strip()

    first = alone(user("what is 1?"))
    second = alone(user("what is 1?"), assistant(first), user("and then?"))
    third = alone(user("what is 1?"), assistant(first), user("and then?"), assistant(second), user("the end?"))
    assert answers["1"].before == (first, second)
    assert answers["1"].text == third
    assert answers["0"].before == ()
    size = path.stat().st_size
    assert go() == answers
    assert path.stat().st_size == size  # nothing is asked again


def test_an_error_ends_a_conversation():
    prompts = [Prompt((user("a"),), then=(user("b"),)), Prompt((user("c"),), then=(user("d"), user("e")))]
    asked = []

    def ask(some):
        asked.append([[message.text for message in prompt.messages] for prompt in some])
        return [Answer(error="gone") if prompt.messages[0].text == "a" else Answer(str(len(asked))) for prompt in some]

    first, second = in_rounds(prompts, ask)
    assert first.error == "gone"
    assert (second.before, second.text) == (("1", "2"), "3")
    assert asked == [[["a"], ["c"]], [["c", "1", "d"]], [["c", "1", "d", "2", "e"]]]


def test_a_run_stopped_after_any_question_ends_in_the_same_answers_and_asks_only_the_rest(tiny, tmp_path):
    files = authors.vqav2(tmp_path)
    whole, _ = asked(tiny, "vqav2@official", files, tmp_path / "whole.jsonl")
    for stop in range(3):
        path = tmp_path / f"{stop}.jsonl"
        asked(tiny, "vqav2@official", files, path, most=stop)
        answers, encoded = asked(tiny, "vqav2@official", files, path)
        assert answers == whole
        assert encoded == 3 - stop
    _, encoded = asked(tiny, "vqav2@official", files, tmp_path / "whole.jsonl")
    assert encoded == 0


def test_a_picture_that_cannot_be_used_is_an_error_that_is_asked_again(tiny, tmp_path):
    files = authors.vqav2(tmp_path)
    path = tmp_path / "val2014/COCO_val2014_000000000002.jpg"
    put(path, b"no picture")
    answers, _ = asked(tiny, "vqav2@official", files, tmp_path / "a.jsonl")
    assert "000000000002.jpg" in (answers["1002"].error or "")
    assert answers["1001"].error is None
    put(path, authors.png(2))
    answers, encoded = asked(tiny, "vqav2@official", files, tmp_path / "a.jsonl")
    assert answers["1002"].error is None
    assert encoded == 1


def test_a_limit_and_ids(tmp_path):
    questions = [Question(str(i), "?", group=str(i // 2)) for i in range(6)]
    assert [q.id for q in run.limited(questions, 3)] == ["0", "1", "2", "3"]
    assert [q.id for q in run.limited(questions, 4)] == ["0", "1", "2", "3"]
    assert len(run.limited(questions, None)) == 6
    with pytest.raises(EvaluationError, match="question 1: its id is not of one question alone"):
        run.limited([*questions, questions[1]], None)
    with pytest.raises(EvaluationError, match="no question"):
        run.limited([], 3)


def test_a_model_is_known_by_its_recipe_and_its_weights(tiny, tiny_recipe):
    same, other = Composition.from_recipe(tiny_recipe()), Composition.from_recipe(tiny_recipe())
    other.model.load_state_dict(same.model.state_dict())
    assert run.identity(same) == run.identity(other)
    next(other.model.modalities["image"].projector.parameters()).data += 1e-3
    assert run.identity(same) != run.identity(other)


def test_recent_items_push_out_the_oldest():
    kept = run.Recent(2)
    for name in "abc":
        kept[name] = name  # type: ignore[assignment]
    assert list(kept) == ["b", "c"]


@pytest.fixture
def command(tiny, monkeypatch, capsys, tmp_path):
    import polymodal

    monkeypatch.setattr(polymodal, "load", lambda model="nano": tiny)
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: run_command(monkeypatch, capsys, *arguments)


def test_one_command_from_the_authors_file_and_the_coco_folder_to_a_score(command, tmp_path):
    authors.pope(tmp_path)
    ask = ("eval", "nano", "--benchmark", "pope", "--data", "coco_pope_random.json", "--images", "val2014")
    code, out, err = command(*ask, "--max-new-tokens", 4)
    assert code == 0, err
    assert out.startswith("pope@official f1 ")
    assert "n 2, error 0, empty " in out
    assert "missing 0" in out
    code, out, _ = command("rescore", "pope@official-nano.jsonl", "--protocol", "pope@lmms-eval", "--json")
    told = json.loads(out)
    assert (told["protocol"], told["asked_as"], told["n"], told["unparsed"]) == ("pope@lmms-eval", "pope@official", 2, 2)
    code, out, _ = command("compare", "pope@official-nano.jsonl", "pope@official-nano.jsonl")
    assert code == 0
    assert "do not tell them apart" in out


def test_workers_share_a_benchmark_and_their_files_are_one(command, tmp_path):
    authors.pope(tmp_path)
    for part in ("1/2", "2/2"):
        command("eval", "nano", "-b", "pope", "-d", ".", "--part", part, "--out", f"{part[0]}.jsonl", "--max-new-tokens", 4)
    code, out, _ = command("rescore", "1.jsonl", "2.jsonl", "--json")
    assert json.loads(out)["n"] == 6
    code, out, _ = command("rescore", "1.jsonl", "--json")
    assert (json.loads(out)["n"], json.loads(out)["missing"]) == (3, 3)


def test_a_torn_file_is_told_and_goes_on(command, tmp_path):
    authors.pope(tmp_path)
    ask = ("eval", "nano", "-b", "pope", "-d", "coco_pope_random.json", "--max-new-tokens", 4)
    command(*ask)
    path = tmp_path / "pope@official-nano.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    code, out, err = command(*ask)
    assert code == 0
    assert "cut short by a kill" in err
    assert "n 2, " in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("eval", "nano", "-b", "poppe", "-d", "."), "did you mean 'pope'"),
        (("eval", "nano", "-b", "pope", "-d", "gone"), "gone: no such file or folder"),
        (("eval", "nano", "-b", "mm-vet", "-d", "."), "name one with --judge URL#MODEL"),
        (("eval", "nano", "-b", "pope"), "--data names the folder of its authors' files"),
        (("eval", "nano", "-b", "pope", "-d", ".", "--part", "3/2"), "--part is I/N"),
        (("rescore", "gone.jsonl"), "gone.jsonl: cannot be read"),
    ],
)
def test_what_a_user_can_mend_is_one_line(arguments, said, command, tmp_path):
    authors.pope(tmp_path)
    code, out, err = command(*arguments)
    assert code == 2
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_the_list_shows_every_benchmark_and_its_state(command):
    code, out, _ = command("eval", "--list", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert rows["pope"]["state"] == "ready"
    assert set(rows["pope"]["protocols"]) == {"pope@official", "pope@lmms-eval", "pope@vlmevalkit"}
    assert {protocol.benchmark for protocol in PROTOCOLS.values()} <= rows.keys()
    assert command("eval", "--list")[0] == 0
