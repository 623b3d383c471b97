"""What a second turn costs, what our decoding costs, and how much memory asking takes.

    .venv/bin/python benchmarks/latency.py

* Second turn: a question about a picture (or four tiles, or ten seconds of speech), then another about the same. Counted:
  encoder calls and positions prefilled in the second turn. Timed: seconds to the first token of each, median of `--runs`.
* Text only: tokens per second of our chat against `transformers.generate` on the same backbone, same prompt ids, in turn
  (A B A B ...), the median of the ratios.
* Memory: peak resident size of a fresh `polymodal ask` process.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from common import options, show, start
from polymodal.model.composition import Composition
from polymodal.model.generation import Sampling

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
# VmHWM, not getrusage: the latter's maximum is inherited from the process that started this one.
CHILD = """
import sys
sys.argv = ["polymodal", "ask", "What is this?", "--image", sys.argv[1], "--model", sys.argv[2]]
from polymodal.cli import app
try:
    app()
except SystemExit:
    pass
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")), file=sys.stderr)
"""


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--runs", type=int, default=5)
    arguments = start(parser)
    import polymodal

    composition = polymodal.load(arguments.model)
    tiled = tiles_of(arguments.model)
    speech = (np.random.default_rng(0).normal(0, 0.05, 160_000).astype(np.float32), 16_000)
    cases = {
        "one picture": (composition, {"images": [EXAMPLES / "cat.jpg"]}),
        "four tiles": (tiled, {"images": [EXAMPLES / "cat.jpg"]}),
        "10 s of sound": (composition, {"audio": [speech]}),
    }
    rows, line = [], {}
    for name, (model, media) in cases.items():
        row = {"case": name, **second_turn(model, media, arguments.runs)}
        rows.append(row)
        line[name.replace(" ", "_")] = row["ratio"]
    if not arguments.json:
        show(arguments, "Second turn about the same media", rows, {})
    speed = decoding(composition, arguments.runs)
    memory = ask_memory(arguments.model)
    line |= {
        "decoding_vs_transformers": speed["ratio"],
        "ask_peak_gb": memory,
        "second_turn_encoder_calls": sum(r["encoder calls"] for r in rows),
    }
    show(arguments, "Text-only decoding and memory", [{**speed, "ask peak GB": memory}], line)


def second_turn(composition: Composition, media: dict, runs: int) -> dict:
    """Median seconds to the first token of both turns, and what the second one ran."""
    sampling = Sampling(max_new_tokens=4)
    first, second, calls, new, prompt = [], [], 0, [], 0
    for _ in range(runs + 1):  # the first is a warm-up
        chat = composition.chat(sampling=sampling)
        a = chat.ask("What is this?", **media)
        before = composition.model.encoded
        b = chat.ask("Is it big?")
        calls += composition.model.encoded - before
        first.append(a.seconds["first"])
        second.append(b.seconds["first"])
        # Exactly new: the prompt without what the first turn's prompt and answer hold, and the one token of the answer
        # that was sampled but never run.
        new.append((b.tokens["prefilled"], b.tokens["prompt"] - a.tokens["prompt"] - a.tokens["generated"] + 1))
        prompt = a.tokens["prompt"]
    t1, t2 = statistics.median(first[1:]), statistics.median(second[1:])
    return {
        "positions of the first prompt": prompt,
        "first turn s": t1,
        "second turn s": t2,
        "ratio": t2 / t1,
        "encoder calls": calls,
        "prefilled / new": f"{new[-1][0]} / {new[-1][1]}",
    }


def decoding(composition: Composition, runs: int, tokens: int = 64) -> dict:
    """Tokens per second, ours and transformers', on the same prompt without media."""
    lm, processor = composition.model.backbone.lm, composition.processor
    from polymodal.content import user

    example = processor.encode([user("Tell me a long story about a fox and a river.")], generate=True)
    ids = example.ids[None]
    ratios, ours, theirs = [], [], []
    for run in range(runs + 1):
        began = time.perf_counter()
        answer = composition.ask("Tell me a long story about a fox and a river.", sampling=Sampling(max_new_tokens=tokens))
        mine = answer.tokens["generated"] / (time.perf_counter() - began)
        began = time.perf_counter()
        with torch.no_grad():
            out = lm.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False)
        stock = (out.shape[1] - ids.shape[1]) / (time.perf_counter() - began)
        if run:
            ours, theirs, ratios = [*ours, mine], [*theirs, stock], [*ratios, mine / stock]
    return {
        "ours tok/s": statistics.median(ours),
        "transformers tok/s": statistics.median(theirs),
        "ratio": statistics.median(ratios),
    }


def tiles_of(model: str) -> Composition:
    """The same model with its image encoder cutting four tiles: the projector's weights fit any number of positions."""
    import polymodal

    folder = polymodal.CHECKPOINTS.get(model, Path(model))
    manifest = json.loads((folder / "polymodal.json").read_text())
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        for file in folder.iterdir():
            if file.name != "polymodal.json":
                (Path(place) / file.name).symlink_to(file)
        manifest["recipe"]["inputs"]["image"]["encoder"]["tiles"] = 2
        (Path(place) / "polymodal.json").write_text(json.dumps(manifest))
        return Composition.load(place)


def ask_memory(model: str) -> float:
    """Peak resident memory of one `ask`, in GB."""
    out = subprocess.run(
        [sys.executable, "-c", CHILD, str(EXAMPLES / "cat.jpg"), model], capture_output=True, text=True, check=True
    )
    return int(out.stderr.strip().splitlines()[-1]) / 1e6


if __name__ == "__main__":
    main()
