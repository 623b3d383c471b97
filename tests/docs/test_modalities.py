"""docs/modalities.md: it has every modality, its files are there and small, and who draws it again draws the same."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
import soundfile
import yaml
from PIL import Image

import polymodal
from polymodal.content import MODALITIES
from polymodal.corpora import QA, Item
from polymodal.corpora.shards import Place
from polymodal.media.series import Series, encoded
from polymodal.model.config import model_recipe
from tests.conftest import picture, sound
from tests.docs.test_docs import ROOT

PAGE = ROOT / "docs/modalities.md"
FILE = re.compile(r"(?:\]\(|src=\"\.\./)(images/modalities/[^)\"]+)")
MOST = 400_000  # bytes of all pictures and recordings


def text() -> str:
    return PAGE.read_text(encoding="utf-8")


def recipes() -> list[dict]:
    """What the page says in YAML, {modality: encoder and projector} each."""
    return [yaml.safe_load(body) for body in re.findall(r"```yaml\n(.*?)```", text(), re.S)]


@pytest.fixture
def samples(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import samples

    return samples


def test_the_page_has_every_modality_as_a_valid_recipe():
    said = recipes()
    assert {name for inputs in said for name in inputs} == set(MODALITIES)
    for inputs in said:
        model_recipe({"model": {"backbone": {"path": "asset:smollm2-135m-instruct"}, "inputs": inputs}})
    widest = max(len(line) for body in re.findall(r"```yaml\n(.*?)```", text(), re.S) for line in body.splitlines())
    assert widest <= 80  # what the site shows without a scroll bar


def test_the_page_says_of_a_modality_that_nano_has_what_nano_has():
    nano = yaml.safe_load((polymodal.CHECKPOINTS["nano"] / "polymodal.json").read_text())["recipe"]["inputs"]
    for name, part in nano.items():
        said = [{role: options["kind"] for role, options in inputs[name].items()} for inputs in recipes() if name in inputs]
        assert {role: part[role]["kind"] for role in ("encoder", "projector")} in said, name


def test_the_files_of_the_page_are_there_and_no_others_and_small():
    shown = set(FILE.findall(text()))
    files = list((ROOT / "docs/images/modalities").iterdir())
    assert shown == {f"images/modalities/{file.name}" for file in files}
    assert sum(file.stat().st_size for file in files) < MOST


def test_the_page_has_a_block_for_every_section_and_names_the_corpora_in_its_licences(samples):
    for row in samples.ROWS:
        (block,) = re.findall(samples.BLOCK.format(name=row.name).replace(".*?", "(.*?)"), text(), re.S)
        assert f"{samples.FOLDER}/{row.name}-0.webp" in block[1]
        assert re.search(rf"^\| {row.corpus} \|", text(), re.M), row.corpus
    assert {row.modality for row in samples.ROWS} == set(MODALITIES) - {"segmentation"}


def item(folder, modality: str, number: int, data: bytes, **fields) -> Item:
    file = folder / f"{modality}-{number}"
    file.write_bytes(data)
    known = {"caption": "a thing", "concept": "thing", "source": f"tiny-{modality}", "vendor": "us", "licence": "CC0-1.0"}
    known |= {"id": file.name, "modality": modality, "file": f"{file.name}.bin", "split": "test", "concept_split": "test"}
    asked = [QA(ask=f"What is it, {n}?", answer="a | thing", type="what") for n in range(3)]
    return Item(**{**known, "questions": asked, "place": Place(str(file), 0, len(data)), **fields})


def saved(save, *values, **options) -> bytes:
    out = io.BytesIO()
    save(out, *values, **options)
    return out.getvalue()


@pytest.fixture
def corpora(tmp_path):
    """{corpus: items}: three of each modality, made of noise."""
    found = {}
    folder = tmp_path / "corpora"
    folder.mkdir()
    for number in range(3):
        rng = np.random.default_rng(number)
        frames = [Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)) for _ in range(6)]
        cloud = np.concatenate((rng.normal(size=(50, 3)), rng.random((50, 3))), 1).astype(np.float32)
        motion = Series(rng.normal(size=(100, 6)), 50, ("ax", "ay", "az", "wx", "wy", "wz"), "g, rad/s")
        media = {
            "image": saved(picture(number).save, "PNG"),
            "video": saved(frames[0].save, "GIF", save_all=True, append_images=frames[1:], duration=300),
            "audio": saved(soundfile.write, *sound(2.5 if number else 0.5), format="WAV"),
            "points": saved(np.save, cloud),
            "imu": encoded(motion),
            "depth": saved(np.save, rng.uniform(1, 9, (12, 16)).astype(np.float32)),
            "thermal": saved(np.save, rng.uniform(-5, 40, (12, 16)).astype(np.float32)),
        }
        for modality, data in media.items():
            found.setdefault(f"tiny-{modality}", []).append(item(folder, modality, number, data))
    return found


def test_the_same_model_and_corpora_make_the_same_page_and_files(samples, corpora, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "COLUMNS", 2)
    rows = [samples.Row(name, name, name.removeprefix("tiny-"), seconds=2) for name in corpora]
    blocks = "".join(f"before\n<!-- samples: {name} -->\nold\n<!-- end of samples -->\n" for name in (*corpora, "licences"))
    made = []
    for again in range(2):
        page = tmp_path / f"docs{again}/page.md"
        page.parent.mkdir()
        page.write_text(blocks)
        stale = page.parent / samples.FOLDER / "tiny-image-7.webp"
        samples.write(stale, b"")
        samples.fill(page, tiny, rows, corpora.__getitem__)
        assert not stale.exists()
        files = {file.name: file.read_bytes() for file in (page.parent / samples.FOLDER).iterdir()}
        made.append((page.read_text(), files))
    assert made[0] == made[1]
    page, files = made[0]
    assert "old" not in page
    assert page.count("before") == len(rows) + 1
    assert {f"images/modalities/{name}" for name in files} == set(FILE.findall(page))
    assert page.count("truth: **a \\| thing**") == 2 * 6 + 1  # of the three recordings, one is short enough
    answered = page.count("nano: ")
    assert answered == sum(2 if name != "audio" else 1 for name in tiny.model.modalities)
    assert page.count("does not take") == len(rows) - len(tiny.model.modalities)
    for name, data in files.items():
        if name.endswith("mp3"):
            assert len(soundfile.read(io.BytesIO(data))[0]) >= 8000
        else:
            with Image.open(io.BytesIO(data)) as shown:
                assert getattr(shown, "n_frames", 1) > 1 if "video" in name else shown.width > 100


@pytest.mark.parametrize(
    ("truth", "said", "right"),
    [
        ("It is red.", "it is red", True),
        ("pan flute", "This is a pan flute.", True),
        ("flute", "This is a pair of flutes.", False),
        ("The filmed version, of the novel.", "The filmed version of the novel.", True),
        ("bird", None, False),
    ],
)
def test_an_answer_is_right_if_it_holds_the_truth_word_for_word(samples, tmp_path, truth, said, right):
    assert samples.Sample(item(tmp_path, "image", 0, b""), "What?", truth, {}, said).right is right


def test_a_page_without_the_block_is_refused(samples):
    with pytest.raises(ValueError, match="0 blocks '<!-- samples: video -->'"):
        samples.replaced("<!-- samples: image -->\n<!-- end of samples -->\n", "video", "")
