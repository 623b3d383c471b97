"""What may be done to points, motion and maps in training without changing what they are. Decides how much: a thing may
stand any way around and a watch sits askew, but a chair on its back is another sight, and time is not turned back. A map
may be of a nearer or a warmer scene, but what is nearest and hottest stays so.

Everything is drawn from torch's own generator, which training seeds by its place, and for each item of a batch anew; but
which points of clouds are kept, and by how much maps are moved, is drawn for the batch."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

STRETCH, MOVED = 0.15, 0.01  # of axes, of places in the unit sphere
TINT, GREYED = 0.1, 0.25  # of colours; share without
ASKEW, LOUDER, SPEED, NOISE = 30.0, 0.1, 0.2, 0.05  # degrees; share; share; of a channel's standard deviation
CURVED, BRIGHTER, SHIFTED = 0.3, 0.25, 6  # of shades: exponent and factor, as logarithms; pixels
GREY = 0.4  # what has no colour is given by `media.points`


def seen_anew(clouds: Tensor) -> Tensor:
    """Clouds [B, P, 3 or 6] in the unit sphere, y up -> alike: turned about y by any angle, mirrored, each axis stretched,
    points moved, colours tinted or gone, in the unit sphere again; a random quarter of the points."""
    count, size, _ = clouds.shape
    kept = clouds[:, torch.randperm(size, device=clouds.device)[: max(1, size // 4)]]
    angle = 2 * math.pi * torch.rand(count, device=clouds.device)
    axis = clouds.new_tensor([0.0, 1.0, 0.0]).expand(count, 3)
    stretch = torch.exp(STRETCH * torch.randn(count, 1, 3, device=clouds.device))
    mirror = torch.where(torch.rand(count, 1, 1, device=clouds.device) < 0.5, -1.0, 1.0)
    places = kept[..., :3] * stretch * torch.cat((mirror, torch.ones_like(mirror).expand(-1, -1, 2)), dim=-1)
    places = places @ turns(axis, angle).transpose(1, 2)
    places = places + MOVED * torch.randn_like(places)
    places = places / places.norm(dim=-1).amax(1).clamp(min=1e-6)[:, None, None]
    colors = kept[..., 3:] + TINT * torch.randn(count, 1, kept.shape[-1] - 3, device=clouds.device)
    bare = torch.rand(count, 1, 1, device=clouds.device) < GREYED
    return torch.cat((places, colors.masked_fill(bare, GREY)), dim=-1)


def worn_anew(samples: Tensor) -> Tensor:
    """Standardised motion [B, C, T] whose channels are triples of x y z -> alike: the sensor askew by some 30 degrees,
    louder or softer, a stretch of it played slower, with noise."""
    count, channels, length = samples.shape
    axis = F.normalize(torch.randn(count, 3, device=samples.device), dim=-1)
    turn = turns(axis, math.radians(ASKEW) * torch.randn(count, device=samples.device))
    triples = torch.einsum("bij,bkjt->bkit", turn, samples.unflatten(1, (channels // 3, 3)))
    triples = triples * (1 + LOUDER * torch.randn(count, channels // 3, 1, 1, device=samples.device))
    rate = torch.exp(-SPEED * torch.randn(count, 1, device=samples.device).abs())  # of the time that is seen
    start = (2 * torch.rand_like(rate) - 1) * (1 - rate)
    time = torch.linspace(-1, 1, length, device=samples.device) * rate + start  # [B, T]
    grid = torch.stack((time, torch.zeros_like(time)), dim=-1)[:, None]
    played = F.grid_sample(triples.flatten(1, 2)[:, :, None], grid, align_corners=True, padding_mode="border")[:, :, 0]
    return played + NOISE * torch.randn_like(played)


def measured_anew(shades: Tensor) -> Tensor:
    """Shades [B, 1, P, P] from 0 to 1 -> alike: brighter or darker as a whole along a curve that keeps their order, the
    scene moved by some pixels; what is black, beyond the range or not measured, stays so."""
    draw = torch.randn(2, len(shades), 1, 1, 1, device=shades.device)
    curved = shades.clamp(min=1e-6) ** torch.exp(CURVED * draw[0]) * torch.exp(BRIGHTER * draw[1])
    bright = curved / curved.amax((1, 2, 3), keepdim=True).clamp(min=1)  # not cut off, or two would be equally near
    wide = F.pad(bright * (shades > 0), 4 * [SHIFTED], mode="replicate")
    size, (x, y) = shades.shape[-1], torch.randint(2 * SHIFTED + 1, (2,)).tolist()
    return wide[..., y : y + size, x : x + size]


def turns(axis: Tensor, angle: Tensor) -> Tensor:
    """Rotations [B, 3, 3] by `angle` [B] (radians) about unit vectors `axis` [B, 3] (Rodrigues' formula)."""
    x, y, z = axis.unbind(-1)
    none = torch.zeros_like(x)
    cross = torch.stack((none, -z, y, z, none, -x, -y, x, none), dim=-1).unflatten(-1, (3, 3))
    turn = angle[:, None, None]
    return torch.eye(3, device=axis.device) + turn.sin() * cross + (1 - turn.cos()) * cross @ cross
