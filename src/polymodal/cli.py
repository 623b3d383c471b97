"""The command line. Decides that start-up is fast (every heavy import waits for its command), that an error a user can
cause is one line and exit code 2, and that answers go to stdout while everything about them goes to stderr."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from polymodal.cli_assets import app as assets_app
from polymodal.cli_console import console, quiet
from polymodal.cli_corpus import app as corpus_app
from polymodal.cli_eval import evaluate
from polymodal.cli_parts import app as parts_app
from polymodal.cli_presets import app as presets_app
from polymodal.cli_saved import compare, report, rescore
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
app.add_typer(parts_app, name="parts", help="The components that the surveys name.")
app.add_typer(presets_app, name="presets", help="Published systems as recipes: list, show, compose.")
app.command("eval")(evaluate)
app.command()(rescore)
app.command()(compare)
app.command()(report)

Model = Annotated[str, typer.Option("--model", "-m", help="`nano`, or the folder of a checkpoint.")]
Images = Annotated[list[Path] | None, typer.Option("--image", "-i", help="A picture; repeat for several.")]
Recordings = Annotated[list[Path] | None, typer.Option("--audio", "-a", help="A recording; repeat for several.")]
Clips = Annotated[list[Path] | None, typer.Option("--video", "-v", help="A clip; repeat for several.")]
Media = Annotated[list[str] | None, typer.Option("--media", help="KIND=FILE: media of another kind; repeat for several.")]
Tokens = Annotated[int, typer.Option("--max-new-tokens", min=1, help="Longest answer.")]
Temperature = Annotated[float, typer.Option(min=0.0, help="0 always takes the likeliest token.")]
Seed = Annotated[int | None, typer.Option(help="Repeats a sampled answer, and what is made in it.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; all cores by default.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="KEY.KEY=VALUE changes a key of the recipe.")]


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="What to ask; may be empty if there are media.")] = "",
    image: Images = None,
    audio: Recordings = None,
    video: Clips = None,
    media: Media = None,
    model: Model = "nano",
    max_new_tokens: Tokens = 128,
    temperature: Temperature = 0.0,
    seed: Seed = None,
    threads: Threads = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A folder for what the model makes, if it does.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print text, parts, timing and token counts as JSON.")] = False,
) -> None:
    """Ask one question about any number of pictures, recordings, clips and other media, or for some.

    Example: `polymodal ask "What kind of thing is this?" --image cat.jpg`

    Other kinds, for a model that takes them: `--media points=chair.ply`

    A model that makes media: `polymodal ask "Draw a red heart." --out pictures --seed 1`
    """
    import json as encoder

    from polymodal.cli_media import kept, making, told
    from polymodal.content import Part

    parts = [Part.from_argument(argument) for argument in media or ()]
    composition = _load(model, threads)
    sampling = _sampling(max_new_tokens, temperature, seed)
    stream = None if json else _write
    asked = question, image or (), audio or (), video or ()
    with making() as step:
        answer = composition.ask(*asked, media=parts, sampling=sampling, on_text=stream, on_step=step)
    if out is not None:
        answer = kept(answer, out)
    if json:
        typer.echo(encoder.dumps(answer.to_json(), ensure_ascii=False))
        return
    if answer.text or not answer.media:
        typer.echo("")
    told(answer, console(), hint="; --out FOLDER keeps it")


@app.command()
def chat(
    model: Model = "nano",
    max_new_tokens: Tokens = 256,
    temperature: Temperature = 0.0,
    seed: Seed = None,
    threads: Threads = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="A folder for what the model makes.")] = Path("made"),
) -> None:
    """Talk to a model. /image PATH and the like add media to your next message; /help lists the rest."""
    from polymodal.cli_chat import repl

    repl(_load(model, threads).chat(sampling=_sampling(max_new_tokens, temperature, seed)), out)


@app.command()
def serve(
    model: Annotated[
        str | None, typer.Argument(help="`nano`, the default, or a folder; with --backend, the one model to let through.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="The address to listen at; any but this machine's own needs keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen at.")] = 8000,
    api_key_file: Annotated[Path | None, typer.Option(help="A file with one API key a line.")] = None,
    allow_host: Annotated[list[str] | None, typer.Option(help="A name that clients call this server by.")] = None,
    media_host: Annotated[
        list[str] | None, typer.Option(help="A host whose media may be fetched; none by default.")
    ] = None,
    backend: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="KIND URL", help="Stand in front of an engine: `openai` or `vllm`, and its address."),
    ] = None,
    backend_key_file: Annotated[Path | None, typer.Option(help="A file with the key that the engine asks for.")] = None,
    limit: Annotated[list[str] | None, typer.Option(help="NAME=NUMBER changes one of the limits.")] = None,
    threads: Threads = None,
) -> None:
    """Serve a model behind OpenAI's HTTP API, to this machine alone unless told otherwise.

    Example: `polymodal serve --port 8000`

    In front of another engine: `polymodal serve --backend vllm http://127.0.0.1:8001`

    To others, with keys: `polymodal serve --host 0.0.0.0 --api-key-file keys.txt --allow-host models.example.org`
    """
    from polymodal.cli_serve import run

    run(
        model, host, port, api_key_file, allow_host or (), media_host or (), threads, limit or (), backend, backend_key_file
    )


@app.command()
def compose(
    recipe: Annotated[Path, typer.Argument(help="A YAML recipe with the key `model`.")],
    overrides: Overrides = None,
    json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Build a recipe and show its parts: parameters, trainable share, positions per item, memory, exportability.

    Example: `polymodal compose recipes/nano/quick.yaml model.inputs.image.encoder.tiles=2`
    """
    import json as encoder

    from polymodal.model.composition import Composition
    from polymodal.model.config import model_recipe, read_yaml
    from polymodal.model.report import describe, table
    from polymodal.training.stage import plan, read_stages

    quiet()
    data = read_yaml(recipe, overrides or ())
    composition = Composition.from_recipe(model_recipe(data, str(recipe)))
    trains = plan(composition.model, composition.recipe, read_stages(data, str(recipe)))
    report = describe(composition, trains)
    if json:
        typer.echo(encoder.dumps(report))
    else:
        console().print(table(report))


@app.command("import")
def import_system(
    source: Annotated[str, typer.Argument(help="A folder that transformers saved, or a Hub id.")],
    target: Annotated[Path, typer.Argument(help="The checkpoint folder to write; it must not be there yet.")],
    chat_format: Annotated[
        str | None, typer.Option(help="How messages are written; as the source does by default.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="What the LLM computes in: `float32`, `bfloat16` or `float16`.")] = "float32",
) -> None:
    """Make a checkpoint of a whole system in transformers' layout, LLaVA (`llava`) or BLIP-2 (`blip-2`), with all of its
    weights and equal logits. The folder needs nothing else, and appears when it is complete.

    Example: `polymodal import llava-hf/llava-1.5-7b-hf models/llava-1.5 --dtype bfloat16`

    Ask it: `polymodal ask "What is this?" --image cat.jpg --model models/llava-1.5`
    """
    from polymodal.model.importing import convert

    quiet()
    recipe = convert(source, target, chat_format, dtype)
    image, written = recipe["inputs"]["image"], recipe["backbone"]["chat_format"]
    typer.echo(f"{target}: {image['encoder']['config']['model_type']}, {image['projector']['kind']}, chat format {written}")


@app.command()
def check(
    data: Annotated[str, typer.Argument(help="A file, folder or data set of your own; or a training recipe (.yaml).")],
    settings: Annotated[
        list[str] | None, typer.Argument(help="KEY=VALUE: an option of the data; KEY.KEY=VALUE: a key of the recipe.")
    ] = None,
    kind: Annotated[str, typer.Option("--kind", "-k", help="The format of the data.")] = "messages",
    model: Annotated[str, typer.Option("--model", "-m", help="`nano`, the folder of a checkpoint, or a recipe.")] = "nano",
    rows: Annotated[str, typer.Option("--rows", "-n", help="How many to check: a number, or `all`.")] = "all",
    fast: Annotated[bool, typer.Option("--fast", help="Look at the headers of media, and decode nothing.")] = False,
    errors: Annotated[int, typer.Option(min=1, help="How many errors to list.")] = 10,
    held_out: Annotated[list[str] | None, typer.Option(help="Data of the same kind that must share no media.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Conversations per step.")] = 16,
    grouping: Annotated[int, typer.Option(min=1, help="Batches that are sorted by length together.")] = 8,
    limit: Annotated[int, typer.Option(min=8, help="Positions of a conversation.")] = 1024,
    time: Annotated[bool, typer.Option("--time", help="Measure two training steps, and estimate the rest.")] = False,
    rate: Annotated[float | None, typer.Option(min=0.0, help="Estimate time from these positions a second.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Check every row of your data without training, and show what the model would read and learn of it. Exit code 2 if a
    row cannot be trained on. With a recipe, its own data, model and stages are checked.

    Example: `polymodal check mix.json --kind llava media=pictures`
    """
    from polymodal.cli_check import Options, check_data, check_recipe, rows_of

    quiet()
    options = Options(rows_of(rows), errors, fast, time, rate, json)
    if Path(data).suffix in (".yaml", ".yml"):
        check_recipe(Path(data), settings or (), options)
    else:
        plan = {"batch": batch, "grouping": grouping, "limit": limit}
        check_data(data, settings or (), kind, model, held_out or (), plan, options)


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A YAML recipe with `model`, `data`, `stages` and `run`.")],
    overrides: Overrides = None,
    fill_cache: Annotated[bool, typer.Option("--fill-cache", help="Only encode what run.cache lacks.")] = False,
) -> None:
    """Train as a recipe says. Weights that it names and that are not here are fetched first.

    Start a run, with two keys of the recipe changed:

    `polymodal train recipes/nano/quick.yaml run.folder=runs/mine stages.0.steps=500`

    Go on after Ctrl-C, a kill or a power cut, from the last checkpoint: the same command again. It ends in the weights
    of a run that was never stopped. Watch it: `polymodal plot runs/mine`
    """
    from polymodal import cli_train

    quiet()
    (cli_train.fill_cache if fill_cache else cli_train.run)(recipe, overrides or ())


@app.command()
def plot(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs; several are drawn over each other.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The picture; loss.png in the run, or here.")] = None,
) -> None:
    """Draw the losses and held-out metrics of runs, also of one that is going on.

    Example: `polymodal plot runs/mine runs/other --out both.png`
    """
    from polymodal.cli_train import plot as draw

    typer.echo(draw(runs, out))


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

    quiet()
    if threads is not None:
        torch.set_num_threads(threads)
    return polymodal.load(model)


def _sampling(max_new_tokens: int, temperature: float, seed: int | None):
    from polymodal.model.generation import Sampling

    return Sampling(max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
