"""An independent judge of generated emoji: which concept, of all trained ones, and which style does a picture show?

EfficientNet-Lite0 (ImageNet, frozen) reads a picture of 64 x 64, doubled in size. A linear classifier of concepts over the
mean and the maximum of its last feature map, and one of styles over the means and deviations of its early maps, are trained
on the real artwork of the pairs that the generator is trained on, as it is and under small changes of place, size, angle,
colour and sharpness. The generator has no part in it, and pictures of
held-out pairs are not among what it learns from: how it judges the real ones of these is its own measure.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import affine_grid, cross_entropy, grid_sample, interpolate

SIDE = 128  # pixels that the network sees
EARLY = (0, 2, 4, 10)  # blocks whose maps tell shading and outlines: 16, 24, 40 and 112 channels
LATE, TEXTURE = 2560, 384  # how many features of either kind
VIEWS = 5  # of each training picture: itself, and changed
STYLES = ("noto", "twemoji", "flat", "3d")


class Pair(NamedTuple):
    """A drawing that generators are trained on, or that is `held` out of their training."""

    caption: str
    concept: str
    style: str
    held: bool
    picture: np.ndarray  # uint8 [64, 64, 3]


def pairs() -> list[Pair]:
    """Every drawing of the training split, as generators get it: on white, 64 x 64 pixels."""
    from polymodal import corpora
    from polymodal.corpora.combinations import combination
    from polymodal.corpora.emoji import STYLES as OF

    found = []
    for item in (item for corpus in ("emoji", "emoji-3d") for item in corpora.read(corpus)):
        if item.split == "train" and OF[item.vendor] in STYLES:
            picture = Image.open(BytesIO(item.read())).convert("RGB").resize((64, 64), Image.Resampling.LANCZOS)
            held = combination(item.concept, item.vendor) == "held-out"
            found.append(Pair(item.caption, item.concept, OF[item.vendor], held, np.asarray(picture)))
    return found


def trained(drawn: Sequence[Pair], file: Path) -> Judge:
    """The judge that learned from the pairs that are not held out (six minutes); kept in `file`."""
    shown = [pair for pair in drawn if not pair.held]
    judge = Judge(sorted({pair.concept for pair in shown}), list(STYLES))
    if file.is_file():
        known = load_file(file)
        judge.load_state_dict({**judge.state_dict(), **known})
        return judge.eval()
    pictures = torch.from_numpy(np.stack([pair.picture for pair in shown]))
    learn(judge, pictures, *judge.indices(shown))
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in judge.state_dict().items() if not k.startswith("eyes")}, file)
    return judge


class Judge(nn.Module):
    """`concepts` and `styles`: the names of what it tells apart."""

    def __init__(self, concepts: list[str], styles: list[str]) -> None:
        super().__init__()
        from polymodal.parts.encoders.efficientnet import EfficientNetLite

        self.concepts, self.styles = concepts, styles
        self.eyes = EfficientNetLite("asset:efficientnet-lite0").network.eval().requires_grad_(False)
        self.norm = nn.BatchNorm1d(LATE + TEXTURE, affine=False)
        self.concept = nn.Linear(LATE, len(concepts))
        self.style = nn.Sequential(nn.Linear(TEXTURE, 256), nn.ReLU(), nn.Linear(256, len(styles)))

    def indices(self, wanted: Sequence[Pair]) -> tuple[Tensor, Tensor]:
        """Of each pair its concept and style, by number; -1 for a concept that is not known."""
        place = {name: number for number, name in enumerate(self.concepts)}
        concepts = [place.get(pair.concept, -1) for pair in wanted]
        return torch.tensor(concepts), torch.tensor([self.styles.index(pair.style) for pair in wanted])

    def train(self, mode: bool = True) -> Judge:
        super().train(mode)
        self.eyes.eval()
        return self

    @torch.no_grad()
    def features(self, pictures: Tensor, batch: int = 64) -> Tensor:
        """uint8 [S, H, W, 3] or float [S, 3, H, W] of 0 to 255 -> [S, LATE + TEXTURE]."""
        rows, early = [], []
        hooks = [self.eyes._blocks[i].register_forward_hook(lambda _, __, out: early.append(out)) for i in EARLY]
        for part in pictures.split(batch):
            pixels = part.permute(0, 3, 1, 2).float() if part.dtype == torch.uint8 else part
            pixels = interpolate(pixels, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
            with torch.autocast("cpu", torch.bfloat16):
                maps = self.eyes.extract_features(((pixels - 127) / 128).contiguous(memory_format=torch.channels_last))
            maps = maps.float().flatten(2)
            texture = [stat for out in early for stat in (out.float().mean((2, 3)), out.float().std((2, 3)))]
            early.clear()
            rows.append(torch.cat([maps.mean(2), maps.amax(2), *texture], 1))
        for hook in hooks:
            hook.remove()
        return torch.cat(rows)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        rows = self.norm(features)
        return self.concept(rows[:, :LATE]), self.style(rows[:, LATE:])

    @torch.no_grad()
    def rates(self, pictures: Sequence[Image.Image | np.ndarray], wanted: Sequence[Pair]) -> dict[str, float]:
        """How often the concept is the first guess and among the first five, and the style right."""
        shown = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures]))
        concept, style = self.eval()(self.features(shown))
        concepts, styles = self.indices(wanted)
        five = concept.topk(5, 1).indices == concepts[:, None]
        right = {"n": len(wanted), "first": five[:, 0], "top 5": five.any(1), "style": style.argmax(1) == styles}
        return {name: hits if isinstance(hits, int) else hits.float().mean().item() for name, hits in right.items()}


def changed(pictures: Tensor, random: torch.Generator) -> Tensor:
    """uint8 [S, H, W, 3] -> float [S, 3, H, W]: moved, scaled, turned, recoloured and blurred a little."""
    pixels = pictures.permute(0, 3, 1, 2).float()
    n, _, side, _ = pixels.shape

    def between(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(n, *shape, generator=random) * (high - low) + low

    angle, size, move = between(-0.2, 0.2), between(0.9, 1.15), between(-0.12, 0.12, 2)
    cos, sin = angle.cos() * size, angle.sin() * size
    places = torch.stack([torch.stack([cos, -sin, move[:, 0]], 1), torch.stack([sin, cos, move[:, 1]], 1)], 1)
    grid = affine_grid(places, [n, 3, side, side], align_corners=False)
    pixels = 255 - grid_sample(255 - pixels, grid, align_corners=False)  # what comes in from outside is white
    coarse = int(between(20, side + 1)[0])  # one sharpness for all: draw small parts
    pixels = interpolate(
        interpolate(pixels, size=(coarse, coarse), mode="bilinear", antialias=True), size=(side, side), mode="bilinear"
    )
    pixels = (pixels - 255) * between(0.85, 1.15, 1, 1, 1) + 255 + between(-12, 12, 3, 1, 1)
    return (pixels + 5 * torch.randn(pixels.shape, generator=random)).clamp(0, 255)


def learn(judge: Judge, pictures: Tensor, concepts: Tensor, styles: Tensor, epochs: int = 30, seed: int = 0) -> None:
    """Fits the two classifiers. `pictures` uint8 [S, H, W, 3]; `concepts` and `styles` are indices [S]."""
    random = torch.Generator().manual_seed(seed)
    views = [judge.features(pictures)]
    for _ in range(VIEWS - 1):
        views.append(torch.cat([judge.features(changed(part, random)) for part in pictures.split(64)]))
    features = torch.stack(views)
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW([*judge.concept.parameters(), *judge.style.parameters()], lr=2e-3, weight_decay=0.05)
    judge.train()
    steps = epochs * (len(pictures) // 256)
    plan = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        rows = torch.randint(len(pictures), (256,), generator=random)
        concept, style = judge(features[torch.randint(VIEWS, (256,), generator=random), rows])
        loss = cross_entropy(concept, concepts[rows], label_smoothing=0.1) + cross_entropy(style, styles[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        plan.step()
    judge.eval()
