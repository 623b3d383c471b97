"""Captioned features without pictures: what is drawn is what the classifier would call by that name."""

from __future__ import annotations

import random

import pytest
import torch
from safetensors.torch import save_file

from polymodal.corpora import class_features as cf
from polymodal.corpora.concepts import concept, split_of
from polymodal.corpora.kinds import TWELVE, UNKNOWN, choices, kind
from polymodal.errors import DataError
from polymodal.training.sources.class_features import ClassFeaturesSource


@pytest.fixture
def made(tmp_path):
    """A classifier of 1,000 random directions and 64 pictures in a space of width 32."""
    torch.manual_seed(0)
    network = tmp_path / "network"
    network.mkdir()
    save_file({"_fc.weight": torch.randn(1000, 32), "_fc.bias": torch.zeros(1000)}, network / "model.safetensors")
    base = torch.rand(64, 32) + 4  # far from zero: the ReLU changes nothing
    cf.write(tmp_path / "corpus", base, str(network))
    return cf.read(tmp_path / "corpus")


def test_a_drawn_feature_is_what_the_classifier_calls_by_its_name(made):
    """Near the top of a thousand names that are random directions in 32 dimensions, where a picture's own are anywhere."""
    rng = random.Random(0)
    drawn, pictures = [], []
    for index in rng.sample(range(len(made.names)), 40):
        feature = made.draw(index, rng)
        assert feature.shape == (1, 32)
        for x, ranks in ((feature[0], drawn), (made.base[rng.randrange(64)], pictures)):
            logits = made.weight @ x + made.bias
            ranks.append(int((logits > logits[index]).sum()))
    assert sorted(drawn)[20] < 60
    assert sorted(pictures)[20] > 200


def test_each_cell_is_drawn_anew_and_about_half_of_them_show_it(made):
    rng = random.Random(0)
    pyramid = made.draw(7, rng, cells=200)
    assert pyramid.shape == (201, 32)
    assert len({tuple(row.tolist()) for row in pyramid}) == 201
    logits = pyramid @ made.weight.T + made.bias
    near = (logits > logits[:, 7:8]).sum(1) < 60
    assert 0.3 < near.float().mean() < 0.7


def test_a_source_of_classes_has_as_many_cells_as_the_encoder_and_asks_no_kind_of_what_has_none(made, monkeypatch):
    monkeypatch.setattr(cf, "read", lambda folder: made)
    kinds = [{"ask": "Kind?", "answer": "a {kind}"}]
    source = ClassFeaturesSource(kinds, cells=9)
    assert len(source) == sum(kind != UNKNOWN for kind in made.kinds) < len(made.kinds)
    samples = [source.sample(i, random.Random(i)) for i in range(len(source))]
    assert {len(sample.messages[0].parts[0].media) for sample in samples} == {10}
    assert not any(UNKNOWN in sample.messages[1].text.split() for sample in samples)
    named = ClassFeaturesSource([*kinds, {"ask": "Name?", "answer": "a {concept}"}])
    assert len(named) == len(made.names)


def test_moving_along_a_direction_raises_its_own_logit_by_as_much(made):
    gain = (made.weight * made.directions).sum(1)
    assert torch.allclose(gain, torch.ones_like(gain), atol=1e-3)


def test_only_names_of_the_split_train_are_taught(made):
    """Neither what the test photographs show nor what other tests ask for."""
    assert {split_of(concept(name)) for name in made.names} == {"train"}
    assert len(made.names) > 700
    assert len(made.names) == len(made.kinds) == len(made.weight)


def test_too_few_pictures_are_refused(tmp_path):
    with pytest.raises(DataError, match="15 pictures are too few"):
        cf.write(tmp_path, torch.rand(15, 32), str(tmp_path))


def test_a_corpus_that_is_not_built_names_the_command(tmp_path):
    with pytest.raises(DataError, match="polymodal corpus build class-features"):
        cf.read(tmp_path)


def test_a_choice_always_offers_the_answer_among_others():
    rng = random.Random(0)
    places = set()
    for own in [*TWELVE, "flag", "thing"] * 10:
        offered = choices(own, rng).split(", ")
        assert offered.count(own) == 1
        assert 4 <= len(offered) <= 12
        assert len(set(offered)) == len(offered)
        places.add(offered.index(own))
    assert len(places) > 6


def test_the_test_photographs_classes_are_kinds():
    from polymodal.corpora.concepts import photos

    class Photo:
        source, subgroup = "photos12", ""

        def __init__(self, category):
            self.category = category

    assert {kind(Photo(p.category)) for p in photos()} == set(TWELVE)
