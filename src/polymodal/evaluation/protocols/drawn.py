"""Pictures made from COCO's captions, and captions found for COCO's pictures. Decides that a distance between sets has no
interval, because a set drawn anew with copies is another kind of set, and that what was not drawn is told beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from polymodal.content import user
from polymodal.evaluation.eyes import Eyes
from polymodal.evaluation.files import Files
from polymodal.evaluation.metrics import recall_at
from polymodal.evaluation.pictures import clip_score, frechet, kernel
from polymodal.evaluation.protocol import Answer, Numbers, Prompt, Protocol, Question, Record, asked, mean
from polymodal.evaluation.protocols.captioning import read

OFFERED = 20  # captions, one of which is the picture's


def wishes(files: Files) -> Iterator[Question]:
    """The first caption of each picture; its reference is the name of the real one."""
    for question in read("captions_val2014.json")(files):
        (picture,) = question.media
        caption = question.reference[0]
        yield Question(question.id, caption, (), picture.media.name, {"wanted": {"makes": "image", "says": caption}})


def _drawn(question: Question, answer: Answer, eyes: Eyes) -> np.ndarray | None:
    """Features of the one picture that was made; None where there is none."""
    found = [one for one in answer.made if one.get("type") == "image" and one.get("file") and not one.get("failed")]
    return eyes.picture(found[0]) if found else None


def compared(question: Question, answer: Answer, eyes: Eyes) -> Record:
    made = _drawn(question, answer, eyes)
    extra = {"real": eyes.original(question.reference), "made": made}
    return Record(question.id, float(made is not None), "image" if made is not None else None, extra=extra)


def distances(records: Sequence[Record]) -> Numbers:
    """FID and KID of the pictures that were made to those of the captions that were asked, and the share that was made.
    Raises `ValueError` for fewer than two."""
    real = np.stack([record.extra["real"] for record in records])
    made = [record.extra["made"] for record in records if record.extra["made"] is not None]
    rows = np.stack(made) if made else np.empty((0, real.shape[1]))
    drawn = {"drawn": len(made) / len(records), "pictures": float(len(made))}
    return {"fid": frechet(rows, real), "kid": kernel(rows, real), **drawn}


def matched(question: Question, answer: Answer, eyes: Eyes) -> Record:
    """The cosine of picture and caption; 0 where nothing was made."""
    made, said = _drawn(question, answer, eyes), eyes.words(f"A photo depicts {question.text}")
    if made is None:
        return Record(question.id, 0.0, extra={"cosine": 0.0})
    cosine = float(made @ said / max(1e-12, np.linalg.norm(made) * np.linalg.norm(said)))
    return Record(question.id, min(1.0, clip_score([cosine])), "image", extra={"cosine": cosine})


def matches(records: Sequence[Record]) -> Numbers:
    cosines = [record.extra["cosine"] for record in records]
    return {"clipscore": clip_score(cosines), "100 cosine": 40 * clip_score(cosines)}


def offered(*names: str):
    """Each picture with its first caption among OFFERED of other pictures; which ones is a matter of their hashes."""

    def questions(files: Files) -> Iterator[Question]:
        every = list(read(*names)(files))
        firsts = {question.id: question.reference[0] for question in every}
        for question in every:
            own = {*question.reference}
            others = [name for name, said in firsts.items() if name != question.id and said not in own]
            others.sort(key=lambda name: hashlib.sha256(f"{question.id} {name}".encode()).hexdigest())
            among = sorted([question.id, *others[: OFFERED - 1]], key=lambda n: hashlib.sha256(n.encode()).hexdigest())
            options = list(dict.fromkeys(firsts[name] for name in among))
            yield replace(question, text="", reference=firsts[question.id], extra={"options": options})

    return questions


def ranked(question: Question, answer: Answer) -> Record:
    options = question.extra["options"]
    if not answer.likelihoods:
        return Record(question.id, 0.0, unparsed=True, extra={"rank": 0})
    order = sorted(range(len(options)), key=lambda i: -answer.likelihoods[i])
    rank = 1 + order.index(options.index(question.reference))
    return Record(question.id, float(rank == 1), options[order[0]], extra={"rank": rank})


def recalls(records: Sequence[Record]) -> Numbers:
    ranks = [record.extra["rank"] for record in records]
    return {
        **{f"r@{most}": recall_at(ranks, most) for most in (1, 5, 10)},
        "mean rank": mean(rank or OFFERED for rank in ranks),
    }


def _wish(question: Question) -> Prompt:
    return Prompt((user(f"Draw {question.text}"),), makes=True)


def _made(name: str, about: str, grade, total, main: str, less: bool, whole: bool) -> Protocol:
    return Protocol(
        *("coco-t2i", name, about, wishes, _wish, total),
        main=main,
        tokens=32,
        grade=grade,
        by="encoder",
        less=less,
        whole=whole,
    )


def _retrieval(benchmark: str, *names: str) -> Protocol:
    return Protocol(
        *(benchmark, f"likeliest-of-{OFFERED}", f"recall of a picture's caption among {OFFERED}, by likelihood"),
        offered(*names),
        lambda q: asked(q, "Provide a one-sentence caption for the provided image.", q.extra["options"]),
        recalls,
        ranked,
        "r@1",
        splits=("test", "val"),
    )


PROTOCOLS = [
    _made("fid", "Fréchet distance of features, and KID (lower is better)", compared, distances, "fid", True, True),
    _made("clipscore", "2.5 max(cosine, 0) of picture and caption", matched, matches, "clipscore", False, False),
    _retrieval("coco-retrieval", "captions_val2014.json", "dataset_coco.json"),
    _retrieval("flickr30k-retrieval", "dataset_flickr30k.json"),
]
