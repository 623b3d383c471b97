from __future__ import annotations

import pytest

from polymodal.corpora import wordnet
from polymodal.errors import DataError


def written(folder, lines, forms="went go\n"):
    """A WordNet of these lines "LEMMA ... | GLOSS" of nouns."""
    synsets = []
    for line in lines:
        lemmas, gloss = line.split(" | ")
        listed = " ".join(f"{lemma} 0" for lemma in lemmas.split())
        synsets.append(f"00001740 03 n {len(lemmas.split()):02x} {listed} 000 | {gloss}")
    for part in wordnet.PARTS:
        (folder / f"data.{part}").write_text("  1 licence\n" + "".join(f"{s}  \n" for s in synsets if part == "noun"))
        (folder / f"{part}.exc").write_text(forms if part == "verb" else "")
    return folder


def test_an_example_becomes_a_sentence_with_a_capital_and_an_end(tmp_path):
    lines = ['dog | a pet; "the dog ran fast"; "did the dog run fast?"', 'cat | "The dog ran did run fast!"']
    assert wordnet.examples(written(tmp_path, lines)) == [
        "The dog ran fast.",
        "Did the dog run fast?",
        "The dog ran did run fast.",
    ]


@pytest.mark.parametrize(
    "left_out",
    [
        "the dog ran",
        "the dog, the dog ran fast",
        "the dog ran to Rome fast",
        "Rome ran the dog fast",
        "the zyx dog ran fast",
        "the dog ran 4 times fast",
        "the dog ran fast " * 3,
    ],
)
def test_an_example_that_cannot_be_spoken_plainly_is_left_out(tmp_path, left_out):
    kept = ["the dog ran fast to town", "to town ran the dog fast", "the dog ran times", "the times ran fast"]
    lines = [f'dog | "{example}"' for example in (*kept, left_out.strip())]
    assert len(wordnet.examples(written(tmp_path, lines))) == len(kept)


def test_an_example_that_uses_a_slur_or_explains_one_is_left_out(tmp_path):
    lines = [
        'dog | "the dog ran fast"; "did the dog run fast"; "the dog did run"',
        'cur | (ethnic slur) a dog; "did the dog run"',
        'cat | "the cur did run fast"; "ran the cur fast"',
    ]
    assert wordnet.examples(written(tmp_path, lines)) == ["The dog ran fast.", "Did the dog run fast.", "The dog did run."]


@pytest.mark.parametrize(
    "forms",
    [
        "go goes going went",
        "dog dogs dog's",
        "hope hopes hoped hoping",
        "stop stops stopped stopping stopper",
        "city cities",
        "use uses used using user",
        "fly flies flying",
        "cry cries cried crying",
        "tie ties tied",
        "big bigger biggest",
        "happy happier happiest happily",
        "make makes making maker",
        "box boxes boxed",
        "quick quickly quicker",
    ],
)
def test_forms_of_a_word_are_one_family(tmp_path, forms):
    families = wordnet.Families(written(tmp_path, []))
    assert len({families.of(word) for word in forms.split()}) == 1


def test_different_words_are_different_families(tmp_path):
    families = wordnet.Families(written(tmp_path, []))
    words = ["dog", "cat", "house", "horse", "table", "stable", "red", "bed", "this", "his", "is", "bring", "ring", "thing"]
    assert len({families.of(word) for word in words}) == len(words)


def test_what_is_no_wordnet_is_refused_by_file_and_line(tmp_path):
    with pytest.raises(DataError, match="data.noun: no such file of WordNet"):
        list(wordnet.synsets(tmp_path))
    (tmp_path / "data.noun").write_text("  1 licence\nsomething else\n")
    with pytest.raises(DataError, match="data.noun:2: not a synset of WordNet"):
        list(wordnet.synsets(tmp_path))
