"""What the benchmarks share: options, and one way to print a table or one JSON line."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

import torch


def options(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano", help="nano, or a checkpoint folder")
    parser.add_argument("--json", action="store_true", help="print one JSON line")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser


def start(parser: argparse.ArgumentParser) -> argparse.Namespace:
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    return arguments


def mean(features: Sequence[torch.Tensor]) -> torch.Tensor:
    """The mean of items of [N, De], at each place as far as the shortest goes: what a blind model is shown."""
    shortest = min(map(len, features))
    return torch.stack([rows[:shortest] for rows in features]).mean(0)


def show(arguments: argparse.Namespace, title: str, rows: Sequence[dict[str, Any]], line: dict[str, Any]) -> None:
    """A table of `rows` for people, or `line` for machines."""
    if arguments.json:
        print(json.dumps(line))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, header_style="bold")
    for column in rows[0]:
        table.add_column(column)
    for row in rows:
        table.add_row(*(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()))
    Console().print(table)
