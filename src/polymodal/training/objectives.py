"""Objectives: what a stage minimises. Each is a sum over tokens and the number of tokens it is a sum of, so that a step's
loss is a mean over all the tokens of the step, however they fell into micro-batches and processes (a mean of the
micro-batches' means would weigh a short answer as much as a long one: transformers issue 35203).

* `lm`: cross-entropy of the supervised tokens given everything before them (the survey's text-generation loss).
* `ctc`: connectionist temporal classification (Graves et al. 2006) of projected features against the backbone's own token
  embeddings: speech learns to sound like its transcript in embedding space, without running the backbone.
* `align`: projected position j should be the embedding of token j of the answer: pictures learn to spell their names in
  embedding space, without running the backbone.
* `words`: projected position j should be the first token of line j of the answer, and the others are free: cells of a
  picture learn to say what they show.
* `tags`: the classifier of a `tags` projector learns names.
* Those of what a model makes are in `training.making`, that of when it does in `training.opening`.
* `prompt`, `reference`: P-Former learns prompts from text alone, and projectors learn to give them (`training.prompts`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from polymodal.errors import DataError, RecipeError, nearest
from polymodal.model.modeling import MultimodalLM
from polymodal.parts.base import FILLER, Features
from polymodal.parts.input_projectors.classifiers import Discriminant
from polymodal.parts.input_projectors.tags import Tags
from polymodal.training import making, opening, prompts
from polymodal.training.step import Loss, Step, heads


def lm(step: Step) -> Loss:
    out = step.out
    token = F.cross_entropy(out.logits.float(), out.labels, reduction="none")
    size = len(step.batch.names)
    zeros = torch.zeros(size, device=token.device)
    return Loss(zeros.index_add(0, out.owner, token), zeros.index_add(0, out.owner, torch.ones_like(token)))


def ctc(step: Step) -> Loss:
    """Classes are the tokens of this step's transcripts, a blank and STRANGERS tokens that nobody said, each a Gaussian
    around its embedding (`nearness`); the blank's is that of a token which no transcript holds. The whole vocabulary would
    cost more than the rest of the step; without strangers, words of other steps are never told apart (docs/log.md). Raises
    `DataError` for a transcript of more tokens than its sound has positions."""
    features = step.only_item("ctc")
    said = torch.cat(step.answers)
    vocabulary = step.vocabulary(said)
    flat = torch.searchsorted(vocabulary, said)
    ids = torch.cat([step.token(BLANK), vocabulary])
    table = step.model.backbone.embed(ids).float()
    others = step.model.backbone.embed(step.strangers(ids, STRANGERS)).float()
    wide = torch.nn.utils.rnn.pad_sequence([f.float() for f in features], batch_first=True)
    logp = nearness(wide, torch.cat([table, others]), sharpness=20.0).log_softmax(-1).transpose(0, 1)
    lengths = torch.tensor([len(f) for f in features], device=flat.device)
    sizes = torch.tensor([len(a) for a in step.answers], device=flat.device)
    for name, n, positions in zip(step.batch.names, sizes.tolist(), lengths.tolist(), strict=True):
        if n > positions:
            raise DataError(f"{name}: a transcript of {n} tokens cannot be aligned to {positions} positions of sound")
    each = F.ctc_loss(logp, flat + 1, lengths, sizes, reduction="none", zero_infinity=True)
    # Without this, outputs grow to ten times an embedding's norm and the frozen backbone cannot read them.
    scale = table.norm(dim=-1).mean()
    loud = torch.stack([(f.float().norm(dim=-1) / scale - 1).pow(2).mean() for f in features])
    return Loss(each + loud * sizes, sizes.float())


def align(step: Step) -> Loss:
    """Position j of an item should lie nearest to the embedding of token j of its answer, among the tokens of this step,
    and close to it; positions behind the answer should say the filler."""
    features = step.only_item("align")
    lengths = [len(positions) for positions in features]
    fill = step.token(FILLER)
    wanted = torch.cat(
        [torch.cat([answer, fill.expand(n)])[:n] for answer, n in zip(step.answers, lengths, strict=True)]
    )  # [sum of lengths]
    vocabulary = step.vocabulary(torch.cat([*step.answers, fill]))
    target = torch.searchsorted(vocabulary, wanted)
    table = step.model.backbone.embed(vocabulary).float()
    said = torch.cat(features).float()
    which = F.cross_entropy(nearness(said, table, sharpness=10.0), target, reduction="none")
    # Nearest is not near: without this term outputs leave the region in which the frozen backbone reads words.
    far = (said - table[target]).pow(2).sum(-1) / table.pow(2).sum(-1).mean()
    counts = torch.tensor(lengths, device=said.device)
    owner = torch.arange(len(lengths), device=said.device).repeat_interleave(counts)
    return Loss(torch.zeros(len(lengths), device=said.device).index_add(0, owner, which + 2 * far), counts.float())


def words(step: Step) -> Loss:
    """Line j of the answer is the word that position j of the item should say: its first token should be the nearest among
    the words of this step, and near. A blank line, or none, leaves a position free."""
    features = step.only_item("words")
    backbone = step.model.backbone
    lines = [heads(answer, backbone)[: len(own)] for answer, own in zip(step.answers, features, strict=True)]
    place = [(i, j) for i, said in enumerate(lines) for j, head in enumerate(said) if head is not None]
    if not place and not step.whole.heads:
        raise DataError(f"{step.batch.names[0]}: objective 'words' learns from lines of the answer, and none holds a word")
    each = torch.stack([own.sum() * 0 for own in features]).float()
    if not place:
        return Loss(each, torch.ones_like(each))
    wanted = torch.tensor([lines[i][j] for i, j in place], device=step.model.device)
    vocabulary = torch.unique(torch.cat([wanted.new_tensor(step.whole.heads), wanted]))
    target = torch.searchsorted(vocabulary, wanted)
    table = backbone.embed(vocabulary).float()
    said = torch.stack([features[i][j] for i, j in place]).float()
    which = F.cross_entropy(nearness(said, table, sharpness=10.0), target, reduction="none")
    far = (said - table[target]).pow(2).sum(-1) / table.pow(2).sum(-1).mean()
    owner = torch.tensor([i for i, _ in place], device=said.device)
    size = torch.bincount(owner, minlength=len(features)).clamp(min=1)
    return Loss(each.index_add(0, owner, (which + 2 * far) / size[owner]), torch.ones_like(each))


def tags(step: Step) -> Loss:
    """The answer is the name that the classifiers of `tags` projectors which learn should find likeliest (smoothed by 0.05:
    nothing is only one thing). Raises `DataError` for an answer that is no name of theirs."""
    step.one_item_each("tags")
    items, model = step.batch.media, step.model
    said = [model.backbone.tokenizer.decode(answer).strip() for answer in step.answers]
    encoded = model.encode(items)
    each = torch.zeros(len(items), device=model.device)
    for modality in sorted({item.modality for item in items}):
        own = [i for i, item in enumerate(items) if item.modality == modality]
        for part in _learning(model, modality):
            for i in own:
                if said[i] not in part.index:
                    hint = nearest(said[i], part.index)
                    raise DataError(f"{step.batch.names[i]}: '{said[i]}' is not among the names of the tags{hint}")
            kind = part.certainty.dtype  # a cache gives features on the CPU, and ready ones are of any type
            features = Features([encoded[i].to(model.device, kind) for i in own])
            scores = part.scores(features)
            target = torch.tensor([part.index[said[i]] for i in own], device=model.device)
            target = target.repeat_interleave(len(scores) // len(own))  # each of the features that are named
            if isinstance(part.classifier, Discriminant) and part.training:
                part.classifier.example(part.rows(features), target)
            spoken = ~part.silent  # a blank name has no likelihood to be smoothed
            place = spoken.cumsum(0) - 1
            token = F.cross_entropy(scores[:, spoken], place[target], reduction="none", label_smoothing=0.05)
            each = each.index_add(0, torch.tensor(own, device=model.device), token.reshape(len(own), -1).mean(1))
    return Loss(each, torch.ones_like(each))


def _learning(model: MultimodalLM, modality: str) -> list[Tags]:
    """The `tags` projectors that learn behind an encoder, its own and shared ones."""
    port = model.modalities[modality]
    roots = [port.projector, *(model.shared[name] for name in port.shares)]
    parts = [part for root in roots for part in root.modules() if isinstance(part, Tags)]
    learning = [part for part in parts if any(p.requires_grad for p in part.classifier.parameters())]
    if not learning:
        raise RecipeError(f"objective 'tags': the stage trains no projector 'tags' of inputs.{modality} that learns names")
    return learning


def nearness(x: Tensor, table: Tensor, sharpness: float) -> Tensor:
    """Logits [..., V] of the rows of `table` [V, D] for x [..., D]: the posterior of equal Gaussians around each row, of a
    variance that is `sharpness` times smaller than a row's mean square norm."""
    square = table.pow(2).sum(-1)
    return (x @ table.T - square / 2) / (square.mean() / sharpness)


STRANGERS = 2000
BLANK = "\n"  # what sound between words should be


def _loss(each: Callable[[Step], tuple[Tensor, Tensor]], step: Step) -> Loss:
    return Loss(*each(step))


OBJECTIVES: dict[str, Callable[[Step], Loss]] = {"lm": lm, "ctc": ctc, "align": align, "words": words, "tags": tags}
_ELSEWHERE: dict[str, Callable[[Step], tuple[Tensor, Tensor]]] = {
    "prompt": prompts.prompt,
    "reference": prompts.reference,
    "condition": making.condition,
    "regression": making.regression,
    "contrast": making.contrast,
    "diffusion": making.diffusion,
    "masked": making.masked,
    "flow": making.flow,
    "generate": making.generate,
    "autoencode": making.autoencode,
    "open": opening.opening,
}
OBJECTIVES |= {name: partial(_loss, made) for name, made in _ELSEWHERE.items()}


def objective(name: str) -> Callable[[Step], Loss]:
    if name not in OBJECTIVES:
        raise RecipeError(f"objective '{name}' is not known{nearest(name, OBJECTIVES)}")
    return OBJECTIVES[name]
