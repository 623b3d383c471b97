"""Checking: it finds what would stop a run and what would only spoil it, and its numbers are those of training."""

from __future__ import annotations

import random
import shutil

import numpy as np
import pytest
import soundfile

from polymodal.content import Part, assistant, image, user
from polymodal.media import fingerprint
from polymodal.training.checking import CONTRADICTORY, CUT, EMPTY, TWICE, Checker, measure, padding, shared
from polymodal.training.data import Sample
from tests.conftest import picture, sound


class Rows:
    """A source of these conversations."""

    def __init__(self, *conversations) -> None:
        self.conversations = conversations

    def __len__(self) -> int:
        return len(self.conversations)

    def sample(self, index, rng):
        return Sample(list(self.conversations[index]), f"row {index}")


@pytest.fixture
def media(tmp_path):
    files = {}
    for i in range(3):
        picture(i, (24 + i, 30)).save(tmp_path / f"{i}.png")
        files[i] = str(tmp_path / f"{i}.png")
    soundfile.write(tmp_path / "a.wav", *sound(1.3))
    files["a"] = str(tmp_path / "a.wav")
    return files


def asked(*parts, answer="a cat"):
    return [user(*parts), assistant(answer)]


def test_counts_are_those_of_the_rendered_rows(tiny, media):
    rows = Rows(
        asked(image(media[0]), "what is this?"),
        asked(image(media[0]), image(media[1]), "same?", answer="the red fox"),
        asked(Part("audio", media=media["a"])),
        asked("hello"),
    )
    examples = [tiny.processor.encode(messages) for messages in rows.conversations]
    found = Checker(tiny).check(rows, limit=1000)
    assert list(found.lengths) == list(found.kept) == [len(e) for e in examples]
    assert found.supervised == sum(e.supervised_count for e in examples)
    assert (found.rows, found.checked, found.failed, found.warned) == (4, 4, 0, {})
    pictures, recordings = found.media["image"], found.media["audio"]
    assert (pictures.items, len(pictures.keys), pictures.positions, pictures.features) == (3, 2, 48, 32)
    item = examples[2].media[0]
    assert (recordings.items, recordings.positions) == (1, item.length)
    assert recordings.features == tiny.model.modalities["audio"].encoder.length(item.inputs)


def test_headers_give_the_numbers_that_decoding_gives(tiny, media, monkeypatch):
    rows = Rows(asked(image(media[0])), asked(image(media[1])), asked(Part("audio", media=media["a"])))
    decoded = Checker(tiny).check(rows, limit=1000)
    import polymodal.media

    monkeypatch.setattr(polymodal.media, "load", lambda *a, **k: pytest.fail("decoded"))
    fast = Checker(tiny, fast=True).check(rows, limit=1000)
    assert fast.failed == 0
    assert list(fast.lengths) == list(decoded.lengths)
    assert {m: (c.keys, c.features) for m, c in fast.media.items()} == {
        m: (c.keys, c.features) for m, c in decoded.media.items()
    }


def test_an_item_is_decoded_once_however_often_it_comes(tiny, media, monkeypatch):
    import polymodal.media

    loaded = []
    real = polymodal.media.load
    monkeypatch.setattr(polymodal.media, "load", lambda part: loaded.append(part) or real(part))
    checker = Checker(tiny)
    checker.check(Rows(*[asked(image(media[0]), f"{i}?") for i in range(5)]), limit=1000)
    assert len(loaded) == 1
    assert all(item.inputs is None for item in checker.seen.values())


@pytest.mark.parametrize("fast", [False, True])
def test_bad_rows_are_listed_and_the_rest_is_checked(tiny, media, tmp_path, fast):
    (tmp_path / "text.png").write_text("words")
    (tmp_path / "empty.wav").write_bytes(b"")
    soundfile.write(tmp_path / "long.wav", np.zeros(601 * 4000, dtype=np.int16), 4000)
    bad = [image(str(tmp_path / "gone.png")), image(str(tmp_path / "text.png")), Part("video", media="v.mp4")]
    bad += [Part("audio", media=str(tmp_path / name)) for name in ("empty.wav", "long.wav")]
    rows = Rows(*[asked(part) for part in bad], [user("only a question")], asked("fine"), asked("x " * 99))
    found = Checker(tiny, fast=fast, listed=7).check(rows, limit=64)
    assert (found.checked, found.failed, len(found.lengths)) == (8, 7, 1)
    reasons = ["gone.png: no such file", "not a picture", "takes no video", "empty", "over the limit of 600"]
    reasons += ["nothing is supervised", "over the limit of 64"]
    for row, (error, reason) in enumerate(zip(found.errors, reasons, strict=True)):
        assert error.startswith(f"row {row if row < 6 else 7}: ")
        assert reason in error
    assert len(Checker(tiny, listed=2).check(rows, limit=64).errors) == 2


def test_what_spoils_a_run_is_warned_of(tiny, media):
    first = asked(image(media[0]), "what?")
    rows = Rows(
        first,
        asked(image(media[1]), "what?", answer="a dog"),
        first,
        asked(image(media[0]), "what?", answer="a dog"),
        asked(image(media[0]), "what?", answer="A  CAT"),
        asked("why?", answer=" "),
        [*asked("hello, you", answer="hi"), *asked("bye", answer="bye")],
    )
    limit = len(tiny.processor.encode(rows.conversations[4]))
    found = Checker(tiny).check(rows, limit=limit)
    assert found.failed == 0
    assert found.warnings == {
        TWICE: ["row 2 (as row 1 of the source)"],
        CONTRADICTORY: ["row 3"],
        EMPTY: ["row 5"],
        CUT: [f"row 6 ({found.lengths[6]})"],
    }
    assert found.kept[6] <= limit < found.lengths[6]


def test_warnings_are_counted_beyond_those_that_are_named(tiny):
    found = Checker(tiny).check(Rows(*[asked("hello")] * 9), limit=100)
    assert (found.warned[TWICE], len(found.warnings[TWICE])) == (8, 3)


def test_held_out_media_among_the_trained_are_found_by_their_bytes(tiny, media, tmp_path):
    copy = tmp_path / "renamed.png"
    shutil.copy(media[1], copy)
    checker = Checker(tiny)
    found = {
        "train": checker.check(Rows(asked(image(media[0])), asked(image(media[1]))), 100),
        "more": checker.check(Rows(asked(image(media[2]))), 100),
        "test": checker.check(Rows(asked(image(str(copy))), asked(image(media[1]), "why?")), 100),
    }
    assert shared(found) == []
    found["test"].held_out = True
    assert shared(found) == [{"held_out": "test", "trained": "train", "modality": "image", "items": 1}]
    assert fingerprint(image(str(copy))) in found["train"].media["image"].keys


def test_only_the_first_rows_are_checked_if_no_more_are_wanted(tiny):
    seen = []
    found = Checker(tiny).check(Rows(*[asked(f"{i}") for i in range(9)]), 100, rows=4, on_row=lambda: seen.append(1))
    assert (found.rows, found.checked, len(seen), len(found.previews)) == (9, 4, 4, 3)


def test_a_seq2seq_model_is_checked_too(tiny_t5, media):
    found = Checker(tiny_t5).check(Rows(asked(image(media[0]), "what is this?")), 100)
    assert (found.failed, found.media["image"].items) == (0, 1)
    assert found.supervised > 0


def test_padding_is_none_for_equal_lengths_and_less_with_grouping():
    from array import array

    equal = {"a": array("L", [50] * 10)}
    assert padding(equal, {"a": 1.0}, 4, 8) == 0.0
    rng = random.Random(0)
    mixed = {"a": array("L", [rng.randint(10, 200) for _ in range(100)]), "b": array("L")}
    alone, grouped = (padding(mixed, {"a": 1.0, "b": 1.0}, 8, n) for n in (1, 16))
    assert 0 < grouped < alone / 3 < 0.2
    assert padding({"a": array("L")}, {"a": 1.0}, 8, 8) == 0.0


def test_a_measurement_leaves_the_model_as_it_was(tiny, media):
    model = tiny.model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    flags = [p.requires_grad for p in model.parameters()]
    rates = measure(tiny, [asked(image(media[0]), "what?"), asked("hello")], 100, ["inputs.*.projector.*"])
    assert rates["positions_per_s"] > 0
    assert set(rates["items_per_s"]) == {"image"}
    assert flags == [p.requires_grad for p in model.parameters()]
    assert all(p.grad is None for p in model.parameters())
    assert all((value == before[name]).all() for name, value in model.state_dict().items())
