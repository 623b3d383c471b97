from __future__ import annotations

import shutil
import subprocess
import zipfile

import pytest

from polymodal.assets.archives import unpack
from polymodal.assets.catalog import DebPackage, Package
from polymodal.errors import AssetError
from tests.assets.conftest import write_tgz, write_wheel


def package(**changes):
    return Package(**({"name": "@a/words", "version": "1", "sha256": "0" * 64, "keep": ["data/*"]} | changes))


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_only_kept_members_and_licences_are_written(tmp_path):
    wheel = write_wheel(tmp_path, "words", {"data/a/en.txt": b"house", "evil.py": b"1/0"})
    unpack(wheel, package(strip=1, into="text"), tmp_path / "out")
    assert files(tmp_path / "out") == {"text/a/en.txt": b"house", "licences/a-words/LICENSE": b"Do what you like.\n"}


@pytest.mark.parametrize("member", ["../evil", "data/../../evil", "/evil", "data\\..\\evil", "C:/evil"])
def test_a_zip_member_outside_the_folder_is_refused_by_name(tmp_path, member):
    path = tmp_path / "words-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as bundle:
        bundle.writestr(member, b"evil")
    with pytest.raises(AssetError, match="would be written outside"):
        unpack(path, package(keep=["*"]), tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("evil"))


def test_a_tar_member_outside_the_folder_is_refused_by_name(tmp_path):
    path = write_tgz(tmp_path / "w.tgz", {"package/../../evil": b"evil"})
    with pytest.raises(AssetError, match="would be written outside"):
        unpack(path, package(keep=["*"]), tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("evil"))


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    path = write_tgz(tmp_path / "w.tgz", {"data/passwd": ("../../../etc/passwd", b"")})
    with pytest.raises(AssetError, match="neither a file nor a link within the archive"):
        unpack(path, package(), tmp_path / "out")


def test_a_link_to_a_neighbour_becomes_a_copy(tmp_path):
    path = write_tgz(tmp_path / "w.tgz", {"data/lib.so.1": ("lib.so.1.2", b""), "data/lib.so.1.2": b"code"})
    unpack(path, package(strip=1), tmp_path / "out")
    assert files(tmp_path / "out") == {"lib.so.1": b"code", "lib.so.1.2": b"code"}
    assert not (tmp_path / "out" / "lib.so.1").is_symlink()


def test_a_link_to_a_kept_file_of_another_folder_becomes_a_copy_and_a_loop_is_refused(tmp_path):
    members = {"data/a/x.svg": ("../b/y.svg", b""), "data/b/y.svg": ("z.svg", b""), "data/b/z.svg": b"drawn"}
    unpack(write_tgz(tmp_path / "w.tgz", members), package(strip=1), tmp_path / "out")
    assert files(tmp_path / "out") == {"a/x.svg": b"drawn", "b/y.svg": b"drawn", "b/z.svg": b"drawn"}
    loop = write_tgz(tmp_path / "loop.tgz", {"data/a": ("b", b""), "data/b": ("a", b"")})
    with pytest.raises(AssetError, match="which is no file that is kept"):
        unpack(loop, package(), tmp_path / "loop")


def test_a_pattern_that_matches_nothing_is_refused(tmp_path):
    wheel = write_wheel(tmp_path, "words", {"data/en.txt": b"house"})
    with pytest.raises(AssetError, match=r"nothing in it matches 'data/\*.bin'"):
        unpack(wheel, package(keep=["data/*.txt", "data/*.bin"]), tmp_path / "out")


def test_two_members_on_one_path_are_refused(tmp_path):
    wheel = write_wheel(tmp_path, "words", {"data/a/en.txt": b"house", "data/b/en.txt": b"mouse"})
    with pytest.raises(AssetError, match="would overwrite"):
        unpack(wheel, package(strip=2), tmp_path / "out")


@pytest.mark.parametrize("name", ["w.whl", "w.tgz"])
def test_a_truncated_archive_is_refused_by_name(tmp_path, name):
    whole = write_tgz(tmp_path / "whole.tgz", {"data/a": bytes(range(256)) * 1000})
    (tmp_path / name).write_bytes(whole.read_bytes()[:-50])
    with pytest.raises(AssetError, match=rf"{name}: not a readable archive"):
        unpack(tmp_path / name, package(), tmp_path / "out")


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_a_debian_package_is_unpacked_with_links_and_executables(tmp_path):
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        "Package: words\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b>\nDescription: d\n"
    )
    (tree / "usr" / "bin").mkdir(parents=True)
    (tree / "usr" / "bin" / "words").write_text("#!/bin/sh\n")
    (tree / "usr" / "bin" / "words").chmod(0o755)
    (tree / "usr" / "bin" / "w").symlink_to("words")
    subprocess.run(["dpkg-deb", "--build", tree, tmp_path / "words_1_all.deb"], check=True, capture_output=True)
    unpack(tmp_path / "words_1_all.deb", DebPackage(name="words", keep=["usr/bin/*"], strip=1), tmp_path / "out")
    assert files(tmp_path / "out") == {"bin/words": b"#!/bin/sh\n", "bin/w": b"#!/bin/sh\n"}
    assert (tmp_path / "out" / "bin" / "words").stat().st_mode & 0o111
