"""The authors' programs in Java for captions, as the package `pycocoevalcap` (optional) brings them: the Treebank's
tokenizer, METEOR and SPICE. Decides that nothing is fetched: SPICE needs Stanford's parser, which that package loads from
the network where it is asked, and is left out until somebody has.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from polymodal.errors import EvaluationError

PARSER = "stanford-corenlp-3.6.0.jar"


class Java:
    """Raises `EvaluationError` without the package, or without a `java` to run."""

    def __init__(self) -> None:
        try:
            self.name = f"pycocoevalcap-{version('pycocoevalcap')}"
            tokenizer = import_module("pycocoevalcap.tokenizer.ptbtokenizer")
        except (ImportError, PackageNotFoundError) as error:
            raise EvaluationError(f"the package pycocoevalcap is not installed: polymodal[captions] ({error})") from error
        if shutil.which("java") is None:
            raise EvaluationError("there is no program java; METEOR and SPICE are programs in it")
        self._tokenizer, self._folder = tokenizer, Path(str(tokenizer.__file__)).parents[1]

    def tokens(self, captions: Sequence[str]) -> list[list[str]]:
        """Lower-case words without punctuation, of each caption."""
        told = {i: [{"caption": caption}] for i, caption in enumerate(captions)}
        found = self._tokenizer.PTBTokenizer().tokenize(told) if told else {}
        return [found[i][0].split() for i in told]

    def meteor(self, said: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> float:
        """METEOR 1.5 of a corpus."""
        return float(self._scored("meteor.meteor", "Meteor", said, references))

    def spice(self, said: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> float | None:
        """None where its parser is not there."""
        if not any(self._folder.joinpath("spice/lib").glob(PARSER)):
            return None
        return float(self._scored("spice.spice", "Spice", said, references))

    def _scored(self, module: str, kind: str, said: Sequence[Any], references: Sequence[Any]) -> float:
        program: Any = getattr(import_module(f"pycocoevalcap.{module}"), kind)()
        ours: Mapping[int, list[str]] = {i: [" ".join(words)] for i, words in enumerate(said)}
        theirs = {i: [" ".join(words) for words in refs] for i, refs in enumerate(references)}
        return program.compute_score(theirs, ours)[0]
