"""ImageBind's network (arXiv 2305.05665): a transformer for each of six modalities and a head into one space.

Decides that its names and shapes are those of the authors' state dict (`imagebind_huge.pth`), whole or of some modalities,
so that their weights load by name. The order of modules inside `nn.Sequential` follows from that.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

PICTURE, SMALL, LARGE = 224, 14, 16  # pixels: a picture, a patch of it, a patch of anything else
MELS, FRAMES, STRIDE = 128, 204, 10  # of a clip of two seconds, whose patches overlap
SERIES, KERNEL = 2000, 8  # of five seconds of six sensors
WORDS, CONTEXT = 49408, 77  # of CLIP's tokenizer
CELLS = {  # patches of one input
    "vision": (PICTURE // SMALL) ** 2,
    "audio": ((MELS - LARGE) // STRIDE + 1) * ((FRAMES - LARGE) // STRIDE + 1),
    "depth": (PICTURE // LARGE) ** 2,
    "thermal": (PICTURE // LARGE) ** 2,
    "imu": SERIES // KERNEL,
}
SCALES = {"text": 1 / 0.07, "audio": 20.0, "depth": 5.0, "thermal": 10.0, "imu": 5.0}  # of the embeddings; vision has none


@dataclass(frozen=True)
class Size:
    """Of one transformer."""

    width: int
    depth: int
    heads: int


HUGE = {
    "vision": Size(1280, 32, 16),
    "text": Size(1024, 24, 16),
    "audio": Size(768, 12, 12),
    "depth": Size(384, 12, 8),
    "thermal": Size(768, 12, 12),
    "imu": Size(512, 6, 8),
}
SPACE = 1024  # width of the one space


class ImageBind(nn.Module):
    """The towers of `sizes`, of which each is a modality, and their heads into a space of `space` dimensions."""

    def __init__(self, sizes: dict[str, Size], space: int = SPACE) -> None:
        super().__init__()
        self.modality_preprocessors = nn.ModuleDict({name: _embedding(name, size.width) for name, size in sizes.items()})
        self.modality_trunks = nn.ModuleDict({name: Trunk(name, size) for name, size in sizes.items()})
        self.modality_heads = nn.ModuleDict({name: _head(name, size.width, space) for name, size in sizes.items()})
        self.modality_postprocessors = nn.ModuleDict({name: _scaled(name) for name in sizes})

    def forward(self, modality: str, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Of inputs [B, ...] the embeddings [B, space], scaled as in training, and the states behind [B, 1 + N, width], the
        first of which is the class token's (text has none: [B, 77, width]).

        `inputs`: vision [B, 3, 2, 224, 224] (two frames, or a picture twice), audio [B, 1, 128, 204], depth and thermal
        [B, 1, 224, 224], imu [B, 6, 2000], text ids [B, 77], of which the end of the text is the largest.
        """
        embedding, text = self.modality_preprocessors[modality], modality == "text"
        states = self.modality_trunks[modality](embedding(inputs), embedding.mask if text else None)
        read = states[torch.arange(len(states)), inputs.argmax(dim=-1)] if text else states
        pooled = self.modality_heads[modality](read)
        return self.modality_postprocessors[modality](pooled), states


def _embedding(modality: str, width: int) -> nn.Module:
    if modality == "text":
        return Words(width)
    if modality == "imu":
        return Windows(width)
    if modality == "vision":
        patch = (2, SMALL, SMALL)
        stem = Stem(nn.Sequential(nn.Identity(), nn.Conv3d(3, width, patch, patch, bias=False)))
    else:
        stem = Stem(nn.Conv2d(1, width, LARGE, STRIDE if modality == "audio" else LARGE, bias=False), width)
    return Patches("depth_stem" if modality == "depth" else "rgbt_stem", stem, CELLS[modality], width)


def _head(modality: str, width: int, space: int) -> nn.Module:
    norm, project = nn.LayerNorm(width, eps=1e-6), nn.Linear(width, space, bias=False)
    if modality == "text":
        return nn.Sequential(OrderedDict(proj=nn.Sequential(norm, project)))
    dropped = [nn.Dropout(0.5)] if modality == "imu" else []
    return nn.Sequential(norm, First(), *dropped, project)


def _scaled(modality: str) -> nn.Module:
    if modality == "vision":
        return Normalize()
    return nn.Sequential(Normalize(), Scale(SCALES[modality], learned=modality == "text"))


class Stem(nn.Module):
    """Patches of a picture to vectors [B, N, width], and a norm of them where a width is given."""

    def __init__(self, proj: nn.Module, width: int | None = None) -> None:
        super().__init__()
        self.proj = proj
        self.norm_layer = nn.Identity() if width is None else nn.LayerNorm(width)

    def forward(self, pixels: Tensor) -> Tensor:
        vectors: Tensor = self.proj(pixels)
        return self.norm_layer(vectors.flatten(2).transpose(1, 2) if vectors.ndim > 3 else vectors)


class Patches(nn.Module):
    """The class token and the patches of a stem, with their places: [B, 1 + cells, width]."""

    def __init__(self, name: str, stem: Stem, cells: int, width: int) -> None:
        super().__init__()
        self.cls_token = _normal(width**-0.5, 1, 1, width)
        self.stem_name = name  # the authors call it by what it reads
        self.add_module(name, stem)
        self.pos_embedding_helper = Places(1 + cells, width)

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.get_submodule(self.stem_name)(pixels)
        whole = torch.cat((self.cls_token.expand(len(patches), -1, -1), patches), dim=1)
        return self.pos_embedding_helper(whole)


class Places(nn.Module):
    def __init__(self, places: int, width: int) -> None:
        super().__init__()
        self.pos_embed = _normal(width**-0.5, 1, places, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.pos_embed


class Windows(nn.Module):
    """The class token and windows of 8 samples of all sensors, each sensor's samples side by side: [B, 251, width]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pos_embed = _normal(0.01, 1, 1 + SERIES // KERNEL, width)
        self.cls_token = _normal(width**-0.5, 1, 1, width)
        self.imu_stem = Stem(nn.Linear(6 * KERNEL, width, bias=False), width)

    def forward(self, samples: Tensor) -> Tensor:  # [B, 6, 2000]
        windows = self.imu_stem(samples.unflatten(-1, (-1, KERNEL)).transpose(1, 2).flatten(2))
        return torch.cat((self.cls_token.expand(len(windows), -1, -1), windows), dim=1) + self.pos_embed


class Words(nn.Module):
    """Tokens with their places: [B, 77, width]."""

    mask: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(WORDS, width)
        self.pos_embed = _normal(0.01, 1, CONTEXT, width)
        self.register_buffer("mask", torch.full((CONTEXT, CONTEXT), -torch.inf).triu(1))  # a tensor of their checkpoint
        nn.init.normal_(self.token_embedding.weight, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        return self.token_embedding(ids) + self.pos_embed


class Trunk(nn.Module):
    """Pre-norm blocks; those of the towers that were added to CLIP's two attend to a learned key and value as well. Drop
    path, a matter of training, is left out."""

    def __init__(self, modality: str, size: Size) -> None:
        super().__init__()
        first = [nn.LayerNorm(size.width, eps=1e-6)] if modality == "vision" else []
        self.pre_transformer_layer = nn.Sequential(*first)
        self.blocks = nn.ModuleList(Block(size, added=modality not in ("vision", "text")) for _ in range(size.depth))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:  # [B, N, width]
        x = self.pre_transformer_layer(x)
        for block in self.blocks:
            x = block(x, mask)
        return x


class Block(nn.Module):
    def __init__(self, size: Size, added: bool) -> None:
        super().__init__()
        width = size.width
        self.attn = nn.MultiheadAttention(width, size.heads, add_bias_kv=added, batch_first=True)
        self.norm_1 = nn.LayerNorm(width, eps=1e-6)
        inner = OrderedDict(fc1=nn.Linear(width, 4 * width), act=nn.GELU(), fc2=nn.Linear(4 * width, width))
        self.mlp = nn.Sequential(inner)
        self.norm_2 = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        y = self.norm_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.norm_2(x))


class First(nn.Module):
    def forward(self, x: Tensor) -> Tensor:  # [B, N, width] -> [B, width]
        return x[:, 0]


class Normalize(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.normalize(x, dim=-1)


class Scale(nn.Module):
    """Times a number of at most 100, kept as its logarithm."""

    log_logit_scale: Tensor

    def __init__(self, start: float, learned: bool) -> None:
        super().__init__()
        logarithm = torch.tensor(start).log()
        if learned:
            self.log_logit_scale = nn.Parameter(logarithm)
        else:
            self.register_buffer("log_logit_scale", logarithm)

    def forward(self, x: Tensor) -> Tensor:
        return self.log_logit_scale.exp().clamp(max=100) * x


def _normal(std: float, *shape: int) -> nn.Parameter:
    return nn.Parameter(std * torch.randn(*shape))
