"""What `polymodal eval` saves: questions in batches, with each picture encoded once, against `ask`, one at a time.

    .venv/bin/python benchmarks/evaluating.py --images 1000 --alone 60

Pictures are emoji of a vendor that is in no training; of each, `--questions` are asked in POPE's own form ("Is there a cat
in the image?", half of them answered yes), from a file that is written as POPE's authors write theirs. Counted are seconds
of processor time, which other load stretches less than those of the clock. `--alone`: how many of the same questions are
also asked one at a time, evenly drawn, in `--turns` with the others; their answers are compared, too.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from pathlib import Path

from common import options, show, start
from polymodal import corpora
from polymodal.corpora.grammar import with_article
from polymodal.evaluation import run
from polymodal.evaluation.files import Files
from polymodal.evaluation.metrics import wilson
from polymodal.evaluation.predictions import Header, Writer, read, rescore
from polymodal.evaluation.protocols import PROTOCOLS
from polymodal.model.generation import Sampling


def written(folder: Path, images: int, questions: int, seed: int = 0) -> Files:
    """A folder of pictures and a file in the form of `coco_pope_random.json`."""
    rng = random.Random(seed)
    held_out = [item for item in corpora.read("emoji") if item.split == "held-out"]
    items = rng.sample(held_out, min(images, len(held_out)))
    names = sorted({item.concept for item in held_out})
    lines = []
    for i, item in enumerate(items):
        name = f"{i:06}.png"
        (folder / name).write_bytes(item.read())
        for k in range(questions):
            thing = item.concept if k % 2 == 0 else rng.choice([name for name in names if name != item.concept])
            label = "yes" if k % 2 == 0 else "no"
            text = f"Is there {with_article(thing)} in the image?"
            lines.append({"question_id": len(lines) + 1, "image": name, "text": text, "label": label})
    (folder / "coco_pope_random.json").write_text("\n".join(map(json.dumps, lines)) + "\n")
    return Files(folder / "coco_pope_random.json", folder)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--questions", type=int, default=6, help="of each picture; POPE has 6")
    parser.add_argument("--alone", type=int, default=60, help="questions that are asked one at a time, too")
    parser.add_argument("--turns", type=int, default=3, help="in which both ways are measured, one after the other")
    parser.add_argument("--batch", type=int, default=16)
    arguments = start(parser)
    import polymodal

    composition, protocol = polymodal.load(arguments.model), PROTOCOLS["pope@official"]
    sampling = Sampling(max_new_tokens=protocol.tokens)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        asked = list(protocol.read(written(folder, arguments.images, arguments.questions)))
        for question in asked[:2]:
            composition.generate([protocol.prompt(question).messages], sampling)
        single: dict[str, str] = {}
        alone, together, ratios = 0.0, 0.0, []
        with Writer(folder / "answers.jsonl", Header(protocol.id, "", sampling.model_dump(), None, len(asked))) as writer:
            for turn in range(arguments.turns):
                own = asked[turn * len(asked) // arguments.turns : (turn + 1) * len(asked) // arguments.turns]
                some = own[:: max(1, len(own) * arguments.turns // max(1, arguments.alone))]
                began = time.process_time()
                for question in some:
                    (parts,) = composition.generate([protocol.prompt(question).messages], sampling)
                    single[question.id] = "".join(part.text or "" for part in parts).strip()
                middle = time.process_time()
                run.ask(composition, protocol, own, writer, "", sampling, batch=arguments.batch)
                ended = time.process_time()
                ratios.append((middle - began) / len(some) / ((ended - middle) / len(own)))
                alone, together = alone + middle - began, together + ended - middle
        saved = read(folder / "answers.jsonl")
    same = sum(saved.predictions[name].answer.text == text for name, text in single.items())
    records = rescore(saved, protocol)
    accuracy = protocol.totals(records)["accuracy"]
    ratio = (alone / len(single)) / (together / len(asked))
    pictures = len({question.media[0].media for question in asked})
    row = {"pictures": pictures, "questions": len(asked), "seconds": together, "each": together / len(asked)}
    row |= {"alone": len(single), "each alone": alone / len(single), "times": ratio, "same answers": same}
    row |= {"least times": min(ratios), "most times": max(ratios)}
    low, high = wilson(round(accuracy * len(asked)), len(asked))
    row |= {"accuracy": accuracy, "low": low, "high": high}
    show(arguments, "eval against one at a time, processor seconds", [row], row)


if __name__ == "__main__":
    main()
