"""What `make demo` shows: polymodal-nano answers about a photograph and a recording that it was not trained on."""

from __future__ import annotations

import time

START = time.perf_counter()  # before the heavy imports: a person waits for those too

from pathlib import Path  # noqa: E402

from rich.console import Console  # noqa: E402

HERE = Path(__file__).resolve().parent
ASKED = [
    ("What kind of thing is this?", "images", "cat.jpg"),
    ("Repeat what you hear.", "audio", "sentence.flac"),
    ("What is the capital of France?", "", ""),
]


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

        model.ask(question, **media, on_text=write)
        console.print()
    console.print("\nYour turn: [bold].venv/bin/polymodal ask 'What kind of thing is this?' --image FILE[/]")


if __name__ == "__main__":
    main()
