"""RAM++ (arXiv 2310.15111): a Swin transformer, and a decoder in which each tag, as a mean of descriptions of it that the
picture weighs, asks the picture whether it is there. Decides that Swin is transformers' and all else has the authors'
names; `named` says which of theirs is which of transformers', so that their weights load by name.
"""

from __future__ import annotations

import re
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

HEADS, EPS = 4, 1e-12  # of the decoder
COMPUTED = r"\.(relative_position_index|attn_mask)$"  # buffers of the authors' Swin that follow from its sizes
SWIN = {
    r"^visual_encoder\.patch_embed\.proj\.": "visual_encoder.embeddings.patch_embeddings.projection.",
    r"^visual_encoder\.patch_embed\.norm\.": "visual_encoder.embeddings.norm.",
    r"^visual_encoder\.layers\.": "visual_encoder.encoder.layers.",
    r"^visual_encoder\.norm\.": "visual_encoder.layernorm.",
    r"\.norm1\.": ".layernorm_before.",
    r"\.norm2\.": ".layernorm_after.",
    r"\.attn\.proj\.": ".attention.o_proj.",
    r"\.attn\.relative_position_bias_table$": ".attention.relative_position_bias.relative_position_bias_table",
}


def named(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The authors' tensors by the names of `RamPlus`: those of queries, keys and values are three."""
    out: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if re.search(COMPUTED, name):
            continue
        if ".attn.qkv." in name:
            parts = {
                name.replace(".attn.qkv.", f".attention.{x}_proj."): t for x, t in zip("qkv", tensor.chunk(3), strict=True)
            }
        else:
            parts = {name: tensor}
        for part, value in parts.items():
            for pattern, ours in SWIN.items():
                part = re.sub(pattern, ours, part)
            out[part] = value
    return out


class RamPlus(nn.Module):
    """`swin`: a config of transformers; the other sizes are those of the encoder's `L14`."""

    def __init__(self, swin: Any, space: int, hidden: int, inner: int, layers: int, tags: int, descriptions: int) -> None:
        super().__init__()
        import transformers

        self.visual_encoder = transformers.SwinModel(swin, add_pooling_layer=False)
        self.image_proj = nn.Linear(swin.hidden_size, space)
        self.label_embed = nn.Parameter(0.02 * torch.randn(tags * descriptions, space))
        self.reweight_scale = nn.Parameter(torch.tensor(1 / 0.07).log())
        self.wordvec_proj = nn.Linear(space, hidden)
        stack = nn.ModuleList(Layer(hidden, space, inner) for _ in range(layers))
        self.tagging_head = nn.ModuleDict({"encoder": nn.ModuleDict({"layer": stack})})
        self.fc = nn.Linear(hidden, 1)
        self.descriptions = descriptions

    def see(self, pixels: Tensor) -> Tensor:
        """Pictures [B, 3, image, image] -> states [B, 1 + N, space]: of the whole, and of the cells."""
        cells = self.visual_encoder(pixels).last_hidden_state
        return self.image_proj(torch.cat((cells.mean(1, keepdim=True), cells), dim=1))

    def tags(self, seen: Tensor) -> Tensor:
        """What `see` gives -> logits [B, tags], of each tag by itself."""
        likeness = self.reweight_scale.exp() * functional.normalize(seen[:, 0], dim=-1) @ self.label_embed.t()
        weight = likeness.unflatten(1, (-1, self.descriptions)).softmax(-1)  # [B, tags, descriptions]
        meant = torch.einsum("btd,tds->bts", weight, self.label_embed.unflatten(0, (-1, self.descriptions)))
        x = functional.relu(self.wordvec_proj(meant))
        for layer in cast(nn.ModuleList, self.tagging_head.get_submodule("encoder.layer")):
            x = layer(x, seen)
        return self.fc(x).squeeze(-1)


class Layer(nn.Module):
    """BERT's layer (arXiv 1810.04805) without attention among its own positions."""

    def __init__(self, width: int, space: int, inner: int) -> None:
        super().__init__()
        asks = {"query": nn.Linear(width, width), "key": nn.Linear(space, width), "value": nn.Linear(space, width)}
        self.crossattention = nn.ModuleDict({"self": nn.ModuleDict(asks), "output": Added(width, width)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, inner)})
        self.output = Added(inner, width)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        asks = cast(nn.ModuleDict, self.crossattention["self"])
        projected = asks["query"](x), asks["key"](seen), asks["value"](seen)
        q, k, v = (tensor.unflatten(-1, (HEADS, -1)).transpose(1, 2) for tensor in projected)
        heard = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = self.crossattention["output"](heard, x)
        return self.output(functional.gelu(self.intermediate["dense"](x)), x)


class Added(nn.Module):
    def __init__(self, read: int, width: int) -> None:
        super().__init__()
        self.dense, self.LayerNorm = nn.Linear(read, width), nn.LayerNorm(width, eps=EPS)

    def forward(self, x: Tensor, to: Tensor) -> Tensor:
        return self.LayerNorm(to + self.dense(x))
