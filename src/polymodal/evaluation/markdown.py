"""The page of a run of polymodal-bench as Markdown, for docs: what `page` tells, without the answers."""

from __future__ import annotations

from collections.abc import Sequence

from polymodal.errors import EvaluationError
from polymodal.evaluation import bench
from polymodal.evaluation.bench.scores import rows
from polymodal.evaluation.bench.tasks import BY_NAME
from polymodal.evaluation.compare import interval
from polymodal.evaluation.page import NOTE, TASKS, TOGETHER, groups, number, plot, tasks
from polymodal.evaluation.predictions import Saved, rescore
from polymodal.evaluation.protocol import Protocol, counts


def markdown(saved: Saved, protocol: Protocol, picture: str, command: str) -> tuple[str, str]:
    """(the page, the plot as SVG, which the page shows from `picture`). `command`: what wrote it. Raises `EvaluationError`
    for answers to another benchmark."""
    if protocol.benchmark != bench.NAME:
        raise EvaluationError(
            f"{protocol.id}: only of {bench.NAME} a page is written as Markdown; name a --out that ends .html"
        )
    records = rescore(saved, protocol)
    found, numbers = rows(records), protocol.totals(records)
    between = interval(protocol, records)
    told = {**counts(records), "missing": saved.missing}
    sure = "" if between is None else f" (95 % {number(between[0])} to {number(between[1])})"
    held = [name for name in ("above", "chance", "blind", "shuffled") if name in numbers]
    parts = [(f"{row.name}: {part}", number(value)) for row in found for part, value in row.parts.items()]
    ceilings = [(row.name, number(row.ceiling), BY_NAME[row.name].ceiling[1]) for row in found if row.name in BY_NAME]
    lines = [
        f"# {saved.header.model}\n",
        f"<!-- {command} -->\n",
        f"**{protocol.id}**: {protocol.about}. Score **{number(numbers['score'])}**{sure} over {len(found)} tasks; "
        f"{', '.join(f'{name} {number(numbers[name])}' for name in held)}. Split: {saved.header.split or 'all tasks'}.\n",
        f"Answers, controls among them: {', '.join(f'{name} {count}' for name, count in told.items())}.\n",
        f"![scores of tasks]({picture})\n",
        "Dots are scores with their 95 % intervals; grey is what is had without looking; dashes are ceilings.\n",
        "## Tasks\n",
        _table(TASKS, tasks(found)),
        f"{NOTE}\n",
        "## Together\n",
        _table(TOGETHER, groups(found)),
        "## Parts\n",
        _table(("part", "score"), parts),
        "## Ceilings\n",
        _table(("task", "at most", "estimated by"), ceilings),
    ]
    return "\n".join(lines).rstrip() + "\n", plot(found) + "\n"


def _table(heading: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    every = [heading, ["---"] * len(heading), *lines]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in every)
