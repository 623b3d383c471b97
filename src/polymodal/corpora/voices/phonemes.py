"""Spelling: text -> the International Phonetic Alphabet. Decides that eSpeak NG does it, as the neural voices expect."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from polymodal.errors import DataError


def phonemes(sentences: Sequence[str], espeak: Path, language: str) -> list[str]:
    """The sentences in the International Phonetic Alphabet, by one run of eSpeak NG. `espeak`: holds bin/ and lib/.

    Raises DataError if it fails or does not answer with one line for each sentence (one with a comma yields two).
    """
    command = [str(espeak / "bin" / "espeak-ng"), f"--path={espeak / 'lib'}", "-q", "--ipa=1", "-v", language]
    run = subprocess.run(
        command,
        input="\n".join(sentences) + "\n",
        capture_output=True,
        encoding="utf-8",
        env={"LD_LIBRARY_PATH": str(espeak / "lib")},
    )
    if run.returncode:
        raise DataError(f"espeak-ng failed: {run.stderr.strip() or f'exit code {run.returncode}'}")
    lines = [line.replace("_", "").strip() for line in run.stdout.splitlines()]
    if len(lines) != len(sentences):
        raise DataError(f"espeak-ng answered {len(lines)} lines for {len(sentences)} sentences; is there a comma in one?")
    return lines
