"""The command line. Decides that start-up is fast (every heavy import waits for its command), that an error a user can
cause is one line and exit code 2, and that answers go to stdout while everything about them goes to stderr."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from polymodal.cli_assets import app as assets_app
from polymodal.cli_corpus import app as corpus_app
from polymodal.errors import PolymodalError

app = typer.Typer(
    help="Compose a multimodal LLM from parts, train it, ask it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.add_typer(assets_app, name="assets", help="Weights and data: list, fetch, verify.")
app.add_typer(corpus_app, name="corpus", help="Training data built from fetched packages.")

Model = Annotated[str, typer.Option("--model", "-m", help="`nano`, or the folder of a checkpoint.")]
Images = Annotated[list[Path] | None, typer.Option("--image", "-i", help="A picture; repeat for several.")]
Recordings = Annotated[list[Path] | None, typer.Option("--audio", "-a", help="A recording; repeat for several.")]
Tokens = Annotated[int, typer.Option("--max-new-tokens", min=1, help="Longest answer.")]
Temperature = Annotated[float, typer.Option(min=0.0, help="0 always takes the likeliest token.")]
Seed = Annotated[int | None, typer.Option(help="Repeats a sampled answer.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; all cores by default.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="KEY.KEY=VALUE changes a key of the recipe.")]


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="What to ask; may be empty if there is a picture or recording.")] = "",
    image: Images = None,
    audio: Recordings = None,
    model: Model = "nano",
    max_new_tokens: Tokens = 128,
    temperature: Temperature = 0.0,
    seed: Seed = None,
    threads: Threads = None,
    json: Annotated[bool, typer.Option("--json", help="Print text, parts, timing and token counts as JSON.")] = False,
) -> None:
    """Ask one question about any number of pictures and recordings.

    Example: `polymodal ask "What kind of thing is this?" --image cat.jpg`
    """
    import json as encoder

    composition = _load(model, threads)
    sampling = _sampling(max_new_tokens, temperature, seed)
    stream = None if json else _write
    answer = composition.ask(question, image or (), audio or (), sampling=sampling, on_text=stream)
    typer.echo(encoder.dumps(answer.to_json(), ensure_ascii=False) if json else "")


@app.command()
def chat(
    model: Model = "nano",
    max_new_tokens: Tokens = 256,
    temperature: Temperature = 0.0,
    seed: Seed = None,
    threads: Threads = None,
) -> None:
    """Talk to a model. /image PATH and /audio PATH add media to your next message; /help lists the rest."""
    from polymodal.cli_chat import repl

    repl(_load(model, threads).chat(sampling=_sampling(max_new_tokens, temperature, seed)))


@app.command()
def compose(
    recipe: Annotated[Path, typer.Argument(help="A YAML recipe with the key `model`.")],
    overrides: Overrides = None,
    json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Build a recipe and show its parts: parameters, trainable share, positions per item, memory, exportability.

    Example: `polymodal compose recipes/nano/v0.yaml model.inputs.image.encoder.tiles=2`
    """
    import json as encoder

    from polymodal.model.composition import Composition
    from polymodal.model.config import model_recipe, read_yaml
    from polymodal.model.report import describe, table
    from polymodal.training.stage import train_recipe

    _quiet()
    data = read_yaml(recipe, overrides or ())
    trains = [stage.train for stage in train_recipe(data, str(recipe)).stages] if "stages" in data else []
    report = describe(Composition.from_recipe(model_recipe(data, str(recipe))), trains)
    if json:
        typer.echo(encoder.dumps(report))
    else:
        _console().print(table(report))


@app.command()
def preview(
    data: Annotated[Path, typer.Argument(help="A JSONL file of conversations in OpenAI's form.")],
    model: Model = "nano",
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, help="How many to show.")] = 3,
) -> None:
    """Show what the model would see and learn of your data: ignored (dim), supervised (green), media (magenta)."""
    import random

    from polymodal.training.sources import MessagesSource

    source = MessagesSource(str(data))
    processor = _load(model, None).processor
    console = _console()
    for index in range(min(rows, len(source))):
        sample = source.sample(index, random.Random(0))
        example = processor.encode(sample.messages, name=sample.name)
        share = example.supervised_count / (len(example) + (0 if example.target is None else len(example.target)))
        media = sum(span.length for span in example.spans)
        console.rule(f"{sample.name}: {len(example)} positions, {media} of media, {share:.0%} supervised")
        console.print(processor.preview(example))


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A YAML recipe with `model`, `data`, `stages` and `run`.")],
    overrides: Overrides = None,
) -> None:
    """Train as a recipe says. Started again with the same recipe, a killed run goes on from its last checkpoint.

    Example: `polymodal train recipes/nano/v0.yaml run.folder=runs/mine`
    """
    from polymodal.cli_train import run

    _quiet()
    run(recipe, overrides or ())


def main() -> None:
    """Entry point: one line and exit code 2 for what a user can mend, 130 for an interrupt."""
    try:
        app()
    except PolymodalError as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _load(model: str, threads: int | None):
    import torch

    import polymodal

    _quiet()
    if threads is not None:
        torch.set_num_threads(threads)
    return polymodal.load(model)


def _sampling(max_new_tokens: int, temperature: float, seed: int | None):
    from polymodal.model.generation import Sampling

    return Sampling(max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)


def _quiet() -> None:
    """Other libraries' bars and advice are not about the user's question."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


def _console():
    from rich.console import Console

    return Console(highlight=False)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
