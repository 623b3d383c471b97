"""What every command does to the terminal. Decides that only what was asked for is said there."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def console() -> Console:
    """Where tables go. Numbers in them are not coloured."""
    from rich.console import Console

    return Console(highlight=False)


def quiet() -> None:
    """Other libraries' bars and advice are not about the user's question."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
