"""COCO and Flickr30k captions, and CHAIR: what a caption says, and which of it is not there. Decides that a caption's own
score is its ROUGE-L, while the number that is quoted, CIDEr-D or the share of objects, is of all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from polymodal.errors import EvaluationError
from polymodal.evaluation.captions import bleu, cider_d, objects_in, rouge_l, tokens
from polymodal.evaluation.files import Files, by_id, field, read_json, text
from polymodal.evaluation.java import Java
from polymodal.evaluation.protocol import Answer, Numbers, Prompt, Protocol, Question, Record, asked, mean

DOUBLES = """motor bike, motor cycle, air plane, traffic light, street light, traffic signal, stop light, fire hydrant, stop
sign, parking meter, suit case, sports ball, baseball bat, baseball glove, tennis racket, wine glass, hot dog, cell phone,
mobile phone, teddy bear, hair drier, potted plant, laptop computer, home plate"""
ANIMALS = "bird cat dog horse sheep cow elephant bear zebra giraffe animal cub"


def describe(question: Question) -> Prompt:
    return asked(question, "Provide a one-sentence caption for the provided image.")


def read(*names: str):
    """COCO's annotations, or Karpathy's splits of COCO and Flickr30k (`images[]: filename, split, sentences[].raw`)."""

    def questions(files: Files) -> Iterator[Question]:
        path = files.find(*names)
        data = read_json(path)
        if isinstance(data, dict) and "annotations" in data:
            yield from _coco(files, data, str(path))
            return
        split = files.split or "test"
        for i, row in enumerate(field(data, "images", list, str(path))):
            where = f"{path}: images[{i}]"
            if field(row, "split", str, where) != split:
                continue
            said = [field(s, "raw", str, f"{where}: sentences") for s in field(row, "sentences", list, where)]
            name = field(row, "filename", str, where)
            folders = (str(row.get("filepath", "")) or "images", "flickr30k-images", "images")
            picture = files.picture(name, f"{where}: filename", *folders)
            yield Question(name, "", (picture,), said)

    return questions


def _coco(files: Files, data: dict[str, Any], path: str) -> Iterator[Question]:
    said: dict[int, list[str]] = {}
    for i, row in enumerate(field(data, "annotations", list, path)):
        where = f"{path}: annotations[{i}]"
        said.setdefault(field(row, "image_id", int, where), []).append(field(row, "caption", str, where))
    for i, row in enumerate(field(data, "images", list, path)):
        where = f"{path}: images[{i}]"
        number = field(row, "id", int, where)
        if number not in said:
            raise EvaluationError(f"{where}: no caption of picture {number}")
        picture = files.picture(field(row, "file_name", str, where), f"{where}: file_name", "val2014", "images")
        yield Question(str(number), "", (picture,), said[number])


def score(question: Question, answer: Answer) -> Record:
    words = tokens(answer.text)
    references = [tokens(one) for one in question.reference]
    extra = {"said": words, "references": references}
    return Record(question.id, min(1.0, rouge_l(words, references)), " ".join(words), extra=extra)


def written(question: Question, answer: Answer, java: Java) -> Record:
    """As `score`; the captions are kept as they are, for the authors' tokenizer."""
    found = score(question, answer)
    raw = {"raw": answer.text, "raw references": question.reference, "java": java}
    return replace(found, extra={**found.extra, **raw})


def java_totals(records: Sequence[Record]) -> Numbers:
    """The COCO server's numbers on the authors' tokens; SPICE where its parser is there."""
    java = records[0].extra["java"]
    said = java.tokens([record.extra["raw"] for record in records])
    counts = [len(record.extra["raw references"]) for record in records]
    every = iter(java.tokens([one for record in records for one in record.extra["raw references"]]))
    references = [[next(every) for _ in range(count)] for count in counts]
    pairs = zip(records, said, references, strict=True)
    again = [replace(r, extra={"said": s, "references": refs}) for r, s, refs in pairs]
    spice = java.spice(said, references)
    more = {"meteor": java.meteor(said, references), **({} if spice is None else {"spice": spice})}
    return {**totals(again), **more}


def totals(records: Sequence[Record]) -> Numbers:
    said, references = ([record.extra[name] for record in records] for name in ("said", "references"))
    four = dict(zip(("bleu-1", "bleu-2", "bleu-3", "bleu-4"), bleu(said, references), strict=True))
    rouge = mean(rouge_l(own, refs) for own, refs in zip(said, references, strict=True))
    length = mean(float(len(own)) for own in said)
    return {"cider-d": mean(cider_d(said, references)), "rouge-l": rouge, **four, "words": length}


def doubles() -> dict[str, str]:
    pairs = {pair: pair for pair in (word.strip() for word in DOUBLES.split(","))}
    pairs |= {f"{age} {animal}": animal for animal in ANIMALS.split() for age in ("baby", "adult")}
    pairs |= {f"passenger {vehicle}": vehicle for vehicle in ("jet", "train")}
    return pairs | {"bow tie": "tie", "toilet seat": "toilet", "wine glas": "wine glass"}


def read_chair(files: Files) -> Iterator[Question]:
    """What is there: the objects of COCO's segments and of its captions, both by `synonyms.txt`, of which each line is an
    object and its other names."""
    path = files.find("synonyms.txt")
    names = [[word.strip() for word in line.split(",")] for line in text(path).splitlines() if line.strip()]
    synonyms = {word: own[0] for own in names for word in own}
    objects = files.find("instances_val2014.json", "instances_*.json")
    segments = read_json(objects)
    classes = by_id(segments, "categories", objects)
    there: dict[int, set[str]] = {}
    for i, row in enumerate(field(segments, "annotations", list, str(objects))):
        where = f"{objects}: annotations[{i}]"
        name = classes.get(field(row, "category_id", int, where), {}).get("name")
        if name not in synonyms:
            raise EvaluationError(f"{where}: category {name!r} is not in {path.name}")
        there.setdefault(field(row, "image_id", int, where), set()).add(synonyms[name])
    pairs = doubles()
    for question in read("captions_val2014.json", "captions_*.json")(files):
        number = int(question.id)
        told = {name for caption in question.reference for name in objects_in(tokens(caption), synonyms, pairs)}
        extra = {"synonyms": synonyms}
        yield Question(question.id, "", question.media, sorted(there.get(number, set()) | told), extra)


def chair(question: Question, answer: Answer) -> Record:
    """1 where nothing is named that is not there."""
    words = tokens(answer.text)
    named = objects_in(words, question.extra["synonyms"], doubles())
    absent = [name for name in named if name not in question.reference]
    extra = {"named": len(named), "absent": len(absent), "words": len(words)}
    extra["recalled"], extra["there"] = len(set(named) & set(question.reference)), len(question.reference)
    return Record(question.id, float(not absent), ", ".join(absent), extra=extra)


def chair_totals(records: Sequence[Record]) -> Numbers:
    """CHAIRi: hallucinated of all objects named; CHAIRs: captions that name one; recall: objects named of those there. The
    mean length goes with them: who says little hallucinates little."""

    def ratio(a: str, b: str) -> float:
        return sum(r.extra[a] for r in records) / max(1, sum(r.extra[b] for r in records))

    sentences = mean(float(record.extra["absent"] > 0) for record in records)
    out = {"chair-i": ratio("absent", "named"), "chair-s": sentences, "recall": ratio("recalled", "there")}
    return {**out, "words": mean(float(record.extra["words"]) for record in records)}


def _java(benchmark: str, *names: str) -> Protocol:
    return Protocol(
        *(benchmark, "java", "CIDEr-D, METEOR and SPICE (if its parser is there) with the authors' programs in Java"),
        read(*names),
        describe,
        java_totals,
        None,
        "cider-d",
        48,
        ("test", "val"),
        grade=written,
        by="java",
        whole=True,
    )


ABOUT = "CIDEr-D over the captions that were asked, with a tokenizer of ours"
PROTOCOLS = [
    Protocol(
        "coco-caption",
        "python",
        ABOUT,
        read("captions_val2014.json", "dataset_coco.json"),
        describe,
        totals,
        score,
        "cider-d",
        48,
        ("test", "val"),
    ),
    Protocol(
        "flickr30k",
        "python",
        ABOUT,
        read("dataset_flickr30k.json"),
        describe,
        totals,
        score,
        "cider-d",
        48,
        ("test", "val"),
    ),
    _java("coco-caption", "captions_val2014.json", "dataset_coco.json"),
    _java("flickr30k", "dataset_flickr30k.json"),
    Protocol(
        "chair",
        "python",
        "hallucinated of all objects named (lower is better); singulars by rule",
        read_chair,
        lambda q: asked(q, "Describe this picture."),
        chair_totals,
        chair,
        "chair-i",
        128,
        less=True,
    ),
]
