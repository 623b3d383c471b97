"""What every generator with a codec promises, as functions that the tests of each call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from polymodal.parts.base import build
from polymodal.parts.generators import GENERATORS
from polymodal.parts.output import Generator


def make(kind: str, **options: Any) -> Generator:
    """A random generator, built as a recipe builds it. Seeded: two calls give equal weights."""
    torch.manual_seed(0)
    return build("generator", GENERATORS, {"kind": kind, **options}).eval()


def targets(generator: Generator, media: list[Any]) -> Tensor:
    return torch.stack([generator.prepare(item) for item in media])


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def given(generator: Generator, spans: int, seed: int = 0) -> Tensor:
    """Codes or latents as a backbone might sample them: any."""
    if generator.takes == "codes":
        return torch.randint(generator.vocabulary, (spans, generator.positions), generator=random(seed))
    return torch.randn(spans, generator.positions, generator.width, generator=random(seed))


def pixels_of(made: list[Any]) -> list[np.ndarray]:
    """Whatever was made, as arrays."""
    arrays = []
    for item in made:
        first = item[0] if isinstance(item, tuple) else item
        arrays.append(np.stack([np.asarray(part) for part in first]) if isinstance(first, list) else np.asarray(first))
    return arrays


def equal(made: list[Any], again: list[Any]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(pixels_of(made), pixels_of(again), strict=True))


def check_codec(generator: Generator, media: list[Any]) -> None:
    """`encode` emits what is promised, what is made of it is bit-equal again, and other media are encoded otherwise."""
    prepared = targets(generator, media)
    code = generator.encode(prepared)
    assert not code.requires_grad
    if generator.takes == "codes":
        assert code.shape == (len(media), generator.positions)
        assert code.dtype == torch.long
        assert code.min() >= 0
        assert code.max() < generator.vocabulary
    else:
        assert code.shape == (len(media), generator.positions, generator.width)
    assert not torch.equal(code[0], code[1])
    for item, alone in zip(code, prepared, strict=True):
        assert torch.allclose(item.float(), generator.encode(alone[None])[0].float(), atol=1e-4)
    steps: list[tuple[int, int]] = []
    made = generator.make(code, random(), lambda done, of: steps.append((done, of)))
    assert len(made) == len(media)
    assert steps[-1] == (steps[-1][1],) * 2
    assert equal(made, generator.make(code, random()))
    arrays = pixels_of(generator.make(given(generator, 2), random()))  # of anything a backbone may sample
    assert all(array.shape == pixels_of(made)[0].shape for array in arrays)
    assert all(np.isfinite(array).all() for array in arrays)


def check_rebuilt(generator: Generator, kind: str, media: list[Any], folder: Path) -> None:
    """What a checkpoint keeps (`options`, as JSON, and the weights, strictly) makes the same generator again."""
    options = json.loads(json.dumps(generator.options))
    assert options == generator.options
    torch.manual_seed(99)
    again = build("generator", GENERATORS, {"kind": kind, **options}).eval()
    assert again.options == generator.options
    assert {type(value) for value in generator.state_dict().values()} <= {torch.Tensor}
    save_file(generator.state_dict(), folder / "generator.safetensors")
    again.load_state_dict(load_file(folder / "generator.safetensors"), strict=True)
    code = generator.encode(targets(generator, media))
    assert torch.equal(code, again.encode(targets(again, media)))
    assert equal(generator.make(code, random()), again.make(code, random()))


def check_frozen(generator: Generator, media: list[Any]) -> None:
    """Neither encoding nor making changes a weight."""
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    generator.train()
    generator.make(generator.encode(targets(generator, media)), random())
    generator.eval()
    assert all(torch.equal(tensor, before[name]) for name, tensor in generator.state_dict().items())


def check_fit(generator: Generator, media: list[Any], steps: int = 30, unread: tuple[str, ...] = ()) -> None:
    """A loss for each item, a gradient for each weight, and items are given back better and better."""
    generator.train()
    prepared = targets(generator, media)
    optimizer = torch.optim.Adam(generator.parameters(), 3e-3)
    losses = []
    for _ in range(steps):
        each = generator.fit(prepared)
        assert each.shape == (len(media),)
        optimizer.zero_grad()
        each.mean().backward()
        losses.append(each.mean().item())
        if len(losses) == 1:
            for name, parameter in generator.named_parameters():
                assert parameter.grad is not None or name in unread, name
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]
