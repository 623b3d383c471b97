"""Every kind of cloud or mesh becomes one cloud in the unit sphere, always the same; what is none is refused by name."""

from __future__ import annotations

import io
import json
import struct
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from polymodal.errors import MediaError
from polymodal.media import Limits, load_points
from polymodal.media.points import GREY, SAMPLES

trimesh = pytest.importorskip("trimesh")
SQUARES = "v 0 0 0\nv 4 0 0\nv 4 4 0\nv 0 4 0\nv 0 0 9\nv 2 0 9\nv 2 2 9\nv 0 2 9\nf 1 2 3 4\nf 5 6 7 8\n"  # 16 and 4 large


def box(kind: str, color=(255, 0, 0, 255)) -> bytes:
    mesh = trimesh.creation.box()
    mesh.visual.vertex_colors = color
    data = mesh.export(file_type=kind)
    return data if isinstance(data, bytes) else data.encode()


def npy(array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def random_cloud(n: int = 50, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).random((n, channels)).astype(np.float32)


def refusal(source, limits=Limits()) -> str:  # noqa: B008
    with pytest.raises(MediaError) as caught:
        load_points(source, limits)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def check_in_unit_sphere(cloud: np.ndarray) -> None:
    assert cloud.dtype == np.float32
    assert cloud.shape[1] == 6
    np.testing.assert_allclose(cloud[:, :3].mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(cloud[:, :3], axis=1).max(), 1, atol=1e-6)


@pytest.mark.parametrize("kind", ["ply", "obj", "glb"])
def test_a_mesh_is_drawn_from_with_its_colours_and_always_alike(kind, tmp_path):
    path = tmp_path / "box.misnamed"
    path.write_bytes(box(kind))
    cloud = load_points(path)
    assert len(cloud) == SAMPLES
    check_in_unit_sphere(cloud)
    np.testing.assert_array_equal(cloud[:, 3:], np.tile((1, 0, 0), (SAMPLES, 1)))
    np.testing.assert_array_equal(cloud, load_points(box(kind)))


def test_a_surface_is_drawn_from_by_its_area():
    cloud = load_points(SQUARES.encode())
    large = (cloud[:, 2] < 0).mean()
    assert large == pytest.approx(16 / 20, abs=0.02)
    assert (cloud[:, 3:] == np.float32(GREY)).all()


def test_a_placed_mesh_is_where_the_scene_puts_it():
    scene = trimesh.Scene()
    for x in (0, 10):
        scene.add_geometry(trimesh.creation.box(), transform=trimesh.transformations.translation_matrix((x, 0, 0)))
    cloud = load_points(scene.export(file_type="glb"))
    assert (cloud[:, 0] < -0.5).mean() == pytest.approx(0.5, abs=0.03)
    assert (np.abs(cloud[:, 0]) < 0.5).sum() == 0


@pytest.mark.parametrize("kind", ["ply", "glb"])
def test_a_file_of_points_keeps_them_and_their_colours(kind):
    places = random_cloud()
    colors = np.tile((0, 255, 0, 255), (50, 1))
    cloud = load_points(trimesh.PointCloud(places, colors=colors).export(file_type=kind))
    np.testing.assert_allclose(cloud[:, :3], load_points(places)[:, :3], atol=1e-6)
    np.testing.assert_array_equal(cloud[:, 3:], colors[:, :3] / 255)


@pytest.mark.parametrize("channels", [3, 6])
def test_array_npy_and_an_item_of_a_corpus_are_one_cloud(channels):
    array = random_cloud(channels=channels)
    cloud = load_points(array)
    check_in_unit_sphere(cloud)
    for data in (npy(array), npy(np.asfortranarray(array)), save({"points": array})):
        np.testing.assert_array_equal(load_points(data), cloud)
    np.testing.assert_array_equal(cloud[:, 3:], array[:, 3:] if channels == 6 else np.full((50, 3), GREY, np.float32))


def test_place_and_size_are_taken_away():
    array = random_cloud().astype(np.float64)
    for other in (array * 1e-30, array * 1e150, array + 1000):
        np.testing.assert_allclose(load_points(other), load_points(array), atol=1e-5)


def test_the_order_of_points_changes_no_bit_of_them():
    array = random_cloud(500)
    order = np.random.default_rng(1).permutation(500)
    np.testing.assert_array_equal(load_points(array[order]), load_points(array)[order])


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (np.zeros((0, 3)), "<array>: holds no points"),
        (np.full((5, 3), np.nan), "<array>: holds points that are not finite (NaN or infinity)"),
        (np.full((5, 3), 7.0), "<array>: its points (5) are all in one place"),
        (
            np.zeros((5, 2)),
            "<array>: a cloud is numbers [N, 3] (x y z) or [N, 6] (and r g b from 0 to 1), not float64 [5, 2]",
        ),
        (np.arange(30.0).reshape(5, 6), "<array>: colours lie in 0 to 1, not 3 to 29"),
        (b"v 0 0 0\nv 0 0 0\nv 0 0 0\nf 1 2 3\n", "<bytes>: a model whose surface has no area"),
        (b"remember the milk\n", "<bytes>: a model without points and without a surface"),
        (save({"samples": np.ones((2, 3))}), "<bytes>: holds no tensor 'points' (it holds: samples)"),
        (npy(np.ones((9, 3)))[:-8], "<bytes>: claims 216 bytes as float64 [9, 3], and holds 208"),
        (npy(np.array([["a"]])), "<bytes>: holds an array of <U1, not of numbers"),
        (npy(np.zeros((0, 3))), "<bytes>: holds an empty array [0, 3]"),
        ("chair.ply", "chair.ply: no such file"),
    ],
)
def test_what_is_no_cloud_is_refused_by_name(source, said):
    assert refusal(source) == said


def test_a_picture_is_refused_as_what_it_is():
    assert "is not a point cloud or mesh (its first bytes look like png;" in refusal(b"\x89PNG\r\n\x1a\n" + bytes(50))


@pytest.mark.parametrize("kind", ["ply", "glb"])
def test_a_mesh_cut_short_is_refused(kind):
    assert refusal(box(kind)[:-40]).startswith("<bytes>: cannot be decoded (")


def test_too_many_points_are_refused_before_anything_is_made_of_them():
    assert refusal(np.zeros((11, 3)), Limits(max_points=10)) == "<array>: 11 points is over the limit of 10 points"
    assert "8 points is over the limit" in refusal(SQUARES.encode(), Limits(max_points=7))
    assert "over the limit" in refusal(box("ply"), Limits(max_points=7))
    claim = json.dumps(
        {"asset": {"version": "2.0"}, "accessors": [{"count": 10**12, "componentType": 5126, "type": "VEC3"}]}
    )
    claim += " " * (-len(claim) % 4)
    glb = struct.pack("<4sIIII", b"glTF", 2, 20 + len(claim), len(claim), 0x4E4F534A) + claim.encode()
    assert refusal(glb) == "<bytes>: 1000000000000 points is over the limit of 2000000 points"
    scene = trimesh.Scene([trimesh.creation.box()])
    (name,) = scene.geometry
    for x in range(20):  # one geometry in many places
        scene.graph.update(frame_to=f"n{x}", matrix=trimesh.transformations.translation_matrix((x, 0, 0)), geometry=name)
    assert "over the limit of 100 points" in refusal(scene.export(file_type="glb"), Limits(max_points=100))


def test_no_other_file_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "red.mtl").write_text("newmtl red\nKd 1 0 0\n")
    (tmp_path / "a.obj").write_text("mtllib red.mtl\nusemtl red\n" + SQUARES)
    assert (load_points("a.obj")[:, 3:] == np.float32(GREY)).all()


def test_without_trimesh_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "trimesh", None)
    assert refusal(SQUARES.encode()) == "<bytes>: OBJ is read by trimesh: pip install 'polymodal[points]'"
    assert len(load_points(npy(random_cloud()))) == 50


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_damaged_bytes_give_a_cloud_or_a_media_error(data):
    kind = data.draw(st.sampled_from(["ply", "glb", "obj", "npy", "safetensors"]))
    array = random_cloud(9)
    good = bytearray({"npy": npy(array), "safetensors": save({"points": array})}.get(kind) or box(kind))
    for _ in range(data.draw(st.integers(1, 6))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        cloud = load_points(bytes(good))
    except MediaError:
        return
    assert np.isfinite(cloud).all()
