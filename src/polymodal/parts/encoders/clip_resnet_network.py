"""CLIP's ResNet (arXiv 2103.00020, section 2.4): three convolutions before the stages, an average pool in place of a
stride, attention in place of the last pool. Decides that its names and shapes are those of OpenAI's state dict."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

from polymodal.parts.encoders.batch_norm import FixedBatchNorm

EXPANSION, HEAD = 4, 64  # of a block's width, of attention


class ClipResNet(nn.Module):
    """Pictures [B, 3, image, image] -> maps [B, 32 width, image / 32, image / 32] and embeddings [B, space]."""

    def __init__(self, width: int, depths: list[int], image: int, space: int) -> None:
        super().__init__()
        half = width // 2
        self.conv1 = nn.Conv2d(3, half, 3, stride=2, padding=1, bias=False)
        self.conv2 = nn.Conv2d(half, half, 3, padding=1, bias=False)
        self.conv3 = nn.Conv2d(half, width, 3, padding=1, bias=False)
        self.bn1, self.bn2, self.bn3 = FixedBatchNorm(half), FixedBatchNorm(half), FixedBatchNorm(width)
        read = width
        for number, depth in enumerate(depths):
            hidden = width * 2**number
            blocks = [Block(read if i == 0 else EXPANSION * hidden, hidden, 1 + (i == 0 < number)) for i in range(depth)]
            self.add_module(f"layer{number + 1}", nn.Sequential(*blocks))
            read = EXPANSION * hidden
        self.stages = [f"layer{number + 1}" for number in range(len(depths))]
        self.attnpool = AttentionPool(read, (image // 32) ** 2, space)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for convolution, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = functional.relu(norm(convolution(x)))
        x = functional.avg_pool2d(x, 2)
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
        return x, self.attnpool(x)


class Block(nn.Module):
    def __init__(self, read: int, hidden: int, stride: int) -> None:
        super().__init__()
        width = EXPANSION * hidden
        self.conv1, self.bn1 = nn.Conv2d(read, hidden, 1, bias=False), FixedBatchNorm(hidden)
        self.conv2, self.bn2 = nn.Conv2d(hidden, hidden, 3, padding=1, bias=False), FixedBatchNorm(hidden)
        self.avgpool = nn.AvgPool2d(stride)
        self.conv3, self.bn3 = nn.Conv2d(hidden, width, 1, bias=False), FixedBatchNorm(width)
        self.downsample: nn.Module = nn.Identity()
        if read != width or stride > 1:
            pool, convolution = ("-1", nn.AvgPool2d(stride)), ("0", nn.Conv2d(read, width, 1, bias=False))
            self.downsample = nn.Sequential(OrderedDict([pool, convolution, ("1", FixedBatchNorm(width))]))

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.avgpool(functional.relu(self.bn2(self.conv2(out))))
        return functional.relu(self.bn3(self.conv3(out)) + self.downsample(x))


class AttentionPool(nn.Module):
    """The mean of a map asks all its cells, and itself."""

    def __init__(self, width: int, cells: int, space: int) -> None:
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.randn(1 + cells, width) / width**0.5)
        self.k_proj, self.q_proj, self.v_proj = (nn.Linear(width, width) for _ in range(3))
        self.c_proj = nn.Linear(width, space)

    def forward(self, maps: Tensor) -> Tensor:  # [B, width, h, w] -> [B, space]
        cells = maps.flatten(2).transpose(1, 2)
        x = torch.cat((cells.mean(1, keepdim=True), cells), dim=1) + self.positional_embedding
        projected = self.q_proj(x[:, :1]), self.k_proj(x), self.v_proj(x)
        q, k, v = (tensor.unflatten(-1, (-1, HEAD)).transpose(1, 2) for tensor in projected)
        return self.c_proj(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(1))
