"""Objectives: each against its definition, by hand."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional as F

from polymodal.content import Part, assistant, audio, image, user
from polymodal.errors import DataError, RecipeError
from polymodal.model.composition import Composition
from polymodal.model.sequence import collate
from polymodal.parts.base import Features
from polymodal.training import objectives
from polymodal.training.objectives import BLANK, FILLER, align, ctc, lm, nearness, objective, tags, words
from polymodal.training.step import Step, Whole
from tests.conftest import T5, picture, sound


@pytest.fixture(scope="module", params=["causal", "seq2seq"])
def composition(request, tiny_recipe):
    return Composition.from_recipe(tiny_recipe() if request.param == "causal" else tiny_recipe(T5, chat_format=None))


def step_of(composition, *conversations, features=None) -> Step:
    examples = [composition.processor.encode(c, name=f"row {i}") for i, c in enumerate(conversations)]
    step = Step(composition.model, collate(examples, composition.processor.pad_id))
    if features is not None:
        step.features = features
    return step


def spoken(seconds, answer):
    return [user(audio(sound(seconds))), assistant(answer)]


def shown(seed, answer):
    return [user(image(picture(seed)), "what is this?"), assistant(answer)]


def ids(composition, answer):
    return composition.processor.tokenizer(answer, add_special_tokens=False)["input_ids"]


def embeddings(composition, answer):
    return composition.model.backbone.embed(torch.tensor(ids(composition, answer))).detach()


def test_lm_is_the_cross_entropy_of_each_example_by_itself(composition):
    conversations = [shown(1, "a cat"), [user("hello"), assistant("the quick brown fox")], spoken(0.6, "red")]
    with torch.no_grad():
        together = lm(step_of(composition, *conversations))
        for i, conversation in enumerate(conversations):
            step = step_of(composition, conversation)
            out = composition.model(step.batch)
            assert together.counts[i] == len(out.labels)
            assert torch.allclose(together.each[i], F.cross_entropy(out.logits, out.labels, reduction="sum"), rtol=1e-4)


def test_answers_are_what_the_assistant_says_without_the_end_token(composition):
    step = step_of(composition, shown(1, "a cat"), spoken(0.6, "the quick brown fox"))
    assert [answer.tolist() for answer in step.answers] == [
        ids(composition, "a cat"),
        ids(composition, "the quick brown fox"),
    ]


def test_features_are_computed_once_for_all_objectives(tiny):
    step = step_of(tiny, spoken(1.0, "red"))
    before = tiny.model.encoded
    with torch.no_grad():
        lm(step)
        ctc(step)
        align(step)
    assert tiny.model.encoded == before + 1


def collapsed(path, blank=0):
    return tuple(key for key, _ in itertools.groupby(path) if key != blank)


def test_nearness_is_the_posterior_of_equal_gaussians():
    generator = torch.Generator().manual_seed(0)
    x, table = torch.randn(2, 3, 8, generator=generator), torch.randn(5, 8, generator=generator)
    variance = table.pow(2).sum(-1).mean() / 7.0
    expected = (-torch.cdist(x, table.expand(2, 5, 8)).pow(2) / 2 / variance).softmax(-1)
    assert torch.allclose(nearness(x, table, sharpness=7.0).softmax(-1), expected, atol=1e-4)


def test_ctc_is_the_sum_over_all_alignments(composition, monkeypatch):
    """Three positions and two tokens: few enough to write every alignment down. The blank is class 0."""
    answer = ids(composition, "a cat")[:2]
    assert len(set(answer)) == 2
    scores = torch.randn(1, 3, 3, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(objectives, "nearness", lambda x, table, sharpness: scores)
    features = F.normalize(torch.randn(3, 32), dim=-1) * typical_norm(composition, answer)
    step = step_of(composition, spoken(1.0, "a cat"), features=[features])
    step.answers = [torch.tensor(answer)]
    loss = ctc(step)
    wanted = tuple(1 + sorted(answer).index(token) for token in answer)
    paths = [path for path in itertools.product(range(3), repeat=3) if collapsed(path) == wanted]
    assert len(paths) == 5
    logp = scores[0].log_softmax(-1)
    by_hand = -torch.stack([sum(logp[t, c] for t, c in enumerate(path)) for path in paths]).logsumexp(0)
    assert torch.allclose(loss.each, by_hand[None], atol=1e-4)
    assert loss.counts.tolist() == [2.0]


def typical_norm(composition, answer):
    """The mean norm of the embeddings of an answer's tokens and the blank: features of this norm are not too loud."""
    table = composition.model.backbone.embed(torch.tensor([*ids(composition, BLANK)[-1:], *answer]))
    return table.norm(dim=-1).mean().detach()


def test_ctc_likes_the_transcript_in_its_order_and_no_louder_than_words(composition):
    said = embeddings(composition, "the quick brown fox").repeat_interleave(2, 0)
    conversation = spoken(1.0, "the quick brown fox")
    right, reversed_, loud = (
        ctc(step_of(composition, conversation, features=[x])).each.item() for x in (said, said.flip(0), said * 10)
    )
    assert right < 0.5 * reversed_
    assert right < loud


def test_ctc_of_an_example_depends_on_its_batch_only_through_the_words_offered(composition):
    one, two = spoken(1.0, "red red"), spoken(2.2, "red red red")
    assert set(ids(composition, "red red")) == set(ids(composition, "red red red"))
    with torch.no_grad():
        together = ctc(step_of(composition, one, two)).each
        alone = torch.cat([ctc(step_of(composition, one)).each, ctc(step_of(composition, two)).each])
    assert torch.allclose(together, alone, rtol=1e-4)


def test_ctc_tells_what_is_said_from_what_nobody_said(composition, monkeypatch):
    """A sound that comes near a word which is in no transcript of the step pays for it; one that does not pays little."""
    conversation = spoken(1.0, "the quick brown fox")
    said = embeddings(composition, "the quick brown fox").repeat_interleave(2, 0)
    step = step_of(composition, conversation, features=[said])
    known = torch.cat([step.token(BLANK), step.vocabulary(torch.cat(step.answers))])
    strange = composition.model.backbone.embed(step.strangers(known, objectives.STRANGERS))
    near = said + 0.5 * (strange[0] - said)
    price = {}
    for name, x in (("said", said), ("near", near)):
        with monkeypatch.context() as without:
            without.setattr(objectives, "STRANGERS", 0)
            alone = ctc(step_of(composition, conversation, features=[x])).each.item()
        price[name] = ctc(step_of(composition, conversation, features=[x])).each.item() - alone
    assert price["near"] > 2 * price["said"]
    assert price["near"] > 1


def test_strangers_are_the_same_in_all_micro_batches_of_a_step_and_others_in_the_next(composition):
    one, two = spoken(1.0, "red red"), spoken(2.2, "the quick brown fox")
    whole = Whole.of([step_of(composition, c).batch for c in (one, two)], ["ctc"], composition.model.backbone)
    drawn = []
    for conversations, shared in (([one], whole), ([two], whole), ([one, two], None), ([one], None)):
        step = step_of(composition, *conversations)
        step.whole = shared or Whole.of([step.batch], ["ctc"], composition.model.backbone)
        drawn.append(step.strangers(torch.tensor([0]), 40).tolist())
    assert drawn[0] == drawn[1] == drawn[2] != drawn[3]


def test_align_wants_position_j_to_be_token_j_and_the_filler_behind(composition):
    words, filler = ids(composition, "a cat"), ids(composition, FILLER)[-1:]
    spelled = composition.model.backbone.embed(torch.tensor([*words, *filler * 3])).detach()
    conversation = shown(1, "a cat")

    def loss(features):
        out = align(step_of(composition, conversation, features=[features]))
        assert out.counts.tolist() == [float(len(words) + 3)]
        return out.each.item()

    for worse in (
        spelled.flip(0),
        spelled.roll(1, 0),
        spelled * 3,
        spelled * 0,
        spelled + 0.1 * torch.randn(spelled.shape),
    ):
        assert loss(spelled) < loss(worse)


def test_align_cuts_an_answer_that_is_longer_than_its_picture(composition):
    features = torch.zeros(2, 32)
    loss = align(step_of(composition, shown(1, "the quick brown fox"), features=[features]))
    assert loss.counts.tolist() == [2.0]


@pytest.mark.parametrize("name", ["ctc", "align"])
def test_one_media_item_in_each_sample_is_demanded_by_name(composition, name):
    none, two = [user("hello"), assistant("red")], [user(image(picture(1)), image(picture(2))), assistant("red")]
    for bad in (none, two):
        with pytest.raises(DataError, match=f"objective '{name}' needs exactly one media item"):
            objective(name)(step_of(composition, shown(3, "a cat"), bad))


def test_an_unknown_objective_names_the_nearest():
    with pytest.raises(RecipeError, match="objective 'aling' is not known.*did you mean 'align'"):
        objective("aling")


@pytest.mark.parametrize("function", [lm, ctc, align])
def test_gradients_reach_the_projector(composition, function):
    composition.model.zero_grad()
    function(step_of(composition, spoken(1.0, "red"), spoken(1.3, "a cat"))).each.sum().backward()
    for name, parameter in composition.model.modalities["audio"].projector.named_parameters():
        assert parameter.grad.abs().max() > 0, name
    assert all(p.grad is None for p in composition.model.modalities["image"].parameters())


def test_words_asks_each_position_for_the_first_token_of_its_line_and_leaves_the_others_free(composition):
    """Positions that say their word exactly lose nothing in distance; what a free position says costs nothing."""
    backbone = composition.model.backbone
    step = step_of(composition, shown(1, "cat\n\nred\n"))
    wanted = {0: backbone.ids(" cat")[0], 2: backbone.ids(" red")[0]}
    right = torch.randn(4, backbone.width)
    for position, token in wanted.items():
        right[position] = backbone.embed(torch.tensor(token)).detach()
    other_free, wrong = right.clone(), right.clone()
    other_free[1] += 3
    wrong[2] = right[0]
    losses = [words(step_of_features(step, [x])).each.item() for x in (right, other_free, wrong)]
    assert losses[0] == losses[1] < losses[2]


def step_of_features(step: Step, features) -> Step:
    again = Step(step.model, step.batch)
    again.features = features
    return again


def test_words_weighs_every_example_alike_however_many_words_it_has(composition):
    step = step_of(composition, shown(1, "cat"), shown(2, "cat\ncat\ncat"))
    positions = torch.randn(3, composition.model.backbone.width)
    positions[1:] = positions[0]
    loss = words(step_of_features(step, [positions, positions]))
    assert torch.allclose(loss.each[0], loss.each[1])
    assert loss.counts.tolist() == [1.0, 1.0]


def test_beside_words_other_objectives_keep_the_vocabulary_of_the_step(composition):
    batch = step_of(composition, shown(1, "red\ncat")).batch
    alone, beside = (Whole.of([batch], names, composition.model.backbone) for names in (["align"], ["align", "words"]))
    assert beside.vocabulary == alone.vocabulary
    assert beside.heads == sorted(composition.model.backbone.ids(f" {word}")[0] for word in ("red", "cat"))


def test_words_without_a_word_is_refused_by_name(composition):
    step = step_of(composition, shown(1, "\n\n"))
    with pytest.raises(DataError, match="row 0: objective 'words'"):
        words(step)


@pytest.fixture(scope="module")
def tagged(tiny_recipe):
    recipe = tiny_recipe()
    names = ["cat", "red fox", "dog"]
    recipe["model"]["inputs"]["image"]["projector"] = {"kind": "tags", "names": names, "top": 1, "tokens": 2, "rank": 4}
    return Composition.from_recipe(recipe)


def test_tags_is_the_cross_entropy_of_the_classifier_and_teaches_it(tagged):
    projector = tagged.model.modalities["image"].projector.requires_grad_(True)
    step = step_of(tagged, shown(1, "red fox"), shown(2, "dog"))
    loss = tags(step)
    with torch.no_grad():
        scores = projector.scores(Features(tagged.model.encode(step.batch.media)))
    expected = F.cross_entropy(scores, torch.tensor([1, 2]), reduction="none", label_smoothing=0.05)
    assert torch.allclose(loss.each, expected, atol=1e-5)
    loss.each.sum().backward()
    assert projector.classifier.keys.grad.abs().sum() > 0


def test_tags_of_several_features_learn_the_name_from_each(tagged):
    projector = tagged.model.modalities["image"].projector
    step = step_of(tagged, shown(1, "red fox"), shown(2, "dog"))
    first = tags(step).each.detach()
    projector.at = [0, 0, 1]
    second = tags(step).each.detach()
    projector.at = [1]
    assert torch.allclose(second, (2 * first + tags(step).each.detach()) / 3, atol=1e-5)
    projector.at = [0]


def test_tags_refuses_a_name_it_cannot_say_and_a_stage_without_a_classifier(tagged):
    tagged.model.requires_grad_(True)
    with pytest.raises(DataError, match="'horse' is not among the names"):
        tags(step_of(tagged, shown(1, "horse")))
    tagged.model.requires_grad_(False)
    with pytest.raises(RecipeError, match="trains no projector 'tags'"):
        tags(step_of(tagged, shown(1, "dog")))


NAMED = {"kind": "tags", "names": ["cat", "", "red fox", "dog"], "top": 1, "tokens": 2, "rank": 4}


def named(tiny_recipe, **projectors):
    recipe = tiny_recipe()
    for modality, projector in projectors.items():
        recipe["model"]["inputs"][modality]["projector"] = projector
    composition = Composition.from_recipe(recipe)
    composition.model.requires_grad_(True)
    return composition


def test_tags_smooth_over_the_names_that_can_be_said(tiny_recipe):
    loss = tags(step_of(named(tiny_recipe, image=NAMED), shown(1, "red fox"))).each
    assert torch.isfinite(loss).all()  # of a blank name the logarithm is not


def test_tags_of_several_modalities_in_one_batch_are_those_of_each_alone(tiny_recipe):
    both = named(tiny_recipe, image=NAMED, audio={**NAMED, "names": ["bell", "horn"]})
    conversations = shown(1, "dog"), spoken(0.6, "horn"), shown(2, "red fox")
    with torch.no_grad():
        together = tags(step_of(both, *conversations)).each
        alone = torch.cat([tags(step_of(both, conversation)).each for conversation in conversations])
    assert torch.allclose(together, alone, atol=1e-5)


def test_tags_behind_a_shared_projector_learn(tiny_recipe):
    recipe = tiny_recipe()
    recipe["model"]["shared"] = {"one": {"kind": "projector", "of": NAMED, "width_in": 24, "width_out": 32}}
    recipe["model"]["inputs"]["image"]["projector"] = {"kind": "shared", "of": "shared:one"}
    composition = Composition.from_recipe(recipe)
    composition.model.requires_grad_(True)
    tags(step_of(composition, shown(1, "dog"))).each.sum().backward()
    assert composition.model.shared.one.of.classifier.keys.grad.abs().sum() > 0


def test_a_discriminant_counts_ready_features_of_half_precision(tiny_recipe):
    composition = named(tiny_recipe, image={**NAMED, "shrink": 0.3})
    composition.model.train()
    step_ready = step_of(composition, [user(Part("image", media=torch.ones(3, 24).half()), "?"), assistant("dog")])
    tags(step_ready)
    assert int(composition.model.modalities["image"].projector.classifier.seen[3, 0]) == 1
