"""What a real size needs: memory of each GPU and hours of a stage, from sizes alone. The tables of docs/scaling.md.

    python benchmarks/scaling.py

Everything is arithmetic on the shapes of a Llama and a ViT; nothing is loaded or run, and no torch is needed. Decides what
is counted: FLOPs of matrix products (2 per parameter and token forward; as much again for the gradient of what goes in, and
of the weights where they learn), bytes of weights, gradients, AdamW's two moments, and of what backward needs. A unit is a
power of ten: 1 GB is 10^9 bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

A100 = 312e12  # FLOP/s in bfloat16, NVIDIA's data sheet, without sparsity
HOUR = 3600
GB = 1e9


@dataclass(frozen=True)
class Transformer:
    """A stack of layers of `width` D; `hidden` F of the feed-forward net, which a Llama gates (three matrices for two)."""

    layers: int
    width: int
    hidden: int
    vocabulary: int = 0
    gated: bool = False

    @property
    def layer(self) -> int:
        """Parameters of one layer's matrices: 4 D^2 of attention and 2 or 3 D F."""
        return 4 * self.width**2 + (3 if self.gated else 2) * self.width * self.hidden

    @property
    def stack(self) -> int:
        """N, the parameters that every token passes: without embeddings and head."""
        return self.layers * self.layer

    @property
    def parameters(self) -> int:
        """With embeddings and an untied head; norms and positions, a thousandth, are left out."""
        return self.stack + 2 * self.vocabulary * self.width

    def forward(self, tokens: float, causal: bool = True) -> float:
        """FLOPs of a sequence: 2 N T, and 4 L T^2 D of attention, half of it where it is causal."""
        attention = 4 * self.layers * tokens**2 * self.width
        return 2 * self.stack * tokens + attention / (2 if causal else 1)


LLAMA_7B = Transformer(32, 4096, 11008, 32000, gated=True)
LLAMA_13B = Transformer(40, 5120, 13824, 32000, gated=True)
VIT_L = Transformer(24, 1024, 4096)
PATCHES = 576  # of a picture of 336 pixels


def projector(llm: Transformer) -> int:
    """Parameters of LLaVA-1.5's MLP."""
    return VIT_L.width * llm.width + llm.width**2


def lora(llm: Transformer, rank: int) -> int:
    """Parameters of LoRA beside every matrix of every layer: rank x (in + out)."""
    return llm.layers * rank * (4 * 2 * llm.width + 3 * (llm.width + llm.hidden))


# --- Memory ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tuning:
    """What learns. `backbone`: bytes of a weight of the LLM, 2 where a frozen one is kept in bfloat16."""

    name: str
    full: bool = False
    rank: int = 0
    backbone: int = 4


TUNINGS = (
    Tuning("projector only"),
    Tuning("projector only, `dtype: bfloat16`", backbone=2),
    Tuning("LoRA 128 and projector, `dtype: bfloat16`", rank=128, backbone=2),
    Tuning("everything but the encoder", full=True),
)


def learns(llm: Transformer, tuning: Tuning) -> int:
    """Parameters that learn: the projector, and the LLM or LoRA beside it."""
    return projector(llm) + (llm.parameters if tuning.full else lora(llm, tuning.rank))


def states(llm: Transformer, tuning: Tuning, gpus: int = 1) -> dict[str, float]:
    """Bytes on each GPU that stay from step to step, by what they are. `gpus` > 1: FSDP2 over so many, which slices all but
    the frozen encoder; 1: DDP or a single GPU. What learns is float32, and has a gradient and two moments."""
    n = learns(llm, tuning)
    added = n - llm.parameters * tuning.full  # to the LLM's own weights
    return {
        "weights": (llm.parameters * tuning.backbone + added * 4) / gpus + VIT_L.stack * 4,
        "gradients": n * 4 / gpus,
        "moments": n * 8 / gpus,
    }


def copies(llm: Transformer, tuning: Tuning) -> float:
    """Bytes of the bfloat16 copies of what learns, which autocast keeps until a forward pass ends."""
    return 2 * learns(llm, tuning)


def ddp(llm: Transformer, tuning: Tuning) -> float:
    """Bytes on each GPU without activations: states, gradients once more in the buckets that are exchanged, copies."""
    own = states(llm, tuning)
    return sum(own.values()) + own["gradients"] + copies(llm, tuning)


def fsdp2(llm: Transformer, tuning: Tuning, gpus: int) -> float:
    """As `ddp`, with FSDP2 and checkpointing: a slice of the states, and whole what is whole at a time: two layers (the
    next is fetched while one runs) and the unit of the rest (embeddings, head, projector). Copies go with their layer."""
    whole = (2 * llm.layer + 2 * llm.vocabulary * llm.width) * tuning.backbone + projector(llm) * 4
    return sum(states(llm, tuning, gpus).values()) + whole


def activations(llm: Transformer, tokens: float, checkpointing: bool) -> float:
    """Bytes kept for backward by `tokens` positions of a micro-batch, in bfloat16 autocast over a float32 residual stream.

    A layer keeps 32 D + 8 F bytes per token: each of two norms its input and its output in float32 (8 D) and the cast that
    the products read (2 D); q, k, v before and after their rotation, and what attention gives (12 D); gate, up, their
    product and the activation (8 F). With checkpointing it keeps its input (4 D), and one layer at a time the rest.
    """
    each = 32 * llm.width + 8 * llm.hidden
    kept = 4 * llm.width * llm.layers + each if checkpointing else each * llm.layers
    return kept * tokens


def features(items: int, positions: int = PATCHES, width: int = VIT_L.width) -> float:
    """Bytes of a feature cache in float16."""
    return 2.0 * items * positions * width


# --- Time --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """A stage. `text`: mean tokens of a sample beside its picture. `pictured`: share of the samples that have one.
    `trained`: the LLM learns, and not only what is in front of it."""

    name: str
    samples: int
    text: float
    pictured: float
    trained: bool

    @property
    def tokens(self) -> float:
        """Mean positions of a sample."""
        return self.text + self.pictured * PATCHES


PRETRAIN = Work("pre-training", 558_128, text=20, pictured=1.0, trained=False)
INSTRUCT = Work("instruction tuning", 665_298, text=300, pictured=624_610 / 665_298, trained=True)
# (LLM, stage, hours on 8 A100): README of LLaVA-1.5
PUBLISHED = (
    ("7B", LLAMA_7B, PRETRAIN, 3.5),
    ("13B", LLAMA_13B, PRETRAIN, 5.5),
    ("7B", LLAMA_7B, INSTRUCT, 10.0),
    ("13B", LLAMA_13B, INSTRUCT, 20.0),
)


def passes(work: Work, recomputed: bool = False) -> int:
    """Forward passes that a step through the LLM costs: forward, gradient of what goes in, gradient of the weights where
    they learn; and forward again with checkpointing, where `recomputed` is to count."""
    return 2 + work.trained + recomputed


def flops(llm: Transformer, work: Work, recomputed: bool = False) -> float:
    """FLOPs of a stage. The frozen encoder runs forward; the head sees supervised positions only and is left out."""
    encoder = VIT_L.forward(PATCHES + 1, causal=False) * work.pictured
    return work.samples * (encoder + passes(work, recomputed) * llm.forward(work.tokens))


def utilisation(llm: Transformer, work: Work, hours: float, gpus: int = 8, recomputed: bool = False) -> float:
    """Share of the GPUs' peak: MFU, or with `recomputed` the hardware's (Chowdhery et al., arXiv:2204.02311)."""
    return flops(llm, work, recomputed) / (gpus * A100 * hours * HOUR)


def split(
    small: tuple[Transformer, float], large: tuple[Transformer, float], work: Work, gpus: int = 8
) -> tuple[float, float]:
    """Two published durations of a stage as hours that do not grow with the LLM, and the MFU of the hours that do."""
    per_hour = (flops(large[0], work) - flops(small[0], work)) / (large[1] - small[1])
    return small[1] - flops(small[0], work) / per_hour, per_hour / (gpus * A100 * HOUR)


def hours(llm: Transformer, work: Work, mfu: float, gpus: int = 8, peak: float = A100) -> float:
    """How long a stage takes at an MFU."""
    return flops(llm, work) / (gpus * peak * mfu * HOUR)


# --- Tables ------------------------------------------------------------------------------------------------------------


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def tables() -> dict[str, str]:
    """The tables of the page, in Markdown."""
    models = (("7B", LLAMA_7B), ("13B", LLAMA_13B))
    sizes = [
        [
            name,
            *(f"{n / 1e9:.3f}" for n in (m.stack, m.parameters)),
            *(f"{n / 1e6:.1f}" for n in (projector(m), lora(m, 128))),
        ]
        for name, m in models
    ]
    memory = []
    for name, llm in models:
        for tuning in TUNINGS:
            parts = [*states(llm, tuning).values(), copies(llm, tuning), ddp(llm, tuning), fsdp2(llm, tuning, 8)]
            memory.append([f"{name}, {tuning.name}", *(f"{part / GB:.1f}" for part in parts)])
    kept = [
        [f"{name}, {work.name}, {batch} samples", f"{batch * work.tokens:,.0f}"]
        + [f"{activations(llm, batch * work.tokens, on) / GB:.1f}" for on in (False, True)]
        for name, llm in models
        for work, batch in ((PRETRAIN, 32), (INSTRUCT, 16), (INSTRUCT, 4))
    ]
    cache = [
        [
            name,
            f"{n:,} x {width:,}",
            f"{features(1, n, width) / 1e6:.2f} MB",
            f"{features(PRETRAIN.samples, n, width) / GB:.0f} GB",
        ]
        for name, n, width in (
            ("CLIP ViT-L/14 at 336", PATCHES, 1024),
            ("the same in 2 x 2 tiles and whole", 5 * PATCHES, 1024),
            ("SigLIP-B/16 at 224", 196, 768),
            ("EVA ViT-g/14 at 224", 256, 1408),
        )
    ]
    time = [
        [f"{name}, {work.name}", f"{work.samples * work.tokens / 1e6:.0f}", f"{flops(llm, work) / 1e18:.1f}"]
        + [
            f"{published:g}",
            f"{utilisation(llm, work, published):.0%}",
            f"{utilisation(llm, work, published, recomputed=True):.0%}",
        ]
        for name, llm, work, published in PUBLISHED
    ]
    guesses = []
    for text in (200, 300, 400):
        work = replace(INSTRUCT, text=text)
        mfu = [utilisation(llm, work, published) for _, llm, stage, published in PUBLISHED if stage is INSTRUCT]
        guesses.append([f"{text} tokens of text", *(f"{share:.0%}" for share in mfu)])
    return {
        "parameters": table(["LLM", "N, 10⁹", "with embeddings, 10⁹", "projector, 10⁶", "LoRA 128, 10⁶"], sizes),
        "memory": table(["GB on each GPU", "weights", "gradients", "moments", "copies", "DDP", "FSDP2 on 8"], memory),
        "activations": table(["on each GPU", "positions", "GB kept", "GB with checkpointing"], kept),
        "cache": table(["encoder", "features", "a picture", "558 thousand"], cache),
        "time": table(["", "10⁶ tokens", "10¹⁸ FLOPs", "published hours", "MFU", "with recomputation"], time),
        "guesses": table(["instruction tuning at", "MFU of 7B", "MFU of 13B"], guesses),
    }


if __name__ == "__main__":
    for title, text in tables().items():
        print(f"{title}\n\n{text}\n")
