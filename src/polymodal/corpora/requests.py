"""The corpus `requests`: wishes for a picture or for speech, texts to say aloud, and questions that sound like such a wish
and are to be answered in words. Decides what is nearly a request and is none.

A model that learned to draw when it is told to must not draw when it is asked how one draws. Wishes in a few wordings,
whatever they are about, do not teach it what a wish is: hence `requests_written.jsonl`, each row in a wording of its own,
by somebody who had seen neither the recipes nor what is measured by. Answers in words are the backbone's own, and mostly
but begun: only that it opens nothing is to be learned. Some prompts it makes up; of these, those that could wish for a
picture or a recording are left out. The test has things that no training names, and wordings of its own.

    group draw, speak, play, animate    `caption`: the wish; `text`: what is to be drawn, said, played or shown
    group aloud                         `text`: a sentence
    group answers                       `caption` and its question: the prompt; `text` and the answer: the backbone's
    group words                         the same, but that the answer is only begun
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from polymodal.corpora import replies, reply_prompts, sentences
from polymodal.corpora.building import Job, Report
from polymodal.corpora.concepts import concept
from polymodal.corpora.items import QA, Item
from polymodal.errors import DataError

NAME = "requests"
ASSET = replies.ASSET
VERSION = 5
MADE_UP = 448  # prompts that the backbone makes up
WRITTEN = Path(__file__).parent / "requests_written.jsonl"  # `makes`, `ask`, `say`
_ASKED = re.compile(
    r"\b(draw|paint|sketch|picture|image|illustrat|logo|photo|emoji|icon|flag|aloud|out loud|pronounc|audio|voice)", re.I
)
WISHES = {"image": "draw", "audio": "speak", "sound": "play", "clip": "animate"}  # groups, by what is wished for
TIMES = 8  # things, or sentences, that each wording is about
WHOLE = replies.Manner("answers", 48)
BEGINNING = replies.Manner("words", 4, whole=False)
NEARLY = (  # {a}: "a dog", {all}: "dogs", {word}: "dog"
    "What does {a} look like?",
    "What sound does {a} make?",
    "How do I draw {a}?",
    "Is it hard to draw {a}?",
    "What color is {a}?",
    "Describe a picture of {a}.",
    "Where can I buy a picture of {a}?",
    "Who paints {all}?",
    "Say in one word what {a} is.",
    "Say something nice about {all}.",
    "Tell me what {a} is for.",
    "Write a caption for a photo of {a}.",
    "How do I say {word} in French?",
    "Write the word {word} in capital letters.",
    "Show me how to spell {word}.",
    "Draw a comparison between {a} and a house.",
    "Make a sentence with {word}.",
    "Make a list of things that go with {all}.",
    "Create a title for a story about {a}.",
    "Give me {a} fact.",
    "Read me a story about {a}.",
    "What would you use to draw {a}?",
    "Paint {a} in words.",
    "I saw {a} today.",
)
WITH = (  # a sentence, as what is to be said aloud has one
    "Translate into French: {text}",
    "Make this shorter: {text}",
    "How many words are in this sentence? {text}",
    "Is this a question? {text}",
    "Write this in the past tense: {text}",
    "What is the verb in this sentence: {text}",
    "Put this into other words: {text}",
    "Continue the story: {text}",
    "What happens next? {text}",
    "Find a mistake in this: {text}",
    "Make this sound friendlier: {text}",
    "Who does something in this sentence? {text}",
    "Ask me a question about this: {text}",
    "Write a title for this: {text}",
    "My teacher wrote: {text}",
    "{text}",
    "{text} Why?",
    "{text} What do you think of that?",
)
HELD_OUT = (
    "Which color would you paint {a}?",
    "Can you explain how to sketch {a}?",
    "Say what you know about {all}.",
    "Make up a name for {a}.",
    "What do you hear when you think of {a}?",
    "I drew {a} yesterday.",
)
EVERYDAY = """
Draw a conclusion: all birds have wings, and a crow is a bird. | What is an emoji? | What is a drawing? | Who was
Picasso? | How do I draw a circle? | What is a sticker? | Make a plan for a picnic. | Create a password for me. | Show
me the way. | What does a painter need? | What is flat design? | What is a sketch? | How do I learn to draw? | Say yes.
| Say no. | What is speech? | What is a voice? | How do people speak? | Tell me about painting. | What is a microphone?
| Make me laugh. | Make a wish. | Give me a picture in words of the sea. | Show respect. | What should I draw today? |
What do you say when you meet someone? | Is drawing fun? | Why do people read aloud? | What is a picture book? | Solve:
4x = 20. | What is 15 percent of 60? | What is the square of 9? | Convert 3 miles to kilometers. | What is 7 times 8? |
What is half of 90? | Is 17 a prime number? | How many minutes are in two hours? | My neighbor plays loud music. What
can I do? | My sister does not answer my letters. | I cannot sleep because of the noise. | I have to give a talk next
week and I am nervous. | How do I ask my landlord to fix the heating? | Should I learn to play the piano or the violin?
| Recommend a book about space. | Plan a weekend in Rome. | What should I cook with rice and eggs? | Give me three tips
for saving water. | Who wrote Hamlet? | When did the Second World War end? | Which planet is closest to the sun? | What
is the boiling point of water? | Define justice. | Explain what inflation is. | What is the difference between a frog
and a toad? | How does a battery work? | Why is exercise good? | Write a haiku about rain. | Write an email to my team
about the meeting. | Give me a synonym for quick. | Spell necessary. | Write a function that adds two numbers. | What
does CPU stand for? | Sort these: pear, apple, fig. | What time is it? | How old are you? | Are you a robot? | Where do
you live? | What is your favorite color? | Tell me a riddle. | I am so happy today! | That is not what I meant. | Can
you explain that again? | No, thank you. | Okay. | Yes, please. | Good night. | What is new?
"""


def build(root: Path | None = None, report: Report | None = None) -> Path:
    """Write the answers and build the corpus, or do nothing if it was made by the same weights. Returns its folder.

    Raises AssetError if the backbone is not fetched.
    """
    return replies.written(NAME, VERSION, jobs, root, report)


def jobs(backbone: Path, drafts: Path, report: Report | None = None) -> list[Job]:
    """One job per sentence, and per prompt that got an answer. `drafts`: the folder of what is written already."""
    rng, known = random.Random(NAME), sentences.generate()
    trained = [sentence.text for sentence in known if sentence.split == "train"]
    quoted = [form.format(text=text) for form in WITH for text in rng.sample(trained, TIMES)]
    free = [prompt for prompt in replies.made_up(backbone, drafts, MADE_UP, report) if not _ASKED.search(prompt)]
    rows = [json.loads(line) for line in WRITTEN.read_text("utf-8").splitlines()]
    everyday = reply_prompts.listed(EVERYDAY) + reply_prompts.listed(reply_prompts.EVERYDAY)
    plan = [
        (reply_prompts.about("train", TIMES, NAME, NEARLY) + everyday, "train", WHOLE),
        ([row["ask"] for row in rows if row["makes"] is None] + free + quoted, "train", BEGINNING),
        (reply_prompts.about("test", TIMES, NAME, HELD_OUT), "test", BEGINNING),
    ]
    found = [
        _job(f"words-{split}-{number:04d}", manner.group, split, prompt, answer)
        for number, (prompt, answer, split, manner) in enumerate(replies.answered(backbone, drafts, plan, report))
    ]
    if not found:
        raise DataError("corpus requests: the backbone answered no prompt")
    aloud = [
        _job(f"aloud-{number:04d}", "aloud", sentence.split, sentence.text, sentence.text)
        for number, sentence in enumerate(known)
    ]
    wishes = [
        _job(f"wish-{number:04d}", WISHES[row["makes"]], "train", row["ask"], row["say"])
        for number, row in enumerate(row for row in rows if row["makes"] is not None)
    ]
    return found + aloud + wishes


def _job(name: str, group: str, split: Any, prompt: str, text: str) -> Job:
    item = Item(
        id=name,
        modality="text",
        file=f"{split}/{name}.txt",
        caption=prompt,
        concept=concept(prompt),
        group=group,
        source=NAME,
        vendor="grammar" if group == "aloud" else "polymodal" if group in WISHES.values() else ASSET,
        licence="Apache-2.0",
        split=split,
        concept_split="train" if split == "train" else "test",
        text=text,
        questions=[QA(ask=prompt, answer=text, type=group)] if group in ("answers", "words") else [],
    )
    return Job([item], partial(_one, text))


def _one(text: str) -> Iterator[bytes]:
    yield text.encode()
