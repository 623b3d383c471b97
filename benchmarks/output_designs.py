"""Every family of outputs on one task: pictures of the attribute grid, asked for in words. Prints a table.

    python benchmarks/output_designs.py --folder runs/output-designs            (about an hour of one core)
    python benchmarks/output_designs.py --quick --folder runs/output-designs-quick

A language model is made for each seed; one generator, one codec and one image encoder are made for all seeds, as given
parts are. Each family is then trained by its recipe in recipes/output-designs and asked as a user asks. What is done is
kept in FOLDER/results.json and not run again. Seconds are of the processor, not of the clock.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from PIL import Image

import attribute_grid as grid
from output_table import SEEDS, Rights, contact, fill, markdown, shares, strip, table, unstrip
from polymodal.content import user
from polymodal.model.composition import Composition
from polymodal.model.config import read_yaml
from polymodal.model.generation import Sampling
from polymodal.parts.output import Target
from polymodal.training.loop import train
from polymodal.training.stage import train_recipe

RECIPES = Path(__file__).resolve().parents[1] / "recipes" / "output-designs"
FOLDER = "../../runs/output-designs"  # as the recipes call it
# Each family, and which part it is given that has to be made first.
FAMILIES = {
    "signals": "generator",
    "codes": "codec",
    "latents": None,
    "masked": "codec",
    "queries": "generator",
    "signals-diffusion": "generator",
    "retrieval": None,
    "regression": "feature-decoder",
}


class Bench:
    def __init__(self, folder: Path, quick: bool) -> None:
        self.folder, self.quick = folder.resolve(), quick
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file = self.folder / "results.json"
        self.results: dict[str, Any] = json.loads(self.file.read_text()) if self.file.is_file() else {}
        self.each = 1 if quick else 4  # samples of a held-out combination
        if not (self.folder / "texts.jsonl").is_file():
            grid.write(self.folder, 288 if quick else 2304)
            grid.write_words(self.folder)
        if not (self.folder / "store").is_dir():
            grid.write_eye(self.folder / "eye", 5 if quick else 300)
            grid.write_store(self.folder / "store", self.folder / "eye", 1 if quick else 4)
        self._judge: grid.Classifier | None = None

    @property
    def judge(self) -> grid.Classifier:
        if self._judge is None:
            file = self.folder / "judge.pt"
            if not file.is_file():
                torch.save(grid.judge(60 if self.quick else 500).state_dict(), file)
            self._judge = grid.Classifier()
            self._judge.load_state_dict(torch.load(file, weights_only=True))
            self._judge.eval()
        return self._judge

    def once(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """A result by its name; made and kept if it is not there."""
        if name not in self.results:
            self.results[name] = make()
            self.file.write_text(json.dumps(self.results, indent=1) + "\n", encoding="utf-8")
            print(
                name,
                {k: [round(s, 3) for s in shares(v)] if isinstance(v, list) else v for k, v in self.results[name].items()},
            )
        return self.results[name]

    def recipe(self, name: str, seed: int, run: str, shuffled: bool = False) -> dict[str, Any]:
        """A recipe with its places in this folder; of several seeds, with the language model of its own."""
        written = json.dumps(read_yaml(RECIPES / f"{name}.yaml")).replace(
            str((RECIPES / FOLDER).resolve()), str(self.folder)
        )
        data = json.loads(written.replace(f"{self.folder}/lm/model", f"{self.folder}/lm-{seed}/model"))
        data["run"] |= {"folder": str(self.folder / run), "seed": seed}
        data["model"]["seed"] = seed
        if shuffled:
            data["data"]["pairs"]["path"] = str(self.folder / "shuffled.jsonl")
        if self.quick:
            for stage in data["stages"]:
                stage.update(steps=3, warmup=0, batch=8)
        return data

    def trained(self, name: str, seed: int = 0, run: str | None = None, shuffled: bool = False) -> dict[str, Any]:
        """Train by a recipe. What it cost."""
        data = self.recipe(name, seed, run or name, shuffled)
        begun = time.process_time()
        composition = train(train_recipe(data))
        patterns = [pattern for stage in data["stages"] for pattern in stage["train"]]
        learned = (p.numel() for n, p in composition.model.named_parameters() if any(fnmatchcase(n, k) for k in patterns))
        return {"trained": sum(learned), "train_s": round(time.process_time() - begun, 1)}

    def score(self, pictures: Sequence[Image.Image | None], wanted: Sequence[grid.Combination]) -> Rights:
        """What is not there is right about nothing."""
        blank = Image.new("RGB", (grid.SIDE, grid.SIDE))
        right = self.judge.right(grid.tensors([p or blank for p in pictures]), torch.tensor(wanted))
        return [row if p is not None else [False] * 3 for row, p in zip(right.tolist(), pictures, strict=True)]

    def given(self, name: str | None) -> None:
        """A part that is given to all, and what it reaches by itself."""
        if name is None:
            return
        if name == "feature-decoder":  # it begins as the other generator
            self.given("generator")
        self.once(name, lambda: self.trained(name))
        title, measure = {
            "generator": ("generator, own text encoder", self.own),
            "codec": ("codec, real pictures", self.coded),
            "feature-decoder": ("feature decoder, own image encoder", self.felt),
        }[name]
        held, seen = (
            [c for c in side for _ in range(each)] for side, each in ((grid.HELD, 2 * self.each), (grid.SEEN, self.each))
        )
        self.once(title, lambda: {"held": measure(held), "seen": measure(seen)})

    def own(self, wanted: Sequence[grid.Combination]) -> Rights:
        """The generator, asked in its own words."""
        generator = Composition.load(self.folder / "generator/model").model.designs["image"].made_by()
        with torch.no_grad():
            given = generator.condition([Target(grid.caption(c)) for c in wanted])
            return self.score(generator.make(given, torch.Generator().manual_seed(0)), wanted)

    def felt(self, wanted: Sequence[grid.Combination]) -> Rights:
        """The decoder of features, given those of real pictures."""
        generator = Composition.load(self.folder / "feature-decoder/model").model.designs["image"].made_by()
        fresh, _ = grid.sampled(wanted, seed=9)
        with torch.no_grad():
            given = generator.condition([Target(prepared=picture) for picture in fresh])
            return self.score(generator.make(given, torch.Generator().manual_seed(0)), wanted)

    def coded(self, wanted: Sequence[grid.Combination]) -> Rights:
        codec: Any = Composition.load(self.folder / "codec/model").model.designs["image"].made_by()
        fresh, _ = grid.sampled(wanted, seed=8)
        with torch.no_grad():
            return self.score(codec.make(codec.encode(fresh), torch.Generator()), wanted)

    def texts(self, run: str) -> dict[str, Any]:
        """How much of the text a backbone still says: requests to repeat, answered to the word."""
        composition, rng = Composition.load(self.folder / run / "model"), random.Random(3)
        asked = [[user(f"repeat {grid.words(c, rng)}")] for c in grid.ALL]
        said = composition.generate(asked, Sampling(max_new_tokens=6))
        right = [
            "".join(p.text or "" for p in parts).split() == grid.plainly(c).split()
            for parts, c in zip(said, grid.ALL, strict=True)
        ]
        return {"repeats": sum(right) / len(right)}

    def asked(self, run: str, seed: int, seen: bool = True) -> dict[str, Any]:
        """Ask a trained model for pictures, as a user does; the first of each held-out combination are kept to be seen."""
        composition, rng = Composition.load(self.folder / run / "model"), random.Random(100 + seed)
        out: dict[str, Any] = {}
        begun, count = time.process_time(), 0
        for side, combinations, each in (("held", grid.HELD, self.each), ("seen", grid.SEEN, max(1, self.each // 4))):
            if side == "seen" and not seen:
                continue
            wanted = [c for c in combinations for _ in range(each)]
            made: list[Image.Image | None] = []
            for i, combination in enumerate(wanted):
                question = [user(f"draw {grid.words(combination, rng)}")]
                (parts,) = composition.generate([question], Sampling(max_new_tokens=6, most_media=1, seed=1000 * seed + i))
                made.append(next((p.media for p in parts if p.type == "image"), None))
            out[side], count = self.score(made, wanted), count + len(wanted)
            if side == "held":
                strip(made[::each]).save(self.folder / f"{run}.png")
        return out | {"sample_s": round((time.process_time() - begun) / count, 3)}

    def crossed(self, run: str) -> list[float]:
        """The shuffled condition: what was made for each held-out combination, judged as if each of the others had been
        asked for. Of the pictures that were kept to be seen, one of each."""
        made = unstrip(Image.open(self.folder / f"{run}.png"))
        pairs = [(i, j) for i in range(len(made)) for j in range(len(made)) if i != j]
        return shares(self.score([made[i] for i, _ in pairs], [grid.HELD[j] for _, j in pairs]))

    @property
    def seeds(self) -> tuple[int, ...]:
        return SEEDS[:1] if self.quick else SEEDS

    def run(self, families: Sequence[str]) -> None:
        """Each family with its first seed, then the controls, then the other seeds."""
        fresh, wanted = grid.sampled([grid.ALL[i % 48] for i in range(480)], seed=7)
        held = torch.tensor([c in grid.HELD for c in map(tuple, wanted.tolist())])
        self.once(
            "judge on real pictures",
            lambda: {
                side: self.judge.right(fresh[on], wanted[on]).tolist() for side, on in (("held", held), ("seen", ~held))
            },
        )
        plan = [(seed, False) for seed in self.seeds]
        for seed, shuffled in (plan[0], (0, True), *plan[1:]):
            for family in families:
                run = f"{family}-{'shuffled' if shuffled else seed}"
                self.once(f"lm-{seed}", lambda seed=seed: self.trained("lm", seed, f"lm-{seed}") | self.texts(f"lm-{seed}"))
                self.given(FAMILIES[family])

                def make(
                    family: str = family, seed: int = seed, shuffled: bool = shuffled, run: str = run
                ) -> dict[str, Any]:
                    cost = self.trained(family, seed, run, shuffled)
                    return cost | self.asked(run, seed, seen=not shuffled) | ({} if shuffled else self.texts(run))

                self.once(run, make)


def main() -> None:
    from transformers.utils import logging

    logging.disable_progress_bar()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/output-designs"))
    parser.add_argument("--families", nargs="*", default=FAMILIES, choices=FAMILIES)
    parser.add_argument("--quick", action="store_true", help="three steps of everything: does it run?")
    parser.add_argument("--show", action="store_true", help="train nothing: show what has been measured")
    parser.add_argument("--json", action="store_true", help="print one JSON line")
    parser.add_argument("--page", type=Path, help="write the table, and beside it the contact sheet, into this page")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    bench = Bench(arguments.folder, arguments.quick)
    if not arguments.show:
        bench.run(arguments.families)
    kept = [name for name in bench.results if (bench.folder / f"{name}.png").is_file()]
    rows = table(bench.results, arguments.families, {name: bench.crossed(name) for name in kept})
    if arguments.page is not None:
        fill(arguments.page, markdown(rows))
        names = [f"{family}-{of}" for of in (0, "shuffled") for family in arguments.families]
        contact(bench.folder, names).save(arguments.page.parent / "images/output-designs/samples.webp", lossless=True)
    print(json.dumps({row[""]: row for row in rows}) if arguments.json else markdown(rows))


if __name__ == "__main__":
    main()
