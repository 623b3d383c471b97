"""What `make demo` shows: polymodal-nano answers about a photograph and a recording that it was not trained on, draws and
speaks."""

from __future__ import annotations

import time

START = time.perf_counter()  # before the heavy imports: a person waits for those too

from pathlib import Path  # noqa: E402

from rich.console import Console  # noqa: E402

from polymodal import cli_media  # noqa: E402
from polymodal.model.generation import Sampling  # noqa: E402

HERE = Path(__file__).resolve().parent
ASKED = [
    ("What kind of thing is this?", "images", "cat.jpg"),
    ("Repeat what you hear.", "audio", "sentence.flac"),
    ("What is the capital of France?", "", ""),
    ("Draw a red heart in noto style.", "", ""),
    ("Say: I can draw and speak.", "", ""),
]
MADE = HERE.parent / "made"


def main() -> None:
    from transformers.utils import logging

    import polymodal

    logging.disable_progress_bar()
    console = Console(highlight=False)
    model = polymodal.load("nano")
    first = True
    for question, kind, name in ASKED:
        media = {kind: [HERE / name]} if kind else {}
        console.print(f"\n[bold]{question}[/]  [dim]{f'{HERE.name}/{name}' if name else 'no media'}[/]")

        def write(text: str) -> None:
            nonlocal first
            if first:
                console.print(f"[dim](first word {time.perf_counter() - START:.1f} s after the command)[/]")
                first = False
            console.print(text, end="", markup=False, style="green")

        answer = cli_media.kept(model.ask(question, **media, on_text=write, sampling=Sampling(seed=1)), MADE)
        console.print(end="" if answer.media else "\n")
        cli_media.told(answer, console)
        for part in answer.media:
            cli_media.shown(part, console)
    console.print("\nYour turn: [bold].venv/bin/polymodal ask 'What kind of thing is this?' --image FILE[/]")


if __name__ == "__main__":
    main()
