from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from polymodal.assets.onnx_file import Node, read
from polymodal.assets.piper_decoder import piper_decoder
from polymodal.errors import AssetError


def field(number: int, value) -> bytes:
    """A field of a protocol buffer: an integer, or bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def tensor(name: str, values: np.ndarray, packed: bool = False) -> bytes:
    shape = [field(1, b"".join(map(varint, values.shape)))] if packed else [field(1, n) for n in values.shape]
    data = field(4 if packed else 9, values.tobytes())
    return field(5, b"".join(shape) + field(2, 1) + field(8, name.encode()) + data)


def node(op: str, inputs, **ints) -> bytes:
    attributes = [field(5, field(1, k.encode()) + b"".join(field(8, n) for n in v)) for k, v in ints.items()]
    return field(1, b"".join([*(field(1, i.encode()) for i in inputs), field(4, op.encode()), *attributes]))


def voice(folder, **changes):
    """A tiny decoder in a voice's file: one upsampling of 2, two blocks of two convolutions."""
    rng = np.random.default_rng(0)
    shapes = {"conv_pre.weight": (4, 3, 7), "conv_pre.bias": (4,), "ups.0.weight": (4, 2, 4), "ups.0.bias": (2,)}
    for block, kernel in enumerate((3, 5)):
        for conv in range(2):
            shapes[f"resblocks.{block}.convs.{conv}.weight"] = (2, 2, kernel)
            shapes[f"resblocks.{block}.convs.{conv}.bias"] = (2,)
    shapes = {k: v for k, v in (shapes | {"conv_post.weight": (1, 2, 7)} | changes).items() if v is not None}
    tensors = {f"dec.{name}": rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    nodes = [node("ConvTranspose", ["x", "dec.ups.0.weight", "dec.ups.0.bias"], strides=[2], dilations=[1])]
    for name in (n for n in tensors if "convs" in n and n.endswith("weight")):
        nodes.append(node("Conv", ["x", name], dilations=[1 + int(name.split(".")[-2]) * 2], strides=[1]))
    others = tensor("flow.weight", np.zeros((2, 2), np.float32))
    graph = b"".join([*nodes, others, *(tensor(k, v) for k, v in tensors.items())])
    (folder / "joe.onnx").write_bytes(field(1, 8) + field(7, graph))
    (folder / "joe.onnx.json").write_text(json.dumps({"audio": {"sample_rate": 8000}}))
    return tensors


def test_tensors_and_what_nodes_do_are_read(tmp_path):
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    graph = tensor("raw", values) + tensor("packed", values * 300, packed=True) + node("Conv", ["x", "raw"], pads=[1, 300])
    (tmp_path / "a.onnx").write_bytes(field(1, 8) + field(7, graph))
    found = read(tmp_path / "a.onnx")
    assert found.nodes == [Node("Conv", ["x", "raw"], {"pads": [1, 300]})]
    assert np.array_equal(found.tensors["raw"], values)
    assert np.array_equal(found.tensors["packed"], values * 300)


@pytest.mark.parametrize("cut", [1, 40, 200])
def test_a_file_that_ends_early_is_refused(tmp_path, cut):
    voice(tmp_path)
    file = tmp_path / "joe.onnx"
    file.write_bytes(file.read_bytes()[:-cut])
    with pytest.raises(AssetError, match=r"joe\.onnx: not an ONNX file"):
        read(file)


@pytest.mark.parametrize("data", [b"", b"no model at all", b"\x89PNG\r\n"])
def test_another_file_is_refused(tmp_path, data):
    (tmp_path / "a.onnx").write_bytes(data)
    with pytest.raises(AssetError, match=r"a\.onnx: not an ONNX file"):
        read(tmp_path / "a.onnx")


def test_the_decoder_of_a_voice_comes_out_under_its_own_names_with_its_strides(tmp_path):
    from polymodal.parts.generators.hifigan import HifiGan

    tensors = voice(tmp_path)
    ready = tmp_path / "ready"
    ready.mkdir()
    piper_decoder(tmp_path, ready)
    config = json.loads((ready / "config.json").read_text())
    assert (config["upsample"], config["residual"]) == ([[2, 4]], [[3, [1, 3]], [5, [1, 3]]])
    found = load_file(ready / "model.safetensors")
    assert found.keys() == {name.removeprefix("dec.") for name in tensors}
    decoder = HifiGan.from_pretrained(str(ready))
    assert (decoder.hop, decoder.sample_rate) == (2, 8000)
    assert np.array_equal(decoder.state_dict()["ups.0.weight"], tensors["dec.ups.0.weight"])


@pytest.mark.parametrize("missing", ["conv_pre.weight", "conv_post.weight", "ups.0.weight"])
def test_a_voice_with_another_decoder_is_refused(tmp_path, missing):
    voice(tmp_path, **{missing: None})
    with pytest.raises(AssetError, match="not that of a Piper voice of medium quality"):
        piper_decoder(tmp_path, tmp_path)
