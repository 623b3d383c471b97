"""NFNet-F (arXiv 2102.06171): a residual network without norms, whose convolutions standardise their weights. Decides that
names and shapes are those of the port of DeepMind's weights to torch (`dm_nfnet_f6` of pytorch-image-models), and that what
it computes is what that port does; drop path, a matter of training, is left out.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

GELU = 1.7015043497085571  # one over the deviation of GELU of a standard normal variable: it keeps variances at 1
ALPHA = 0.2  # what a block adds to the deviation, before its learned gain
EPS = 1e-5


def activate(x: Tensor) -> Tensor:
    return functional.gelu(x) * GELU


class NFNet(nn.Module):
    """Pictures [B, 3, h, w] -> maps [B, 2 widths[-1], h / 32, w / 32], sides rounded up."""

    def __init__(self, depths: list[int], widths: list[int], stem: int, group: int, classes: int) -> None:
        super().__init__()
        steps = [3, stem // 8, stem // 4, stem // 2, stem]
        layers = [Convolution(steps[i], steps[i + 1], 3, stride) for i, stride in enumerate((2, 1, 1, 2))]
        self.stem = nn.Sequential(OrderedDict((f"conv{i + 1}", layer) for i, layer in enumerate(layers)))
        stages, read, variance = [], stem, 1.0
        for number, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            blocks = []
            for i in range(depth):
                blocks.append(Block(read, width, 2 if i == 0 < number else 1, group, variance**-0.5))
                read, variance = width, (1.0 if i == 0 else variance) + ALPHA**2  # the first block's shortcut resets it
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.final_conv = Convolution(read, 2 * read, 1)
        self.head = nn.ModuleDict({"fc": nn.Linear(2 * read, classes)})

    def forward(self, x: Tensor) -> Tensor:
        first, *others = self.stem
        x = first(x)
        for convolution in others:
            x = convolution(activate(x))
        return activate(self.final_conv(self.stages(x)))


class Convolution(nn.Conv2d):
    """Weights of mean 0 and variance 1 / fan-in, times a learned gain (arXiv 2101.08692). The picture is padded so that
    each side is divided by `stride` and rounded up, as TensorFlow pads."""

    def __init__(self, read: int, width: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(read, width, kernel, stride, groups=groups)
        self.gain = nn.Parameter(torch.ones(width, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        flat = self.weight.flatten(1)
        gain = self.gain.flatten() * flat.shape[1] ** -0.5
        # A batch norm over one "batch", of the weights: a row is standardised, and times its gain.
        weight = functional.batch_norm(flat[None], None, None, gain, training=True, eps=EPS).view_as(self.weight)
        kernel, stride = self.kernel_size[0], self.stride[0]
        height, width = (max(0, (-(-side // stride) - 1) * stride + kernel - side) for side in x.shape[-2:])
        x = functional.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
        return functional.conv2d(x, weight, self.bias, stride, groups=self.groups)


class Block(nn.Module):
    def __init__(self, read: int, width: int, stride: int, group: int, beta: float) -> None:
        super().__init__()
        self.beta, hidden = beta, width // 2
        groups = hidden // group
        self.downsample: nn.Module | None = None
        if read != width or stride > 1:
            pool = nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False)
            self.downsample = nn.Sequential(OrderedDict(pool=pool, conv=Convolution(read, width, 1)))
        self.conv1 = Convolution(read, hidden, 1)
        self.conv2 = Convolution(hidden, hidden, 3, stride, groups)
        self.conv2b = Convolution(hidden, hidden, 3, 1, groups)
        self.conv3 = Convolution(hidden, width, 1)
        self.attn_last = SqueezeExcite(width)
        self.skipinit_gain = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        out = activate(x) * self.beta
        shortcut = x if self.downsample is None else self.downsample(out)
        out = self.conv2(activate(self.conv1(out)))
        out = self.conv3(activate(self.conv2b(activate(out))))
        gated = 2.0 * self.attn_last(out)  # a gate of one half lets half of it through
        return shortcut + ALPHA * self.skipinit_gain * gated


class SqueezeExcite(nn.Module):
    """A gate for each channel, from the means of all (arXiv 1709.01507)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(width, width // 2, 1), nn.Conv2d(width // 2, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc2(functional.relu(self.fc1(x.mean((2, 3), keepdim=True)))).sigmoid()
