"""Is the backbone's text ability kept? Perplexity on texts that the backbone itself wrote before any training.

    .venv/bin/python benchmarks/text.py

The corpus `replies`: passages and held-out replies that the untrained SmolLM2-135M-Instruct wrote to prompts which are in
no training data. Perplexity = exp(mean negative log-likelihood per supervised token), of nano and of the backbone as it
came. The control shows that the measure can fail: the same backbone with 1 % relative noise on every weight.
"""

from __future__ import annotations

import copy
import math

import torch

from common import options, show, start
from polymodal import corpora
from polymodal.content import assistant, user
from polymodal.model.composition import Composition
from polymodal.model.sequence import collate


def main() -> None:
    arguments = start(options(__doc__))
    import polymodal

    items = [i for i in corpora.read("replies") if i.split == "test"]
    nano = polymodal.load(arguments.model)
    source = Composition.from_recipe({"model": {"backbone": {"path": "asset:smollm2-135m-instruct"}}})
    rows = []
    line = {}
    for group in ("passage", "reply"):
        turns = [[user(q.ask), assistant(q.answer)] for i in items if i.group == group for q in i.questions]
        before = perplexity(source, turns)
        for who, model in (("nano", nano), ("backbone, untouched", source), ("backbone, 1 % noise", noisy(source))):
            found = perplexity(model, turns)
            change = f"{found / before - 1:+.1%}"
            rows.append({"text": f"{len(turns)} of group {group}", "who": who, "perplexity": found, "change": change})
            line[f"{group}/{who}"] = found
        line[f"{group}/ratio"] = line[f"{group}/nano"] / before
    show(arguments, "The backbone's own texts", rows, line)


@torch.no_grad()
def perplexity(composition, turns, batch: int = 4) -> float:
    total, tokens = 0.0, 0
    for at in range(0, len(turns), batch):
        examples = [composition.processor.encode(t) for t in turns[at : at + batch]]
        out = composition.model(collate(examples, composition.processor.pad_id))
        total += float(torch.nn.functional.cross_entropy(out.logits, out.labels, reduction="sum"))
        tokens += len(out.labels)
    return math.exp(total / tokens)


def noisy(composition: Composition) -> Composition:
    """A copy with every weight multiplied by 1 + 1 % noise."""
    torch.manual_seed(0)
    other = Composition(copy.deepcopy(composition.model), composition.recipe)
    with torch.no_grad():
        for parameter in other.model.parameters():
            parameter.mul_(1 + 0.01 * torch.randn_like(parameter))
    return other


if __name__ == "__main__":
    main()
