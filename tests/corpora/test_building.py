from __future__ import annotations

import json
from pathlib import Path

import pytest

from polymodal import corpora
from polymodal.corpora import building, read
from polymodal.corpora.building import Job, Recipe, run
from polymodal.corpora.catalog import Corpus
from polymodal.corpora.items import Item, manifest
from polymodal.errors import DataError, MediaError

RECIPE = Recipe("toy", 1)


def item(number: int, **changes) -> Item:
    fields = {
        "id": f"i{number}",
        "modality": "image",
        "file": f"deep/{number}.png",
        "caption": f"thing {number}",
        "concept": f"thing {number}",
        "source": "toy",
        "vendor": "us",
        "licence": "MIT",
        "split": "train",
        "concept_split": "train",
    }
    return Item.model_validate(fields | changes)


class Source:
    """A hundred items, made two at a time; `fails` and `dies_at` are numbers of items."""

    def __init__(self, count=100, fails=(), dies_at=None):
        self.count, self.fails, self.dies_at, self.made = count, fails, dies_at, []

    def jobs(self):
        pairs = [range(start, start + 2) for start in range(0, self.count, 2)]
        return [Job([item(n) for n in pair], lambda pair=pair: self._make(pair)) for pair in pairs]

    def _make(self, pair):
        for number in pair:
            if number == self.dies_at:
                raise KeyboardInterrupt
            if number in self.fails:
                raise MediaError(f"{number}: damaged")
            self.made.append(number)
            yield f"bytes of {number}".encode()


def contents(folder):
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def staged(root):
    return sorted((root / "staging").iterdir())


def test_a_killed_build_publishes_nothing_and_continues_where_it_stopped(tmp_path):
    first = Source(dies_at=61)
    with pytest.raises(KeyboardInterrupt):
        run(RECIPE, first.jobs, tmp_path / "killed")
    with pytest.raises(DataError, match="polymodal corpus build toy"):
        read("toy", tmp_path / "killed")
    second = Source()
    folder = run(RECIPE, second.jobs, tmp_path / "killed")
    assert second.made == list(range(60, 100))  # the pair that was interrupted is made again as a whole
    assert contents(folder) == contents(run(RECIPE, Source().jobs, tmp_path / "whole"))
    assert not staged(tmp_path / "killed")


def test_a_built_corpus_is_kept_until_its_recipe_changes(tmp_path):
    run(RECIPE, Source().jobs, tmp_path)
    again = Source()
    run(RECIPE, again.jobs, tmp_path)
    assert again.made == []
    changed = Source(count=50)
    run(Recipe("toy", 1, {"asset": "other digest"}), changed.jobs, tmp_path)
    assert len(changed.made) == len(read("toy", tmp_path)) == 50
    assert not staged(tmp_path)


def test_files_staged_for_another_recipe_are_not_used(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(RECIPE, Source(dies_at=61).jobs, tmp_path)
    other = Source()
    run(Recipe("toy", 2), other.jobs, tmp_path)
    assert other.made == list(range(100))


def test_a_damaged_item_is_set_aside_with_its_reason(tmp_path):
    folder = run(RECIPE, Source(fails=[7]).jobs, tmp_path)
    rows = [json.loads(line) for line in (folder / "quarantine.jsonl").read_text().splitlines()]
    assert rows == [{"id": "i6", "reason": "7: damaged"}, {"id": "i7", "reason": "7: damaged"}]
    assert {found.id for found in read("toy", tmp_path)} == {f"i{n}" for n in range(100)} - {"i6", "i7"}
    assert manifest("toy", tmp_path)["quarantined"] == 2


def test_a_build_killed_while_it_packs_starts_packing_again(tmp_path, monkeypatch):
    def die(*_):
        (tmp_path / "staging" / "corpora-toy-packed" / "train-00000.tar").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(building.shards, "pack", die)
    with pytest.raises(KeyboardInterrupt):
        run(RECIPE, Source().jobs, tmp_path)
    monkeypatch.undo()
    again = Source()
    run(RECIPE, again.jobs, tmp_path)
    assert again.made == []
    assert len(read("toy", tmp_path)) == 100
    assert not staged(tmp_path)


def test_more_than_two_percent_damaged_stops_the_build(tmp_path):
    with pytest.raises(DataError, match="4 of 100 items could not be made, more than 2%; the last was 20: damaged"):
        run(RECIPE, Source(fails=[7, 20]).jobs, tmp_path)


def test_a_corpus_may_state_a_larger_share_of_damaged_items(tmp_path):
    run(RECIPE, Source(fails=[7, 20]).jobs, tmp_path, share=0.05)
    assert manifest("toy", tmp_path)["quarantined"] == 4


def test_one_picture_with_two_concepts_is_kept_under_the_shorter_name(tmp_path):
    names = ["bouvet island", "norway", "norway", "svalbard"]
    twins = [item(number, concept=name, caption=name) for number, name in enumerate(names)]
    run(RECIPE, lambda: [Job([twin], lambda: [b"the same"]) for twin in twins], tmp_path)
    assert [found.id for found in read("toy", tmp_path)] == ["i1", "i2"]
    assert manifest("toy", tmp_path)["ambiguous"] == 2


@pytest.mark.parametrize("changes", [{"id": "i0"}, {"file": "deep/0.png"}, {"file": "deep/0.jpg"}])
def test_two_items_never_share_an_id_or_a_key(tmp_path, changes):
    jobs = [Job([item(0), item(1, **changes)], lambda: [b"a", b"b"])]
    with pytest.raises(DataError, match="two items have the (id i0|file deep/0)"):
        run(RECIPE, lambda: jobs, tmp_path)


def test_progress_counts_items(tmp_path):
    seen = []
    run(RECIPE, Source(count=6).jobs, tmp_path, lambda done, total: seen.append((done, total)))
    assert seen == [(2, 6), (4, 6), (6, 6)]


def test_what_was_made_is_read_back_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(RECIPE, Source(count=2).jobs, Path("relative"))
    found = read("toy", Path("relative"))
    monkeypatch.chdir("/")
    assert [one.read() for one in found] == [b"bytes of 0", b"bytes of 1"]
    assert found[0].model_copy(update={"place": None}) == item(0)


def test_an_item_of_no_corpus_says_so():
    with pytest.raises(DataError, match="i0: belongs to no built corpus"):
        item(0).read()


def test_a_line_that_is_no_item_is_named(tmp_path):
    folder = run(RECIPE, Source(count=4).jobs, tmp_path)
    lines = (folder / "items.jsonl").read_text().splitlines()
    lines[2] = lines[2].replace('"vendor"', '"vendr"')
    (folder / "items.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"items.jsonl:3: vend"):
        read("toy", tmp_path)


def test_what_no_training_reads_is_built_apart_and_never_in_the_usual_cache(tmp_path, monkeypatch):
    source = Source(6)
    jobs = source.jobs()
    pairs = [
        Job([i.model_copy(update={"split": split}) for i in job.items], job.make)
        for job, split in zip(jobs, SPLITS, strict=True)
    ]
    monkeypatch.setitem(corpora.CORPORA, "toy", Corpus("toys", (), lambda folders: pairs, 1))
    monkeypatch.setitem(corpora.EVERY, "toy", corpora.CORPORA["toy"])
    monkeypatch.setattr(corpora.assets, "root", lambda: tmp_path / "usual")
    whole = {i.id: i.read() for i in read("toy", corpora.build("toy", tmp_path / "whole").parents[1])}
    corpora.build_tested("toy", tmp_path / "own")
    apart = {i.id: i.read() for i in read("toy", tmp_path / "own")}
    assert apart == {name: whole[name] for name in ("i2", "i3", "i4", "i5")}
    with pytest.raises(DataError, match="--root of its own"):
        corpora.build_tested("toy", tmp_path / "usual")


SPLITS = ("train", "held-out", "test")
