"""Seconds from `make demo` to the first word of an answer, with everything set up and fetched.

.venv/bin/python benchmarks/demo.py
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from common import options, show, start


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--runs", type=int, default=3)
    arguments = start(parser)
    seconds = sorted(first_word() for _ in range(arguments.runs))
    rows = [{"runs": arguments.runs, "fastest s": seconds[0], "median s": seconds[len(seconds) // 2]}]
    show(arguments, "make demo, warm", rows, {"demo_first_word_s": rows[0]["median s"]})


def first_word() -> float:
    """The demo says when its first word comes; the clock here started before make did."""
    began = time.perf_counter()
    root = Path(__file__).resolve().parent.parent
    with subprocess.Popen(["make", "demo"], cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        seen = next((time.perf_counter() - began for line in process.stdout if line.startswith("(first word")), None)
        process.stdout.read()
    if process.returncode != 0 or seen is None:
        raise SystemExit("make demo failed")
    return seen


if __name__ == "__main__":
    main()
