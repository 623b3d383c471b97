"""Spelling: text -> the International Phonetic Alphabet. Decides that eSpeak NG does it, as the neural voices expect."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from polymodal.errors import DataError

_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_CLAUSE = re.compile(r"(?<=[,;:])\s+")
_LANGUAGE = re.compile(r"\([a-z-]+\)")  # what eSpeak NG puts around a word that it reads as another language's


def phonemes(sentences: Sequence[str], espeak: Path, language: str) -> list[str]:
    """The sentences in the International Phonetic Alphabet, by one run of eSpeak NG. `espeak`: holds bin/ and lib/.

    Raises DataError if it fails or does not answer with one line for each sentence (one with a comma yields two).
    """
    lines = _spelt("\n".join(sentences), espeak, language)
    if len(lines) != len(sentences):
        raise DataError(f"espeak-ng answered {len(lines)} lines for {len(sentences)} sentences; is there a comma in one?")
    return lines


def sentences(text: str, espeak: Path, language: str) -> list[str]:
    """Any text as phonemes, a string for each sentence that has a sound, with the marks , ; : inside and one of . ? ! at
    its end, as Piper's voices were trained on them. Raises DataError if eSpeak NG fails."""
    found = []
    for sentence in _SENTENCE.split(text):
        clauses = []
        for clause in _CLAUSE.split(sentence.strip()):
            # One run for each: it also breaks lines at dashes and brackets, and never says which mark it broke at.
            sounds = _LANGUAGE.sub("", " ".join(_spelt(clause, espeak, language))).strip()
            if sounds:
                clauses.append(sounds + (clause[-1] if clause[-1] in ",;:.?!" else ","))
        if clauses:
            end = sentence.strip()[-1]
            found.append(" ".join(clauses)[:-1] + (end if end in ".?!" else "."))
    return found


def _spelt(text: str, espeak: Path, language: str) -> list[str]:
    """The lines that eSpeak NG answers with."""
    command = [str(espeak / "bin" / "espeak-ng"), f"--path={espeak / 'lib'}", "-q", "--ipa=1", "-v", language]
    run = subprocess.run(
        command,
        input=text + "\n",
        capture_output=True,
        encoding="utf-8",
        env={"LD_LIBRARY_PATH": str(espeak / "lib")},
    )
    if run.returncode:
        raise DataError(f"espeak-ng failed: {run.stderr.strip() or f'exit code {run.returncode}'}")
    return [line.replace("_", "").strip() for line in run.stdout.splitlines()]
