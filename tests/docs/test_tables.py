"""The tables of the pages are those of the code: parts, options, defaults, limits, errors, assets, files."""

from __future__ import annotations

import dataclasses
import inspect
import io
import re
import struct
import zlib
from importlib import import_module
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile
import yaml
from PIL import Image
from pydantic_core import PydanticUndefined

from polymodal import assets, corpora, errors, media
from polymodal.assets import catalog
from polymodal.content import Part
from polymodal.media.gate import Limits
from polymodal.model.chat_format import FORMATS
from polymodal.model.composing import BACKBONES
from polymodal.model.composition import Composition
from polymodal.model.generation import Sampling
from polymodal.parts.encoders import ENCODERS
from polymodal.parts.fusion import FUSIONS
from polymodal.parts.generators import GENERATORS
from polymodal.parts.input_projectors import INPUT_PROJECTORS
from polymodal.parts.output_projectors import OUTPUT_PROJECTORS
from polymodal.parts.shared import SHARED
from polymodal.training.evaluate import Evaluation
from polymodal.training.objectives import OBJECTIVES
from polymodal.training.sources import SOURCES
from polymodal.training.stage import Run, Stage
from tests.conftest import LLAMA, picture
from tests.docs.test_docs import PAGES, ROOT

HOSTS = {"arxiv.org", "llava-vl.github.io", "keepachangelog.com", "semver.org", "127.0.0.1"}


def read(page: str) -> str:
    return (ROOT / "docs" / page).read_text(encoding="utf-8")


def row(page: str, name: str) -> str:
    """The one table row of a page that begins with `name`."""
    found = [line for line in read(page).splitlines() if re.match(rf"\| `{re.escape(name)}`", line)]
    assert len(found) == 1, f"{page} has {len(found)} rows of {name}"
    return found[0]


def plain(value) -> str:
    return yaml.safe_dump(value, default_flow_style=True).split("\n")[0]


CONTEXT = ("n", "width_in", "width_out", "backbone")  # what a composition gives a part beside its options
TABLES = [
    *(
        ("guide/compose.md", kind, entry)
        for kind, entry in {**BACKBONES, **ENCODERS, **INPUT_PROJECTORS, **FUSIONS, **SHARED}.items()
    ),
    *(("guide/train.md", kind, entry) for kind, entry in SOURCES.items()),
    *(("guide/make.md", kind, entry) for kind, entry in {**OUTPUT_PROJECTORS, **GENERATORS}.items()),
]


@pytest.mark.parametrize(("page", "kind", "entry"), TABLES, ids=[f"{table[0]}-{table[1]}" for table in TABLES])
def test_a_row_names_every_option_with_its_default_and_no_other(page, kind, entry):
    if isinstance(entry, str):
        module, _, name = entry.rpartition(".")
        entry = getattr(import_module(module), name)
    given = (*CONTEXT, "positions") if kind in OUTPUT_PROJECTORS and page == "guide/make.md" else CONTEXT
    parameters = [p for p in inspect.signature(entry).parameters.values() if p.name not in given]
    defaults = {p.name: list(p.default) if isinstance(p.default, tuple) else p.default for p in parameters}
    nothing = (None, inspect.Parameter.empty)
    named = {name if value in nothing else f"{name}: {plain(value)}" for name, value in defaults.items()}
    cell = row(page, kind).split("|")[3 if kind in ENCODERS and page == "guide/compose.md" else 2]
    assert set(re.findall(r"`([^`]+)`", cell)) == named


@pytest.mark.parametrize(
    ("page", "schema"), [("guide/train.md", Stage), ("guide/train.md", Run), ("guide/ask.md", Sampling)]
)
def test_a_table_has_every_key_with_its_default(page, schema):
    for name, field in schema.model_fields.items():
        default = row(page, name).split("|")[2].strip()
        value = field.get_default(call_default_factory=True)
        if value is PydanticUndefined or (value is None and not default):
            assert not default, f"{name} is required"
        else:
            assert yaml.safe_load(default.strip("`")) == value, name


def test_the_table_of_evaluations_has_every_key_with_its_default():
    for name, field in Evaluation.model_fields.items():
        default = row("guide/train.md", f"NAME.{name}").split("|")[2].strip(" `")
        if field.is_required():
            assert not default, name
        else:
            value = field.get_default(call_default_factory=True)
            plain_value = value.model_dump(exclude_unset=True) if isinstance(value, Sampling) else value
            assert yaml.safe_load(default) == plain_value, name


def test_every_limit_of_the_gate_is_in_its_table():
    for field in dataclasses.fields(Limits):
        shown = row("guide/ask.md", field.name).split("|")[2].strip(" `")
        assert yaml.safe_load(shown) == field.default, field.name


def test_every_error_of_ours_is_explained():
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.PolymodalError) and kind is not errors.PolymodalError:
            assert row("guide/ask.md", name)


def test_every_objective_corpus_and_chat_format_is_named():
    for name in (*OBJECTIVES, *corpora.CORPORA):
        assert row("guide/train.md", name)
    for name in FORMATS:
        assert f"`{name}`" in read("guide/compose.md"), name


def test_every_asset_is_listed_with_its_role_size_and_licence():
    known = catalog.builtin()
    for name, asset in known.assets.items():
        assert [cell.strip() for cell in row("guide/assets.md", name).split("|")[2:5]] == [
            asset.role,
            f"{asset.mb:g}",
            asset.licence,
        ]
    for name in known.sets:
        assert f"`{name}`" in read("guide/assets.md")


def test_the_size_of_the_download_is_the_sum_of_its_packages():
    known = catalog.builtin()
    fetched = (*known.sets["nano"], "espeak-ng")  # by `make demo`
    size = sum(package.bytes for name in fetched for package in known.assets[name].source.packages)
    for page in (ROOT / "README.md", ROOT / "docs/index.md"):
        assert f"fetches {size / 1e6:.0f} MB" in page.read_text(encoding="utf-8"), page.name


def refused() -> dict[str, bytes]:
    """The files that guide/ask.md shows the refusals of."""
    rng = np.random.default_rng(0)
    jpeg = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(jpeg, "JPEG")
    size = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", size), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b""))
    png = (struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in chunks)
    hours = struct.pack("<I", 36_000 * 16_000)
    samples = np.zeros(1600, np.float32)
    samples[7] = np.nan
    return {
        "empty.jpg": b"",
        "cut.jpg": jpeg.getvalue()[:1500],
        "notes.png": b"hello world\n",
        "huge.png": b"\x89PNG\r\n\x1a\n" + b"".join(png),
        "silent.wav": wav(np.zeros(0, np.float32)),
        "nan.wav": wav(samples),
        "long.wav": wav(np.zeros(500, np.int16), 8000, "PCM_16")[:40] + hours + bytes(1000),
    }


def wav(samples: np.ndarray, rate: int = 16_000, subtype: str = "FLOAT") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype=subtype)
    return file.getvalue()


def test_the_refusals_of_media_are_worded_as_the_page_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = []
    for name, data in {"gone.jpg": None, **refused()}.items():
        if data is not None:
            Path(name).write_bytes(data)
        with pytest.raises(errors.MediaError) as refusal:
            media.load(Part("audio" if name.endswith("wav") else "image", media=name))
        said.append(re.sub(r"\(\d+ bytes not", "(… bytes not", str(refusal.value)))
    (shown,) = re.findall(r"```text\n(gone\.jpg.*?)```", read("guide/ask.md"), re.S)
    assert re.sub(r"\(\d+ bytes not", "(… bytes not", shown).splitlines() == said


def test_the_refusals_of_recipes_are_worded_as_the_page_says(tokenizer_folder):
    said = []
    for projector in ({"kind": "mpl"}, {"kind": "mlp", "dept": 3}, {"kind": "mlp", "width_in": 768}):
        image = {"encoder": {"kind": "efficientnet-lite"}, "projector": projector}
        backbone = {"config": dict(LLAMA), "tokenizer": tokenizer_folder}
        with pytest.raises(errors.RecipeError) as refusal:
            Composition.from_recipe({"model": {"backbone": backbone, "inputs": {"image": image}}})
        said.append(str(refusal.value))
    (shown,) = re.findall(r"```text\n(inputs.*?)```", read("guide/compose.md"), re.S)
    assert shown.splitlines() == said


def test_a_missing_asset_is_refused_as_the_page_says(tmp_path):
    with pytest.raises(errors.AssetError) as refusal:
        assets.path("whisper-base", root=tmp_path)
    assert str(refusal.value) in read("guide/assets.md")


def test_the_json_of_an_answer_has_the_keys_that_the_page_explains(tiny):
    answer = tiny.ask("what is this?", images=[picture(1)], sampling=Sampling(max_new_tokens=2)).to_json()
    explained = set(re.findall(r"^\| `((?:text|parts|timing|tokens|sampling)[.\w]*)` \|", read("guide/ask.md"), re.M))
    nested = {f"{key}.{inner}" for key in ("timing", "tokens", "sampling") for inner in answer[key]}
    assert explained == nested | {"text", "parts"} == nested | answer.keys() - {"timing", "tokens", "sampling"}


def test_every_file_and_make_target_that_a_page_names_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for path in re.findall(r"`((?:src|tests|docs|recipes|benchmarks|examples)/[\w./-]+\.\w+)`", text):
            assert (ROOT / path).is_file() or "NAME" in path, f"{page.name}: {path}"
        for target in re.findall(r"(?:^\$ |`)make ([a-z-]+)", text, re.M):
            assert target in targets, f"{page.name}: make {target}"


def test_no_page_names_a_host_or_a_folder_of_one_machine():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert set(re.findall(r"://([\w.-]+)", text)) <= HOSTS, page.name
        absolute = re.findall(r"(?<![\w.~)}\]*-])/(?!image|audio|history|reset|quit|v1/)[a-z]\w*/\S*", text)
        assert not absolute, f"{page.name}: {absolute}"


def test_the_picture_of_the_five_parts_names_them():
    picture = ElementTree.parse(ROOT / "docs/images/five-parts.svg").getroot()
    words = " ".join("".join(element.itertext()) for element in picture.iter("{http://www.w3.org/2000/svg}text"))
    for name in ("encoder", "projector", "backbone", "generator"):
        assert name in words
