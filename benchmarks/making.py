"""What nano makes: the right thing when it is asked, nothing when it is not, and how good it is.

    .venv/bin/python benchmarks/making.py [--only requests|pictures|speech|seconds]

*requests*: benchmarks/requests.jsonl, 320 requests and questions in wordings that no training has, written by somebody
who had not seen those of the training: 80 wish for a picture, 80 want to hear something said, 160 want words. With `--list`
another: requests-more.jsonl has 40 wishes for notes, 40 for a clip and 40 that are neither; by their twins, *-dev.jsonl, it
was decided what to train on. Greedy.
*pictures*: nano is asked to draw emoji in four styles. A classifier that learned from the real artwork (see emoji_judge)
says what is drawn, and in which style. Beside it: combinations of concept and design that were held out, the generator
without nano, requests and pictures *shuffled*, the mean picture, and the real ones, of which those that were held out the
judge has never seen.
*speech*: the sentences of `requests`, as Whisper-base hears them. Word error rate = edits / words, its interval by
bootstrap over sentences; shuffled recordings beside it.
*seconds*: a picture by the generator, and by its network and scheduler called directly; the median of `--rounds` each.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common import options, show, start
from emoji_judge import Pair, pairs, trained
from polymodal import media
from polymodal.content import Part, user
from polymodal.evaluation.metrics import bootstrap, wilson, word_errors, words
from polymodal.model.generation import Sampling
from polymodal.parts.output import Target

HERE = Path(__file__).resolve().parent
DRAW = "Draw {caption}, {style} style."
MADE_BY = {"image": "image", "audio": "speech", "sound": "sound", "clip": "clip"}  # the outputs of nano
SAY = 60  # the first of those that want to hear something want to hear a sentence


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--only", choices=("requests", "pictures", "speech", "seconds"))
    parser.add_argument("--limit", type=int, default=200, help="pictures and requests of each set, at most")
    parser.add_argument("--list", type=Path, default=HERE / "requests.jsonl", help="of requests")
    parser.add_argument("--rounds", type=int, default=20, help="of seconds")
    parser.add_argument("--folder", type=Path, default=Path("runs/making"), help="for the judge, and sheets of pictures")
    arguments = start(parser)
    import polymodal

    composition = polymodal.load(arguments.model)
    parts: dict[str, Callable[[Any, Any], list[dict[str, Any]]]] = {
        "requests": requests,
        "pictures": pictures,
        "speech": speech,
        "seconds": seconds,
    }
    line: dict[str, Any] = {}
    for name, measure in parts.items():
        if arguments.only in (None, name):
            rows = measure(composition, arguments)
            line[name] = rows
            if not arguments.json:
                show(arguments, name, rows, {})
    if arguments.json:
        show(arguments, "", [], line)


def read(arguments: Any) -> list[dict[str, Any]]:
    asked = [json.loads(line) for line in arguments.list.read_text("utf-8").splitlines()]
    kinds = [[row for row in asked if row["makes"] == kind][: arguments.limit] for kind in (*MADE_BY, None)]
    return [row for rows in kinds for row in rows]


def answered(composition: Any, asked: Sequence[str], tokens: int = 64) -> list[Sequence[Part]]:
    """Greedy answers, each by itself: what is made goes on behind its span."""
    return [composition.generate([[user(text)]], Sampling(max_new_tokens=tokens, most_media=1))[0] for text in asked]


def requests(composition: Any, arguments: Any) -> list[dict[str, Any]]:
    asked = read(arguments)
    answers = answered(composition, [row["ask"] for row in asked])
    rows = []
    for kind in sorted({row["makes"] for row in asked}, key=[*MADE_BY, None].index):
        wanted = {MADE_BY[kind]} if kind else set()
        mine = [(row, parts) for row, parts in zip(asked, answers, strict=True) if row["makes"] == kind]
        made = [[part for part in parts if part.type != "text"] for _, parts in mine]
        right = sum({part.output for part in parts} == wanted for parts in made)
        whole = sum(all(part.failed is None and part.caption for part in parts) for parts in made)
        low, high = wilson(right, len(mine))
        named = [told(row["about"], parts) for (row, _), parts in zip(mine, made, strict=True) if kind]
        rows.append(
            {
                "asked for": kind or "words",
                "n": len(mine),
                "right": right / len(mine),
                "95 %": f"{low:.3f} to {high:.3f}",
                "spans whole": whole / len(mine),
                "says what was named": sum(named) / len(named) if named else "",
            }
        )
        for (row, _), parts in zip(mine, made, strict=True):
            if {part.output for part in parts} != wanted and not arguments.json:
                print(f"  {kind or 'words'}: {row['ask']!r} -> {[(p.output, p.caption) for p in parts] or 'words'}")
    return rows


def told(about: str, made: Sequence[Part]) -> bool:
    """Whether what was made says every word that was asked for."""
    return bool(made) and set(words(about)) <= set(words(made[0].caption or ""))


def pictures(composition: Any, arguments: Any) -> list[dict[str, Any]]:
    drawn, rng = pairs(), random.Random(0)
    judge = trained(drawn, arguments.folder / "judge.safetensors")
    generator = composition.model.designs["image"].made_by()
    rows: list[dict[str, Any]] = []

    def rate(who: str, made: Sequence[Any], wanted: Sequence[Pair]) -> None:
        rows.append({"pictures": who, **judge.rates(made, wanted)})

    for name, held in (("trained", False), ("held out", True)):
        all_ = [pair for pair in drawn if pair.held == held and (pair.concept in judge.concepts)]
        wanted = rng.sample(all_, min(arguments.limit, len(all_)))
        rate(f"real, {name}", [pair.picture for pair in wanted], wanted)
        asked = [DRAW.format(caption=pair.caption, style=pair.style) for pair in wanted]
        said = [next((part for part in parts if part.type == "image"), None) for parts in answered(composition, asked)]
        blank = np.zeros((64, 64, 3), np.uint8)
        made = [blank if part is None or part.media is None else np.asarray(part.media) for part in said]
        rate(f"nano, {name}", made, wanted)
        sheet(made, wanted, arguments.folder / f"nano-{name.replace(' ', '-')}.png")
        prompts = [f"{pair.caption}, {pair.style} style" for pair in wanted]
        rate(f"generator, {name}", generator.make(prompts, torch.Generator().manual_seed(0)), wanted)
        if not held:
            rate("nano, shuffled", made[1:] + made[:1], wanted)
            mean = np.mean([pair.picture for pair in drawn if not pair.held], 0).round().astype(np.uint8)
            rate("mean picture", [mean] * len(wanted), wanted)
    return rows


def sheet(made: Sequence[np.ndarray], wanted: Sequence[Pair], file: Path, across: int = 20) -> None:
    """Real pictures, and below each what was made."""
    from PIL import Image

    both = [np.concatenate([pair.picture, picture]) for pair, picture in zip(wanted, made, strict=True)]
    lines = [np.concatenate(both[i : i + across], 1) for i in range(0, len(both) - len(both) % across or 1, across)]
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(lines)).save(file)


def speech(composition: Any, arguments: Any) -> list[dict[str, Any]]:
    from speech import transcribed

    asked = [row for row in read(arguments) if row["makes"] == "audio"][:SAY]
    made = [
        next((p for p in parts if p.type == "audio"), None) for parts in answered(composition, [r["ask"] for r in asked])
    ]
    spoken = [number for number, part in enumerate(made) if part is not None and part.media is not None]
    texts_of = dict(zip(spoken, transcribed([media.load_audio(made[number].media) for number in spoken]), strict=True))
    heard = [texts_of.get(number, "") for number in range(len(made))]
    rows = []
    for who, texts in (("nano", heard), ("shuffled", heard[1:] + heard[:1])):
        errors = [word_errors(row["about"], text) for row, text in zip(asked, texts, strict=True)]
        low, high = bootstrap(errors)
        wrong, total = (sum(column) for column in zip(*errors, strict=True))
        rows.append({"who": who, "sentences": len(asked), "WER": wrong / total, "95 %": f"{low:.3f} to {high:.3f}"})
    return rows


def seconds(composition: Any, arguments: Any) -> list[dict[str, Any]]:
    """One picture at a time."""
    generator = composition.model.designs["image"].made_by().of
    condition = generator.condition([Target("red heart, flat style")])
    ways: dict[str, Callable[[], Any]] = {
        "generator": lambda: generator.make(condition, torch.Generator().manual_seed(0)),
        "diffusers": lambda: direct(generator, condition),
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.rounds):  # in turn, since the machine may be shared
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            took[name].append(time.perf_counter() - begun)
    middle = {name: float(np.median(times)) for name, times in took.items()}
    return [{"who": name, "median s": middle[name], "to diffusers": middle[name] / middle["diffusers"]} for name in ways]


@torch.no_grad()
def direct(generator: Any, condition: torch.Tensor) -> Any:
    """The same network, scheduler and autoencoder by calls of diffusers alone, guided as the generator is."""
    from diffusers.image_processor import VaeImageProcessor

    scheduler = type(generator.scheduler).from_config(generator.scheduler.config)
    scheduler.set_timesteps(generator.steps)
    latents = torch.randn(1, *generator.shape, generator=torch.Generator().manual_seed(0))
    guided = generator.guidance != 1.0
    told = torch.cat([generator.unconditional[None], condition]) if guided else condition
    for at in scheduler.timesteps:
        noisy = torch.cat([latents] * (1 + guided))
        out = generator.network(
            noisy,
            timestep=at.expand(len(noisy)),
            encoder_hidden_states=told,
            pooled_projections=told.mean(1),
            return_dict=False,
        )[0]
        if guided:
            free, given = out.chunk(2)
            out = free + generator.guidance * (given - free)
        latents = scheduler.step(out, at, latents, return_dict=False)[0]
    pixels = generator.vae.decode(latents / generator.vae.config.scaling_factor).sample
    return VaeImageProcessor(do_resize=False).postprocess(pixels, output_type="pil")


if __name__ == "__main__":
    main()
