"""What the backbone is asked for the corpus `replies`. Decides a spread of short everyday prompts: about things,
words, numbers, small tasks and small talk, and of longer texts to write. Prompts of the test are about concepts of the
test and numbers of their own."""

from __future__ import annotations

import random

from polymodal.corpora.concepts import concept, split_of
from polymodal.corpora.grammar import NUMBERS, plural, with_article
from polymodal.corpora.sentence_words import SLOTS, UNSEEN

ABOUT = (  # {a}: "a dog", {all}: "dogs", {word}: "dog"
    "Tell me one fact about {all}.",
    "Write a sentence with the word {word}.",
    "What is {a}?",
    "Describe {a} in one sentence.",
    "What do people think of {all}?",
    "Write a short rhyme about {a}.",
    "Give me two words that describe {a}.",
    "Where would I find {a}?",
    "Why do people like {all}?",
    "Ask me a question about {all}.",
)
FORMS = (
    "What is {a} plus {b}?",
    "What is {a} times {b}?",
    "Which is larger, {a} or {b}?",
    "I have {a} apples and eat one. How many are left?",
    "Count from one to {a}.",
)
EVERYDAY = """
Hello! | Hi, how are you? | Good morning! | Good evening. | Thank you very much. | Goodbye! | Who are you? |
What is your name? | What can you do? | Can you help me? | Tell me a joke. | Tell me a short story. |
How do I make tea? | How do I boil an egg? | How do I tie my shoes? | How do I plant a seed? |
How do I write a letter? | How can I sleep better? | How do I learn a new language? | How do I clean a window? |
How do I save money? | How do I make a sandwich? | How do I stay healthy? | How can I remember names? |
What is the capital of France? | What is the capital of Japan? | What is the capital of Italy? |
What is the largest ocean? | What is the tallest mountain? | How many days are in a week? |
How many months are in a year? | How many legs does a spider have? | What color is the sky? | What color is grass? |
What do bees make? | What do plants need to grow? | Why is the sky blue? | Why do leaves fall? | Why do we sleep? |
Why does ice float? | What is rain? | What is gravity? | What is a computer? | What is music? | What is friendship? |
What is a holiday? | Name three animals. | Name three colors. | Name three fruits. | Name three countries. |
Name a famous scientist. | Name a planet. | What is the opposite of big? | What is the opposite of hot? |
What is the opposite of happy? | What is another word for fast? | What is another word for small? |
What rhymes with cat? | Spell the word window. | Make the word child plural. | Write the past tense of run. |
Use the word because in a sentence. | Correct this sentence: she go to school. |
Correct this sentence: I has two cats. | Translate hello into French. | Translate thank you into Spanish. |
Say yes or no: is water wet? | Say yes or no: can fish fly? | Is the sun a star? | Is a tomato a fruit? |
Write a title for a story about the sea. | Write a birthday message. | Write a thank you note to a teacher. |
Write a poem of two lines about winter. | Write a question about history. | Give me advice for a job interview. |
Give me an idea for dinner. | Give me an idea for a birthday gift. | Suggest a game for a rainy day. |
Suggest a name for a puppy. | What should I wear when it is cold? | What should I pack for the beach? |
I feel sad today. | I am bored. | I lost my keys. | I am hungry. | It is raining outside. | I have a test tomorrow. |
My friend is angry with me. | I want to learn to cook. | What is your favorite book? | Do you like music? |
Can you sing? | Can you see pictures? | What did you do today? | Explain what a map is for. |
Explain how a bicycle works. | Explain what a doctor does. | Explain why we brush our teeth. |
Summarize: The dog ran to the park and played with a ball. |
Summarize: It rained all day, so we stayed at home and read books. | Finish the sentence: Once upon a time |
Finish the sentence: The best thing about summer is | List two uses for paper. | List two things in a kitchen. |
List two kinds of weather. | What comes after Monday? | What comes before ten? | Is seven odd or even? |
What shape has three sides? | What do we call a baby cat?
"""
HELD_OUT = """
How do I make coffee? | What is the capital of Spain? | Why is the sea salty? | Name three vegetables. |
What is the opposite of tall? | Suggest a name for a kitten. | I am tired. | Explain what a nurse does. |
What comes after Friday? | What do cows eat? | Write a poem of two lines about summer. |
Correct this sentence: he have a car. | List two things in a school. | What is another word for happy? |
How do I wash a car?
"""
WRITING = (  # longer: about things, as ABOUT
    "Write a story about {a}.",
    "Describe {a} to someone who has never seen one.",
    "Write a letter to a friend about {all}.",
    "Explain what {all} are for.",
    "Write a page of a diary about {a}.",
    "Describe a place where there are many {all}.",
    "Write about the history of {all}.",
    "Tell a child all that is worth knowing about {all}.",
    "Write a conversation between two people about {a}.",
)
ESSAYS = """
Write a story about a storm at night. | Write a story about a girl who finds a map. | Write a story about an old clock. |
Write a story about three friends and a cave. | Describe a walk in the mountains. | Describe a busy kitchen. |
Describe a village in summer. | Describe what happens at an airport. | Describe a quiet evening at home. |
Describe a school on its first day. | Explain how cheese is made. | Explain how rain forms. |
Explain how a house is built. |
Explain why people travel. | Explain why people sing. | Explain how a letter reaches its reader. |
Explain how paper is made. | Explain why some animals sleep in winter. | Write a letter to a neighbor about a party. |
Write a letter to a teacher about a book. | Write a speech for a wedding. |
Give advice to someone who moves to a new city. |
Compare life in a city with life on a farm. | Describe the work of a baker.
"""
PASSAGES = (
    "Write a story about a lost key.",
    "Describe a day at the sea.",
    "Explain how bread is made.",
    "Write a letter to a friend about a journey by train.",
    "Describe a small town in winter.",
    "Explain why people keep gardens.",
    "Write a story about two brothers and a boat.",
    "Describe what happens at a market in the morning.",
)
_SEED = 31


def train() -> list[str]:
    """About 400 different prompts."""
    rng = random.Random(f"{_SEED}/train")
    return _unique([*listed(EVERYDAY), *_about(SLOTS, "train", 24, rng), *_numbers(range(1, 10), 12, rng)])


def writing() -> list[str]:
    """About 200 different prompts for longer texts."""
    rng = random.Random(f"{_SEED}/writing")
    return _unique([*listed(ESSAYS), *_about(SLOTS, "train", 20, rng, WRITING)])


def test() -> list[str]:
    """About 60 different prompts, none of them one of `train`."""
    rng = random.Random(f"{_SEED}/test")
    held = [*listed(HELD_OUT), *_about(UNSEEN, "test", 3, rng), *_numbers(range(1, 10), 6, rng)]
    return [prompt for prompt in _unique(held) if prompt not in train()]


def listed(text: str) -> list[str]:
    """Prompts of a text in which bars stand between them."""
    return [" ".join(prompt.split()) for prompt in text.split("|")]


def about(split: str, times: int, seed: str, forms: tuple[str, ...]) -> list[str]:
    """Prompts of each form about `times` things, drawn by a `seed`; of the test, about things that no training names."""
    rng = random.Random(f"{_SEED}/{seed}/{split}")
    return _unique(_about(SLOTS if split == "train" else UNSEEN, split, times, rng, forms))


def _about(
    slots: dict[str, tuple[str, ...]], split: str, times: int, rng: random.Random, forms: tuple[str, ...] = ABOUT
) -> list[str]:
    """Each form about `times` things of a split."""
    things = [word for slot in ("animal", "thing", "food", "vehicle") for word in slots[slot]]
    if split == "test":  # unseen words of any split, and known words of concepts that are only tested on
        things += [
            word for slot in ("animal", "thing", "food") for word in SLOTS[slot] if split_of(concept(word)) == "test"
        ]
    else:
        things = [word for word in things if split_of(concept(word)) == "train"]
    return [
        form.format(a=with_article(word), all=plural(word), word=word)
        for form in forms
        for word in rng.sample(things, min(times, len(things)))
    ]


def _numbers(values: range, times: int, rng: random.Random) -> list[str]:
    pairs = [rng.sample(values, 2) for _ in range(times)]
    return [form.format(a=NUMBERS[a], b=NUMBERS[b]) for form in FORMS for a, b in pairs]


def _unique(prompts: list[str]) -> list[str]:
    return list(dict.fromkeys(prompts))
