"""What a scene of `solids` looks like, how far away and how warm it is. Decides that none of the three tells another.

A solid that is k times as large and k times as far away looks the same: perspective keeps it so, the light comes from far
away and shadows are off. So PyBullet's software renderer (no GPU, no display) draws every solid at unit size, and the
depth of its pixels is what the renderer measured, times its own k. No picture can know a depth that it is drawn without.

Nothing has measured the temperatures: they are SYNTHETIC. A solid has one temperature everywhere, the wall that of the
room, warmer towards one side; the optics blur it over a pixel or so, and every pixel of the sensor errs by NOISE.
"""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from polymodal.corpora.scene_pictures import Thing, Xyxy
from polymodal.corpora.scene_things import COLORS
from polymodal.corpora.solid_shapes import OVERSAMPLED, PIXELS, Place, meshes

if TYPE_CHECKING:
    import numpy as np

NOISE = 0.3  # degrees, standard deviation
STEPS = {"depth": 128, "thermal": 4}  # of a map in a metre and a degree: finer ones would cost room and mean nothing
_NEAR, _FAR, _WALL = 1.0, 200.0, 40.0  # of the renderer's space, behind all solids of unit size
_DRIFT = 1.5  # degrees by which the wall is warmer at one side than at the other


@dataclass(frozen=True)
class Solid:
    """`place`: as in WHERE; `at`: of its middle at unit size, and `xyxy` then and at any other size; `distance` of its
    middle along the camera's axis in metres; `temperature` in degrees Celsius."""

    shape: str
    color: str
    place: str
    xyxy: Xyxy
    yaw: float
    at: Place
    distance: float
    temperature: float

    @property
    def thing(self) -> Thing:
        return Thing(f"{self.color} {self.shape}", self.place, self.xyxy)


@dataclass(frozen=True)
class Scene:
    """Solids before a wall. `view` and `elevation` of the camera, `tilt` of the wall (about x and y) in degrees, `wall` its
    distance in metres, `gray` and `light` (towards it) how it is lit, `room` its temperature."""

    solids: Sequence[Solid]
    view: float
    elevation: float
    tilt: tuple[float, float]
    wall: float
    gray: tuple[float, float, float]
    light: Place
    room: float


class Views(NamedTuple):
    """`rgb` uint8 [PIXELS, PIXELS, 3], `depth` in metres and `thermal` in degrees Celsius, float32 [PIXELS, PIXELS]."""

    rgb: np.ndarray
    depth: np.ndarray
    thermal: np.ndarray


def views(scene: Scene, name: str) -> Views:
    """The three views of a scene; `name` seeds the sensor's noise."""
    import numpy as np

    rgb, z, shapes = _studio().draw(scene)
    distance, warmth = z * (scene.wall / _WALL), np.full(z.shape, scene.room)
    warmth += _DRIFT * (np.linspace(0, 1, len(z)) - 0.5)
    for solid in scene.solids:
        own = shapes == list(meshes()).index(solid.shape)
        distance[own] = z[own] * (solid.distance / -solid.at[2])
        warmth[own] = solid.temperature
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    warmth = _blurred(_reduced(warmth)) + rng.normal(0, NOISE, (PIXELS, PIXELS))
    picture = np.round(_reduced(rgb)).astype(np.uint8)
    return Views(picture, _stepped(distance[::OVERSAMPLED, ::OVERSAMPLED], "depth"), _stepped(warmth, "thermal"))


def tiff(values: np.ndarray) -> bytes:
    """A map as TIFF of 32-bit floats, without loss."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(values).save(out, "TIFF", compression="tiff_adobe_deflate")
    return out.getvalue()


class _Studio:
    """PyBullet with one solid of each shape and a wall, which are moved and painted for each scene: to load a mesh takes
    longer than to draw it."""

    def __init__(self) -> None:
        import numpy as np
        import pybullet

        self.bullet, self.client = pybullet, pybullet.connect(pybullet.DIRECT)
        self.bodies = []
        for mesh in meshes().values():
            corners = np.asarray(mesh.triangles).reshape(-1, 3)
            flat = np.repeat(np.asarray(mesh.face_normals), 3, axis=0)  # of each face its own: cubes have edges
            self.bodies.append(self._body(pybullet.GEOM_MESH, vertices=corners, indices=range(len(corners)), normals=flat))
        self.wall = self._body(pybullet.GEOM_BOX, halfExtents=[_FAR, _FAR, 0.01])

    def _body(self, kind: int, **of: object) -> int:
        shape = self.bullet.createVisualShape(kind, physicsClientId=self.client, **of)
        return self.bullet.createMultiBody(0, -1, shape, physicsClientId=self.client)

    def _put(self, body: int, at: Place, turn: tuple[float, float], color: Sequence[float]) -> None:
        """`turn`: degrees about y, then about x."""
        (sx, cx), (sy, cy) = ((math.sin(math.radians(t) / 2), math.cos(math.radians(t) / 2)) for t in turn)
        self.bullet.resetBasePositionAndOrientation(
            body, at, (sx * cy, cx * sy, sx * sy, cx * cy), physicsClientId=self.client
        )
        self.bullet.changeVisualShape(body, -1, rgbaColor=[*color, 1], physicsClientId=self.client)

    def draw(self, scene: Scene) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Colour, distance along the axis, and index of the shape (one past the last: the wall), of each pixel drawn."""
        import numpy as np

        shown = {solid.shape: solid for solid in scene.solids}
        for shape, body in zip(meshes(), self.bodies, strict=True):
            solid = shown.get(shape)
            if solid:
                color = [value / 255 for value in COLORS[solid.color]]
                self._put(body, solid.at, (scene.elevation, solid.yaw), color)
            else:
                self._put(body, (0, 0, _FAR), (0, 0), (0, 0, 0))  # behind the camera
        self._put(self.wall, (0, 0, -_WALL), scene.tilt, scene.gray)
        side = PIXELS * OVERSAMPLED
        *_, rgb, buffer, bodies = self.bullet.getCameraImage(
            side,
            side,
            np.eye(4).ravel().tolist(),
            self.bullet.computeProjectionMatrixFOV(scene.view, 1, _NEAR, _FAR),
            lightDirection=scene.light,
            shadow=0,
            renderer=self.bullet.ER_TINY_RENDERER,
            physicsClientId=self.client,
        )
        buffer = np.asarray(buffer, np.float64).reshape(side, side)
        z = _FAR * _NEAR / (_FAR - (_FAR - _NEAR) * buffer)
        shapes = np.searchsorted([*self.bodies, self.wall], np.asarray(bodies).reshape(side, side))
        return np.asarray(rgb, np.float64).reshape(side, side, 4)[..., :3], z, shapes


_studio = cache(_Studio)


def _reduced(values: np.ndarray) -> np.ndarray:
    """The mean of the pixels drawn for one."""
    n = OVERSAMPLED
    return values.reshape(PIXELS, n, PIXELS, n, *values.shape[2:]).mean((1, 3))


def _blurred(values: np.ndarray) -> np.ndarray:
    """By (1, 4, 6, 4, 1) / 16 in both directions: a Gaussian of one pixel."""
    import numpy as np

    for axis in (0, 1):
        padded = np.pad(values, [(2, 2) if axis == each else (0, 0) for each in (0, 1)], "edge")
        parts = [weight * np.take(padded, range(i, i + PIXELS), axis) for i, weight in enumerate((1, 4, 6, 4, 1))]
        values = np.sum(parts, axis=0) / 16
    return values


def _stepped(values: np.ndarray, kind: str) -> np.ndarray:
    import numpy as np

    return (np.round(values * STEPS[kind]) / STEPS[kind]).astype(np.float32)
