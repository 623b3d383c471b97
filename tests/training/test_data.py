"""Sources and mixing: errors name row and field, weights are respected, and a mix resumes exactly."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest

from polymodal.content import assistant, user
from polymodal.corpora import Item
from polymodal.errors import DataError, RecipeError
from polymodal.training.data import Mix, Sample, by_length
from polymodal.training.sources import CorpusSource, MessagesSource, build_source

RNG = random.Random(0)


def jsonl(folder, *rows):
    file = folder / "chat.jsonl"
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)) + "\n" for row in rows))
    return MessagesSource(str(file))


GOOD = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}


def test_a_row_is_a_conversation_with_or_without_its_key(tmp_path):
    source = jsonl(tmp_path, GOOD, GOOD["messages"])
    assert len(source) == 2
    for i in range(2):
        assert source.sample(i, RNG).messages == [user("hi"), assistant("hello")]
    assert source.sample(1, RNG).name == "chat.jsonl:2"


def test_blank_lines_are_skipped_and_still_counted(tmp_path):
    source = jsonl(tmp_path, GOOD, "", "   ", GOOD, "not json")
    assert len(source) == 3
    assert source.sample(1, RNG).name == "chat.jsonl:4"
    with pytest.raises(DataError, match=r"chat.jsonl:5: "):
        source.sample(2, RNG)


def test_media_paths_are_relative_to_the_file(tmp_path, monkeypatch):
    content = [
        {"type": "image", "image": "pictures/1.png"},
        {"type": "image_url", "image_url": {"url": "../2.png"}},
        {"type": "audio", "audio": "/abs/3.wav"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "text", "text": "pictures/1.png"},
    ]
    source = jsonl(tmp_path, {"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": "x"}]})
    monkeypatch.chdir("/")
    first, second, third, fourth, fifth = source.sample(0, RNG).messages[0].parts
    assert first.media == str(tmp_path / "pictures" / "1.png")
    assert second.media == str(tmp_path / ".." / "2.png")
    assert third.media == "/abs/3.wav"
    assert fourth.media == b"\x00\x00\x00"
    assert fifth.text == "pictures/1.png"


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x1c", "\x0b", "\x0c"])
def test_a_row_ends_at_a_newline_and_nowhere_else(tmp_path, separator):
    """Unicode knows other line separators; JSON allows them inside a string."""
    said = f"one{separator}two"
    row = json.dumps(
        {"messages": [{"role": "user", "content": said}, {"role": "assistant", "content": "x"}]}, ensure_ascii=False
    )
    if separator < " ":
        row = row.replace(json.dumps(separator)[1:-1], separator)  # control characters, as careless writers leave them
    file = tmp_path / "chat.jsonl"
    file.write_text(row + "\n" + json.dumps(GOOD) + "\n", encoding="utf-8")
    source = MessagesSource(str(file))
    assert len(source) == 2
    assert source.sample(1, RNG).name == "chat.jsonl:2"
    if separator >= " ":
        assert source.sample(0, RNG).messages[0].text == said


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"mesages": []}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        (3, "messages"),
        ("null", "messages"),
        ([{"role": "usr", "content": "hi"}], r"messages\[0\].*role 'usr'.*'user'"),
        ([{"role": "user"}], r"messages\[0\].*content"),
        ([{"role": "user", "contents": "hi"}], r"messages\[0\].*'contents'.*'content'"),
        ([GOOD["messages"][0], {"role": "assistant", "content": 5}], r"messages\[1\].content"),
        ([{"role": "user", "content": [{"type": "imgae", "image": "x"}]}], r"messages\[0\].*content\[0\].*'imgae'"),
        ([{"role": "user", "content": [{"type": "image"}]}], r"content\[0\].*'image' is missing"),
        ([{"role": "user", "content": "hi", "train": "yes"}], r"messages\[0\].*'train'"),
    ],
)
def test_a_bad_row_names_itself_and_its_field(tmp_path, row, field):
    source = jsonl(tmp_path, GOOD, row)
    with pytest.raises(DataError, match=rf"chat.jsonl:2: .*{field}") as caught:
        source.sample(1, RNG)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[1, 2", "{'role': 'user'}", '{"messages": [}', "\x00"])
def test_a_row_that_is_no_json_names_itself(tmp_path, text):
    source = jsonl(tmp_path, GOOD, text)
    with pytest.raises(DataError, match="chat.jsonl:2: "):
        source.sample(1, RNG)


def test_files_that_cannot_be_read_are_refused_by_name(tmp_path):
    with pytest.raises(DataError, match=r"nowhere.jsonl: there is no such file"):
        MessagesSource(str(tmp_path / "nowhere.jsonl"))
    with pytest.raises(DataError, match="no such file"):
        MessagesSource(str(tmp_path))
    (tmp_path / "empty.jsonl").write_text("\n \n")
    with pytest.raises(DataError, match=r"empty.jsonl: the file holds no conversation"):
        MessagesSource(str(tmp_path / "empty.jsonl"))
    (tmp_path / "latin.jsonl").write_bytes(b'[{"role": "user", "content": "caf\xe9"}]\n')
    with pytest.raises(DataError, match=r"latin.jsonl: .*UTF-8"):
        MessagesSource(str(tmp_path / "latin.jsonl"))


def test_a_source_is_built_by_name_and_errors_name_its_place(tmp_path):
    jsonl(tmp_path, GOOD)
    assert len(build_source("chat", {"kind": "messages", "path": str(tmp_path / "chat.jsonl")})) == 1
    with pytest.raises(RecipeError, match=r"data.chat.kind 'mesages'.*did you mean 'messages'"):
        build_source("chat", {"kind": "mesages"})
    with pytest.raises(RecipeError, match=r"data.chat 'messages' has no option 'file'"):
        build_source("chat", {"kind": "messages", "file": "x"})
    with pytest.raises(RecipeError, match=r"data.chat 'messages', option 'path'"):
        build_source("chat", {"kind": "messages"})


class Numbers:
    """A source whose samples say which they are, and what their random number was."""

    def __init__(self, name: str, n: int) -> None:
        self.name, self.n = name, n

    def __len__(self) -> int:
        return self.n

    def sample(self, index, rng):
        return Sample([user(str(rng.random()))], f"{self.name}:{index}")


def mix(seed: int = 0, **weights: float) -> Mix:
    weights = weights or {"a": 3.0, "b": 1.0}
    return Mix({"a": Numbers("a", 7), "b": Numbers("b", 3), "c": Numbers("c", 1)}, weights, seed)


def draw(mixed: Mix, n: int):
    return [(s.name, s.source, s.messages) for s in (next(mixed) for _ in range(n))]


def test_weights_are_respected():
    n = 4000
    counts = Counter(source for _, source, _ in draw(mix(a=5.0, b=3.0, c=2.0), n))
    for name, share in [("a", 0.5), ("b", 0.3), ("c", 0.2)]:
        assert abs(counts[name] / n - share) < 4 * (share * (1 - share) / n) ** 0.5


def test_each_epoch_of_a_source_holds_every_item_once_in_another_order():
    names = [name for name, _, _ in draw(mix(a=1.0), 7 * 6)]
    epochs = [names[i : i + 7] for i in range(0, 42, 7)]
    assert all(sorted(epoch) == [f"a:{i}" for i in range(7)] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6


def test_every_source_keeps_its_own_epochs_whatever_the_mix():
    drawn = draw(mix(a=3.0, b=1.0), 400)
    for name, size in [("a", 7), ("b", 3)]:
        own = [item for item, source, _ in drawn if source == name]
        for i in range(0, len(own) - size, size):
            assert len(set(own[i : i + size])) == size


def test_equal_seeds_draw_equally_and_others_do_not():
    assert draw(mix(1), 50) == draw(mix(1), 50)
    assert draw(mix(1), 50) != draw(mix(2), 50)


@pytest.mark.parametrize("at", [0, 1, 6, 7, 8, 29, 100])
def test_state_dict_resumes_exactly(at):
    whole = mix()
    draw(whole, at)
    state = json.loads(json.dumps(whole.state_dict()))
    resumed = mix()
    draw(resumed, 13)  # whatever it was at is forgotten
    resumed.load_state_dict(state)
    assert draw(resumed, 40) == draw(whole, 40)
    assert resumed.state_dict() == whole.state_dict()


def test_a_state_once_taken_does_not_change():
    mixed = mix()
    draw(mixed, 5)
    state = mixed.state_dict()
    before = json.dumps(state)
    draw(mixed, 20)
    assert json.dumps(state) == before
    mixed.load_state_dict(state)
    draw(mixed, 20)
    assert json.dumps(state) == before


def test_by_length_groups_likes_and_loses_nothing():
    lengths = [random.Random(1).randint(1, 99) for _ in range(23)]
    batches = by_length(list(range(23)), lengths, 4, random.Random(0))
    assert sorted(i for batch in batches for i in batch) == list(range(23))
    assert sorted(map(len, batches)) == [3, 4, 4, 4, 4, 4]
    spans = sorted((min(lengths[i] for i in batch), max(lengths[i] for i in batch)) for batch in batches)
    assert all(a[1] <= b[0] for a, b in zip(spans, spans[1:], strict=False))
    assert batches != by_length(list(range(23)), lengths, 4, random.Random(1))
    assert by_length(list(range(23)), lengths, 4, random.Random(0)) == batches


def item(id, split="train", modality="audio", **fields):
    fields = {"caption": id, "concept": id, **fields}
    common = {"file": f"{id}.flac", "source": "tiny", "vendor": "us", "licence": "CC0-1.0", "concept_split": "train"}
    return Item(id=id, split=split, modality=modality, **common, **fields)


@pytest.fixture
def corpus(monkeypatch):
    from polymodal import corpora

    items = [
        item("1", text="hello world"),
        item("2", text="a red cat", voice="joe"),
        item("3", text="the fox", split="test"),
        item("4", voice="ann"),
        item("5"),
        item("6", modality="image", caption="a robin", category="bird"),
        item("7", modality="image", caption="a whatnot"),
    ]
    monkeypatch.setattr(corpora, "read", lambda name: items if name == "tiny" else pytest.fail(name))
    monkeypatch.setattr(Item, "read", lambda item: item.id.encode())


def wordings(*pairs):
    return [{"ask": ask, "answer": answer} for ask, answer in pairs]


def test_a_corpus_asks_only_what_its_items_can_answer(corpus):
    source = CorpusSource("tiny", wordings(("repeat", "{text}"), ("who?", "{voice}"), ("which of {choices}?", "a {kind}")))
    said = {}
    for index in range(len(source)):
        for seed in range(20):
            sample = source.sample(index, random.Random(seed))
            said.setdefault(sample.name, set()).add(sample.messages[1].text)
    assert said == {
        "tiny:1": {"hello world"},
        "tiny:2": {"a red cat", "joe"},
        "tiny:4": {"ann"},
        "tiny:6": {"a bird"},
    }


def test_what_has_no_kind_is_not_asked_its_kind(corpus):
    assert len(CorpusSource("tiny", wordings(("kind?", "a type of {kind}")))) == 1
    plain = CorpusSource("tiny", wordings(("kind?", "a type of {kind}"), ("name?", "{concept}")))
    asked = {s.name: s.messages[0].text for i in range(len(plain)) for s in [plain.sample(i, random.Random(0))]}
    assert asked["tiny:7"] == "name?"


def test_offered_choices_hold_the_right_one(corpus):
    source = CorpusSource("tiny", wordings(("which of {choices}?", "{kind}")))
    for seed in range(20):
        question, answer = source.sample(0, random.Random(seed)).messages
        offered = question.parts[1].text.removeprefix("which of ").removesuffix("?").split(", ")
        assert answer.text in offered
        assert len(offered) >= 4


def test_a_corpus_sample_is_its_media_then_the_question(corpus):
    sample = CorpusSource("tiny", wordings(("repeat {text}", "{text}"))).sample(0, RNG)
    (media, question), (answer,) = (message.parts for message in sample.messages)
    assert (media.type, media.media) == ("audio", b"1")
    assert (question.text, answer.text) == ("repeat hello world", "hello world")
    silent = CorpusSource("tiny", wordings(("", "{text}"))).sample(0, RNG)
    assert [part.type for part in silent.messages[0].parts] == ["audio"]


def test_a_corpus_is_cut_by_split_and_by_field(corpus):
    repeat = wordings(("repeat", "{text}"))
    assert len(CorpusSource("tiny", repeat, split="test")) == 1
    assert len(CorpusSource("tiny", repeat, where={"voice": ["joe"]})) == 1
    with pytest.raises(DataError, match="'tiny'.*'dev'"):
        CorpusSource("tiny", repeat, split="dev")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"templates": wordings(("repeat", "{txet}"))}, "txet.*text"),
        ({"templates": [{"ask": "repeat", "answr": "{text}"}]}, "answr"),
        ({"templates": []}, "templates"),
        ({"templates": wordings(("repeat", "{text"))}, "templates.0"),
        ({"templates": wordings(("repeat", "{text}")), "where": {"vioce": ["joe"]}}, "vioce.*voice"),
    ],
)
def test_a_corpus_recipe_that_cannot_work_is_refused_by_name(corpus, options, named):
    with pytest.raises((DataError, RecipeError), match=named):
        CorpusSource("tiny", **options)
