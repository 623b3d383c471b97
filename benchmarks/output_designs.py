"""Every family of outputs on one task: pictures of the attribute grid, asked for in words. The table of
docs/output-designs.md.

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

import attribute_grid as grid
import torch
from common import show
from PIL import Image

from polymodal.content import user
from polymodal.model.composition import Composition
from polymodal.model.config import read_yaml
from polymodal.model.generation import Sampling
from polymodal.parts.output import Target
from polymodal.training.loop import train
from polymodal.training.stage import train_recipe

RECIPES = Path(__file__).resolve().parents[1] / "recipes" / "output-designs"
FOLDER = "../../runs/output-designs"  # as the recipes call it
GIVEN = ("generator", "codec")
FAMILIES = ("signals", "signals-diffusion", "queries", "codes", "masked", "latents")
SEEDS = (0, 1, 2)
Rights = list[list[bool]]  # of each sample, which attributes are as asked


class Bench:
    def __init__(self, folder: Path, quick: bool) -> None:
        self.folder, self.quick = folder.resolve(), quick
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file = self.folder / "results.json"
        self.results: dict[str, Any] = json.loads(self.file.read_text()) if self.file.is_file() else {}
        self.each = 1 if quick else 6  # samples of a held-out combination
        if not (self.folder / "texts.jsonl").is_file():
            grid.write(self.folder, 288 if quick else 2304)
            grid.write_words(self.folder)
        self._judge: grid.Classifier | None = None

    @property
    def judge(self) -> grid.Classifier:
        if self._judge is None:
            file = self.folder / "judge.pt"
            if not file.is_file():
                torch.save(grid.judge(60 if self.quick else 700).state_dict(), file)
            self._judge = grid.Classifier()
            self._judge.load_state_dict(torch.load(file, weights_only=True))
            self._judge.eval()
        return self._judge

    def once(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """A result by its name; made and kept if it is not there."""
        if name not in self.results:
            self.results[name] = make()
            self.file.write_text(json.dumps(self.results, indent=1) + "\n", encoding="utf-8")
            print(name, {k: [round(s, 3) for s in shares(v)] if isinstance(v, list) else v for k, v in self.results[name].items()})
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

    def given(self) -> None:
        """The language models, and the parts that are given to all; each beside what it reaches by itself."""
        for seed in self.seeds:
            self.once(f"lm-{seed}", lambda seed=seed: self.trained("lm", seed, f"lm-{seed}") | self.texts(f"lm-{seed}"))
        for name in GIVEN:
            self.once(name, lambda name=name: self.trained(name))
        fresh, wanted = grid.sampled([grid.ALL[i % 48] for i in range(48 * self.each)], seed=7)
        self.once("judge on real pictures", lambda: {"seen": self.judge.right(fresh, wanted).tolist()})
        held = [c for c in grid.HELD for _ in range(self.each)]
        seen = [c for c in grid.SEEN for _ in range(max(1, self.each // 3))]
        self.once("generator, own text encoder", lambda: {"held": self.own(held), "seen": self.own(seen)})
        self.once("codec, real pictures", lambda: {"held": self.coded(held), "seen": self.coded(seen)})

    def own(self, wanted: Sequence[grid.Combination]) -> Rights:
        """The generator, asked in its own words."""
        generator = Composition.load(self.folder / "generator/model").model.designs["image"].made_by()
        with torch.no_grad():
            given = generator.condition([Target(grid.caption(c)) for c in wanted])
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
        right = ["".join(p.text or "" for p in parts).split() == grid.plainly(c).split() for parts, c in zip(said, grid.ALL, strict=True)]
        return {"repeats": sum(right) / len(right)}

    def asked(self, run: str, seed: int, seen: bool = True) -> dict[str, Any]:
        """Ask a trained model for pictures, as a user does; the first of each held-out combination are kept to be seen."""
        composition, rng = Composition.load(self.folder / run / "model"), random.Random(100 + seed)
        out: dict[str, Any] = {}
        begun, count = time.process_time(), 0
        for side, combinations, each in (("held", grid.HELD, self.each), ("seen", grid.SEEN, max(1, self.each // 3))):
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
                sheet(made[::each], self.folder / f"{run}.png")
        return out | {"sample_s": round((time.process_time() - begun) / count, 3)}

    @property
    def seeds(self) -> tuple[int, ...]:
        return SEEDS[:1] if self.quick else SEEDS

    def run(self, families: Sequence[str]) -> None:
        self.given()
        plan = [(seed, False) for seed in self.seeds]
        for seed, shuffled in (plan[0], (0, True), *plan[1:]):
            for family in families:
                run = f"{family}-{'shuffled' if shuffled else seed}"

                def make(family: str = family, seed: int = seed, shuffled: bool = shuffled, run: str = run) -> dict[str, Any]:
                    cost = self.trained(family, seed, run, shuffled)
                    return cost | self.asked(run, seed, seen=not shuffled) | ({} if shuffled else self.texts(run))

                self.once(run, make)


def sheet(pictures: Sequence[Image.Image | None], file: Path) -> None:
    out = Image.new("RGB", (len(pictures) * (grid.SIDE + 1), grid.SIDE), "white")
    for i, picture in enumerate(pictures):
        if picture is not None:
            out.paste(picture.resize((grid.SIDE, grid.SIDE)), (i * (grid.SIDE + 1), 0))
    out.save(file)


def shares(rights: Rights) -> list[float]:
    """Of samples, the share that is right about each attribute, and about all."""
    table = torch.tensor(rights, dtype=torch.float)
    return [*table.mean(0).tolist(), table.prod(1).mean().item()]


def rows(results: dict[str, Any], families: Sequence[str]) -> list[dict[str, Any]]:
    """The table: all seeds of a family together, and the spread of the seeds where there are several."""
    out = []
    for name in ("judge on real pictures", "generator, own text encoder", "codec, real pictures"):
        if name in results:
            out.append(_row(name, [results[name]]))
    for family in families:
        found = [results[f"{family}-{seed}"] for seed in SEEDS if f"{family}-{seed}" in results]
        if found:
            out.append(_row(family, found))
        if f"{family}-shuffled" in results:
            out.append(_row(f"{family}, shuffled", [results[f"{family}-shuffled"]]))
    return out


def _row(name: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {"": name, "seeds": len(found)}
    for side in ("held", "seen"):
        rights = [right for result in found for right in result.get(side, [])]
        for key, share in zip((*grid.ATTRIBUTES, "all"), shares(rights) if rights else [""] * 4, strict=True):
            row[f"{side} {key}"] = share
    each = [shares(result["held"])[3] for result in found if "held" in result]
    row["each seed"] = " ".join(f"{share:.2f}" for share in each)
    for key in ("trained", "train_s", "sample_s", "repeats"):
        told = [result[key] for result in found if key in result]
        row[key] = "" if not told else (told[0] if key == "trained" else sum(told) / len(told))
    return row


def main() -> None:
    from transformers.utils import logging

    logging.disable_progress_bar()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/output-designs"))
    parser.add_argument("--families", nargs="*", default=FAMILIES, choices=FAMILIES)
    parser.add_argument("--quick", action="store_true", help="three steps of everything: does it run?")
    parser.add_argument("--json", action="store_true", help="print one JSON line")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    bench = Bench(arguments.folder, arguments.quick)
    bench.run(arguments.families)
    table = rows(bench.results, arguments.families)
    show(arguments, "docs/output-designs.md", table, {row[""]: row for row in table})


if __name__ == "__main__":
    main()
