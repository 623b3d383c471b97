"""The names of OpenCLIP's ConvNeXt in transformers. Decides that each is said and that no other name is bent to fit."""

from __future__ import annotations

import re

NAMES = {  # where the weights are published -> where they are in transformers' class
    r"^visual\.trunk\.stem\.0\.": "trunk.embeddings.patch_embeddings.",
    r"^visual\.trunk\.stem\.1\.": "trunk.embeddings.layernorm.",
    r"^visual\.trunk\.stages\.(\d+)\.downsample\.": r"trunk.encoder.stages.\1.downsampling_layer.",
    r"^visual\.trunk\.stages\.(\d+)\.blocks\.(\d+)\.": r"trunk.encoder.stages.\1.layers.\2.",
    r"^visual\.trunk\.head\.norm\.": "trunk.layernorm.",
    r"^visual\.head\.proj\.": "proj.",
    r"(?<=\d\.)conv_dw\.": "dwconv.",
    r"(?<=\d\.)norm\.": "layernorm.",
    r"(?<=\d\.)mlp\.fc([12])\.": r"pwconv\1.",
    r"(?<=\d\.)gamma$": "layer_scale_parameter",
}


def ours(name: str) -> str:
    """A published name of a weight -> its name in this encoder; one of the other half of CLIP is itself."""
    for theirs, mine in NAMES.items():
        name = re.sub(theirs, mine, name) if name.startswith(("visual.", "trunk.")) else name
    return name
