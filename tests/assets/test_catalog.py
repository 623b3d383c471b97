from __future__ import annotations

import re

import pytest

from polymodal.assets import catalog, convert
from polymodal.assets.catalog import DebSource
from polymodal.errors import AssetError

WHEEL = """
assets:
  words:
    role: corpus
    about: a test
    licence: MIT
    mb: 1
    source:
      kind: wheel
      packages: [{name: word-list, version: "1", sha256: %s, keep: ["*"]}]
""" % ("a" * 64)


def load(tmp_path, text):
    path = tmp_path / "catalog.yaml"
    path.write_text(text)
    return catalog.load(path)


def test_every_builtin_asset_names_a_converter_that_exists():
    for asset in catalog.builtin().assets.values():
        assert asset.convert is None or convert.converter(asset.convert) is not None


def test_every_builtin_package_is_pinned_except_those_debian_replaces():
    unpinned = {
        package.name
        for asset in catalog.builtin().assets.values()
        for package in asset.source.packages
        if package.sha256 is None
    }
    assert unpinned == {"espeak-ng", "libespeak-ng1", "espeak-ng-data", "libsonic0", "flite", "libflite1"}
    assert isinstance(catalog.builtin().get("espeak-ng").source, DebSource)


def test_builtin_names_no_address():
    text = (catalog.Path(catalog.__file__).with_name("catalog.yaml")).read_text()
    assert not re.search(r"https?:|\.org\b|\.com\b|\.io\b", text)


def test_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(AssetError, match=r"no asset is called 'whisper-bas' \(did you mean 'whisper-base'\?\)"):
        catalog.builtin().get("whisper-bas")


def test_sets_expand_in_order_and_once():
    names = catalog.builtin().expand(["nano", "whisper-base", "espeak-ng"])
    assert names == [
        *("smollm2-135m-instruct", "efficientnet-lite0", "whisper-base", "minilm-l6-v2", "piper-joe"),
        "espeak-ng",
    ]


def test_unknown_key_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(AssetError, match=r"assets\.words\.licens: unknown key 'licens' \(did you mean 'licence'\?\)"):
        load(tmp_path, WHEEL.replace("licence:", "licens:"))


def test_unknown_key_of_a_package_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(AssetError, match=r"unknown key 'kep' \(did you mean 'keep'\?\)"):
        load(tmp_path, WHEEL.replace("mb: 1", "mb: 1").replace('keep: ["*"]', 'keep: ["*"], kep: 1'))


def test_a_wheel_without_sha256_is_refused(tmp_path):
    with pytest.raises(AssetError, match="sha256"):
        load(tmp_path, WHEEL.replace(f"sha256: {'a' * 64}, ", ""))


def test_a_deb_pinned_by_version_alone_is_refused(tmp_path):
    text = WHEEL.replace("kind: wheel", "kind: deb").replace(f"sha256: {'a' * 64}, ", "")
    with pytest.raises(AssetError, match="pin version and sha256 together"):
        load(tmp_path, text)


def test_a_set_naming_no_asset_is_refused(tmp_path):
    with pytest.raises(AssetError, match="sets.s names 'word'"):
        load(tmp_path, WHEEL + "sets: {s: [word]}\n")


def test_a_broken_file_is_refused_on_one_line(tmp_path):
    with pytest.raises(AssetError) as caught:
        load(tmp_path, "assets: {a: [}\n")
    assert "\n" not in str(caught.value)
    assert "catalog.yaml" in str(caught.value)


def test_the_pin_changes_with_the_package_and_the_converter_but_not_with_the_size():
    asset = catalog.builtin().get("whisper-base")
    first, *rest = asset.source.packages

    def changed(**update):
        source = asset.source.model_copy(update={"packages": [first.model_copy(update=update), *rest]})
        return asset.model_copy(update={"source": source}).pin(1)

    assert changed(bytes=1) == asset.pin(1)
    assert changed(version="9") != asset.pin(1)
    assert asset.pin(2) != asset.pin(1)
