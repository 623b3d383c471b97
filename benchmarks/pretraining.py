"""What a training step costs: polymodal's loop against a plain transformers composition under HF Trainer.

    .venv/bin/python benchmarks/pretraining.py            about 22 minutes on two cores that do nothing else
    .venv/bin/python benchmarks/pretraining.py --quick    a look, 3 minutes: too few steps to cite

Both sides: SmolLM2-135M-Instruct, EfficientNet-Lite0's 49 grid features, an MLP projector of the same initial weights, the
same emoji, batches of 16. The plain side is what one writes in an afternoon (`Plain` below): the encoder online in every
step, right padding, logits everywhere, Trainer with its defaults. That both give the same loss of the same batch is checked
first. Pre-training learns the projector; SFT the projector and LoRA (r = 8) on q and v.

Each side is a process of its own, so that its peak memory (VmHWM) is its own. They take turns, block by block; what is
reported is the median of the ratios of neighbouring blocks. Filling the cache is not in a step: it is reported beside.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import options, show, start
from plain_composition import losses_agree, train_plain
from polymodal.model.composition import Composition

PICTURES, BATCH = 640, 16
QUESTIONS = ("What is this?", "What is in the picture?", "Describe the picture.")
MODEL = {
    "backbone": {"path": "asset:smollm2-135m-instruct"},
    "inputs": {
        "image": {
            "encoder": {"kind": "efficientnet-lite", "path": "asset:efficientnet-lite0"},
            "projector": {"kind": "mlp"},
        }
    },
}
LORA = {f"backbone.lm.*.{name}_proj": {"kind": "lora", "r": 8, "alpha": 16, "rate": 2e-4} for name in "qv"}

# Each rung of the ladder keeps what the one before it does.
LADDER: dict[str, dict[str, Any]] = {
    "logits where supervised": {"cached": False, "prefix": False, "grouping": 1},
    "+ cached features": {"prefix": False, "grouping": 1},
    "+ the shared prompt run once": {"grouping": 1},
    "+ bf16": {"grouping": 1, "precision": "bf16"},
    "+ eager attention": {"grouping": 1, "precision": "bf16", "attention": "eager"},
    "+ grouped by length": {"precision": "bf16", "attention": "eager"},
    "+ in two micro-batches": {"precision": "bf16", "attention": "eager", "accumulate": 2},  # for memory; the same step
}
OURS = list(LADDER)[-1]
SFT = {**LADDER[OURS], "peft": LORA}
SIDES: dict[str, dict[str, Any]] = {
    "plain fp32": {"plain": True},
    "plain bf16": {"plain": True, "bf16": True},
    **LADDER,
    "plain SFT": {"plain": True, "lora": True},
    "SFT": SFT,
}


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--quick", action="store_true", help="two steps per block, two rounds, no ladder")
    parser.add_argument("--side", choices=SIDES, help="(the script calls itself) be this side")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--steps", type=int, default=4, help="per block")
    arguments = start(parser)
    if arguments.side:
        be(arguments.side, arguments.folder, arguments.steps)
        return
    steps, rounds = (2, 2) if arguments.quick else (arguments.steps, 5)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_data(folder)
        composition = Composition.from_recipe({"model": MODEL})
        cache_seconds = fill_cache(folder, composition)
        difference = losses_agree(folder, composition)
        del composition
        run = _Runs(folder, steps, arguments.threads)
        main_blocks = run.turns(["plain fp32", "plain bf16", OURS], rounds)
        rungs = {OURS: main_blocks}
        for name in [] if arguments.quick else list(LADDER)[:-1]:
            rungs[name] = run.turns(["plain fp32", name], 2)
        sft = run.turns(["plain SFT", "SFT"], max(2, rounds - 1))
    rows = [
        row("plain fp32", main_blocks, "plain fp32"),
        row("plain bf16", main_blocks, "plain fp32"),
        *(row(name, rungs[name], "plain fp32") for name in LADDER if name in rungs),
        row("plain SFT", sft, "plain SFT"),
        row("SFT", sft, "plain SFT"),
    ]
    line = {
        "speedup": ratio(main_blocks, "plain fp32", OURS),
        "speedup_vs_bf16": ratio(main_blocks, "plain bf16", OURS),
        "memory_ratio": main_blocks[OURS][-1]["peak_gb"] / main_blocks["plain fp32"][-1]["peak_gb"],
        "sft_lora_speedup": ratio(sft, "plain SFT", "SFT"),
        "sft_lora_memory_ratio": sft["SFT"][-1]["peak_gb"] / sft["plain SFT"][-1]["peak_gb"],
        "cache_fill_ms_per_picture": 1000 * cache_seconds / PICTURES,
        "loss_difference": difference,
        "rows": rows,
    }
    show(arguments, f"Training steps of {BATCH}, {arguments.threads} threads", rows, line)
    if not arguments.json:
        fill = line["cache_fill_ms_per_picture"]
        print(f"against plain bf16: {line['speedup_vs_bf16']:.2f}; peak memory: {line['memory_ratio']:.2f} of plain fp32's")
        print(f"filling the cache, once: {fill:.0f} ms per picture; the losses of one batch differ by {difference:.0e}")


def row(name: str, blocks: dict[str, list[dict]], against: str) -> dict[str, Any]:
    seconds = statistics.median(block["seconds"] for block in blocks[name])
    ratios = [a["seconds"] / b["seconds"] for a, b in zip(blocks[against], blocks[name], strict=True)]
    return {
        "setting": name,
        "s/step": seconds,
        "samples/s": BATCH / seconds,
        "speed-up": statistics.median(ratios),
        "from-to": f"{min(ratios):.2f}-{max(ratios):.2f}",
        "peak GB": blocks[name][-1]["peak_gb"],
    }


def ratio(blocks: dict[str, list[dict]], slow: str, fast: str) -> float:
    return statistics.median(a["seconds"] / b["seconds"] for a, b in zip(blocks[slow], blocks[fast], strict=True))


def write_data(folder: Path) -> None:
    """Pictures and a JSONL of one question and one caption each, about a dozen supervised tokens."""
    from polymodal import corpora

    items = [item for item in corpora.read("emoji") if item.split == "train"][:PICTURES]
    with open(folder / "data.jsonl", "w", encoding="utf-8") as out:
        for i, item in enumerate(items):
            (folder / f"{i}.png").write_bytes(item.read())
            content = [{"type": "image", "image": f"{i}.png"}, {"type": "text", "text": QUESTIONS[i % len(QUESTIONS)]}]
            answer = f"This is a picture of the emoji {item.concept}."
            turns = [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]
            out.write(json.dumps({"messages": turns}) + "\n")


def fill_cache(folder: Path, composition: Composition) -> float:
    """Seconds."""
    from polymodal.training.cache import FeatureCache
    from polymodal.training.filling import fill
    from polymodal.training.sources import build_source

    source = build_source("pictures", {"kind": "messages", "path": str(folder / "data.jsonl")})
    began = time.perf_counter()
    fill(FeatureCache(folder / "cache", composition.model), {"pictures": source})
    return time.perf_counter() - began


def ours(folder: Path, name: str, side: dict[str, Any], steps: int = 1) -> Any:
    """The recipe of one of our sides."""
    from polymodal.training.stage import train_recipe

    stage = {
        "name": "one",
        "train": {"inputs.image.projector.*": 5e-5},
        "peft": side.get("peft", {}),
        "data": {"pictures": 1.0},
        "steps": 10_000,
        "batch": BATCH,
        "grouping": side.get("grouping", 8),
        "accumulate": side.get("accumulate", 1),
    }
    run = {
        "folder": str(folder / name.replace(" ", "-")),
        "log_every": steps,
        "save_every": 10_000,
        "precision": side.get("precision", "fp32"),
        "attention": side.get("attention"),
        "cache": str(folder / "cache") if side.get("cached", True) else None,
    }
    data = {"pictures": {"kind": "messages", "path": str(folder / "data.jsonl")}}
    return train_recipe({"model": MODEL, "data": data, "stages": [stage], "run": run})


def be(name: str, folder: Path, steps: int) -> None:
    """One side: a block of steps for each line on stdin, and a line of JSON after each block."""
    import os

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what Trainer prints is no answer
    began: list[float] = []

    def block_done() -> None:
        if began:
            status = Path("/proc/self/status").read_text().splitlines()
            peak = next(line.split()[1] for line in status if line.startswith("VmHWM"))
            seconds = (time.perf_counter() - began[-1]) / steps
            answers.write(json.dumps({"seconds": seconds, "peak_gb": int(peak) / 1e6}) + "\n")
            answers.flush()
        if not sys.stdin.readline():
            os._exit(0)
        began.append(time.perf_counter())

    side = SIDES[name]
    block_done()
    if side.get("plain"):
        train_plain(folder, BATCH, steps, block_done, bf16=side.get("bf16", False), lora=side.get("lora", False))
        return
    from polymodal.parts.backbones import Backbone
    from polymodal.training.loop import train

    if not side.get("prefix", True):  # the ladder's lower rungs; there is no option, for there is no reason to refuse it
        Backbone.shares_prefix = False
    train(ours(folder, name, side, steps), on_log=lambda row: block_done())


class _Runs:
    def __init__(self, folder: Path, steps: int, threads: int) -> None:
        self.command = [sys.executable, __file__, "--folder", str(folder), "--steps", str(steps), "--threads", str(threads)]

    def turns(self, names: Sequence[str], rounds: int) -> dict[str, list[dict]]:
        """{side: its blocks} of sides that take turns; the first block of each warms up and is not counted."""
        pipe: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        sides = {name: subprocess.Popen([*self.command, "--side", name], **pipe) for name in names}
        blocks: dict[str, list[dict]] = {name: [] for name in names}
        try:
            for _ in range(rounds + 1):
                for name, process in sides.items():
                    blocks[name].append(_block(name, process))
        finally:
            for process in sides.values():
                process.stdin.close()
                process.wait()
        return {name: done[1:] for name, done in blocks.items()}


def _block(name: str, process: subprocess.Popen) -> dict:
    process.stdin.write("go\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise SystemExit(f"the side '{name}' ended with code {process.wait()}; what it said is above")
    return json.loads(answer)


if __name__ == "__main__":
    main()
