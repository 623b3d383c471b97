"""What a model, or an encoder, is known by in saved answers and in the names of scores. Decides that it is a hash of what
it says of itself and of some values of every tensor: reading all of a large model would take longer than it is worth.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

SAMPLE = 1024  # values of each tensor


def sampled(tensors: dict[str, Tensor], begun: bytes) -> str:
    """What a model is known by: what `begun` says of it, and values of every tensor at even distances."""
    digest = hashlib.sha256(begun)
    for name, tensor in sorted(tensors.items()):
        flat = tensor.detach().reshape(-1)
        some = flat[:: max(1, flat.numel() // SAMPLE)].cpu().contiguous()
        digest.update(f"{name}{list(tensor.shape)}".encode())
        digest.update(some.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
