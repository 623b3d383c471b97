from __future__ import annotations

import io
import json

import numpy as np
import pytest
import soundfile
from PIL import Image
from typer.testing import CliRunner

from polymodal import assets, corpora
from polymodal.cli_corpus import app
from polymodal.corpora import contact_sheet, emoji, openclipart, stamps
from polymodal.corpora.building import Recipe, run
from polymodal.corpora.items import QA, Box
from polymodal.corpora.previews import preview
from polymodal.corpora.shards import Place
from polymodal.errors import AssetError, DataError

from ..conftest import sound


@pytest.fixture
def root(emoji_packages, stamp_tree, tmp_path):
    run(Recipe("emoji", 1), lambda: emoji.jobs("emoji", emoji_packages), tmp_path)
    run(Recipe("stamps", 1), lambda: stamps.jobs(stamp_tree), tmp_path)
    return tmp_path


def test_nano_is_a_set_and_an_unknown_name_gets_a_hint():
    nano = corpora.expand(["nano", "emoji"])
    assert nano[:5] == ["emoji", "emoji-3d", "stamps", "photos12", "class-features"]
    assert len(nano) == len(set(nano)) == len(corpora.SETS["nano"])
    with pytest.raises(DataError, match="did you mean 'stamps'"):
        corpora.expand(["stamp"])


def test_building_without_the_assets_names_the_command_that_gets_them(tmp_path):
    with pytest.raises(AssetError, match="polymodal assets fetch"):
        corpora.build("emoji", tmp_path)


def test_stats_count_splits_and_vendors(root):
    result = CliRunner().invoke(app, ["stats", "--root", str(root)])
    assert result.exit_code == 0
    assert "emoji  24 items" in result.stdout
    assert "openmoji 6" in result.stdout
    assert "photos12" not in result.stdout  # not built


def test_list_says_what_is_built(root):
    result = CliRunner().invoke(app, ["list", "--json", "--root", str(root)])
    assert result.exit_code == 0
    items = {row["name"]: row["items"] for row in json.loads(result.stdout)}
    assert items.keys() == corpora.EVERY.keys()
    assert {name: count for name, count in items.items() if count is not None} == {"emoji": 24, "stamps": 6}


def test_a_tier_includes_the_tiers_below():
    small, medium, large = (corpora.expand([], tier) for tier in corpora.TIERS)
    assert set(small) < set(medium) <= set(large) == set(corpora.EVERY)
    assert {corpora.EVERY[name].tier for name in small} == {"S"}
    assert corpora.expand(["stamps"], "S") == [*small, "stamps"]


def test_building_fetches_what_is_missing_and_nothing_twice(emoji_packages, tmp_path, monkeypatch):
    here, fetched = {"emojibase"}, []

    def fetch(name, progress, root):
        fetched.append(name)
        here.add(name)

    monkeypatch.setattr(assets, "state", lambda name, root: "ready" if name in here else "absent")
    monkeypatch.setattr(assets, "fetch", fetch)
    monkeypatch.setattr(assets, "path", lambda name, root: emoji_packages[name])
    monkeypatch.setattr(assets, "digests", lambda name, root: {})
    for _ in range(2):
        result = CliRunner().invoke(app, ["build", "emoji", "--root", str(tmp_path)])
        assert result.exit_code == 0, result.output
    assert fetched == ["noto-emoji", "twemoji", "fluent-emoji-flat", "openmoji"]
    assert result.stdout.startswith("emoji  24 items")


@pytest.mark.parametrize(("arguments", "reason"), [([], "or say --tier"), (["--tier", "XL"], "choose from: S, M, L")])
def test_a_build_of_nothing_or_of_no_tier_is_refused(arguments, reason):
    result = CliRunner().invoke(app, ["build", *arguments])
    assert isinstance(result.exception, DataError)
    assert reason in str(result.exception)


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


def test_a_page_of_nothing_or_of_an_unknown_kind_is_refused(root, tmp_path):
    items = corpora.read("stamps", root)
    unseen = [item.model_copy(update={"modality": "segmentation"}) for item in items]
    for chosen, name, reason in (
        ([], "a.png", "no item to show"),
        (items, "a.gif", "ends in .png or .html"),
        (unseen, "a.png", "there is no preview of 'segmentation'"),
    ):
        with pytest.raises(DataError, match=reason):
            contact_sheet.save(chosen, tmp_path / name)


def test_a_page_shows_boxes_questions_recordings_motion_and_text(root, tmp_path):
    from safetensors.numpy import save

    media = {"audio": io.BytesIO(), "text": b"some words", "imu": save({"samples": np.random.rand(50, 6)})}
    soundfile.write(media["audio"], *sound(0.5), format="FLAC")
    media["audio"] = media["audio"].getvalue()
    drawn = corpora.read("stamps", root)[0]
    asked = [QA(ask=f"What is {n} & more?", answer=f"answer {n}", type="what") for n in range(10)]
    items = [drawn.model_copy(update={"boxes": [Box(name="all", xyxy=(20, 20, 200, 200))], "questions": asked})]
    for modality, data in media.items():
        (tmp_path / modality).write_bytes(data)
        place = Place(str(tmp_path / modality), 0, len(data))
        items.append(drawn.model_copy(update={"modality": modality, "place": place}))
    contact_sheet.save(items, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/png;base64,") == 4
    assert page.count("data:audio/flac;base64,") == 1
    assert "What is 7 &amp; more?" in page
    assert "answer 8" not in page
    assert "and 2 more questions" in page
    looks = [preview(item, 112) for item in items]
    assert looks[0].getpixel((10, 50)) == (214, 39, 40)  # the box
    assert all(len(look.getcolors(112 * 112)) > 1 for look in looks)


def test_points_are_drawn_from_in_front_and_from_above_with_the_nearer_one_on_top(root, tmp_path):
    from safetensors.numpy import save

    square = np.stack(np.meshgrid(np.linspace(-1, 1, 40), np.linspace(-1, 1, 40)), -1).reshape(-1, 2)
    red, blue = np.tile((1, 0, 0), (1600, 1)), np.tile((0, 0, 1), (1600, 1))
    below = np.column_stack((square[:, 0], np.full(1600, -0.5), square[:, 1], blue))
    above = np.column_stack((square[:, 0], np.full(1600, 0.5), square[:, 1], red))
    data = save({"points": np.concatenate((above, below)).astype(np.float32)})
    (tmp_path / "points").write_bytes(data)
    update = {"modality": "points", "place": Place(str(tmp_path / "points"), 0, len(data))}
    shown = np.asarray(preview(corpora.read("stamps", root)[0].model_copy(update=update), 160))
    assert shown.shape == (160, 160, 3)
    assert (shown[[0, -1, 80], [-1, 0, 0]] == 255).all()  # white around it
    front, top = ((half[..., 0] > 100) & (half[..., 2] < 50) for half in (shown[:80], shown[80:]))
    hidden = [(half[..., 2] > 100) & (half[..., 0] < 50) for half in (shown[:80], shown[80:])]
    assert front.any()
    assert hidden[0].any()
    assert np.argwhere(front)[:, 0].mean() < np.argwhere(hidden[0])[:, 0].mean()  # what is above is drawn above
    assert top.sum() > 2500
    assert not hidden[1].any()


def test_a_clip_is_shown_by_five_of_its_pictures_row_by_row(root, tmp_path):
    greys = [Image.new("RGB", (40, 40), (40 * number,) * 3) for number in range(5)]
    greys[0].save(tmp_path / "clip", "WEBP", save_all=True, append_images=greys[1:], duration=200, lossless=True)
    update = {"modality": "video", "place": Place(str(tmp_path / "clip"), 0, (tmp_path / "clip").stat().st_size)}
    shown = preview(corpora.read("stamps", root)[0].model_copy(update=update), 90)
    middles = [shown.getpixel((15 + number % 3 * 30, 15 + number // 3 * 30))[0] for number in range(6)]
    assert middles == [0, 40, 80, 120, 160, 255]


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
@pytest.mark.parametrize("name", ["emoji", "emoji-3d", "stamps", "sentences", "openclipart", "maps"])
def test_no_real_item_of_training_shows_what_a_test_photograph_shows(name, monkeypatch):
    monkeypatch.setattr(openclipart, "_distinct", list)  # drawn variants of one drawing too: drawing all takes minutes
    photographs = planned("photos12")
    assert len(photographs) == 206
    learned = [item for item in planned(name) if item.split in ("train", "val")]
    assert learned
    assert not {item.concept for item in learned} & (corpora.exclusions() | {photo.concept for photo in photographs})
    assert not {corpora.concept(item.caption) for item in learned} & corpora.exclusions()
    assert not {item.id for item in learned} & {photo.id for photo in photographs}
