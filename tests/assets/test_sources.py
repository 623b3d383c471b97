from __future__ import annotations

import os
import stat

import pytest

from polymodal import assets
from polymodal.assets.catalog import Catalog
from polymodal.errors import AssetError
from tests.assets.conftest import sha256, write_tgz

BASE = {"role": "corpus", "about": "a test", "licence": "MIT", "mb": 0.1}


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Put a shell script in the place of a client program."""

    def install(name: str, script: str) -> None:
        folder = tmp_path / "programs"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod((folder / name).stat().st_mode | stat.S_IEXEC)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")

    monkeypatch.setenv("POLYMODAL_HOME", str(tmp_path / "home"))
    return install


def npm_catalog(archive):
    package = {"name": "@a/words", "version": "1.0", "sha256": sha256(archive), "keep": ["package/*.txt"], "strip": 1}
    return Catalog.model_validate({"assets": {"words": BASE | {"source": {"kind": "npm", "packages": [package]}}}})


def deb_catalog():
    package = {"name": "words", "keep": ["*"]}
    return Catalog.model_validate({"assets": {"words": BASE | {"source": {"kind": "deb", "packages": [package]}}}})


def test_without_a_network_one_line_names_the_command(catalog, monkeypatch):
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    with pytest.raises(AssetError) as caught:
        assets.fetch("words", catalog=catalog)
    message = str(caught.value)
    assert message.startswith("could not download word-list==1.0 (pip: ")
    assert message.endswith("when there is a network, run: polymodal assets fetch words")
    assert "\n" not in message


def test_an_npm_package_is_packed_and_unpacked(tmp_path, program):
    archive = write_tgz(tmp_path / "a-words-1.0.tgz", {"package/en.txt": b"house\n", "package/x.js": b"evil"})
    program("npm", f'test "$1" = pack && for last; do :; done && test "$last" = @a/words@1.0 && cp {archive} .')
    folder = assets.fetch("words", catalog=npm_catalog(archive))
    assert [path.name for path in folder.iterdir() if path.suffix == ".txt"] == ["en.txt"]
    assert not (folder / "x.js").exists()


def test_a_missing_client_is_named_with_its_remedy(tmp_path, program, monkeypatch):
    archive = write_tgz(tmp_path / "a.tgz", {"package/en.txt": b"house\n"})
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AssetError, match="needs the program npm, which is not here: install Node.js"):
        assets.fetch("words", catalog=npm_catalog(archive))
    with pytest.raises(AssetError, match="needs the program apt-get"):
        assets.fetch("words", catalog=deb_catalog())


def test_a_clients_error_is_passed_on_without_addresses(tmp_path, program):
    archive = write_tgz(tmp_path / "a.tgz", {"package/en.txt": b"house\n"})
    program(
        "npm",
        "echo npm warn old >&2; echo 'npm error request to https://some.mirror.example/x failed: mirror.example' >&2;"
        "echo npm error see the log >&2; exit 1",
    )
    with pytest.raises(AssetError) as caught:
        assets.fetch("words", catalog=npm_catalog(archive))
    assert "(npm: npm error request to <address> failed: <host>)" in str(caught.value)
    assert "mirror" not in str(caught.value)


def test_apt_without_package_lists_reads_its_own_once(tmp_path, program):
    log = tmp_path / "log"
    script = f'echo "$@" >> {log}; case "$*" in *Dir::State::Lists*update) exit 0;; esac; echo "E: no $1" ; exit 100'
    program("apt-get", script)
    program("dpkg-deb", "exit 0")
    with pytest.raises(AssetError, match=r"apt-get: E: no"):
        assets.fetch("words", catalog=deb_catalog())
    calls = [line.split()[-2:] for line in log.read_text().splitlines()]
    assert [call[-1] for call in calls] == ["words", "update", "words"]
    assert list((tmp_path / "home" / "downloads").iterdir()) == []


def test_a_folder_is_copied_by_its_patterns(tmp_path):
    (tmp_path / "mine" / "sub").mkdir(parents=True)
    (tmp_path / "mine" / "sub" / "en.txt").write_text("house\n")
    (tmp_path / "mine" / "big.bin").write_text("x")
    source = {"kind": "folder", "path": str(tmp_path / "mine"), "keep": ["*.txt"]}
    catalog = Catalog.model_validate({"assets": {"words": BASE | {"source": source}}})
    assets.fetch("words", catalog=catalog, root=tmp_path / "home")
    assert set(assets.digests("words", catalog=catalog, root=tmp_path / "home")) == {"sub/en.txt"}


def test_a_hub_repository_without_a_network_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    source = {"kind": "hub", "repo": "someone/words", "revision": "0" * 40}
    catalog = Catalog.model_validate({"assets": {"words": BASE | {"source": source}}})
    with pytest.raises(AssetError) as caught:
        assets.fetch("words", catalog=catalog, root=tmp_path / "home")
    assert str(caught.value).startswith("could not download someone/words@000")
    assert "\n" not in str(caught.value)


def test_progress_counts_bytes_against_the_pinned_size(catalog):
    sized = catalog.assets["words"].source.packages[0].model_copy(update={"bytes": 12345})
    source = catalog.assets["words"].source.model_copy(update={"packages": [sized]})
    asset = catalog.assets["words"].model_copy(update={"source": source})
    seen = []
    assets.fetch("words", seen.append, catalog=Catalog(assets={"words": asset}))
    downloading = [progress for progress in seen if progress.step == "downloading word-list==1.0"]
    assert downloading
    assert all(progress.total == 12345 and progress.done is not None for progress in downloading)
    assert [p.step for p in seen if p.total is None] == ["unpacking word-list", "hashing"]
