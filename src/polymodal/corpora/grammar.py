"""The little English that questions about things need. Decides articles and plurals, by rule with the exceptions we use."""

from __future__ import annotations

import re

_PLURALS = {"wolf": "wolves", "knife": "knives", "scarf": "scarves", "mouse": "mice", "leaf": "leaves"}
_SAME = {"sheep", "squid", "shrimp", "moose"}
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def with_article(name: str) -> str:
    """ "a dog", "an owl", "a unicorn"."""
    vowel = name[:1].lower() in "aeiou" and not re.match(r"(uni|use|eu|one\b)", name)
    return f"{'an' if vowel else 'a'} {name}"


def plural(name: str) -> str:
    """ "dogs", "buses", "butterflies", "pieces of cheese": the word before "of", or else the last one, in the plural."""
    head, of, rest = name.partition(" of ")
    *before, word = head.split(" ")
    if word in _SAME or word.endswith("fish"):
        many = word
    elif word.endswith("man"):
        many = f"{word[:-2]}en"
    elif word in _PLURALS:
        many = _PLURALS[word]
    elif re.search(r"(s|x|ch|sh|z)$", word):
        many = f"{word}es"
    elif re.search(r"[^aeiou]y$", word):
        many = f"{word[:-1]}ies"
    else:
        many = f"{word}{'es' if word in ('potato', 'tomato', 'tornado', 'mosquito') else 's'}"
    return " ".join([*before, many]) + of + rest
