"""What a model is asked, in each setting."""

from __future__ import annotations

import pytest

from polymodal.errors import EvaluationError
from polymodal.evaluation.bench import questions
from polymodal.evaluation.bench.drawing import balanced
from polymodal.evaluation.bench.tasks import BY_NAME, TASKS, chosen
from polymodal.evaluation.files import Files
from polymodal.evaluation.protocols import PROTOCOLS
from tests.evaluation.authors import polymodal_bench
from tests.evaluation.bench.test_drawing import pool


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return polymodal_bench(tmp_path_factory.mktemp("cache"))


def asked(files, protocol: str, task: str):
    found = PROTOCOLS[f"polymodal-bench@{protocol}"]
    return [(q, found.prompt(q)) for q in found.read(files) if q.extra["task"] == task]


def test_half_of_the_questions_have_their_controls_behind_them_in_one_group(files):
    found = [question for question, _ in asked(files, "v1", "charts")]
    own = [question for question in found if "control" not in question.extra]
    controls = {(q.group, q.extra["control"]): q for q in found if "control" in q.extra}
    assert abs(len(controls) - len(own)) <= 1
    for question in own:
        blind, shuffled = (controls.get((question.id, kind)) for kind in ("blind", "shuffled"))
        assert (blind is None) == (shuffled is None)
        if blind and shuffled:
            assert found.index(question) + 2 == found.index(blind) + 1 == found.index(shuffled)
            assert (len(question.media), len(blind.media), len(shuffled.media)) == (1, 0, 1)
            assert shuffled.media[0].media != question.media[0].media
            assert question.text == blind.text == shuffled.text
    assert all("control" not in question.extra for question, _ in asked(files, "v1", "replies"))


def test_the_half_that_has_controls_is_of_all_answers():
    """Two answers that stand in turns are not told apart by every second place."""
    drawn, _ = balanced("watch-arm", pool(40, "ab", "x"), 24)
    assert [one.key for one in drawn] == [drawn[0].key, drawn[1].key] * 12
    places = questions._controlled(BY_NAME["watch-arm"], drawn)
    assert len(places) == 12
    assert 3 <= sum(drawn[i].key == "a" for i in places) <= 9


def test_examples_are_turns_before_the_question_and_none_of_them_is_asked(files):
    every = [question.media[0].media for question, _ in asked(files, "v1", "speech") if question.extra["own"]]
    for question, prompt in asked(files, "v1-1shot", "replies"):
        assert [message.role for message in prompt.messages] == ["user", "assistant", "user"]
        assert prompt.messages[1].text != ""
        assert prompt.messages[-1].text == question.text
    assert every


def test_settings_differ_in_what_is_asked_and_never_in_the_questions(files):
    names = [
        [q.id for q, _ in asked(files, setting.name and f"v1-{setting.name}" or "v1", "charts")]
        for setting in questions.SETTINGS
    ]
    assert all(name == names[0] for name in names)
    (_, ranked), (_, written), (_, thought) = (
        asked(files, name, "charts")[0] for name in ("v1", "v1-written", "v1-thought")
    )
    assert len(ranked.options) == 3
    assert not written.options
    assert "Answer with one of these: It is red." in written.messages[-1].text
    assert thought.messages[-1].text == f"{ranked.messages[-1].text} Think step by step."
    assert [turn.text for turn in thought.then] == [
        written.messages[-1].text.removeprefix(ranked.messages[-1].text).strip()
    ]
    assert not ranked.then
    assert not written.then


def test_what_is_to_be_made_may_be_made(files):
    assert all(prompt.makes for _, prompt in asked(files, "v1-thought-4shot", "speaks"))
    assert not any(prompt.makes for _, prompt in asked(files, "v1", "charts"))


def test_what_is_not_built_is_named_with_the_command_that_builds_it(files):
    with pytest.raises(EvaluationError, match="furniture.*need corpora.*build bench --tested.*--split built"):
        chosen(None, files.data)
    assert {task.name for task in chosen("built", files.data)} == {"charts", "speech", "speaks", "only-words", "replies"}
    assert [task.name for task in chosen("charts+text", files.data)] == ["charts", "replies"]
    with pytest.raises(EvaluationError, match="did you mean 'charts'"):
        chosen("chart", files.data)


def test_every_modality_skill_and_corpus_of_the_tasks_is_there():
    from polymodal.corpora import EVERY
    from polymodal.evaluation.bench.tasks import SKILLS

    assert len(BY_NAME) == len(TASKS)
    assert {name for task in TASKS for name in task.needs} <= EVERY.keys()
    wanted = {"image", "video", "speech", "sound", "3d", "imu", "depth", "thermal", "mixed", "making", "text"}
    assert {task.modality for task in TASKS} == wanted
    assert {task.skill for task in TASKS} == set(SKILLS)


def test_files_without_a_folder_are_those_of_the_cache(files):
    assert Files(files.data, split="charts").data == files.data


def test_what_is_shuffled_is_drawn_and_not_the_neighbour_whose_answer_may_be_the_same():
    """Questions are balanced by turns of their parts: those of two parts stand beside each other with one answer."""
    parts = pool(48, "abcd", "xy")
    drawn, _ = balanced("charts", parts, 48)
    task = BY_NAME["charts"]
    assert all(a.key == b.key for a, b in zip(drawn[::2], drawn[1::2], strict=True))
    others = [questions._other(task, drawn, i) for i in range(48)]
    assert all(i != other for i, other in enumerate(others))
    assert 3 <= sum(drawn[i].key == drawn[other].key for i, other in enumerate(others)) <= 21  # 12 by chance
    assert len(set(others)) > 24
    assert questions._other(task, drawn[:1], 0) == 0
