"""Numbers of pictures that were made. Decides nothing of which features they are of: a distance between sets means the
encoder that it was measured with, the count of pictures and how they were resized, and is no number without them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Rows = np.ndarray  # [n, d], float: features of n pictures


def frechet(a: Rows, b: Rows) -> float:
    """The Fréchet distance of two Gaussians fitted to features (FID; arXiv 1706.08500): |mean difference|² + tr(Sa + Sb -
    2 (Sa Sb)^1/2), with covariances over n - 1. The last trace is the nuclear norm of a product of the centred rows, which
    no square root of a matrix is needed for. 0 for equal sets; grows as sets get smaller. Raises `ValueError` for fewer
    than two rows."""
    if min(len(a), len(b)) < 2:
        raise ValueError(f"a distance of sets of {len(a)} and {len(b)} pictures: two are needed of each")
    means: list[np.ndarray] = []
    spread: list[np.ndarray] = []
    for rows in (a.astype(np.float64), b.astype(np.float64)):
        means.append(rows.mean(0))
        centred = (rows - means[-1]) / np.sqrt(len(rows) - 1)
        spread.append(np.asarray(np.linalg.qr(centred, mode="r")) if len(rows) > rows.shape[1] else centred)
    both = np.linalg.svd(spread[0] @ spread[1].T, compute_uv=False).sum()
    traces = sum(float((rows**2).sum()) for rows in spread)
    return max(0.0, float(((means[0] - means[1]) ** 2).sum()) + traces - 2 * float(both))


def kernel(a: Rows, b: Rows) -> float:
    """The squared maximum mean discrepancy under the kernel (x·y / d + 1)³, unbiased (KID; arXiv 1801.01401), over all
    pairs and not over subsets. About 0 for sets of one kind, and it may be below. Raises `ValueError` for fewer than two
    rows."""
    if min(len(a), len(b)) < 2:
        raise ValueError(f"a distance of sets of {len(a)} and {len(b)} pictures: two are needed of each")
    a, b = a.astype(np.float64), b.astype(np.float64)

    def like(x: Rows, y: Rows) -> np.ndarray:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def within(x: Rows) -> float:
        found = like(x, x)
        return float(found.sum() - np.trace(found)) / (len(x) * (len(x) - 1))

    return within(a) + within(b) - 2 * float(like(a, b).mean())


def clip_score(cosines: Sequence[float]) -> float:
    """CLIPScore (arXiv 2104.08718): the mean of 2.5 max(cosine, 0). Others report 100 max(cosine, 0) by this name."""
    return float(np.mean([2.5 * max(cosine, 0.0) for cosine in cosines]))
