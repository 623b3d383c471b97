"""GCIDE, Webster's dictionary of 1913 with later additions, as dictd serves it. Decides what of an entry is a definition.

Of an entry only the senses of a noun are read, and of a sense only what says what the word means: not its field, etymology
and examples, quotations, notes, synonyms and phrases. Senses that are marked as obsolete, rare, dialect or slang are left
out, and so are those that only send the reader elsewhere.
"""

from __future__ import annotations

import gzip
import re
import unicodedata
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from polymodal.errors import DataError

SHORTEST = 12  # characters of a definition that says something
_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_USES = "Obs|R|Rare|Archaic|Poetic|Cant|Slang|slang|Colloq|Low|Local|Prov|Scot|Humorous|Vulgar|Jocose"
_MARKED = re.compile(rf"\[[^\]]*\b(?:{_USES})\b[^\]]*\]|^(?:\([^)]*\) *)?Fig\b")  # not in plain use today
_LETTERS = {"[ae]": "æ", "[oe]": "œ", "[AE]": "Æ", "[OE]": "Œ", "[deg]": "°", "[pound]": "£"}
_ACCENTS = {"'": "\u0301", "`": "\u0300", "^": "\u0302", "~": "\u0303", '"': "\u0308", ",": "\u0327"}
_SENSE = re.compile(r"^ {3}\d+\.|^ {6}\([a-z]\)")
_PARTS = re.compile(r"^ {3,9}(?:\d+\.|\([a-z]\)) +", re.MULTILINE)
# A letter of which nobody knows what it is, or no definition.
_UNUSABLE = re.compile(r"[\[\]{}<>|\\\ufffd]|^(?:Same as|Variant|A (?:contraction|corruption) |It\. )", re.I)
_HEAD = re.compile(r"[\[{\\]|\([a-z]")  # it goes on: etymology, other forms, pronunciation
_ASIDE = re.compile(r"\[[^\[\]]*\]|\([^()]*\)|\{[^{}]*\}")  # of a head: etymology, pronunciation, other forms
_PHRASE = "   {"
_BRACKETS = re.compile(r"(?<!\w)\[[^\]]*\](?!\w)")  # remarks; within a word it is a letter
_FIELDS = re.compile(r"^(?:\([^)]*\)|[,;.: ]|(?:Hence|Specifically|Also)[,:])+")
_FIELD = re.compile(r"\(([A-Z][^\W\d_]+)\.?(?: [^)]*)?\)")
_SOURCE = re.compile(r"\[(?:1913 Webster|Webster 1913|WordNet|PJC|Century)[^\]]*\].*")  # of a paragraph, which is then over
_OTHER = re.compile(  # where a definition ends and examples, other names and references begin
    r"\s*(?:--|[:;,.] as[,:] |\b(?:See|Cf\.|Compare|Called also|Written also)\b|(?<=[.;,:?!]) \").*"
)
_OPEN = re.compile(r"[:;,.]? \(?(?:as|especially|esp\.|specifically|specif\.)[.,:;]*$")  # a list follows


class Sense(NamedTuple):
    """A meaning of a noun: its definition, and the field it belongs to, such as "Zool", "Bot" or "Naut" ("" for none)."""

    definition: str
    field: str


def nouns(folder: Path, wanted: Collection[str]) -> dict[str, list[Sense]]:
    """The senses of each word of `wanted` (lower case) that is a noun, in the dictionary's order; a word without any is
    absent. `folder`: the asset `gcide`. Raises DataError if a file is missing or is none of dictd's.

    Format: dictfmt(1). A line of the index is "word<TAB>offset<TAB>length", both in base 64, of a text that is
    gzip-compressed. Many words are indexed with an entry that only mentions them; those are not theirs.
    """
    index = folder / "gcide.index"
    try:
        lines = index.read_text("utf-8").splitlines()
        with gzip.open(folder / "gcide.dict.dz") as stream:
            text = stream.read()
    except FileNotFoundError as error:
        raise DataError(f"{error.filename}: no such file of GCIDE") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"{folder}: not a dictionary of dictd ({error})") from error
    found: dict[str, list[Sense]] = {}
    for number, line in enumerate(lines, 1):
        word, *place = line.split("\t")
        if word.lower() in wanted:
            try:
                start, length = map(_number, place)
            except ValueError:
                raise DataError(f"{index}:{number}: not an entry of dictd") from None
            entry = text[start : start + length].decode("utf-8", errors="replace")  # a few bytes are of another code
            if entry.lower().startswith(f"{word.lower()} \\") and (read := senses(entry)):
                found.setdefault(word.lower(), []).extend(read)
    return found


def senses(entry: str) -> list[Sense]:
    """The senses in an entry; none in one of another part of speech than a noun."""
    head, body = _split(entry)
    if not re.search(r"\bn\.", _outside(head)):
        return []
    found = []
    every = _FIELD.search(_lettered(head))  # of all senses
    for number, paragraph in enumerate(re.split(r"\n\s*\n", body)):
        if paragraph.startswith(_PHRASE):
            break  # "{Harbor seal}", and all that follows
        if _SENSE.match(paragraph) or (number == 0 and re.match(r" {3}[A-Za-z(]", paragraph)):
            for part in _PARTS.split(paragraph):
                field = _FIELD.match(_lettered(part.lstrip())) or every
                if definition := plain(part):
                    found.append(Sense(definition, field[1].lower().replace("ö", "o") if field else ""))
    return found


def plain(sense: str) -> str | None:
    """What a sense says its word means, as sentences on one line; None if it says nothing that can be read or used.

    >>> plain("(Zool.) Any bird of prey, esp. of\\n      the genus {Aquila}. See {Harpy}. [1913 Webster]")
    'Any bird of prey, esp. of the genus Aquila.'
    """
    text = _SOURCE.sub("", _lettered(" ".join(sense.split())))
    if _MARKED.search(text):
        return None
    text = _BRACKETS.sub("", text).translate({ord("{"): None, ord("}"): None})
    text = _FIELDS.sub("", " ".join(text.split()))
    text = _OPEN.sub("", _OTHER.sub("", text)).strip(" ,;:")
    text = text if text.endswith(".") else f"{text}."
    return text[0].upper() + text[1:] if len(text) >= SHORTEST and not _UNUSABLE.search(text) else None


def _split(entry: str) -> tuple[str, str]:
    """The head of an entry, which is over when a line ends with all brackets closed, and the rest."""
    lines = entry.split("\n")
    for end in range(1, len(lines)):
        head, following = " ".join(lines[:end]), lines[end].strip()
        closed = all(head.count(left) == head.count(right) for left, right in ("[]", "()", "{}"))
        if closed and head.count("\\") % 2 == 0 and not head.endswith("; pl.") and not _HEAD.match(following):
            return head, "\n".join(lines[end:])
    return entry, ""


def _outside(head: str) -> str:
    """A head without what stands in brackets, which may stand in brackets."""
    while (shorter := _ASIDE.sub("", head)) != head:
        head = shorter
    return head


def _lettered(text: str) -> str:
    """The letters that GCIDE spells in brackets: "[ae]" is one, "['e]" and "[aum]" are others."""
    for spelled, letter in _LETTERS.items():
        text = text.replace(spelled, letter)
    text = re.sub(r"\[([aeiouAEIOU])um\]", r"\1" + "\u0308", text)
    text = re.sub(r"\[(['`^~\",])([A-Za-z])\]", lambda found: found[2] + _ACCENTS[found[1]], text)
    text = re.sub(r"\[(c),\]", "ç", text)
    return unicodedata.normalize("NFC", text)


def _number(digits: str) -> int:
    value = 0
    for digit in digits:
        value = 64 * value + _DIGITS.index(digit)
    return value
