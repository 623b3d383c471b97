from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
from filelock import FileLock

from polymodal import assets
from polymodal.assets import store
from polymodal.assets.catalog import Catalog
from polymodal.errors import AssetError
from tests.assets.conftest import entry, write_wheel


def leftovers(home):
    """Every file below the cache folder except lock files."""
    return [path for path in home.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_a_fetched_asset_is_ready_complete_and_listed(catalog, tmp_path):
    folder = assets.fetch("words", catalog=catalog)
    assert folder == tmp_path / "home" / "assets" / "words"
    assert (folder / "en.txt").read_text() == "house\n"
    assert assets.state("words", catalog=catalog) == "ready"
    assert assets.path("words", catalog=catalog) == folder
    digests = assets.digests("words", catalog=catalog)
    assert set(digests) == {"en.txt", "sub/de.txt", "licences/word-list/LICENSE"}
    assert digests["en.txt"] == hashlib.sha256(b"house\n").hexdigest()
    manifest = store.manifest(folder)
    assert manifest["source"]["packages"][0]["version"] == "1.0"
    assert {p.parent.name for p in leftovers(tmp_path / "home")} == {"words", "sub", "word-list"}
    assets.verify("words", catalog=catalog)


def test_fetching_again_touches_nothing(catalog, monkeypatch):
    folder = assets.fetch("words", catalog=catalog)
    before = (folder / "en.txt").stat().st_mtime_ns
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    assert assets.fetch("words", catalog=catalog) == folder
    assert (folder / "en.txt").stat().st_mtime_ns == before


def test_an_absent_asset_names_the_command_that_gets_it(catalog):
    with pytest.raises(AssetError, match="^words is not here; get it with: polymodal assets fetch words$"):
        assets.path("words", catalog=catalog)
    with pytest.raises(AssetError, match="polymodal assets fetch words"):
        assets.verify("words", catalog=catalog)
    assert assets.state("words", catalog=catalog) == "absent"


def test_the_root_argument_wins_over_the_environment(catalog, tmp_path):
    assert assets.root() == tmp_path / "home"
    folder = assets.fetch("words", catalog=catalog, root=tmp_path / "other")
    assert folder == tmp_path / "other" / "assets" / "words"
    assert assets.state("words", catalog=catalog) == "absent"


def test_the_default_root_is_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("POLYMODAL_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert assets.root() == tmp_path / ".cache" / "polymodal"


def test_a_wrong_sha256_is_refused_and_leaves_nothing(offline, tmp_path):
    wheel = write_wheel(offline, "word-list", {"data/en.txt": b"house\n"})
    wrong = entry(wheel)
    wrong["source"]["packages"][0]["sha256"] = "1" * 64
    catalog = Catalog.model_validate({"assets": {"words": wrong}})
    with pytest.raises(AssetError, match=r"refused, word_list-1.0-py3-none-any.whl has sha256 .* pinned is 111111111111"):
        assets.fetch("words", catalog=catalog)
    assert leftovers(tmp_path / "home") == []
    assert assets.state("words", catalog=catalog) == "absent"


def test_a_file_that_is_not_the_pinned_one_is_refused(offline, tmp_path):
    wheel = write_wheel(offline, "word-list", {"data/en.txt": b"house\n"})
    catalog = Catalog.model_validate({"assets": {"words": entry(wheel, contents={"en.txt": "1" * 64})}})
    with pytest.raises(AssetError, match=r"refused, en.txt is not the pinned file"):
        assets.fetch("words", catalog=catalog)
    assert assets.state("words", catalog=catalog) == "absent"


def test_a_failed_conversion_is_invisible(offline, tmp_path):
    wheel = write_wheel(offline, "word-list", {"data/en.txt": b"house\n"})
    catalog = Catalog.model_validate({"assets": {"words": entry(wheel, convert="imagenet-labels")}})
    with pytest.raises(AssetError, match="expected one file"):
        assets.fetch("words", catalog=catalog)
    assert not (tmp_path / "home" / "assets" / "words").exists()
    assert list((tmp_path / "home" / "staging").iterdir()) == []


@pytest.mark.parametrize("step", ["unpacking", "hashing"])
def test_a_killed_fetch_is_invisible_and_continues_without_downloading_again(catalog, tmp_path, monkeypatch, step):
    (tmp_path / "catalog.json").write_text(catalog.model_dump_json())
    script = f"""
import sys, time
from pathlib import Path
from polymodal import assets
from polymodal.assets.catalog import Catalog

def stop(progress):
    if progress.step.startswith({step!r}):
        Path(sys.argv[2]).touch()
        time.sleep(60)

assets.fetch("words", stop, catalog=Catalog.model_validate_json(Path(sys.argv[1]).read_text()))
"""
    reached = tmp_path / "reached"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.Popen([sys.executable, "-c", script, tmp_path / "catalog.json", reached], env=environment)
    deadline = time.monotonic() + 60
    while not reached.exists():
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()

    home = tmp_path / "home"
    assert assets.state("words", catalog=catalog) == "absent"
    assert (home / "staging" / "words").is_dir()  # it had begun
    assert not (home / "assets" / "words").exists()

    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")  # the downloaded wheel must do
    folder = assets.fetch("words", catalog=catalog)
    assets.verify("words", catalog=catalog)
    assert all(folder in path.parents for path in leftovers(home))


def test_a_half_written_download_is_not_used(catalog, tmp_path):
    stale = tmp_path / "home" / "downloads" / "words"
    (stale / "partial-killed").mkdir(parents=True)
    (stale / "word-list==1.0").mkdir()
    (stale / "word-list==1.0" / "word_list-1.0-py3-none-any.whl").write_bytes(b"PK half")
    assets.fetch("words", catalog=catalog)
    assets.verify("words", catalog=catalog)
    assert not stale.exists()


def test_a_changed_file_is_named_by_verify_and_repaired_by_fetch(catalog):
    folder = assets.fetch("words", catalog=catalog)
    (folder / "sub" / "de.txt").write_bytes(b"Maus\n")  # same length: only reading it tells
    assert assets.state("words", catalog=catalog) == "ready"
    with pytest.raises(AssetError, match=r"words: sub/de.txt has changed"):
        assets.verify("words", catalog=catalog)
    (folder / "sub" / "de.txt").unlink()
    with pytest.raises(AssetError, match=r"words: sub/de.txt is missing"):
        assets.verify("words", catalog=catalog)
    assert assets.state("words", catalog=catalog) == "damaged"
    with pytest.raises(AssetError, match="repair it with"):
        assets.path("words", catalog=catalog)
    assets.fetch("words", catalog=catalog)
    assets.verify("words", catalog=catalog)


def test_a_lost_manifest_counts_as_damage(catalog):
    folder = assets.fetch("words", catalog=catalog)
    (folder / store.MANIFEST).write_text("{")
    assert assets.state("words", catalog=catalog) == "damaged"
    with pytest.raises(AssetError, match="not a readable manifest"):
        assets.verify("words", catalog=catalog)


def test_an_asset_of_another_catalogue_entry_is_outdated_and_replaced(catalog):
    folder = assets.fetch("words", catalog=catalog)
    changed = json.loads(catalog.model_dump_json())
    changed["assets"]["words"]["source"]["packages"][0]["keep"] = ["data/en.txt"]
    newer = Catalog.model_validate(changed)
    assert assets.state("words", catalog=newer) == "outdated"
    with pytest.raises(AssetError, match="another version"):
        assets.path("words", catalog=newer)
    assert not (assets.fetch("words", catalog=newer) / "sub").exists()
    assert assets.state("words", catalog=newer) == "ready"
    assert folder.is_dir()


def test_a_second_fetch_waits_for_the_first(catalog, tmp_path):
    (tmp_path / "home" / "locks").mkdir(parents=True)
    waiting = threading.Event()

    def note(progress):
        if progress.step.startswith("waiting"):
            waiting.set()

    second = threading.Thread(target=assets.fetch, args=("words", note), kwargs={"catalog": catalog})
    with FileLock(tmp_path / "home" / "locks" / "words.lock"):
        second.start()
        assert waiting.wait(10)
        assert assets.state("words", catalog=catalog) == "absent"
    second.join(30)
    assert assets.state("words", catalog=catalog) == "ready"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_cache_folder_that_cannot_be_written_is_explained(catalog, tmp_path):
    (tmp_path / "sealed").mkdir(mode=0o500)
    with pytest.raises(AssetError, match="choose another folder with POLYMODAL_HOME"):
        assets.fetch("words", catalog=catalog, root=tmp_path / "sealed")


def test_a_full_disk_is_refused_before_downloading(catalog, monkeypatch, tmp_path):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(AssetError, match="words needs .* MB while it is made"):
        assets.fetch("words", catalog=catalog)
