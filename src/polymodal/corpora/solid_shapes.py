"""The solids of `solids`, and where they stand. Decides how large each looks: as large as it is asked to, whatever it is.

The camera looks along -z, y points up. A solid of unit size is moved away until the longer side of its box in the picture
has the wanted length, so that neither a shape nor a distance gives a size away. The box is that of its projected
corners: a solid lies inside their hull, and nothing hides it.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from polymodal.corpora.scene_pictures import Xyxy
from polymodal.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import trimesh

SHAPES = ("cube", "ball", "cone", "ring", "capsule", "mug", "brick")  # of concepts that may be trained on
PIXELS = 128  # of each side of a picture or map
OVERSAMPLED = 2  # pixels drawn for one, in each direction
_ROUND = 32  # sides of what is round: at this size no edge is seen
_SAMPLED = (0, 1)  # from its left and top, where in a pixel that it draws the renderer looks for a solid
_TURNS = 8  # of refining a place: off by less than a hundredth of a pixel

Place = tuple[float, float, float]


@cache
def meshes() -> dict[str, trimesh.Trimesh]:
    """A mesh for each of SHAPES: upright, y up, the middle of its box at the origin, the longest side of it 1.

    Raises DataError if pybullet or trimesh is not installed.
    """
    try:
        import pybullet_data
        import trimesh
    except ImportError as error:
        wanted = "pip install 'polymodal[corpora,points]', on Python 3.11 at the latest"
        raise DataError(f"corpus solids needs pybullet and trimesh; install them with: {wanted}") from error
    make, data = trimesh.creation, Path(pybullet_data.getDataPath())
    z_up = {
        "cube": make.box(),
        "ball": make.icosphere(subdivisions=3),
        "capsule": make.capsule(height=1, radius=0.35, count=[_ROUND, _ROUND]),
        "cone": make.cone(radius=0.5, height=1, sections=_ROUND),
        "ring": make.torus(major_radius=0.35, minor_radius=0.15, major_sections=_ROUND, minor_sections=_ROUND // 2),
        "mug": trimesh.load_mesh(data / "objects" / "mug.obj", process=False),
    }
    for mesh in z_up.values():
        mesh.vertices = mesh.vertices[:, [0, 2, 1]] * (1, 1, -1)
    found = z_up | {"brick": trimesh.load_mesh(data / "lego" / "lego.obj", process=False)}
    for mesh in found.values():
        mesh.vertices = (mesh.vertices - mesh.bounds.mean(0)) / mesh.extents.max()
    return {shape: found[shape] for shape in SHAPES}


def focal(view: float) -> float:
    """The focal length in pixels of a camera that sees `view` degrees."""
    return PIXELS / 2 / math.tan(math.radians(view / 2))


def seen(shape: str, elevation: float, yaw: float) -> np.ndarray:
    """[N, 3]: the corners of a solid turned by `yaw` degrees and seen from `elevation` degrees above."""
    import numpy as np

    a, b = math.radians(elevation), math.radians(yaw)
    tilt = np.array([[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]])
    turn = np.array([[math.cos(b), 0, math.sin(b)], [0, 1, 0], [-math.sin(b), 0, math.cos(b)]])
    return np.asarray(meshes()[shape].vertices) @ (tilt @ turn).T


def placed(corners: np.ndarray, focal: float, middle: tuple[float, float], side: float) -> tuple[Place, Xyxy]:
    """Where to put a solid so that its box in the picture has this middle and longer side (pixels), and that box."""
    import numpy as np

    x, y, z = 0.0, 0.0, focal / side
    for _ in range(_TURNS):
        low, high = _extent(corners + (x, y, -z), focal)
        z *= (high - low).max() / side
        off = (np.array(middle) - (low + high) / 2) * z / focal
        x, y = x + off[0], y - off[1]
    low, high = _extent(corners + (x, y, -z), focal)
    first = np.ceil(low * OVERSAMPLED - _SAMPLED) // OVERSAMPLED
    last = np.floor(high * OVERSAMPLED - _SAMPLED) // OVERSAMPLED
    left, top, right, bottom = (int(value) for value in (*first, *(last + 1)))
    return (float(x), float(y), float(-z)), (left, top, right, bottom)


def _extent(points: np.ndarray, focal: float) -> tuple[np.ndarray, np.ndarray]:
    """Left and top, right and bottom in pixels."""
    flat = PIXELS / 2 + focal * points[:, :2] / -points[:, 2:] * (1, -1)
    return flat.min(0), flat.max(0)
