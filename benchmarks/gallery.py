"""The pictures, clips and recordings of docs/made.md: what nano makes of requests that nobody chose by what came of them.

    .venv/bin/python benchmarks/gallery.py

Things to draw are chosen by a fixed seed from those that all four styles draw: such as the generator was trained on in
each, and such of which one design was held out of its training; so are pairs of a thing and a motion. What stands between
the page's markers is written here, all else by hand; files go to docs/images/made. It needs the corpora emoji, emoji-3d and
emoji-motions.
"""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from clips_made import chosen, opened
from common import options, start
from emoji_judge import STYLES, Pair, pairs
from making import DRAW
from polymodal import corpora
from polymodal.corpora.building import write
from polymodal.model.generation import Sampling
from samples import replaced

PAGE = Path(__file__).resolve().parents[1] / "docs/made.md"
FOLDER = "images/made"  # beside the page
SEED = 0
THINGS = 8  # of each sheet
SIDE, LABEL = 96, 150  # pixels of a picture on a sheet, and of the room for its name
CLIPS = 4  # of pairs that it was trained on, and of such that were held out
MOVE = "Make a clip: {caption}."
SAID = (
    "Say: The quick brown fox jumps over the lazy dog.",
    "What is the capital of France? Answer aloud.",
    "Read this aloud: A small model has learned to draw, and now it can speak.",
)
PLAYED = (
    "Play the accordion: three rising notes, slow.",
    "Play me some marimba.",
    "Let me hear a tuba: five falling notes, fast.",
)
Sheet = list[tuple[str, list[tuple[Pair, Any]]]]  # of each thing, what is real and what was made in each style


def drawn(composition: Any, held: bool) -> Sheet:
    """THINGS things in every style; of some one style is held out, or of none."""
    known: dict[str, dict[str, Pair]] = {}
    for pair in pairs():
        known.setdefault(pair.caption, {})[pair.style] = pair
    whole = {name: of for name, of in known.items() if len(of) == len(STYLES)}
    usable = [name for name, of in whole.items() if any(pair.held for pair in of.values()) == held]
    chosen = random.Random(f"{SEED} {held}").sample(sorted(usable), THINGS)
    sheet = []
    for name in chosen:
        row = []
        for style in STYLES:
            answer = composition.ask(DRAW.format(caption=name, style=style), sampling=Sampling(seed=SEED, max_new_tokens=8))
            made = next((part.media for part in answer.media if part.type == "image"), None)
            row.append((whole[name][style], made))
        sheet.append((name, row))
    return sheet


def painted(sheet: Sheet) -> bytes:
    """Two pictures for each style, real and made; what was held out of training has a red frame."""
    across, head = 2 * SIDE + 12, 24
    page = Image.new("RGB", (LABEL + across * len(STYLES), head + (SIDE + 8) * len(sheet)), "white")
    draw = ImageDraw.Draw(page)
    for column, style in enumerate(STYLES):
        draw.text((LABEL + across * column, 6), f"{style}: real, made", "black")
    for line, (name, row) in enumerate(sheet):
        top = head + (SIDE + 8) * line
        draw.multiline_text((4, top + SIDE // 3), _lines(name), "black")
        for column, (pair, made) in enumerate(row):
            for place, picture in enumerate((Image.fromarray(pair.picture), made)):
                left = LABEL + across * column + (SIDE + 2) * place
                if picture is not None:
                    page.paste(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (left, top))
            if pair.held:
                left = LABEL + across * column + SIDE + 2
                draw.rectangle((left - 1, top - 1, left + SIDE, top + SIDE), outline="red", width=2)
    out = io.BytesIO()
    page.save(out, "WEBP", quality=88)
    return out.getvalue()


def _lines(name: str, longest: int = 22) -> str:
    lines = [""]
    for word in name.split():
        lines[-1:] = [f"{lines[-1]} {word}".strip()] if len(lines[-1]) + len(word) < longest else [lines[-1], word]
    return "\n".join(lines)


def moved(composition: Any) -> list[tuple[str, bool, np.ndarray, Any]]:
    """Captions of clips, whether they were held out, the real ones and what was made."""
    items, clips = corpora.read("emoji-motions"), []
    for split in ("train", "test"):
        for item in chosen([item for item in items if item.split == split], CLIPS):
            answer = composition.ask(MOVE.format(caption=item.caption), sampling=Sampling(seed=SEED))
            made = next((part.media[0] for part in answer.media if part.type == "video"), None)
            clips.append((item.caption, split == "test", opened(item), made))
    return clips


def moving(clips: Sequence[tuple[str, bool, np.ndarray, Any]]) -> bytes:
    """One picture that moves: real clips, and below each what was made; what was held out has a red frame."""
    frames: list[Image.Image] = []
    head = 36
    for number in range(len(clips[0][2])):
        page = Image.new("RGB", ((SIDE + 8) * len(clips), head + 2 * (SIDE + 4)), "white")
        draw = ImageDraw.Draw(page)
        for column, (caption, held, *both) in enumerate(clips):
            left = (SIDE + 8) * column + 4
            draw.multiline_text((left, 6), _lines(caption, longest=18), "black")
            for line, clip in enumerate(both):
                top = head + (SIDE + 4) * line
                if clip is not None:
                    frame = Image.fromarray(np.asarray(clip[number]))
                    page.paste(frame.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (left, top))
                draw.rectangle(
                    (left - 1, top - 1, left + SIDE, top + SIDE), outline="red" if held and line else "lightgrey"
                )
        frames.append(page)
    out = io.BytesIO()
    frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:], duration=250, loop=0, quality=85)
    return out.getvalue()


def recorded(composition: Any, folder: Path, name: str, asked: Sequence[str]) -> str:
    """Recordings with what was asked and what nano wrote in them, as a table in Markdown."""
    import soundfile

    cells: list[list[str]] = [[], [], []]
    for number, question in enumerate(asked):
        (part,) = [part for part in composition.ask(question, sampling=Sampling(seed=SEED)).media if part.type == "audio"]
        out = io.BytesIO()
        soundfile.write(out, part.media[0], int(part.media[1]), format="MP3")
        write(folder / f"{name}-{number}.mp3", out.getvalue())
        file = f"{FOLDER}/{name}-{number}.mp3"  # the site has a folder for each page
        cells[0].append(f"*{question}*")
        cells[1].append(f'<audio controls preload="none" style="width:100%" src="../{file}">[listen]({file})</audio>')
        cells[2].append(f"“{part.caption}”")
    lines = [cells[0], ["---"] * len(asked), *cells[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def names(sheet: Sequence[tuple[str, Any]]) -> str:
    return ", ".join(name for name, _ in sheet)


def main() -> None:
    parser = options(__doc__)
    arguments = start(parser)
    import polymodal

    composition = polymodal.load(arguments.model)
    folder, text = PAGE.parent / FOLDER, PAGE.read_text(encoding="utf-8")
    for name, held in (("trained", False), ("held-out", True)):
        sheet = drawn(composition, held)
        write(folder / f"{name}.webp", painted(sheet))
        text = replaced(
            text, name, f"![{names(sheet)}: real pictures, and beside each what nano made]({FOLDER}/{name}.webp)"
        )
    clips = moved(composition)
    write(folder / "moving.webp", moving(clips))
    captions = ", ".join(caption for caption, *_ in clips)
    text = replaced(text, "moving", f"![{captions}: real clips, and below each what nano made]({FOLDER}/moving.webp)")
    for name, asked in (("said", SAID), ("played", PLAYED)):
        text = replaced(text, name, recorded(composition, folder, name, asked))
    write(PAGE, text.encode())


if __name__ == "__main__":
    main()
