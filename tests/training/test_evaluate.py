"""Evaluation during training: it measures what it says, beside its controls, and leaves no trace in the run."""

from __future__ import annotations

import json

import pytest
import torch

import polymodal
from polymodal.content import assistant, image, user
from polymodal.errors import DataError, RecipeError
from polymodal.evaluation import measure as measuring
from polymodal.evaluation.measure import Question, Score, beats, blind, chance, measure, shuffled
from polymodal.model.composition import Composition
from polymodal.model.generation import Sampling
from polymodal.training.evaluate import overlap, undisturbed
from polymodal.training.log import read
from polymodal.training.loop import train
from polymodal.training.stage import train_recipe
from tests.conftest import picture
from tests.training.runs import WORDS, differing, raw_recipe, rows_of, stage, train_until, weights, write_pictures

SHORT = {"max_new_tokens": 6}


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    """The pictures of the training data under another name: here they are learned by heart on purpose."""
    return write_pictures(tmp_path_factory.mktemp("held-out"), "held-out.jsonl")


@pytest.fixture
def raw(tiny_recipe, data, held_out, tmp_path):
    """A function: evaluation entry, stages -> a recipe that evaluates `held-out`. All that is random is on."""
    model = tiny_recipe()
    model["model"]["backbone"]["config"]["attention_dropout"] = 0.1
    model["model"]["inputs"]["image"]["projector"] = {
        "kind": "prefix",
        "tokens": 2,
        "hidden": 16,
        "dropout": 0.2,
        "noise": 0.1,
    }

    def build(entry, *stages, folder="run", **run):
        recipe = raw_recipe(model, tmp_path / folder, {**data, "held-out": held_out}, *stages, **run)
        recipe["evaluate"] = {"pets": {"data": "held-out", "generate": SHORT, **entry}} if entry is not None else {}
        return recipe

    return build


def question(seed, answer="a cat", ask="what is this?"):
    return Question((user(image(picture(seed, (24 + seed, 30))), ask),), assistant(answer), f"question {seed}")


@pytest.mark.parametrize("options", [{}, {"cache": True}, {"precision": "bf16", "attention": "eager"}])
def test_a_run_with_evaluations_ends_in_the_same_weights_as_one_without(raw, tmp_path, options):
    if options.pop("cache", False):
        options["cache"] = str(tmp_path / "cache")
    learn = stage(steps=5, data={"pictures": 1.0, "talk": 1.0}, train={"inputs.*.projector.*": 1e-2, "backbone.*": 1e-3})
    sampled = {"every": 1, "generate": {**SHORT, "temperature": 1.0}}
    with_it = train(train_recipe(raw(sampled, learn, **options)))
    without = train(train_recipe(raw(None, learn, folder="without", **options)))
    assert [row["step"] for row in rows_of(tmp_path / "run") if "evaluation" in row] == [1, 2, 3, 4, 5]
    assert not differing(weights(with_it.model), weights(without.model))


def test_a_run_broken_off_and_resumed_has_every_evaluation_once(raw, tmp_path):
    recipe = train_recipe(raw({"every": 2}, stage(steps=6), save_every=3))
    train_until(recipe, "one", 5)
    train(recipe)
    done = [row["global_step"] for row in read(tmp_path / "run" / "log.jsonl") if "evaluation" in row]
    assert done == [2, 4, 6]


def test_what_is_learned_beats_its_blind_control_and_is_reported(raw, tmp_path):
    learn = stage(
        steps=60,
        batch=6,
        grouping=1,
        warmup=5,
        schedule="constant",
        train={"inputs.*.projector.*": 1e-2, "backbone.*": 3e-3},
    )
    recipe = raw({"every": 30, "metric": "exact"}, learn, save_every=60)
    recipe["model"]["inputs"]["image"]["projector"] = {"kind": "mlp"}
    recipe["evaluate"]["chosen"] = {"data": "held-out", "metric": "choice", "controls": ["blind"]}
    recipe["evaluate"]["heard"] = {"data": "held-out", "metric": "wer", "controls": [], "generate": SHORT}
    train(train_recipe(recipe))
    report = json.loads((tmp_path / "run" / "eval.json").read_text())
    pets, chosen, heard = (report["sets"][name] for name in ("pets", "chosen", "heard"))
    assert pets["model"]["value"] == chosen["model"]["value"] == 1.0
    assert heard["model"]["value"] == 0.0
    assert heard["model"]["interval"] == [0.0, 0.0]
    assert pets["n"] == 6
    assert pets["chance"] == pytest.approx(1 / 6, abs=1e-4)  # each answer is wanted once
    assert pets["blind"]["value"] <= 0.5
    assert pets["shuffled"]["value"] == 0.0  # each sees another's picture, and says what it shows
    assert pets["model"]["loss"] < 0.3 < pets["shuffled"]["loss"]
    assert pets["beats_blind"] == (pets["model"]["interval"][0] > pets["blind"]["interval"][1])
    assert report["beats_blind"] == (pets["beats_blind"] and chosen["beats_blind"])
    assert "shuffled" not in chosen
    assert "beats_blind" not in heard
    rows = [row for row in rows_of(tmp_path / "run") if "evaluation" in row]
    assert [(row["step"], set(row["evaluation"])) for row in rows] == [(30, {"pets"}), (60, {"pets", "chosen", "heard"})]
    assert rows[-1]["evaluation"] == report["sets"]
    shown = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    pets_shown = [row for row in shown if row["set"] == "pets"]
    assert [row["step"] for row in pets_shown] == [30] * 4 + [60] * 4
    last = pets_shown[-1]
    assert last["question"] == "what is this?"
    assert last["wanted"] == last["answered"] in WORDS
    assert last["right"] is True
    assert last["media"][0].endswith(".png")


def test_the_finished_model_is_what_was_evaluated(raw, tmp_path, held_out):
    train(train_recipe(raw({"metric": "choice"}, stage(steps=3))))
    model = polymodal.load(tmp_path / "run" / "model")
    questions = [
        Question((user(image(str(held_out.parent / f"{i}.png")), "what is this?"),), assistant(WORDS[i]), str(i))
        for i in range(6)
    ]
    score = measure(model, questions, "choice", controls=[], options=sorted(WORDS))["model"]
    reported = json.loads((tmp_path / "run" / "eval.json").read_text())["sets"]["pets"]["model"]
    assert reported["value"] == round(score.value, 4)
    assert reported["loss"] == pytest.approx(score.loss, abs=2e-4)


def test_a_blind_model_sees_the_mean_of_each_modality_at_each_position(tiny):
    questions = [question(seed) for seed in range(3)]
    items = measuring._encoded(tiny, questions, {}, None)
    mean = torch.stack([row[0].encoded for row in items]).mean(0)
    for unseen in blind(questions, items):
        (part,) = unseen.media
        assert torch.allclose(part.media, mean, atol=1e-6)
        assert unseen.messages[0].text == "what is this?"


def test_a_blind_recording_keeps_its_length(tiny):
    class Item:
        def __init__(self, n, value):
            self.modality, self.encoded = "audio", torch.full((n, 2), value)

    from polymodal.content import audio

    asked = [Question((user(audio("a.wav")),), assistant("a"), "a"), Question((user(audio("b.wav")),), assistant("b"), "b")]
    short, long = (unseen.media[0].media for unseen in blind(asked, [[Item(1, 1.0)], [Item(3, 5.0)]]))
    assert short.tolist() == [[3.0, 3.0]]
    assert long.tolist() == [[3.0, 3.0], [5.0, 5.0], [5.0, 5.0]]


def test_shuffled_questions_keep_their_words_and_all_get_anothers_media():
    questions = [question(seed, ask=f"what is {seed}?") for seed in range(5)]
    text_only = Question((user("hello"),), assistant("hi"), "text")
    mixed = shuffled([*questions, text_only])
    given = [q.media[0].media for q in mixed[:5]]
    own = [q.media[0].media for q in questions]
    assert all(a is not b for a, b in zip(given, own, strict=True))
    assert {id(item) for item in given} == {id(item) for item in own}
    assert [q.messages[0].text for q in mixed[:5]] == [q.messages[0].text for q in questions]
    assert mixed[5] == text_only


def test_equal_questions_are_answered_once(tiny, monkeypatch):
    asked = []
    real = measuring.generate
    monkeypatch.setattr(
        measuring, "generate", lambda model, examples, *a: asked.append(len(examples)) or real(model, examples, *a)
    )
    questions = [question(seed) for seed in range(4)]
    scores = measure(tiny, questions, "exact", sampling=Sampling(max_new_tokens=2))
    assert asked == [4, 1, 4]  # the model, blind, shuffled
    assert len(set(scores["blind"].answers)) == 1


def test_answers_are_those_that_the_model_gives_when_asked(tiny):
    questions = [question(seed) for seed in range(3)]
    sampling = Sampling(max_new_tokens=5)
    scores = measure(tiny, questions, "exact", controls=[], sampling=sampling)
    own = [tiny.chat(sampling=sampling).say(q.messages[0]).text.strip() for q in questions]
    assert scores["model"].answers == own


def test_each_item_is_encoded_once_for_the_model_and_its_controls(tiny):
    before = tiny.model.encoded
    measure(tiny, [question(seed) for seed in range(3)], "choice", options=["a cat", "a dog"])
    assert tiny.model.encoded == before + 3


def test_modes_and_random_state_are_put_back_even_after_an_error(tiny_recipe):
    model = Composition.from_recipe(tiny_recipe()).model.train()
    model.inputs.image.encoder.eval()
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()

    def fail():
        with torch.autocast("cpu", torch.bfloat16), undisturbed(model):
            assert not any(module.training for module in model.modules())
            assert not torch.is_autocast_enabled("cpu")
            assert not torch.is_grad_enabled()
            torch.rand(3)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)


def test_better_beyond_doubt_means_intervals_apart():
    def score(low, high):
        return Score((low + high) / 2, (low, high), 0.0, [], [])

    assert beats(score(0.5, 0.7), score(0.1, 0.4), "exact")
    assert not beats(score(0.3, 0.7), score(0.1, 0.4), "exact")
    assert beats(score(0.1, 0.2), score(0.9, 1.1), "wer")
    assert not beats(score(0.9, 1.1), score(0.1, 0.2), "wer")


def test_chance_is_the_best_constant_answer():
    assert chance([question(0, a) for a in ("a cat", "a cat", "a dog", "a fox")]) == 0.5


CORPUS = {"kind": "corpus", "corpus": "emoji"}
SPOKEN = {"kind": "spoken", "corpus": "voices"}


@pytest.mark.parametrize(
    ("a", "b", "shared"),
    [
        (CORPUS, CORPUS, True),
        (CORPUS, {**CORPUS, "split": "train", "templates": []}, True),
        (CORPUS, {**CORPUS, "split": "val"}, False),
        (CORPUS, {**CORPUS, "corpus": "stamps"}, False),
        ({**CORPUS, "where": {"category": ["bird"]}}, {**CORPUS, "where": {"category": ["fish", "bird"]}}, True),
        ({**CORPUS, "where": {"category": ["bird"]}}, {**CORPUS, "where": {"category": ["fish"]}}, False),
        ({**CORPUS, "where": {"category": ["bird"]}}, {**CORPUS, "where": {"style": ["flat"]}}, True),
        ({**SPOKEN, "of": CORPUS}, {**SPOKEN, "of": CORPUS}, True),
        ({**SPOKEN, "of": CORPUS}, {**SPOKEN, "of": {**CORPUS, "split": "val"}}, False),
        ({"kind": "messages", "path": "a.jsonl"}, {"kind": "messages", "path": "a.jsonl"}, True),
        ({"kind": "messages", "path": "a.jsonl"}, {"kind": "messages", "path": "b.jsonl"}, False),
        ({"kind": "own.Source", "seed": 1}, {"kind": "own.Source", "seed": 1}, True),
        ({"kind": "own.Source", "seed": 1}, {"kind": "own.Source", "seed": 2}, False),
    ],
)
def test_sources_share_samples_by_corpus_split_and_where(a, b, shared):
    assert overlap(a, b) is overlap(b, a) is shared


@pytest.mark.parametrize(
    ("entry", "error", "message"),
    [
        ({"data": "pictures"}, RecipeError, "evaluate.pets is not held out.*'pictures'"),
        ({"data": "held-uot"}, RecipeError, "'held-uot' is not in data .did you mean 'held-out'"),
        ({"metric": "exakt"}, RecipeError, "evaluate.pets.metric"),
        ({"evry": 3}, RecipeError, "did you mean 'every'"),
        ({"options": ["a cat"]}, RecipeError, "options are for the metric 'choice'"),
        ({"metric": "choice", "options": ["a cat"]}, DataError, "'.*', is none of the options"),
        ({"data": "talk"}, RecipeError, "hold no media.*controls: "),
    ],
)
def test_what_cannot_be_evaluated_is_refused_before_training(raw, tmp_path, entry, error, message):
    with pytest.raises(error, match=message):
        train(train_recipe(raw(entry)))
    assert not (tmp_path / "run" / "log.jsonl").exists()


def test_evaluations_may_change_while_a_run_goes_on(raw, tmp_path):
    recipe = train_recipe(raw({}, stage(steps=4), save_every=1))
    train_until(recipe, "one", 2)
    train(train_recipe(raw({"metric": "choice"}, stage(steps=4), save_every=1)))
    assert json.loads((tmp_path / "run" / "eval.json").read_text())["sets"]["pets"]["metric"] == "choice"
