"""Points: bytes -> a cloud. Decides that a mesh is drawn from evenly, and that place and size are taken away.

A mesh becomes SAMPLES points, drawn over its faces by area (Osada et al., 2002) from a generator seeded by the file's
bytes: one file is one cloud. Every cloud is then centred on its mean and scaled to the unit sphere, as Point-BERT (arXiv
2111.14819) and PointLLM (arXiv 2308.16911) require and nobody checks; axes stay as the file has them. Colours are those of
vertices or faces. Materials and textures are not read: they lie in other files, or are pictures that no gate has seen.
"""

from __future__ import annotations

import io
import json
import zlib
from typing import TYPE_CHECKING, Any

from polymodal.errors import MediaError, MediaLimit
from polymodal.media import gate
from polymodal.media.arrays import FORMATS as ARRAYS
from polymodal.media.arrays import load_array
from polymodal.media.gate import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    import numpy as np
    import trimesh

SAMPLES = 8192  # of a mesh: as many as PointLLM reads; encoders that want fewer draw from them
GREY = 0.4  # of what has no colour; trimesh's own
MESHES = {"ply": "ply", "glb": "glb", "text": "obj"}  # what the first bytes show -> trimesh's name; OBJ has no magic number
FORMATS = (*ARRAYS, "ply", "glb", "text")


def load_points(source: Any, limits: Limits = DEFAULT_LIMITS) -> np.ndarray:
    """One cloud as float32 [N, 6]: x y z, their mean at the origin and the farthest at distance 1, and r g b from 0 to 1.

    `source`: a path, bytes or a data URI of a PLY, OBJ, GLB, npy or safetensors (`points`) file, or an array [N, 3] or
    [N, 6]. Raises `MediaError` for what is no such thing, is damaged, empty, not finite, all in one place or over `limits`,
    for a mesh without a surface, and for a mesh where trimesh is not installed.
    """
    if hasattr(source, "__array__"):
        return _normalized(source, "<array>", limits)
    data, name = gate.read(source, limits)
    kind = gate.expect(data, name, FORMATS, "point cloud or mesh")
    with gate.decoding(name):
        cloud = load_array(data, kind, name, "points")[0] if kind in ARRAYS else _from_model(data, kind, name, limits)
        return _normalized(cloud, name, limits)


def surface(meshes: list[trimesh.Trimesh], count: int, seed: int) -> np.ndarray:
    """[count, 6] float32: places evenly over the faces of meshes of which each has a surface, and the colours there."""
    import numpy as np
    from trimesh.sample import sample_surface

    areas = np.array([mesh.area for mesh in meshes])
    counts = np.random.default_rng(seed).multinomial(count, areas / areas.sum())
    parts = []
    for index, (mesh, share) in enumerate(zip(meshes, counts, strict=True)):
        if share:
            visual: Any = mesh.visual
            textured = getattr(visual, "uv", None) is not None
            places, faces, *texture = sample_surface(mesh, int(share), seed=seed + index, sample_color=textured)
            colors = texture[0] if texture else None
            if colors is None and getattr(visual, "kind", None) in ("face", "vertex"):
                colors = visual.face_colors[faces]
            if colors is None:  # no texture, or one whose picture is missing: the material's colour
                colors = np.tile(getattr(visual, "material", visual).main_color, (share, 1))
            parts.append(np.column_stack((places, colors[:, :3] / 255)))
    return np.concatenate(parts).astype(np.float32)


def _from_model(data: bytes, kind: str, name: str, limits: Limits) -> np.ndarray:
    """The points of a cloud, or drawn from the faces of a mesh: [N, 3] or [N, 6]."""
    import numpy as np

    try:
        import trimesh
    except ImportError as error:
        raise MediaError(f"{name}: {MESHES[kind].upper()} is read by trimesh: pip install 'polymodal[points]'") from error
    _check(max(_claims(data, kind)), name, limits)
    scene = trimesh.load_scene(io.BytesIO(data), file_type=MESHES[kind], skip_materials=True)
    placed = [scene.graph[node] for node in scene.graph.nodes_geometry]
    parts = [(scene.geometry[geometry], transform) for transform, geometry in placed]
    _check(sum(len(part.vertices) for part, _ in parts), name, limits)  # one geometry may be placed a million times
    if meshes := [mesh for mesh in (_placed(*part) for part in parts) if mesh is not None]:
        if not all(np.isfinite(mesh.vertices).all() for mesh in meshes):
            raise MediaError(f"{name}: holds points that are not finite (NaN or infinity)")
        if not (solid := [mesh for mesh in meshes if mesh.area > 0]):
            raise MediaError(f"{name}: a model whose surface has no area")
        return surface(solid, SAMPLES, zlib.crc32(data))
    clouds = [part for part, _ in parts]
    if not clouds or not all(isinstance(cloud, trimesh.PointCloud) for cloud in clouds):
        raise MediaError(f"{name}: a model without points and without a surface")
    places = np.concatenate([trimesh.transform_points(part.vertices, transform) for part, transform in parts])
    if any(len(cloud.colors) != len(cloud.vertices) for cloud in clouds):
        return places
    return np.column_stack((places, np.concatenate([cloud.colors for cloud in clouds])[:, :3] / 255))


def _placed(part: Any, transform: np.ndarray) -> trimesh.Trimesh | None:
    """A mesh where the scene puts it; None for what has no faces. `Scene.dump` needs scipy for coloured faces."""
    import trimesh

    if not isinstance(part, trimesh.Trimesh):
        return None
    visual: Any = part.visual
    colors = visual.face_colors if visual.kind in ("face", "vertex") else None
    vertices = trimesh.transform_points(part.vertices, transform)
    return trimesh.Trimesh(vertices, part.faces, face_colors=colors, process=False)


def _claims(data: bytes, kind: str) -> list[int]:
    """How many of its kinds of elements a model says, or shows, that it has, before anything is made of it."""
    if kind == "text":
        return [data.count(b"\nv "), data.count(b"\nf ")]
    if kind == "ply":
        return [0]  # what it claims and does not hold is refused by its decoder
    size = int.from_bytes(data[12:16], "little")
    return [0, *(int(accessor["count"]) for accessor in json.loads(data[20 : 20 + size]).get("accessors", ()))]


def _normalized(points: Any, name: str, limits: Limits) -> np.ndarray:
    import numpy as np

    cloud = np.asarray(points)
    if cloud.dtype.kind not in "iuf" or cloud.ndim != 2 or cloud.shape[1] not in (3, 6):
        found = f"{cloud.dtype} {list(cloud.shape)}"
        raise MediaError(f"{name}: a cloud is numbers [N, 3] (x y z) or [N, 6] (and r g b from 0 to 1), not {found}")
    _check(len(cloud), name, limits)
    if not len(cloud):
        raise MediaError(f"{name}: holds no points")
    if not np.isfinite(cloud).all():
        raise MediaError(f"{name}: holds points that are not finite (NaN or infinity)")
    places, colors = cloud[:, :3].astype(np.float64), cloud[:, 3:]
    if colors.size and not 0 <= colors.min() <= colors.max() <= 1:
        raise MediaError(f"{name}: colours lie in 0 to 1, not {colors.min():g} to {colors.max():g}")
    largest = np.abs(places).max() or 1.0
    places = places / largest  # so that no square below overflows
    places -= np.sort(places, axis=0).mean(0)  # sorted: the last bit of a sum follows the order of what is added
    radius = np.linalg.norm(places, axis=1).max()
    if radius < 1e-9:
        raise MediaError(f"{name}: its points ({len(cloud)}) are all in one place")
    shown = colors if colors.size else np.full((len(cloud), 3), GREY)
    return np.column_stack((places / radius, shown)).astype(np.float32)


def _check(count: int, name: str, limits: Limits) -> None:
    if count > limits.max_points:
        raise MediaLimit(f"{name}: {count} points is over the limit of {limits.max_points} points")
