"""polymodal-bench in each of its settings: `polymodal-bench@v1`, `@v1-4shot`, `@v1-written`, `@v1-thought-1shot` and so on.
Decides that a setting is part of a score's name.
"""

from __future__ import annotations

from functools import partial

from polymodal.evaluation.bench import NAME, VERSION
from polymodal.evaluation.bench.questions import SETTINGS, Setting, prompt, read
from polymodal.evaluation.bench.scores import score, totals
from polymodal.evaluation.protocol import Protocol

ABOUT = {
    "likelihood": "mean over tasks; the likeliest of the options",
    "written": "mean over tasks; the option that is written",
    "thought": "mean over tasks; the option that is written when a chain of thought is",
}


def _protocol(setting: Setting) -> Protocol:
    shots = f"; {setting.shots} example{'s' if setting.shots > 1 else ''} first" if setting.shots else ""
    return Protocol(
        NAME,
        "-".join(filter(None, (f"v{VERSION}", setting.name))),
        ABOUT[setting.how] + shots,
        partial(read, shots=setting.shots),
        partial(prompt, how=setting.how),
        totals,
        score,
        "score",
        tokens=128 if setting.how == "thought" else 32,
        home=True,
    )


PROTOCOLS = [_protocol(setting) for setting in SETTINGS]
