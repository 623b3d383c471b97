"""The corpus `replies`: what the backbone itself answers to short prompts. Decides how text ability is kept.

Trained on pictures alone, a language model forgets how it talked. Turns without media that say what it would have
said anyway pull it back to where it was (self-distillation; Li & Hoiem, arXiv 1606.09282, call it learning without
forgetting). Replies are greedy, in float32; but of what else it might have said they tell nothing, and a model that
learned from them alone drifts in long texts. So there are passages too, drawn at temperature 1: their expected loss is
least where the model is the backbone still. All are cut after their last whole sentence. A few passages, written before
any training and never trained on, are the fixed text whose perplexity tells whether the ability was kept: split `test`,
concept `perplexity`.

Writing takes minutes, so it is done once, a batch at a time, into the folder of unfinished work: a killed build goes
on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from polymodal import assets
from polymodal.corpora import building, reply_prompts
from polymodal.corpora.building import Job, Recipe, Report
from polymodal.corpora.concepts import concept
from polymodal.corpora.items import QA, Item
from polymodal.errors import DataError

NAME = "replies"
ASSET = "smollm2-135m-instruct"
VERSION = 2
SEED = 29
PERPLEXITY = "perplexity"
LONGEST = 48  # tokens of a prompt that the backbone makes up
_BATCH = 16


@dataclass(frozen=True)
class Manner:
    """How the backbone writes: at most `longest` tokens, the likeliest ones or drawn at a `temperature`; up to the end of
    the last `whole` sentence, and nothing where none ends."""

    group: str
    longest: int
    temperature: float | None = None
    whole: bool = True


REPLY = Manner("reply", 48)
PASSAGE = Manner("passage", 160, 1.0)
FIXED = Manner("passage", 160, 0.7)  # what it is at its best: the greedy choice would soon repeat itself


def build(root: Path | None = None, report: Report | None = None) -> Path:
    """Write the replies and build the corpus, or do nothing if it was made by the same weights. Returns its folder.

    Raises AssetError if the backbone is not fetched.
    """
    return written(NAME, VERSION, jobs, root, report)


def written(
    name: str,
    version: int,
    make: Callable[[Path, Path, Report | None], list[Job]],
    root: Path | None,
    report: Report | None,
) -> Path:
    """Build a corpus of what the backbone writes. `make`: its jobs, from the backbone's folder and one for drafts."""
    backbone = assets.path(ASSET, root=root)
    digest = hashlib.sha256(json.dumps(sorted(assets.digests(ASSET, root=root).items())).encode()).hexdigest()
    recipe = Recipe(name, version, {ASSET: digest}, SEED)
    home = root or assets.root()
    drafts = home.absolute() / "staging" / f"{name}-{recipe.key[:16]}"
    folder = building.run(recipe, lambda: make(backbone, drafts, report), home, report)
    shutil.rmtree(drafts, ignore_errors=True)
    return folder


def jobs(backbone: Path, drafts: Path, report: Report | None = None) -> list[Job]:
    """One job per prompt that got an answer. `drafts`: the folder of what is written already."""
    plan = [
        (reply_prompts.train(), "train", REPLY),
        (reply_prompts.test(), "test", REPLY),
        (reply_prompts.writing(), "train", PASSAGE),
        (reply_prompts.PASSAGES, "test", FIXED),
    ]
    answers = answered(backbone, drafts, plan, report)
    found = [_job(number, split, prompt, text, manner) for number, (prompt, text, split, manner) in enumerate(answers)]
    if not found:
        raise DataError("corpus replies: the backbone answered no prompt with a whole sentence")
    return found


def answered(
    backbone: Path, drafts: Path, plan: Sequence[tuple[Sequence[str], str, Manner]], report: Report | None = None
) -> Iterator[tuple[str, str, str, Manner]]:
    """(prompt, answer, split, manner) of each prompt of a plan (prompts, split, manner) that got one. A batch that was
    written into `drafts` before is read from there."""
    batches = [
        (prompts[start : start + _BATCH], split, manner)
        for prompts, split, manner in plan
        for start in range(0, len(prompts), _BATCH)
    ]
    writer = _Writer(backbone)
    done, total = 0, sum(len(prompts) for prompts, _, _ in batches)
    for prompts, split, manner in batches:
        draft = drafts / f"{done:04d}.json"
        if not draft.is_file():
            building.write(draft, json.dumps(writer(prompts, manner)).encode())
        for prompt, answer in zip(prompts, json.loads(draft.read_text("utf-8")), strict=True):
            if answer := whole(answer) if manner.whole else answer.strip():
                yield prompt, answer, split, manner
        done += len(prompts)
        if report is not None:
            report(done, total)


def made_up(backbone: Path, drafts: Path, number: int, report: Report | None = None) -> list[str]:
    """At most `number` different prompts that the backbone makes up: behind the header of a user's turn it goes on with
    such a turn as it was trained on (arXiv 2406.08464). What was written into `drafts` before is read from there."""
    writer, found = _Writer(backbone), dict[str, None]()
    for start in range(0, number, _BATCH):
        draft = drafts / f"made-up-{start:04d}.json"
        if not draft.is_file():
            building.write(draft, json.dumps(writer.make_up(start)).encode())
        found |= dict.fromkeys(json.loads(draft.read_text("utf-8")))
        if report is not None:
            report(min(start + _BATCH, number), number)
    return list(found)


def whole(text: str) -> str:
    """The text up to the end of its last whole sentence; empty if none ends."""
    ends = [match.end() for match in re.finditer(r"(?<!\d)[.!?][\"')]*(?=\s|$)", text)]  # not at the "2." of a list
    return text[: ends[-1]].strip() if ends else ""


class _Writer:
    """The backbone as it was published, answering through its own chat template. Loaded when it is first needed."""

    def __init__(self, backbone: Path) -> None:
        self.backbone = backbone

    @cached_property
    def _parts(self) -> tuple[Any, Any]:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(self.backbone, padding_side="left")
        return tokenizer, AutoModelForCausalLM.from_pretrained(self.backbone, dtype=torch.float32).eval()

    def make_up(self, seed: int) -> list[str]:
        """Turns of a user; what does not end within LONGEST tokens is none."""
        import torch

        tokenizer, model = self._parts
        mark = "\x00"
        header = tokenizer.apply_chat_template([{"role": "user", "content": mark}], tokenize=False).split(mark)[0]
        inputs = tokenizer([header] * _BATCH, return_tensors="pt", add_special_tokens=False)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED + seed)
            out = model.generate(
                **inputs, do_sample=True, top_k=0, top_p=0.95, max_new_tokens=LONGEST, pad_token_id=tokenizer.pad_token_id
            )
        ended = [row for row in out[:, inputs["input_ids"].shape[1] :] if tokenizer.eos_token_id in row]
        return [text for row in ended if (text := " ".join(tokenizer.decode(row, skip_special_tokens=True).split()))]

    def __call__(self, prompts: Sequence[str], manner: Manner) -> list[str]:
        import torch

        tokenizer, model = self._parts
        chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
        inputs = tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        )
        style: dict[str, Any] = {"do_sample": False}
        if manner.temperature is not None:
            style = {"do_sample": True, "temperature": manner.temperature, "top_k": 0}
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            out = model.generate(**inputs, **style, max_new_tokens=manner.longest, pad_token_id=tokenizer.pad_token_id)
        return tokenizer.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def _job(number: int, split: str, prompt: str, answer: str, manner: Manner) -> Job:
    name = f"{split}-{number:04d}"
    item = Item(
        id=name,
        modality="text",
        file=f"{split}/{name}.txt",
        caption=prompt,
        concept=PERPLEXITY if manner is FIXED else concept(prompt),
        group=manner.group,
        source=NAME,
        vendor=ASSET,
        licence="Apache-2.0",
        split=split,
        concept_split=split,
        text=answer,
        questions=[QA(ask=prompt, answer=answer, type=manner.group)],
    )
    return Job([item], partial(_one, prompt))


def _one(prompt: str) -> Iterator[bytes]:
    yield prompt.encode()
