"""The attribute grid: pictures of which everything is known, for the benchmark of output families. Decides what is drawn,
which combinations are held out, how it is asked for, and who judges.

A picture of 16 x 16 pixels shows one thing: one of four colours, three shapes and four quarters, with jitter in its
place, size and shade. Twelve of the 48 combinations are held out by a Latin square, so that each colour, shape and
quarter is as frequent among them as among the others: whoever always says the same is right about a quarter or a third
on both sides.

A model is asked in words of its own, in any order; captions are in the generator's words. No word is in both, so that
nothing is learned by copying tokens.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

SIDE = 16
COLOURS = {"red": (0.9, 0.12, 0.1), "green": (0.1, 0.8, 0.15), "blue": (0.15, 0.25, 0.95), "yellow": (0.95, 0.85, 0.1)}
SHAPES = ("square", "ring", "cross")
QUARTERS = ("northwest", "northeast", "southwest", "southeast")
ATTRIBUTES = ("colour", "shape", "quarter")
SIZES = (len(COLOURS), len(SHAPES), len(QUARTERS))
# What each is called by those who ask: two words for one.
ASKED = (
    (("crimson", "scarlet"), ("emerald", "lime"), ("azure", "navy"), ("golden", "amber")),
    (("block", "box"), ("hoop", "loop"), ("plus", "crossing")),
    (
        ("top-left", "upper-left"),
        ("top-right", "upper-right"),
        ("bottom-left", "lower-left"),
        ("bottom-right", "lower-right"),
    ),
)
Combination = tuple[int, int, int]  # the numbers of a colour, a shape and a quarter

ALL: list[Combination] = [(c, s, q) for c, s, q in product(*map(range, SIZES))]
HELD = [combination for combination in ALL if combination[2] == (combination[0] + combination[1]) % 4]
SEEN = [combination for combination in ALL if combination not in HELD]


def drawn(combination: Combination, rng: np.random.Generator) -> Image.Image:
    """One picture. Edges are soft, as if it had been drawn larger."""
    colour, shape, quarter = combination
    x, y = (3.5 + 8 * bit + rng.uniform(-1, 1) for bit in (quarter % 2, quarter // 2))
    size, shade, ground = rng.uniform(2.5, 3.2), rng.uniform(0.85, 1.0), rng.uniform(0.05, 0.15)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    dx, dy = np.abs(columns - x), np.abs(rows - y)
    radius = np.hypot(dx, dy)
    outside = {  # distance in pixels from what is drawn, negative in it
        "square": np.maximum(dx, dy) - size,
        "ring": np.abs(radius - (size - 0.5)) - 0.75,
        "cross": np.minimum(np.maximum(dx - 0.8, dy - size), np.maximum(dy - 0.8, dx - size)),
    }[SHAPES[shape]]
    ink = np.clip(0.5 - outside, 0, 1)[..., None]
    pixels = ground * (1 - ink) + shade * np.array(list(COLOURS.values())[colour]) * ink
    return Image.fromarray((pixels * 255).round().astype(np.uint8))


def caption(combination: Combination) -> str:
    """In the generator's words."""
    return " ".join(names[i] for names, i in zip((list(COLOURS), SHAPES, QUARTERS), combination, strict=True))


def words(combination: Combination, rng: random.Random) -> str:
    """In the words of those who ask, in any order."""
    said = [rng.choice(names[i]) for names, i in zip(ASKED, combination, strict=True)]
    return " ".join(rng.sample(said, 3))


def plainly(combination: Combination) -> str:
    """As a model repeats it: the first of the words for each, in their order."""
    return " ".join(names[i][0] for names, i in zip(ASKED, combination, strict=True))


def write(folder: Path, pictures: int, seed: int = 0) -> None:
    """Pictures of the combinations that are not held out, and conversations about them:

    pairs.jsonl     asked for in words, the assistant makes the picture
    shuffled.jsonl  the same, with the questions permuted: the control
    free.jsonl      the same, asked for by nothing: what guidance steers away from
    texts.jsonl     words about all combinations, without pictures: "repeat" and "draw" are answered in words
    """
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    rng, noise = random.Random(seed), np.random.default_rng(seed)
    chosen = [SEEN[i % len(SEEN)] for i in range(pictures)]
    rng.shuffle(chosen)
    asked = [f"draw {words(combination, rng)}" for combination in chosen]
    for i, combination in enumerate(chosen):
        drawn(combination, noise).save(folder / "pictures" / f"{i}.png")
    for name, questions, before in (
        ("pairs", asked, ["here"]),
        ("shuffled", rng.sample(asked, len(asked)), ["here"]),
        ("free", [""] * len(asked), []),  # the row that guides has an opener and nothing before it
    ):
        rows = [
            [("user", question), ("assistant", [*before, _part(i, combination)])]
            for i, (question, combination) in enumerate(zip(questions, chosen, strict=True))
        ]
        _rows(folder / f"{name}.jsonl", rows)
    texts = []
    for _ in range(pictures):
        combination, told = rng.choice(ALL), rng.random() < 0.5
        said = plainly(combination)
        texts.append(
            [
                ("user", f"{'repeat' if told else 'draw'} {words(combination, rng)}"),
                ("assistant", said if told else f"here {said}"),
            ]
        )
    _rows(folder / "texts.jsonl", texts)


def _part(number: int, combination: Combination) -> dict[str, object]:
    return {"type": "image_url", "image_url": {"url": f"pictures/{number}.png"}, "caption": caption(combination)}


def _rows(file: Path, rows: Sequence[Sequence[tuple[str, object]]]) -> None:
    lines = [json.dumps({"messages": [{"role": role, "content": said} for role, said in row]}) for row in rows]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def tensors(pictures: Sequence[Image.Image]) -> Tensor:
    """[S, 3, SIDE, SIDE] from -1 to 1."""
    arrays = [np.asarray(p.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX), np.float32) for p in pictures]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2) / 127.5 - 1


def sampled(combinations: Sequence[Combination], seed: int) -> tuple[Tensor, Tensor]:
    """Fresh pictures [S, 3, SIDE, SIDE] of combinations, and these [S, 3]."""
    noise = np.random.default_rng(seed)
    return tensors([drawn(combination, noise) for combination in combinations]), torch.tensor(combinations)


class Classifier(nn.Module):
    """A small convolutional network with a head for each attribute: the judge."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for a, b, stride in ((3, 32, 1), (32, 64, 2), (64, 64, 2)):
            layers += [nn.Conv2d(a, b, 3, stride, 1), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * (SIDE // 4) ** 2, 128), nn.ReLU())
        self.heads = nn.ModuleList(nn.Linear(128, size) for size in SIZES)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        found = self.body(pictures)
        return [head(found) for head in self.heads]

    @torch.no_grad()
    def right(self, pictures: Tensor, truth: Tensor) -> Tensor:
        """[S, 3]: which attributes of each it says as they are."""
        return torch.stack([logits.argmax(-1) for logits in self(pictures)], -1) == truth


def judge(steps: int, seed: int = 1) -> Classifier:
    """Trained on real pictures of all combinations, a little noisy and a little blurred: generated ones are."""
    torch.manual_seed(seed)
    noise, rng, network = np.random.default_rng(seed), random.Random(seed), Classifier()
    store, truth = sampled([ALL[i % len(ALL)] for i in range(4800)], int(noise.integers(2**31)))
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, max(steps, 2))
    for _ in range(steps):
        at = torch.tensor(rng.sample(range(len(store)), 64))
        pictures, wanted = store[at], truth[at]
        if rng.random() < 0.3:
            pictures = functional.avg_pool2d(functional.pad(pictures, (1, 1, 1, 1), "replicate"), 3, 1)
        pictures = pictures + rng.uniform(0, 0.25) * torch.randn_like(pictures)
        loss = sum(functional.cross_entropy(logits, wanted[:, k]) for k, logits in enumerate(network(pictures)))
        optimizer.zero_grad()
        torch.as_tensor(loss).backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def write_words(folder: Path) -> None:
    """The tokenizer of the language model and the generator's text encoder, in folders of transformers. Both know whole
    words and nothing of one another's. The text encoder has random weights: it tells its words and their places apart."""
    import transformers

    said = [word for names in ASKED for pair in names for word in pair]
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    _tokenizer([*special, "USER:", "ASSISTANT:", "draw", "repeat", "here", *said]).save_pretrained(folder / "words")
    captions = ["<pad>", "<s>", "</s>", "<unk>", *COLOURS, *SHAPES, *QUARTERS]
    _tokenizer(captions).save_pretrained(folder / "text-encoder")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(captions), hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128
    )
    transformers.BertModel(config).save_pretrained(folder / "text-encoder")


def _tokenizer(vocabulary: Sequence[str]) -> object:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    model = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="<unk>"))
    model.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=model, model_max_length=128, **names)


def write_eye(folder: Path, steps: int, seed: int = 2) -> None:
    """An image encoder in a folder of transformers, for features that say what is seen: a small ViT that learned to name
    the attributes of pictures that are not held out."""
    import transformers

    torch.manual_seed(seed)
    config = transformers.CLIPVisionConfig(
        hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, image_size=SIDE, patch_size=4
    )
    eye, heads = transformers.CLIPVisionModel(config), nn.Linear(64, sum(SIZES))
    store, truth = sampled([SEEN[i % len(SEEN)] for i in range(64 * len(SEEN))], seed)
    optimizer = torch.optim.AdamW([*eye.parameters(), *heads.parameters()], 1e-3)
    for _ in range(steps):
        at = torch.randint(len(store), (64,))
        found = heads(eye(pixel_values=store[at]).last_hidden_state[:, 1:].mean(1)).split(SIZES, -1)
        loss = torch.stack([functional.cross_entropy(logits, truth[at, k]) for k, logits in enumerate(found)]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    eye.save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    transformers.CLIPImageProcessor(
        size=size, crop_size=size, do_center_crop=False, image_mean=[0.5] * 3, image_std=[0.5] * 3
    ).save_pretrained(folder)


def write_store(folder: Path, eye: Path, each: int, seed: int = 3) -> None:
    """A store for retrieval: pictures of all combinations, those that are held out as well, told by what the eye sees."""
    from polymodal.parts.generators.image_conditions import ImageConditions
    from polymodal.parts.generators.retrieval_store import Item, build

    folder.mkdir(parents=True, exist_ok=True)
    noise, items = np.random.default_rng(seed), []
    for combination in ALL * each:
        items.append(Item(f"{len(items)}.png", caption(combination)))
        drawn(combination, noise).save(folder / items[-1].file)
    sees = ImageConditions({"kind": "vision", "path": str(eye)})
    build(folder, "image", items, lambda some: sees([Image.open(folder / item.file) for item in some])[:, 0])
