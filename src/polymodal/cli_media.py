"""What a model made, in the terminal. Decides where files are written, and how a picture is shown where only letters
are."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from polymodal.content import Part
from polymodal.media import writing

if TYPE_CHECKING:
    from rich.console import Console

    from polymodal.model.conversation import Answer

COLUMNS = 32  # of a picture in letters, each two pixels high
NAMES = {"image": "picture", "audio": "recording", "video": "clip"}


def kept(answer: Answer, folder: Path) -> Answer:
    """The answer with files in `folder` for what was made; nothing is written if nothing was."""
    made = [part.type != "text" and part.media is not None for part in answer.parts]
    parts = [
        replace(part, media=writing.write(folder, part.type, part.media)) if here else part
        for part, here in zip(answer.parts, made, strict=True)
    ]
    return replace(answer, parts=parts)


def told(answer: Answer, console: Console, hint: str = "") -> None:
    """A line for each thing that was made: its file, what it says, or why it is not there. `hint`: where it is not kept."""
    for part in answer.media:
        name = NAMES.get(part.type, part.type)
        said = f' "{part.caption}"' if part.caption else ""
        if part.failed is not None:
            console.print(f"no {name}{said}: {part.failed}", style="red", markup=False)
        elif isinstance(part.media, Path):
            console.print(f"{name}{said}: {part.media}", markup=False, soft_wrap=True)
        else:
            console.print(f"a {name}{said} was made{hint}", style="dim", markup=False)


def shown(part: Part, console: Console) -> None:
    """A picture in half blocks, two pixels a letter."""
    import numpy as np
    from rich.style import Style
    from rich.text import Text

    from polymodal.media import load_image

    if part.type != "image" or part.media is None or not console.is_terminal:
        return
    picture = load_image(part.media)
    height = max(2, round(COLUMNS * picture.height / picture.width / 2) * 2)
    pixels = np.asarray(picture.resize((COLUMNS, height)))
    for row in range(0, height, 2):
        line = Text()
        for column in range(COLUMNS):
            upper, lower = ("#{:02x}{:02x}{:02x}".format(*pixels[row + half, column]) for half in (0, 1))
            line.append("▀", Style(color=upper, bgcolor=lower))
        console.print(line)


@contextmanager
def making() -> Iterator[Callable[[str, int, int], None] | None]:
    """A bar on stderr while something is made; none where nobody looks."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = TextColumn("[dim]{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}")
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        tasks: dict[str, object] = {}

        def step(output: str, done: int, of: int) -> None:
            if output not in tasks:
                tasks[output] = progress.add_task(f"making {output}", total=of)
            progress.update(tasks[output], completed=done, total=of)  # type: ignore[arg-type]

        yield step
