"""The commands `polymodal eval`, `rescore`, `compare` and `report`. Decides what is said with every number: its
protocol, how many questions it is of, its interval, and how many answers were errors, empty, unread or guessed.
"""

from __future__ import annotations

import json as encoder
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polymodal.cli_console import console, quiet
from polymodal.errors import EvaluationError

if TYPE_CHECKING:
    from polymodal.evaluation.predictions import Saved
    from polymodal.evaluation.protocol import Protocol

AsJson = Annotated[bool, typer.Option("--json", help="Print numbers and counts as JSON.")]
Judge = Annotated[str | None, typer.Option(help="URL#MODEL of the endpoint that grades; it is in the score's name.")]
Key = Annotated[str | None, typer.Option(help="The bearer token of endpoints.")]
Named = Annotated[str | None, typer.Option("--protocol", "-p", help="BENCHMARK@PROTOCOL; as asked by default.")]


def evaluate(
    model: Annotated[
        str | None, typer.Argument(help="`nano`, a checkpoint's folder, openai:URL#MODEL or transformers:FOLDER.")
    ] = None,
    benchmark: Annotated[
        str | None, typer.Option("--benchmark", "-b", help="BENCHMARK@PROTOCOL, or a benchmark, for its first.")
    ] = None,
    data: Annotated[Path | None, typer.Option("--data", "-d", help="The authors' files: a folder, or one.")] = None,
    images: Annotated[Path | None, typer.Option(help="The folder of its pictures, if not there.")] = None,
    split: Annotated[str | None, typer.Option(help="Which part of it; what is usually reported by default.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Ask the first N questions only.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The file of answers; it goes on where it ends.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Questions at a time.")] = 16,
    part: Annotated[str, typer.Option(help="I/N: every N-th question from the I-th on, for one worker of N.")] = "1/1",
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer; the protocol's by default.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; all cores by default.")] = None,
    judge: Judge = None,
    api_key: Key = None,
    listed: Annotated[bool, typer.Option("--list", help="Show every benchmark and its protocols, and stop.")] = False,
    json: AsJson = False,
) -> None:
    """Ask a model the questions of a benchmark, from its authors' own files, and score the answers.

    Example: `polymodal eval nano --benchmark pope --data coco_pope_random.json --images val2014`

    The answers are kept: after a kill the same command goes on, and `polymodal rescore` scores them again.
    """
    if listed:
        return _list(json)
    if model is None or benchmark is None:
        raise EvaluationError("name a model and a --benchmark; --list shows the benchmarks")
    from polymodal import assets
    from polymodal.evaluation import predictions, protocol, run
    from polymodal.evaluation.files import Files
    from polymodal.evaluation.protocols import PROTOCOLS
    from polymodal.model.generation import Sampling

    chosen = protocol.find(benchmark, PROTOCOLS)
    asked_as = chosen.id
    if chosen.judged:
        chosen = _judged(chosen, judge, api_key)
    if chosen.home and data is None:
        data = assets.root()
    if data is None:
        raise EvaluationError(f"{chosen.id}: --data names the folder of its authors' files, or the one file")
    worker, workers = _part(part)
    questions = run.limited(chosen.read(Files(data, images, split)), limit)
    asking, short, known_as = _asker(model, api_key, threads, batch)
    sampling = Sampling(max_new_tokens=max_new_tokens or chosen.tokens, seed=0 if chosen.home else None)
    header = predictions.Header(asked_as, known_as, sampling.model_dump(), split, len(questions))
    path = out or Path(f"{asked_as}-{short}{'' if workers == 1 else f'-{worker}of{workers}'}.jsonl")
    with predictions.Writer(path, header) as writer:
        _warn_torn({str(path): writer.torn} if writer.torn else {})
        own = questions[worker - 1 :: workers]
        with _bar(len(own), sum(question.id in writer.known for question in own)) as step:
            asking(chosen, own, writer, sampling=sampling, on_answers=step)
    _show(predictions.read(path), chosen, json, path)


def rescore(
    files: Annotated[list[Path], typer.Argument(help="Files of answers; several workers' are read together.")],
    protocol: Named = None,
    judge: Judge = None,
    api_key: Key = None,
    json: AsJson = False,
) -> None:
    """Score saved answers again, without the model: under another protocol, or those of several workers together.

    Example: `polymodal rescore pope@official-nano.jsonl --protocol pope@lmms-eval`
    """
    from polymodal.evaluation import predictions

    saved = predictions.merge(files)
    _warn_torn(saved.torn)
    chosen = _protocol(protocol, saved)
    _show(saved, _judged(chosen, judge, api_key) if chosen.judged else chosen, json, *files)


def compare(
    a: Annotated[Path, typer.Argument(help="The answers of one model.")],
    b: Annotated[Path, typer.Argument(help="Those of another to the same benchmark.")],
    protocol: Named = None,
    json: AsJson = False,
) -> None:
    """Whether one model is better than another, on the questions that both were asked: the paired bootstrap.

    Example: `polymodal compare pope@official-nano.jsonl pope@official-mine.jsonl`
    """
    from dataclasses import asdict

    from polymodal.evaluation import predictions
    from polymodal.evaluation.compare import compare as paired
    from polymodal.evaluation.protocol import counts

    first, second = predictions.read(a), predictions.read(b)
    _warn_torn({**first.torn, **second.torn})
    chosen = _protocol(protocol, first)
    records = [predictions.rescore(saved, chosen) for saved in (first, second)]
    found = paired(chosen, records[0], records[1])
    if json:
        told = {"protocol": chosen.id, "number": chosen.main, **asdict(found), "sure": found.sure, "winner": found.winner}
        typer.echo(encoder.dumps({**told, "counts_a": counts(records[0]), "counts_b": counts(records[1])}))
        return
    shown = console()
    shown.print(f"[bold]{chosen.id}[/] {chosen.main} on {found.n} questions of both")
    for path, value, own in ((a, found.a, records[0]), (b, found.b, records[1])):
        shown.print(f"  {_number(value)}  {path}  ({_counted(counts(own))})")
    if found.winner is None:
        verdict = "; 0 is inside: these answers do not tell them apart"
    else:
        verdict = f"; {'less is better: ' if found.less else ''}{b if found.winner == 'b' else a} is better"
    between = f"{_number(found.low)} to {_number(found.high)}"
    shown.print(f"  difference {_number(found.difference)}, 95 % {between}{verdict}", soft_wrap=True)
    shown.print(f"  better on {found.better}, worse on {found.worse}; {found.only_a} and {found.only_b} asked of one only")


def report(
    files: Annotated[list[Path], typer.Argument(help="Files of answers; several workers' are read together.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page.")] = Path("report.html"),
    protocol: Named = None,
    data: Annotated[Path | None, typer.Option("--data", "-d", help="As of `eval`, for the pictures of examples.")] = None,
    images: Annotated[Path | None, typer.Option(help="As of `eval`.")] = None,
) -> None:
    """One page about saved answers: tables, a plot, examples with their pictures, and always the counts.

    Example: `polymodal report polymodal-bench@v1-nano.jsonl --out nano.html`
    """
    from polymodal import assets
    from polymodal.corpora.building import write
    from polymodal.evaluation import predictions
    from polymodal.evaluation.files import Files
    from polymodal.evaluation.page import page

    saved = predictions.merge(files)
    _warn_torn(saved.torn)
    chosen = _protocol(protocol, saved)
    data = assets.root() if chosen.home and data is None else data
    asked = chosen.read(Files(data, images, saved.header.split)) if data is not None else ()
    media = {q.id: q.media[len(q.media) - q.extra.get("own", len(q.media)) :] for q in asked if q.id in saved.predictions}
    write(out, page(saved, chosen, files[0].parent, media).encode("utf-8", "replace"))
    typer.echo(str(out))


def _list(json: bool) -> None:
    from polymodal.evaluation import catalog

    if json:
        typer.echo(encoder.dumps([row.to_json() for row in catalog.rows()], ensure_ascii=False, indent=2))
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("benchmark", "state", "protocols", "files of the authors", "licence"):
        table.add_column(heading, no_wrap=heading == "benchmark")
    for row in catalog.rows():
        names = ", ".join(protocol.partition("@")[2] for protocol in row.protocols)
        table.add_row(row.name, row.state, names, escape(row.files), row.licence)
    console().print(table)


def _show(saved: Saved, protocol: Protocol, json: bool, *paths: Path) -> None:
    """The numbers of saved answers, and everything that qualifies them."""
    from polymodal.evaluation import predictions
    from polymodal.evaluation.compare import interval
    from polymodal.evaluation.protocol import counts

    records = predictions.rescore(saved, protocol)
    numbers, told = protocol.totals(records), counts(records)
    low, high = interval(protocol, records)
    asked_as = saved.header.protocol
    if json:
        out: dict[str, Any] = {"protocol": protocol.id, "asked_as": asked_as, "model": saved.header.model}
        out |= {"split": saved.header.split, "main": protocol.main, "interval": [low, high], "numbers": numbers}
        out |= {**told, "missing": saved.missing, "repeated": saved.repeated, "conflicts": saved.conflicts}
        typer.echo(encoder.dumps(out, ensure_ascii=False))
        return
    shown = console()
    asked = "" if asked_as == protocol.id else f", asked as {asked_as}"
    main = numbers[protocol.main]
    shown.print(f"[bold]{protocol.id}[/] {protocol.main} [bold]{_number(main)}[/] (95 % {_number(low)} to {_number(high)})")
    shown.print(f"  {protocol.about}{asked}; {saved.header.model}", markup=False)
    shown.print(f"  {_counted({**told, 'missing': saved.missing})}")
    for name, value in numbers.items():
        if name != protocol.main:
            shown.print(f"  {_number(value):>8}  {name}", markup=False)
    shown.print(f"  answers: {', '.join(map(str, paths))}", markup=False, soft_wrap=True)


def _protocol(name: str | None, saved: Saved) -> Protocol:
    from polymodal.evaluation.protocol import find
    from polymodal.evaluation.protocols import PROTOCOLS

    return find(name or saved.header.protocol, PROTOCOLS)


def _judged(protocol: Protocol, judge: str | None, key: str | None) -> Protocol:
    """A protocol with the judge that is named. Raises `EvaluationError` where none is: nothing is asked in vain."""
    from polymodal.evaluation.endpoint import Endpoint

    if judge is None:
        raise EvaluationError(f"{protocol.id} is graded by a language model: name one with --judge URL#MODEL")
    return protocol.with_judge(Endpoint.named(judge, key))


def _counted(told: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in told.items())


def _number(value: float) -> str:
    return f"{value:.1f}" if abs(value) > 10 else f"{value:.4f}"


def _part(part: str) -> tuple[int, int]:
    worker, slash, workers = part.partition("/")
    if not (slash and worker.isdecimal() and workers.isdecimal() and 1 <= int(worker) <= int(workers)):
        raise EvaluationError(f"--part is I/N, such as 2/4, not '{part}'")
    return int(worker), int(workers)


def _warn_torn(torn: dict[str, int]) -> None:
    for path, lost in torn.items():
        typer.secho(f"{path}: the last line was cut short by a kill; {lost} bytes of it are dropped", fg="yellow", err=True)


def _asker(model: str, key: str | None, threads: int | None, batch: int) -> tuple[Callable[..., None], str, str]:
    """What asks questions of a model, what a file of its answers is called after, and what the model is known by."""
    from polymodal.evaluation import checkpoint, endpoint, foreign, run

    if model.startswith(endpoint.PREFIX):
        server = endpoint.Endpoint.named(model, key)
        return partial(foreign.ask, server, batch=batch), re.sub(r"[^\w.-]", "-", server.name), server.name
    import torch

    import polymodal

    quiet()
    if threads is not None:
        torch.set_num_threads(threads)
    if model.startswith(checkpoint.PREFIX):
        saved = checkpoint.Checkpoint(Path(model.removeprefix(checkpoint.PREFIX)))
        return partial(foreign.ask, saved, batch=batch), saved.folder.name, saved.name
    composition, short = polymodal.load(model), Path(model).name
    known_as = f"{short}-{run.identity(composition)}"
    return partial(run.ask, composition, model=known_as, batch=batch), short, known_as


def _bar(total: int, done: int):
    """A bar on stderr: a function that is told of new answers."""
    from contextlib import contextmanager

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    @contextmanager
    def shown():
        columns: Sequence[Any] = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("asking", total=total, completed=done)
            yield lambda new: progress.advance(task, new)

    return shown()
