from __future__ import annotations

import pytest

from polymodal.corpora import gcide
from polymodal.errors import DataError

from . import gcide_files


def test_the_senses_of_a_noun_are_read_without_examples_notes_phrases_and_old_uses(tmp_path):
    found = gcide.nouns(gcide_files.write(tmp_path, gcide_files.ENTRIES), {"seal", "dog"})
    assert found == {
        "seal": [
            ("Any aquatic carnivorous mammal of the families Phocidæ and Otariidae.", "zool"),
            ("An engraved stamp.", ""),
            ("A trap for gas.", ""),
        ]
    }


def test_an_entry_that_only_mentions_a_word_is_not_its_definition(tmp_path):
    entries = {"armchair": ("Chair \\Chair\\, n.\n   A seat, such as the {armchair}.\n",)}
    assert gcide.nouns(gcide_files.write(tmp_path, entries), {"armchair"}) == {}


@pytest.mark.parametrize(
    ("sense", "definition"),
    [
        ("A kind of caf['e] in the tropics.", "A kind of café in the tropics."),
        ("(Naut.) Hence: a rope that holds", "A rope that holds."),
        ("Any thing that is round, as: (a)", "Any thing that is round."),
        ("Same as {Teapot}, which see.", None),
        ("A vessel of the t[=u]mbler kind.", None),  # a letter that is not known here
        ("A mean, worthless fellow. [Colloq. U. S.]", None),
        ("A cup.", None),
    ],
)
def test_a_definition_is_a_plain_sentence_or_none(sense, definition):
    assert gcide.plain(sense) == definition


def test_what_is_no_dictionary_is_refused(tmp_path):
    gcide_files.write(tmp_path, gcide_files.ENTRIES)
    (tmp_path / "gcide.index").write_text("seal\tA\t?\n")
    with pytest.raises(DataError, match=r"gcide.index:1: not an entry"):
        gcide.nouns(tmp_path, {"seal"})
    (tmp_path / "gcide.dict.dz").write_bytes(b"plain text")
    with pytest.raises(DataError, match="not a dictionary of dictd"):
        gcide.nouns(tmp_path, {"seal"})
    (tmp_path / "gcide.index").unlink()
    with pytest.raises(DataError, match=r"gcide.index: no such file"):
        gcide.nouns(tmp_path, {"seal"})
