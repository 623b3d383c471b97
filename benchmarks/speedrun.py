"""How many minutes from nothing to a model that sees? Builds the corpora, trains nano v1 and measures its photographs.

    .venv/bin/python benchmarks/speedrun.py [--folder runs]

Everything resumes: what is fetched, built or trained already is not done again, and its minutes are those its own log says
(`log.jsonl` of the three runs, evaluation and waiting included). Minutes to fetch and build count only if they happen now.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from common import options, show, start
from photographs import photographs
from polymodal.training import log

ROOT = Path(__file__).resolve().parent.parent
RUNS = {"v1-pt": "nano-v1-pt", "v1-sft": "nano-v1-sft", "v1-repeat": "nano-v1"}  # each begins from the one before


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs", help="where the runs are, or will be")
    arguments = start(parser)
    begun = time.perf_counter()
    call("corpus", "build", "nano-v1")
    rows = [{"step": "corpora", "minutes": (time.perf_counter() - begun) / 60}]
    begin_from: list[str] = []
    for recipe, name in RUNS.items():
        folder = arguments.folder / name
        if not (folder / "model").is_dir():
            call("train", f"recipes/nano/{recipe}.yaml", f"run.folder={folder}", *begin_from)
        begin_from = [f"run.init_from={folder / 'model'}"]
        rows.append({"step": recipe, "minutes": log.read(folder / "log.jsonl")[-1]["seconds"] / 60})
    arguments.model = str(folder / "model")
    found = photographs(arguments.model)[0]
    total = sum(row["minutes"] for row in rows)
    rows.append({"step": f"photographs {found['accuracy']:.3f}, balanced {found['balanced']:.3f}", "minutes": total})
    line = {"minutes": total, "accuracy": found["accuracy"], "balanced": found["balanced"]}
    show(arguments, "From nothing to a model that sees", rows, line)


def call(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "polymodal.cli", *arguments], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
