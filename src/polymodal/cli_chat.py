"""`polymodal chat`: a conversation in the terminal. Decides its commands, and that a bad path never ends it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from polymodal.cli_media import kept, making, shown, told
from polymodal.content import MODALITIES, Part
from polymodal.errors import PolymodalError

if TYPE_CHECKING:
    from polymodal.model.conversation import Conversation

HELP = f"""[bold]/image[/] PATH   add a picture to your next message
[bold]/audio[/] PATH   add a recording to your next message
[bold]/video[/] PATH   add a clip to your next message
[bold]/KIND[/] PATH    add media of another kind: {", ".join(MODALITIES[3:])}
[bold]/history[/]      show the conversation
[bold]/reset[/]        forget it
[bold]/quit[/]         leave (so does Ctrl-D)"""


def repl(chat: Conversation, out: Path) -> None:
    """Read lines until the end of input. A turn that fails is reported and forgotten; the conversation goes on. What is
    made is shown, and written to the folder `out`."""
    console = Console(highlight=False)
    if sys.stdin.isatty():
        import readline  # noqa: F401 - line editing and history for input()

        console.print("Ask away. [dim]/help lists the commands, Ctrl-D leaves.[/]")
    media: list[Part] = []
    while True:
        try:
            line = input("› " if sys.stdin.isatty() else "").strip()
        except (EOFError, KeyboardInterrupt):
            return
        command, _, rest = line.partition(" ")
        if command in ("/quit", "/exit"):
            return
        if command.removeprefix("/") in MODALITIES and command.startswith("/"):
            _attach(console, media, command.removeprefix("/"), rest.strip())
        elif command == "/reset":
            chat.reset()
            media = []
            console.print("[dim]forgotten[/]")
        elif command == "/history":
            for message in chat.messages:
                shown = "".join(p.text if p.text is not None else f"⟨{p.type}: {p.media}⟩ " for p in message.parts)
                console.print(f"[bold]{message.role}[/]: ", end="")
                console.print(shown, markup=False)
        elif command.startswith("/"):
            console.print(HELP)
        elif line or media:
            _turn(console, chat, line, media, out)
            media = []


def _attach(console: Console, media: list[Part], kind: str, path: str) -> None:
    if not path or not Path(path).expanduser().is_file():
        console.print(f"there is no file '{path}'", style="red", markup=False)
        return
    media.append(Part(kind, media=Path(path).expanduser()))
    console.print(f"[dim]{Path(path).name} goes with your next message[/]")


def _turn(console: Console, chat: Conversation, line: str, media: list[Part], out: Path) -> None:
    try:
        with making() as step:
            answer = chat.ask(line, media=media, on_text=lambda t: console.print(t, end="", markup=False), on_step=step)
    except PolymodalError as error:
        console.print(f"error: {error}", style="red", markup=False)
        return
    except KeyboardInterrupt:
        console.print("\n[dim]stopped; this turn is forgotten[/]")
        return
    for part in answer.media:
        console.print()
        shown(part, console)
    told(kept(answer, out), console)
    tokens, seconds = answer.tokens, answer.seconds
    spent = f"{tokens['prefilled']} new of {tokens['prompt']} positions, first word after {seconds['first']:.1f} s"
    console.print(f"\n[dim]{spent}, {tokens['generated']} tokens in {seconds['total']:.1f} s[/]")
