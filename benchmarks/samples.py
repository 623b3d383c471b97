"""The samples of docs/modalities.md: held-out media of every modality, what was asked, what is true, what nano says.

    .venv/bin/python benchmarks/samples.py                 asks nano and writes the page's samples anew
    .venv/bin/python benchmarks/samples.py --model runs/nano-v2/model

Which items are shown, and which of its own questions each is asked, is drawn by a fixed seed from what no training saw, and
not chosen. An answer is right if it holds the truth, word for word. What a model does not take is shown without one.

The text between `<!-- samples: NAME -->` and `<!-- end of samples -->` is written here, all else of the page by hand; the
pictures and recordings go to docs/images/modalities. It needs the corpora of ROWS: `polymodal corpus build NAME ...`.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import options, show, start
from figures import LARGE, SIDE, figures
from polymodal import corpora, media
from polymodal.corpora import Item
from polymodal.corpora.building import write
from polymodal.corpora.items import RATE
from polymodal.evaluation.metrics import words
from polymodal.model.composition import Composition
from polymodal.model.generation import Sampling
from polymodal.training.sources.corpus import media_of

PAGE = Path(__file__).resolve().parents[1] / "docs/modalities.md"
FOLDER = "images/modalities"  # beside the page
SEED = 0
COLUMNS = 3
TOKENS = 24  # of an answer, at most
LICENCES = "licences"
BLOCK = r"(<!-- samples: {name} -->\n).*?(<!-- end of samples -->)"


@dataclass(frozen=True)
class Row:
    """COLUMNS samples of a corpus, in the section `name`. `ask`: a question, and the field of an item that answers it;
    without, one of the item's own questions. `where`: `{field: value}`; `seconds`: of a recording, at most."""

    name: str
    corpus: str
    modality: str
    split: str = "test"
    where: Mapping[str, str] = field(default_factory=dict)
    ask: tuple[str, str] | None = None
    seconds: float = float("inf")
    side: int = SIDE


ROWS = (
    Row("image", "photos12", "image", ask=("What kind of thing is this?", "category")),
    Row("image", "scenes", "image", "held-out"),
    Row("charts", "charts", "image", side=LARGE),
    Row("web-pages", "web-pages", "image", "held-out", side=LARGE),
    Row("heat-maps", "heat-maps", "image", "held-out", side=LARGE),
    Row("video", "moving-stickers", "video", "held-out"),
    Row("speech", "utterances", "audio", ask=("Repeat what you hear.", "text"), seconds=3),
    Row("sounds", "instruments", "audio", "held-out", ask=("Which instrument is this?", "concept"), seconds=3),
    Row("points", "furniture", "points", "held-out", ask=("What is this?", "subgroup")),
    Row("points", "parts3d", "points", "held-out", ask=("What is this?", "group")),
    Row("imu", "motion", "imu", where={"group": "watch-motion"}, ask=("Which exercise is this?", "concept")),
    Row("depth", "solids", "depth"),
    Row("thermal", "solids", "thermal"),
)


@dataclass(frozen=True)
class Sample:
    """An item with its question; `files`: of the page's folder, by suffix; `said` and `positions` if it was answered."""

    item: Item
    question: str
    truth: str
    files: Mapping[str, str]
    said: str | None = None
    positions: int = 0

    @property
    def right(self) -> bool:
        return self.said is not None and f" {' '.join(words(self.truth))} " in f" {' '.join(words(self.said))} "


def drawn(row: Row, items: Sequence[Item]) -> Iterator[tuple[Item, str, str]]:
    """COLUMNS items of the row, with question and truth."""
    rng = random.Random(f"{SEED} {row.corpus} {row.modality}")
    usable = [item for item in items if (item.modality, item.split) == (row.modality, row.split)]
    usable = [item for item in usable if all(getattr(item, key) == value for key, value in row.where.items())]
    usable = [item for item in usable if (getattr(item, row.ask[1]) if row.ask else item.questions)]
    count = 0
    for item in rng.sample(usable, len(usable)):
        if count < COLUMNS and (row.modality != "audio" or len(media.load_audio(item.read())) <= row.seconds * RATE):
            count += 1
            own = None if row.ask else rng.choice(item.questions)
            yield (item, own.ask, own.answer) if own else (item, row.ask[0], getattr(item, row.ask[1]))


def shown(composition: Composition, row: Row, items: Sequence[Item], folder: Path, first: int) -> Iterator[Sample]:
    """The samples of a row, asked, with their files written. `first`: the number of the first one in its section."""
    takes = row.modality in composition.model.modalities
    for number, (item, question, truth) in enumerate(drawn(row, items), first):
        files = {}
        for suffix, data in figures(item, row.side).items():
            files[suffix] = f"{row.name}-{number}.{suffix}"
            write(folder / files[suffix], data)
        sample = Sample(item, question, truth, files)
        if takes:
            answer = composition.ask(question, media=[media_of(item)], sampling=Sampling(max_new_tokens=TOKENS))
            said = " ".join(answer.text.split()) + ("" if answer.finished else " …")
            sample = Sample(item, question, truth, files, said, answer.tokens["media"])
        yield sample


def table(samples: Sequence[Sample]) -> str:
    """The samples of a row as a table in Markdown: pictures, questions, truths and answers."""
    lines = [[picture(sample) for sample in samples], ["---"] * len(samples)]
    lines.append([f"*{plain(sample.question)}*" for sample in samples])
    lines.append([f"truth: **{plain(sample.truth)}**" for sample in samples])
    if all(sample.said is not None for sample in samples):
        lines.append([f"nano: {plain(sample.said or '')} {'✓' if sample.right else '✗'}" for sample in samples])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def picture(sample: Sample) -> str:
    """A picture, and a player where there is something to hear: a link on a site that shows no players."""
    what = f"{sample.item.modality} of the corpus {sample.item.source}"
    image = f"![{what}]({FOLDER}/{sample.files['webp']})"
    if "mp3" not in sample.files:
        return image
    file = f"{FOLDER}/{sample.files['mp3']}"  # the site has a folder for each page
    return f'{image}<br><audio controls preload="none" style="width:100%" src="../{file}">[listen]({file})</audio>'


def plain(text: str) -> str:
    """Text of a model or corpus in a cell of a table: nothing in it is Markdown."""
    return re.sub(r"([\\`*_\[\]<>|#&])", r"\\\1", text)


def section(rows: Sequence[Sequence[Sample]]) -> str:
    """What stands between the markers of a section."""
    samples = [sample for row in rows for sample in row]
    places = sorted({sample.positions for sample in samples})
    if any(sample.said is None for sample in samples):
        line = "The nano in this version does not take these."
    else:
        took = f"{places[0]}" if len(places) == 1 else f"{places[0]} to {places[-1]}"
        right = sum(sample.right for sample in samples)
        line = f"{took} positions each. nano is right about {right} of {len(samples)}."
    return "\n\n".join([*map(table, rows), line])


def licences(samples: Sequence[Sample]) -> str:
    """Whose the shown media are: a row for each corpus, maker and licence."""
    found = defaultdict(list)
    for sample in samples:
        found[sample.item.source, sample.item.vendor, sample.item.licence].append(f"`{sample.item.id}`")
    rows = [f"| {corpus} | {vendor} | {licence} | {', '.join(ids)} |" for (corpus, vendor, licence), ids in found.items()]
    return "\n".join(["| corpus | made by | licence | items |", "|---|---|---|---|", *rows])


def replaced(page: str, name: str, text: str) -> str:
    """The page with another block `name`. Raises ValueError if it has not exactly one."""
    page, count = re.subn(BLOCK.format(name=name), lambda found: f"{found[1]}{text}\n{found[2]}", page, flags=re.S)
    if count != 1:
        raise ValueError(f"the page has {count} blocks '<!-- samples: {name} -->', and not one")
    return page


def fill(
    page: Path, composition: Composition, rows: Sequence[Row] = ROWS, read: Callable[[str], list[Item]] = corpora.read
) -> dict[str, list[Sample]]:
    """Write the samples of the rows into the page and its folder; {section: samples}. What else lies in the folder under
    these sections' names is from another time and goes."""
    folder = page.parent / FOLDER
    found: dict[str, list[list[Sample]]] = {}
    for row in rows:
        before = found.setdefault(row.name, [])
        before.append(list(shown(composition, row, read(row.corpus), folder, sum(map(len, before)))))
    flat = {name: [sample for row in several for sample in row] for name, several in found.items()}
    text = page.read_text(encoding="utf-8")
    for name, several in found.items():
        text = replaced(text, name, section(several))
        written = {file for sample in flat[name] for file in sample.files.values()}
        for file in folder.glob(f"{name}-[0-9]*"):
            if file.name not in written:
                file.unlink()
    write(page, replaced(text, LICENCES, licences([s for samples in flat.values() for s in samples])).encode())
    return flat


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--page", type=Path, default=PAGE)
    arguments = start(parser)
    import polymodal

    found = fill(arguments.page, polymodal.load(arguments.model))
    rows: list[dict[str, Any]] = [
        {"section": name, "asked": sample.question, "truth": sample.truth, "nano": sample.said or "", "right": sample.right}
        for name, samples in found.items()
        for sample in samples
    ]
    show(arguments, "docs/modalities.md", rows, {name: sum(s.right for s in samples) for name, samples in found.items()})


if __name__ == "__main__":
    main()
