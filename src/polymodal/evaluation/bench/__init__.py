"""polymodal-bench: one small benchmark over everything that a model may be shown or asked to make, from held-out items of
the corpora that are built here. `VERSION` is part of every question's draw and of the protocols' names: other questions are
another benchmark.
"""

from __future__ import annotations

VERSION = 1
NAME = "polymodal-bench"
