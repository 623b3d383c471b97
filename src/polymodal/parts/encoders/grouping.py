"""Points into groups: farthest point sampling and nearest neighbours. Decides that a cloud is a set: it is put in one order
before anything is done with it, so that what is drawn, and how ties fall, does not follow the order of a file."""

from __future__ import annotations

import numpy as np


def grouped(cloud: np.ndarray, points: int, groups: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """[N, 3 + c] with N >= groups, size -> centres [groups, 3], and [groups, size, 3 + c]: the nearest points of each, by
    their places relative to it. Of more than `points`, that many are drawn, always the same."""
    cloud = drawn(cloud, points)
    places = cloud[:, :3]
    centres = places[farthest(places, groups)]
    distances = ((centres[:, None] - places[None]) ** 2).sum(-1)
    patches = cloud[np.argsort(distances, axis=1, kind="stable")[:, :size]]  # a copy: it is changed
    patches[..., :3] -= centres[:, None]
    return centres, patches


def drawn(cloud: np.ndarray, points: int) -> np.ndarray:
    """A cloud [N, C] in one order, whatever order it came in; of more than `points`, that many, always the same."""
    cloud = cloud[np.lexsort(cloud.T[::-1])]
    if len(cloud) > points:
        cloud = cloud[np.sort(np.random.default_rng(0).choice(len(cloud), points, replace=False))]
    return cloud


def farthest(places: np.ndarray, count: int) -> np.ndarray:
    """Indices of `count` of the places [N, 3]: the first, then always the one farthest from those chosen."""
    chosen = np.zeros(count, np.int64)
    nearest = ((places - places[0]) ** 2).sum(1)
    for i in range(1, count):
        chosen[i] = nearest.argmax()
        nearest = np.minimum(nearest, ((places - places[chosen[i]]) ** 2).sum(1))
    return chosen
