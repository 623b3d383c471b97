"""What it brings to answer many users together: the engine with room for all of them against one with room for one.

    .venv/bin/python benchmarks/serving.py
    .venv/bin/python benchmarks/serving.py --model random      # 13 M random weights, where nano would take too long

Each of `--users` asks `--questions` questions one after another, every fourth of them about a picture, and waits for each
answer; both engines are asked the same, with the same seeds. Shown: tokens per second and per second of processor time,
seconds to the first token and to the last from when a user asked (median and 95th percentile), the mean number of rows of a
step, encoder calls, and requests that got no answer. In this process, without HTTP.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from common import options, show, start
from polymodal.content import image, user
from polymodal.model.composition import Composition
from polymodal.model.sampling import Sampling
from polymodal.serving import Done, Engine, Limits, Wrote

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
THINGS = ("a fox", "a river", "the moon", "an old clock", "two friends", "a ship", "the wind", "a red door")
RANDOM = {
    "model_type": "llama",
    "hidden_size": 384,
    "intermediate_size": 1024,
    "num_hidden_layers": 8,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "eos_token_id": 2,
}
VISION = {"model_type": "clip_vision_model", "hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2}


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--users", type=int, default=16)
    parser.add_argument("--questions", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=48)
    arguments = start(parser)
    rows = []
    for together in (1, arguments.users):
        composition = random_model() if arguments.model == "random" else loaded(arguments.model)
        rows.append(load(composition, together, arguments))
    one, all_ = rows
    line = {
        "throughput_vs_one_at_a_time": all_["tokens/s"] / one["tokens/s"],
        "per_cpu_second_vs_one_at_a_time": all_["tokens/CPU s"] / one["tokens/CPU s"],
        "first_token_p95_s": all_["first p95 s"],
        "one_at_a_time_first_token_p95_s": one["first p95 s"],
        "lost": one["lost"] + all_["lost"],
    }
    show(arguments, f"{arguments.users} users: {line['throughput_vs_one_at_a_time']:.2f} times the throughput", rows, line)


def load(composition: Composition, rows: int, arguments: Any) -> dict[str, Any]:
    """All users at once, each a thread that waits for its answers as a client does."""
    firsts: list[float] = []
    totals: list[float] = []
    answered: list[Done] = []
    limits = Limits(rows=rows, queue=arguments.users, seconds=3600)

    def use(number: int) -> None:
        for question in range(arguments.questions):
            text = f"Tell me a short story about {THINGS[(number + 3 * question) % len(THINGS)]}."
            shown = [image(str(EXAMPLES / "cat.jpg"))] if (number + question) % 4 == 0 else []
            sampling = Sampling(max_new_tokens=arguments.tokens, temperature=0.7, seed=100 * number + question)
            began, first = time.perf_counter(), 0.0
            for event in engine.submit([user(*shown, text)], sampling):
                if isinstance(event, Wrote) and not first:
                    first = time.perf_counter() - began
                if isinstance(event, Done):
                    answered.append(event)
            totals.append(time.perf_counter() - began)
            firsts.append(first or totals[-1])

    with Engine(composition, limits) as engine:
        engine.submit([user("Hello.")], Sampling(max_new_tokens=2)).result()  # a warm-up
        users = [threading.Thread(target=use, args=(number,)) for number in range(arguments.users)]
        before, began, spent = engine.stats(), time.perf_counter(), time.process_time()
        for each in users:
            each.start()
        for each in users:
            each.join()
        seconds, spent, after = time.perf_counter() - began, time.process_time() - spent, engine.stats()
    tokens = sum(done.usage.generated for done in answered)
    return {
        "rows": rows,
        "tokens/s": tokens / seconds,
        "tokens/CPU s": tokens / spent,
        "tokens": tokens,
        "first median s": statistics.median(firsts),
        "first p95 s": percentile(firsts, 0.95),
        "total median s": statistics.median(totals),
        "total p95 s": percentile(totals, 0.95),
        "rows of a step": (after["row_steps"] - before["row_steps"]) / max(after["steps"] - before["steps"], 1),
        "encoder calls": after["encoded"] - before["encoded"],
        "lost": arguments.users * arguments.questions - len(answered),
    }


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(round(share * (len(values) - 1)), len(values) - 1)]


def loaded(model: str) -> Composition:
    import polymodal

    return polymodal.load(model)


def random_model() -> Composition:
    from polymodal.parts.tiny import save_tokenizer

    with tempfile.TemporaryDirectory() as folder:
        encoder = {"kind": "vision", "config": {**VISION, "num_attention_heads": 3, "image_size": 224, "patch_size": 32}}
        recipe = {
            "backbone": {"config": RANDOM, "tokenizer": save_tokenizer(folder), "chat_format": "chatml"},
            "inputs": {"image": {"encoder": encoder, "projector": {"kind": "mlp"}}},
            "seed": 0,
        }
        return Composition.from_recipe({"model": recipe})


if __name__ == "__main__":
    main()
