"""The decoder inside a Piper voice, from latents to a waveform, out of its ONNX file. Decides the form of its config.

The voice's file holds it under its names in VITS (`dec.`), weight norm already multiplied out. How far each convolution
strides and dilates is an attribute of its node.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

from polymodal.assets.onnx_file import read
from polymodal.errors import AssetError

_PREFIX = "dec."


def piper_decoder(kept: Path, ready: Path) -> None:
    """model.safetensors, float32, and config.json: `HifiGan`'s arguments and the samples per second.

    Raises AssetError unless there is one voice, of "medium" or "low" quality: one convolution for each dilation of a
    residual block ("high" has two), and for each upsampling the same blocks.
    """
    from safetensors.numpy import save_file

    models = sorted(kept.glob("*.onnx"))
    if len(models) != 1:
        raise AssetError(f"expected one Piper voice (NAME.onnx) to convert, found {len(models)}")
    graph = read(models[0])
    tensors = {name.removeprefix(_PREFIX): t for name, t in graph.tensors.items() if name.startswith(_PREFIX)}
    ints = {
        name.removeprefix(_PREFIX): node.ints for node in graph.nodes for name in node.inputs if name.startswith(_PREFIX)
    }
    ups = [name for name in tensors if re.fullmatch(r"ups\.\d+\.weight", name)]
    convs = [name for name in tensors if re.fullmatch(r"resblocks\.\d+\.convs\.\d+\.weight", name)]
    try:
        first = tensors["conv_pre.weight"]
        upsample = [[ints[f"ups.{i}.weight"]["strides"][0], tensors[f"ups.{i}.weight"].shape[2]] for i in range(len(ups))]
        blocks = len({name.split(".")[1] for name in convs}) // len(ups)
        residual = []
        for block in range(blocks):
            own = sorted(name for name in convs if name.startswith(f"resblocks.{block}."))
            residual.append([tensors[own[0]].shape[2], [ints[name]["dilations"][0] for name in own]])
        tensors["conv_post.weight"]
    except (KeyError, IndexError, ZeroDivisionError) as error:
        raise AssetError(
            f"{models[0].name}: its decoder is not that of a Piper voice of medium quality ({error})"
        ) from error
    config = json.loads(models[0].with_name(models[0].name + ".json").read_text("utf-8"))
    config = {
        "latent_width": first.shape[1],
        "channels": first.shape[0],
        "upsample": upsample,
        "residual": residual,
        "sample_rate": config["audio"]["sample_rate"],
    }
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, ready / "model.safetensors", {"format": "pt"})
    (ready / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
