from __future__ import annotations

import pytest
from PIL import Image
from typer.testing import CliRunner

from polymodal import assets, corpora
from polymodal.cli_corpus import app
from polymodal.corpora import contact_sheet, emoji, stamps
from polymodal.corpora.building import Recipe, run
from polymodal.errors import AssetError, DataError


@pytest.fixture
def root(emoji_packages, stamp_tree, tmp_path):
    run(Recipe("emoji", 1), lambda: emoji.jobs(emoji_packages), tmp_path)
    run(Recipe("stamps", 1), lambda: stamps.jobs(stamp_tree), tmp_path)
    return tmp_path


def test_nano_is_the_four_corpora_and_an_unknown_name_gets_a_hint():
    assert corpora.expand(["nano", "emoji"]) == ["emoji", "stamps", "photos12", "sentences", "class-features"]
    with pytest.raises(DataError, match="did you mean 'stamps'"):
        corpora.expand(["stamp"])


def test_building_without_the_assets_names_the_command_that_gets_them(tmp_path):
    with pytest.raises(AssetError, match="polymodal assets fetch"):
        corpora.build("emoji", tmp_path)


def test_stats_count_splits_and_vendors(root):
    result = CliRunner().invoke(app, ["stats", "--root", str(root)])
    assert result.exit_code == 0
    assert "emoji  30 items" in result.stdout
    assert "openmoji 6" in result.stdout
    assert "photos12" not in result.stdout  # not built


def test_list_says_what_is_built(root):
    result = CliRunner().invoke(app, ["list", "--json", "--root", str(root)])
    assert result.exit_code == 0
    assert [line.strip() for line in result.stdout.splitlines() if '"items"' in line] == [
        '"items": 30',
        '"items": 6',
        '"items": null',
        '"items": null',
        '"items": null',
    ]


def test_show_writes_a_page_of_what_was_asked_for(root, tmp_path):
    page = tmp_path / "birds.png"
    arguments = ["show", "emoji", "--category", "bird", "--vendor", "noto", "--out", str(page), "--root", str(root)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert result.stdout.startswith("2 of 2 items")
    with Image.open(page) as picture:
        assert picture.width == 2 * (contact_sheet.TILE + 4)


def test_an_html_page_is_complete_and_escapes_captions(root, tmp_path):
    items = [item.model_copy(update={"caption": "<b>"}) for item in corpora.read("stamps", root)]
    contact_sheet.save(items, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/png;base64,") == len(items)
    assert "&lt;b&gt;" in page
    assert "<b>" not in page


def test_a_page_that_cannot_show_the_items_is_refused(root, tmp_path):
    items = corpora.read("stamps", root)
    recordings = [item.model_copy(update={"modality": "audio"}) for item in items]
    for chosen, name, reason in (
        ([], "a.png", "no item to show"),
        (items, "a.gif", "ends in .png or .html"),
        (recordings, "a.png", "cannot be heard"),
    ):
        with pytest.raises(DataError, match=reason):
            contact_sheet.save(chosen, tmp_path / name)


def test_samples_are_the_same_for_the_same_seed(root):
    items = corpora.read("emoji", root)
    chosen = contact_sheet.sample(items, 5)
    assert chosen == contact_sheet.sample(items, 5) != contact_sheet.sample(items, 5, seed=1)
    assert [items.index(item) for item in chosen] == sorted(items.index(item) for item in chosen)


def planned(name: str) -> list[corpora.Item]:
    """The items a real build would make, without drawing or speaking them: that takes minutes."""
    corpus = corpora.CORPORA[name]
    jobs = corpus.jobs({asset: assets.path(asset) for asset in corpus.assets})
    return [item for job in jobs for item in job.items]


@pytest.mark.weights
@pytest.mark.parametrize("name", ["emoji", "stamps", "sentences"])
def test_no_real_item_of_training_shows_what_a_test_photograph_shows(name):
    photographs = planned("photos12")
    assert len(photographs) == 206
    learned = [item for item in planned(name) if item.split in ("train", "val")]
    assert learned
    assert not {item.concept for item in learned} & (corpora.exclusions() | {photo.concept for photo in photographs})
    assert not {corpora.concept(item.caption) for item in learned} & corpora.exclusions()
    assert not {item.id for item in learned} & {photo.id for photo in photographs}
