"""Every input projector: lengths known beforehand, items independent of their batch, gradients everywhere."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from polymodal.errors import ContentError, RecipeError
from polymodal.parts.base import Features, InputProjector, Vocabulary, Writing, build
from polymodal.parts.input_projectors import INPUT_PROJECTORS
from polymodal.parts.input_projectors.shared import SharedProjector
from tests.conftest import make_tokenizer

IN, OUT = 12, 8
WORDS = json.loads(make_tokenizer().backend_tokenizer.to_str())
SMALL: dict[str, Any] = {"depth": 2, "hidden": 16, "heads": 2}
PROJECTORS: dict[str, dict[str, Any]] = {
    "linear": {"kind": "linear"},
    "linear, stacked": {"kind": "linear", "stack": 4, "norm": True},
    "mlp": {"kind": "mlp"},
    "mlp, stacked": {"kind": "mlp", "depth": 3, "hidden": 10, "stack": 3, "norm": True, "dropout": 0.1, "mask": 0.1},
    "prefix": {"kind": "prefix", "tokens": 3, "hidden": 10},
    "pyramid": {"kind": "pyramid", "tokens": 2, "cells": 4, "hidden": 10},
    "temporal": {"kind": "temporal", "cells": 2, "tokens": 2, "frames": 5, "hidden": 10},
    "spatio-temporal-pooling": {"kind": "spatio-temporal-pooling", "cells": 2},
    "tags": {"kind": "tags", "names": ["cat", "", "red fox"], "top": 2, "tokens": 3, "rank": 4},
    "tags, at": {"kind": "tags", "names": ["cat", "", "red fox"], "top": 1, "tokens": 3, "rank": 4, "at": [0, 2]},
    "tags, of a clip": {"kind": "tags", "names": ["up", "down"], "top": 2, "tokens": 2, "rank": 4, "clip": 6},
    "posteriors": {"kind": "posteriors", "top": 3},
    "branches": {"kind": "branches", "of": {"a": {"kind": "linear"}, "b": {"kind": "prefix", "tokens": 2, "hidden": 10}}},
    "pixel-shuffle": {"kind": "pixel-shuffle"},
    "pixel-shuffle, by 3": {"kind": "pixel-shuffle", "ratio": 3, "depth": 2, "hidden": 10},
    "ldp": {"kind": "ldp"},
    "ldp-v2": {"kind": "ldp-v2"},
    "upm": {"kind": "upm", "tokens": 5, "experts": 2, "depth": 2, "heads": 3},
    "resampler": {"kind": "resampler", "latents": 5, "heads": 2},
    "resampler, of its own width": {"kind": "resampler", "latents": 4, "hidden": 10, "heads": 2},
    "resampler-2d": {"kind": "resampler-2d", "queries": 3, "heads": 2},
    "visual-abstractor": {"kind": "visual-abstractor", "queries": 4, "depth": 2, "hidden": 10, "heads": 2, "inner": 14},
    "q-former": {"kind": "q-former", "queries": 5, "depth": 2, "hidden": 16, "heads": 2},
    "q-former, by window": {"kind": "q-former", "queries": 2, "depth": 2, "hidden": 16, "heads": 2, "window": 7},
    "q-former, of a question": {"kind": "q-former", "queries": 3, **SMALL, "tokenizer": WORDS},
    "q-former, of a question, by window": {"kind": "q-former", "queries": 2, **SMALL, "tokenizer": WORDS, "window": 7},
    "video-q-former": {"kind": "video-q-former", "frame": {"queries": 3, **SMALL}, "cells": 2, "queries": 4, **SMALL},
    "video-q-former, of sound": {"kind": "video-q-former", "queries": 4, "frames": 60, **SMALL},
    "mq-former": {
        "kind": "mq-former",
        "groups": {"a": {"queries": 2, "reads": [0]}, "b": {"queries": 3, "reads": [0, 1]}},
        **SMALL,
    },
    "qllama": {"kind": "qllama", "queries": 4, **SMALL, "inner": 20},
    "clue-aggregator": {"kind": "clue-aggregator", "queries": 4, **SMALL},
    "shared": {"kind": "shared", "of": SharedProjector({"kind": "mlp", "stack": 2}, IN, OUT)},
    "c-abstractor": {"kind": "c-abstractor", "queries": 2, "depth": 2, "hidden": 16, "cells": 3},
    "c-former": {"kind": "c-former", "stride": 4, "depth": 2, "hidden": 16, "heads": 2},
}


# What a Q-Former's last layer makes of a question is read by nobody; the class of transformers has weights for it.
UNREAD = {
    name: ("q_former.encoder.layer.1.intermediate.", "q_former.encoder.layer.1.output.")
    for name in PROJECTORS
    if "quest" in name
}

# A vocabulary of letters: text -> one id a letter, and a fixed vector for each.
LETTERS = torch.randn(128, OUT, generator=torch.Generator().manual_seed(1))
VOCABULARY = Vocabulary(ids=lambda text: [ord(letter) for letter in text.strip()], embed=lambda ids: LETTERS[ids])
# An encoder that writes: feature i is how likely the text i is.
WRITING = Writing(logits=lambda features: features[..., :6], texts=["a", " b", "", " cat", "d", "e"])


def make(name: str) -> InputProjector:
    torch.manual_seed(0)
    projector = build("projector", INPUT_PROJECTORS, PROJECTORS[name], IN, OUT).eval()
    projector.speak(VOCABULARY, WRITING)
    return projector


def awake(projector: InputProjector) -> InputProjector:
    """With weights far from zero, where what is attended to matters."""
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in projector.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=random) * 0.5)
    return projector


def lengths(name: str) -> list[int]:
    if name == "pyramid":
        return [1, 5, 10, 15, 1, 20]
    if name in ("temporal", "spatio-temporal-pooling", "video-q-former"):
        return [2, 4, 10, 6, 2, 8]
    if name == "tags, at":
        return list(range(3, 61))
    if name == "mq-former":
        return list(range(2, 61))
    if name == "tags, of a clip":
        return [6] * 6
    return (
        [side * side for side in range(1, 8)]
        if name.startswith(("pixel", "ldp", "resampler-2d", "c-abs"))
        else list(range(1, 61))
    )


def items(name: str, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tokens = [torch.randn(n, IN, generator=generator) for n in lengths(name)]
    return [marked(x) for x in tokens] if name == "mq-former" else tokens


def marked(x: torch.Tensor, encoders: int = 2) -> torch.Tensor:
    """Features as `sequence-append` marks them: of one encoder and of another, in turn."""
    x[:, :encoders] = torch.eye(encoders).repeat(len(x), 1)[: len(x)]
    return x


def asked(tokens: list[torch.Tensor]) -> Features:
    """Features with a question about each, longer or shorter: its neighbours' fill it up."""
    said = ["what is this?", "a red cat?", "is the quick brown fox over the lazy dog?"]
    return Features(tokens, [said[len(x) % len(said)] for x in tokens])


@pytest.fixture(scope="module", params=PROJECTORS)
def named(request):
    return request.param, make(request.param)


def test_every_projector_of_the_house_is_tested():
    assert {options["kind"] for options in PROJECTORS.values()} == set(INPUT_PROJECTORS)


def test_length_is_what_is_emitted(named):
    name, projector = named
    with torch.no_grad():
        out = projector(asked(items(name)))
    assert [tuple(rows.shape) for rows in out] == [(projector.length(n), OUT) for n in lengths(name)]


def test_an_item_does_not_depend_on_its_neighbours(named):
    """Above all not on their lengths: the padding of a batch must reach nobody."""
    name, projector = named
    batch = items(name)
    with torch.no_grad():
        for tokens, rows in zip(batch, projector(asked(batch)), strict=True):
            (alone,) = projector(asked([tokens]))
            assert torch.allclose(rows, alone, atol=1e-5)
        for tokens, rows in zip(batch, projector(asked(batch[::-1]))[::-1], strict=True):
            assert torch.allclose(rows, projector(asked([tokens]))[0], atol=1e-5)


def test_every_feature_of_an_item_counts(named):
    """No feature is dropped on the way: the last one too moves the output, of a short item in a batch of longer ones."""
    name, projector = named
    batch = [x.requires_grad_(True) for x in items(name)]
    short = batch[3]
    projector(asked(batch))[3].square().sum().backward()
    read = {"tags": [0], "tags, at": [0, 2]}.get(name, range(len(short)))  # tags are of the whole, which stands first
    assert (short.grad[list(read)].abs().sum(-1) > 0).all()
    assert all(x.grad is None or not x.grad.any() for x in batch if x is not short)


def test_gradients_reach_every_parameter(named):
    name, projector = named
    projector.zero_grad()
    targets = torch.randn(OUT, generator=torch.Generator().manual_seed(1))
    sum((rows * targets).square().sum() for rows in projector(asked(items(name)))).backward()
    for key, parameter in projector.named_parameters():
        assert parameter.grad is not None, key
        if key.startswith(UNREAD.get(name, ("-",))):
            assert not parameter.grad.any(), key
        elif not key.endswith(("key.bias", "k_proj.bias")):  # softmax does not see a constant added to all its scores
            assert parameter.grad.abs().max() > 0, key


def test_positions_differ_from_each_other(named):
    """A projector whose queries start alike gives one position many times."""
    name, projector = named
    (rows,) = projector(asked([items(name)[5]]))
    if len(rows) > 1:
        distances = torch.cdist(rows, rows) + torch.eye(len(rows)) * 9
        assert distances.min() > 1e-4


def test_stacking_joins_neighbours_and_fills_the_last_group_with_its_last():
    projector = build("projector", INPUT_PROJECTORS, {"kind": "linear", "stack": 3}, 1, OUT)
    joined = projector._stack(torch.arange(5.0)[:, None])
    assert joined.tolist() == [[0, 1, 2], [3, 4, 4]]


def test_dropout_and_masks_are_of_training_alone():
    recipe = {"kind": "mlp", "norm": True}
    x = torch.randn(400, IN, generator=torch.Generator().manual_seed(0))
    plain = build("projector", INPUT_PROJECTORS, recipe, IN, OUT)
    torch.manual_seed(0)
    for option in ({"dropout": 0.5}, {"mask": 0.2}):
        projector = build("projector", INPUT_PROJECTORS, recipe | option, IN, OUT)
        projector.load_state_dict(plain.state_dict())
        assert torch.equal(projector.eval()(Features([x]))[0], plain.eval()(Features([x]))[0])
        assert not torch.allclose(projector.train()(Features([x]))[0], plain.train()(Features([x]))[0], atol=1e-3)


def test_a_mask_hides_about_its_share_two_positions_at_a_time():
    projector = build("projector", INPUT_PROJECTORS, {"kind": "mlp", "mask": 0.2}, IN, OUT).train()
    torch.manual_seed(0)
    (out,) = projector(Features([torch.randn(4000, IN)]))
    nothing = projector.layers[1](
        torch.nn.functional.gelu(projector.layers[0].bias)
    )  # what a position that sees nothing says
    hidden = torch.isclose(out, nothing, atol=1e-6).all(1)
    assert 0.15 < hidden.float().mean() < 0.23
    alone = hidden[1:-1] & ~hidden[:-2] & ~hidden[2:]
    assert not alone.any()


def test_pixel_shuffle_joins_the_squares_of_a_known_grid():
    """4 x 4 numbered in reading order: each output position holds one 2 x 2 square, squares in reading order."""
    projector = build("projector", INPUT_PROJECTORS, {"kind": "pixel-shuffle", "ratio": 2}, 1, OUT)
    blocks = projector._shuffle(torch.arange(16.0)[:, None])
    assert blocks.tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


def test_pixel_shuffle_repeats_the_edge_of_an_odd_grid():
    projector = build("projector", INPUT_PROJECTORS, {"kind": "pixel-shuffle", "ratio": 2}, 1, OUT)
    blocks = projector._shuffle(torch.arange(9.0)[:, None])
    assert blocks.tolist() == [[0, 1, 3, 4], [2, 2, 5, 5], [6, 7, 6, 7], [8, 8, 8, 8]]


def test_pixel_shuffle_keeps_the_whole_width_of_each_feature_together():
    projector = build("projector", INPUT_PROJECTORS, {"kind": "pixel-shuffle", "ratio": 2}, 2, OUT)
    blocks = projector._shuffle(torch.arange(8.0).view(4, 2))
    assert blocks.tolist() == [[0, 1, 2, 3, 4, 5, 6, 7]]


@pytest.mark.parametrize("kind", ["pixel-shuffle", "ldp", "ldp-v2", "resampler-2d", "c-abstractor"])
@pytest.mark.parametrize("n", [2, 3, 5, 50, 99])
def test_what_joins_neighbours_refuses_what_is_no_square(kind, n):
    projector = make(kind)
    with pytest.raises(RecipeError, match=f"{kind} needs a square grid.* emits {n} "):
        projector.length(n)
    with pytest.raises(RecipeError, match=f"{kind} needs a square grid.* emits {n} "):
        projector(Features([torch.zeros(n, IN)]))


@pytest.mark.parametrize("kind", ["ldp", "ldp-v2"])
def test_ldp_leaves_a_quarter_of_the_positions_where_they_were(kind):
    """MobileVLM's 24 x 24 become 12 x 12, and what the last corner shows is read at the last corner most of all."""
    projector = make(kind)
    assert projector.length(576) == 144
    blank = torch.zeros(64, IN)
    spot = blank.clone()
    spot[-1] = 3.0
    with torch.no_grad():
        before, after = projector(Features([blank, spot]))
    assert len(after) == 16
    assert int((after - before).norm(dim=-1).argmax()) == 15


@pytest.mark.parametrize(("kind", "millions"), [("ldp", 18.94), ("ldp-v2", 6.32)])
def test_ldp_has_the_parameters_of_its_authors_code(kind, millions):
    """Counted there layer by layer, between CLIP ViT-L and MobileLLaMA 1.4B."""
    with torch.device("meta"):
        projector = build("projector", INPUT_PROJECTORS, {"kind": kind}, 1024, 2048)
    assert round(sum(p.numel() for p in projector.parameters()) / 1e6, 2) == millions


def test_c_abstractor_has_the_parameters_of_its_authors_code():
    """Counted there layer by layer, between CLIP ViT-L of 576 features and Vicuna-7B: each stage three blocks without a
    shortcut to learn, of two square matrices, 3 x 3 for each channel, an excitation by a quarter and three norms."""
    with torch.device("meta"):
        projector = build("projector", INPUT_PROJECTORS, {"kind": "c-abstractor", "cells": 24}, 1024, 4096)
    block = 2 * 1024**2 + 9 * 1024 + (2 * 1024 * 256 + 256 + 1024) + 3 * 2 * 1024
    expected = 576 * 1024 + 6 * block + (1024 + 1) * 4096 + (4096 + 1) * 4096
    assert sum(p.numel() for p in projector.parameters()) == expected


def test_c_abstractor_is_the_mean_of_each_cell_between_its_stages_and_knows_the_places():
    projector = make("c-abstractor")
    x = torch.randn(36, IN)
    blank = torch.zeros(36, IN)
    with torch.no_grad():
        (told,) = projector(Features([blank]))
        projector.see = projector.refine = projector.leave = torch.nn.Identity()
        projector.places.zero_()
        (out,) = projector(Features([x]))
    rows, columns = torch.meshgrid(torch.arange(6) // 3, torch.arange(6) // 3, indexing="ij")
    cells = (2 * rows + columns).flatten()
    assert torch.allclose(out, torch.stack([x[cells == i].mean(0) for i in range(4)]), atol=1e-6)
    assert not torch.allclose(told[0], told[3], atol=1e-4)


def test_ldp_v2_is_the_mean_of_each_square_and_its_place():
    """Where the convolution says nothing, 2 x 2 neighbours are averaged and an odd edge repeats."""
    projector = make("ldp-v2")
    torch.nn.init.zeros_(projector.place.weight)
    torch.nn.init.zeros_(projector.place.bias)
    (x,) = [items("ldp-v2")[2]]  # 3 x 3
    with torch.no_grad():
        (out,), (plain,) = projector(Features([x])), projector.mlp(Features([x]))
    expected = [plain[[0, 1, 3, 4]].mean(0), plain[[2, 5]].mean(0), plain[[6, 7]].mean(0), plain[8]]
    assert torch.allclose(out, torch.stack(expected), atol=1e-6)


def test_each_window_of_a_q_former_is_read_by_itself():
    """SALMONN's 17 features of Whisper are a third of a second; what stands in one window moves no position of another."""
    projector = make("q-former, by window")
    assert (
        build("projector", INPUT_PROJECTORS, {**PROJECTORS["q-former"], "queries": 1, "window": 17}, IN, OUT).length(1500)
        == 89
    )
    item = torch.randn(16, IN, generator=torch.Generator().manual_seed(3))
    changed = item.clone()
    changed[8] += 1
    with torch.no_grad():
        before, after = projector(Features([item, changed]))
    moved = (before - after).abs().amax(1) > 1e-4
    assert moved.tolist() == [False, False, True, True, False, False]


def test_features_of_equal_look_are_told_apart_by_where_they_stand():
    """The same spot in two corners of a grey picture: a resampler without positions would read the same."""
    projector = make("resampler-2d")
    with torch.no_grad():
        first, last = torch.zeros(25, IN), torch.zeros(25, IN)
        first[0], last[-1] = 3.0, 3.0
        a, b = projector(Features([first, last]))
    assert not torch.allclose(a, b, atol=1e-4)


def test_views_of_a_picture_are_read_alone_by_the_same_weights():
    """As pictures one by one, in their order; a view that changes changes its own positions."""
    one = make("resampler-2d")
    several = build("projector", INPUT_PROJECTORS, {**PROJECTORS["resampler-2d"], "views": 3}, IN, OUT).eval()
    several.load_state_dict(one.state_dict())
    views = [torch.randn(16, IN) for _ in range(3)]
    with torch.no_grad():
        (together,) = several(Features([torch.cat(views)]))
        assert torch.allclose(together, torch.cat(one(Features(views))), atol=1e-5)
        (changed,) = several(Features([torch.cat([views[0], views[1] + 1, views[2]])]))
    assert several.length(48) == len(together) == 3 * one.length(16)
    moved = (together - changed).abs().amax(1).unflatten(0, (3, -1)) > 1e-4
    assert moved.any(1).tolist() == [False, True, False]
    with pytest.raises(RecipeError, match="50 features are not those of 3 views"):
        several.length(50)


def test_upm_mixes_its_experts_by_weights_that_sum_to_one():
    """Equal experts give what one of them gives, however the router weighs them; different ones do not."""
    projector = make("upm")
    with torch.no_grad():
        (item,) = items("upm")[8:9]
        before = projector(Features([item]))[0]
        projector.experts[1].load_state_dict(projector.experts[0].state_dict())
        equal = projector(Features([item]))[0]
        for layer in projector.router.layers:
            layer.weight.mul_(30)
        assert torch.allclose(projector(Features([item]))[0], equal, atol=1e-5)
    assert not torch.allclose(before, equal, atol=1e-3)


def test_prefix_standardises_by_what_it_has_seen():
    projector = make("prefix").train()
    seen = torch.randn(500, IN, generator=torch.Generator().manual_seed(3)) * torch.arange(1.0, IN + 1) + 5
    for chunk in seen.split([100, 7, 393]):
        projector(Features([chunk]))
    assert torch.allclose(projector.standardize.mean, seen.mean(0), atol=1e-3)
    assert torch.allclose(projector.standardize.var, seen.var(0, correction=0), rtol=1e-3)
    assert int(projector.standardize.count) == 500
    before = {key: value.clone() for key, value in projector.state_dict().items()}
    projector.eval()(Features([seen[:50]]))
    assert all(torch.equal(value, before[key]) for key, value in projector.state_dict().items())


def test_prefix_statistics_survive_rounding_to_half_precision():
    """Checkpoints store projectors in float16, whose largest number is 65504: a long run has seen more items."""
    projector = make("prefix").train()
    projector(Features([torch.randn(200, IN)]))
    projector.standardize.count.fill_(1_000_000)
    rounded = {k: v.half().to(v.dtype) if v.is_floating_point() else v for k, v in projector.state_dict().items()}
    projector.load_state_dict(rounded)
    projector(Features([torch.randn(200, IN)]))
    assert all(torch.isfinite(value).all() for value in projector.state_dict().values())


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"kind": "mlp", "depth": 0}, "depth"),
        ({"kind": "mlp", "stack": -1}, "stack"),
        ({"kind": "linear", "depth": 2}, "depth"),
        ({"kind": "prefix", "tokens": 0}, "tokens"),
        ({"kind": "pixel-shuffle", "ratio": 0}, "ratio"),
        ({"kind": "resampler", "latents": "many"}, "latents"),
        ({"kind": "q-former", "hidden": 16, "heads": 3}, "heads"),
        ({"kind": "upm", "heads": 5}, "heads"),
        ({"kind": "resampler-2d", "heads": 3}, "heads"),
        ({"kind": "ldp", "ratio": 3}, "ratio"),
        ({"kind": "c-abstractor", "cells": 0}, "cells"),
        ({"kind": "clue-aggregator", "heads": 3}, "'heads', 3, must divide the widths 12 and 8"),
    ],
)
def test_options_that_cannot_work_are_refused_by_name(options, named):
    with pytest.raises(RecipeError, match=named):
        build("projector", INPUT_PROJECTORS, options, IN, OUT)


def test_a_pyramid_refuses_features_that_are_no_groups():
    with pytest.raises(RecipeError, match="7 features are no groups of 1 \\+ 4"):
        make("pyramid").length(7)


def test_the_whole_alone_is_projected_as_in_company():
    projector = make("pyramid")
    (item,) = items("pyramid")[1:2]
    alone, company = projector(Features([item[:1], item]))
    assert torch.allclose(alone, company[:2], atol=1e-6)


def test_parts_that_look_alike_are_told_apart_by_their_place():
    projector = make("pyramid")
    torch.nn.init.normal_(projector.place)
    (rows,) = projector(Features([torch.ones(5, IN)]))
    assert not torch.allclose(rows[2], rows[3])


def test_a_clip_is_the_mean_of_each_frame_and_then_of_each_place():
    projector = make("spatio-temporal-pooling")
    clip = items("spatio-temporal-pooling")[2]  # 5 frames of 2
    frames, places = clip.view(5, 2, IN).mean(1), clip.view(5, 2, IN).mean(0)
    with torch.no_grad():
        (out,) = projector(Features([clip]))
        assert torch.allclose(out, projector.leave(torch.cat([frames, places])), atol=1e-6)
    assert build("projector", INPUT_PROJECTORS, {"kind": "spatio-temporal-pooling"}, IN, OUT).length(25600) == 356
    for n in (0, 7):
        with pytest.raises(RecipeError, match=f"{n} features are no frames of 2; set its 'cells'"):
            projector.length(n)


def test_tags_say_the_likeliest_names_and_never_a_blank_one():
    projector = make("tags")
    with torch.no_grad():
        projector.certainty.zero_()
        features = items("tags")[:40]
        best = projector.scores(Features(features)).argmax(1)
        said = projector(Features(features))
    spelled = {0: "cat", 2: "red"}
    assert set(best.tolist()) == set(spelled)
    for name, rows in zip(best.tolist(), said, strict=True):
        assert torch.equal(rows[:3], LETTERS[[ord(letter) for letter in spelled[name]]])


def test_tags_name_each_feature_that_they_are_told_to():
    alone, several = make("tags"), make("tags, at")
    several.load_state_dict(alone.state_dict())
    x = items("tags, at")[7]
    with torch.no_grad():
        assert torch.allclose(several.scores(Features([x])), alone.scores(Features([x[:1], x[2:3]])), atol=1e-6)
    assert several.length(3) == 2 * 3
    with pytest.raises(RecipeError, match="it reads 3, but an item has 2 features"):
        several.length(2)


def test_tags_of_a_clip_know_the_order_of_its_features():
    projector = make("tags, of a clip")
    x = items("tags, of a clip")[0]
    with torch.no_grad():
        straight, backwards = projector.scores(Features([x, x.flip(0)]))
    assert not torch.allclose(straight, backwards, atol=1e-3)
    with pytest.raises(RecipeError, match="'clip' is 6, but an item has 5 features"):
        projector.length(5)
    with pytest.raises(RecipeError, match="keep one"):
        build("projector", INPUT_PROJECTORS, PROJECTORS["tags, of a clip"] | {"at": [0]}, IN, OUT)


def test_a_frozen_classifier_names_what_its_weights_say(tmp_path):
    save_file({"_fc.weight": torch.eye(3, IN), "_fc.bias": torch.zeros(3)}, tmp_path / "model.safetensors")
    options = {"kind": "tags", "names": ["a", "b", "c"], "classifier": str(tmp_path), "top": 1, "tokens": 1}
    projector = build("projector", INPUT_PROJECTORS, options, IN, OUT)
    projector.speak(VOCABULARY)
    projector.certainty.data.zero_()
    assert torch.equal(projector(Features([torch.eye(IN)[1:2]]))[0], LETTERS[[ord("b")]])
    assert [name for name, _ in projector.named_parameters()] == ["certainty"]
    with pytest.raises(RecipeError, match="has 3 classes, names 2"):
        build("projector", INPUT_PROJECTORS, {**options, "names": ["a", "b"]}, IN, OUT)


def test_equal_names_are_one_that_is_as_likely_as_all_of_them(tmp_path):
    """Three kinds of dog at .2 each are likelier than a cat at .3."""
    weight = torch.zeros(5, IN)
    weight[:, 0] = torch.tensor([0.2, 0.3, 0.2, 0.2, 0.1]).log()
    save_file({"_fc.weight": weight, "_fc.bias": torch.zeros(5)}, tmp_path / "model.safetensors")
    names = ["dog", "cat", "dog", "dog", "owl"]
    options = {"kind": "tags", "names": names, "classifier": str(tmp_path), "top": 2, "tokens": 1}
    projector = build("projector", INPUT_PROJECTORS, options, IN, OUT)
    projector.speak(VOCABULARY)
    (rows,) = projector(Features([torch.eye(IN)[:1]]))
    expected = [LETTERS[ord(letter)] + sure * projector.certainty for letter, sure in (("d", 0.6), ("c", 0.3))]
    assert torch.allclose(rows, torch.stack(expected), atol=1e-5)
    for wrong, message in (
        ({"top": 4}, "'names' are 3, 'top' wants 4"),
        ({"classifier": None}, "equal need a 'classifier'"),
    ):
        with pytest.raises(RecipeError, match=message):
            build("projector", INPUT_PROJECTORS, options | wrong, IN, OUT)


def test_a_sharper_classifier_is_surer_of_the_same_names():
    options = {**PROJECTORS["tags"], "top": 1, "tokens": 1}
    features = Features(items("tags")[:40])
    scores = []
    for sharpen in (1.0, 2.0):
        torch.manual_seed(0)
        projector = build("projector", INPUT_PROJECTORS, {**options, "sharpen": sharpen}, IN, OUT).eval()
        projector.speak(VOCABULARY)
        scores.append(projector.scores(features)[:, [0, 2]])
    assert torch.allclose(2 * scores[0], scores[1])
    with pytest.raises(RecipeError, match="sharpen"):
        build("projector", INPUT_PROJECTORS, {**options, "sharpen": 0}, IN, OUT)


def test_tags_read_as_many_features_as_are_of_the_whole_or_the_mean_of_all():
    features = Features(items("tags")[1:40])
    scores = {}
    for whole in (1, 2, "mean"):
        torch.manual_seed(0)
        projector = build("projector", INPUT_PROJECTORS, {**PROJECTORS["tags"], "whole": whole}, IN, OUT).eval()
        projector.speak(VOCABULARY)
        scores[whole] = projector.scores(features)
        others = Features([torch.cat((rows[: 2 if whole == 2 else 1], rows[2:] + 1)) for rows in features.tokens])
        assert torch.equal(projector.scores(others), scores[whole]) == (whole != "mean")
        mixed = Features([rows.flip(0) for rows in features.tokens])
        assert torch.allclose(projector.scores(mixed), scores[whole], atol=1e-5) == (whole == "mean")
    assert projector.classifier.enter.weight.shape[1] == IN
    with pytest.raises(RecipeError, match="whole"):
        build("projector", INPUT_PROJECTORS, {**PROJECTORS["tags"], "whole": "last"}, IN, OUT)


def test_posteriors_skip_what_is_no_token():
    plain, short = (
        make("posteriors"),
        build("projector", INPUT_PROJECTORS, {**PROJECTORS["posteriors"], "skip": 2}, IN, OUT),
    )
    short.speak(VOCABULARY, WRITING)
    short.load_state_dict(plain.state_dict())
    rows = torch.randn(7, IN)
    assert short.length(7) == 5
    assert torch.equal(short(Features([rows]))[0], plain(Features([rows[2:]]))[0])
    assert [x.shape for x in short(Features([rows[:2]] * 3))] == 3 * [(0, OUT)]  # nothing else in the whole batch


def test_names_may_be_a_file_and_then_travel_with_the_projector(tmp_path):
    file = tmp_path / "names.txt"
    file.write_text("dog\n\nice cream\n\n")
    projector = build("projector", INPUT_PROJECTORS, {"kind": "tags", "names": str(file), "top": 2}, IN, OUT)
    assert projector.options == {"names": ["dog", "", "ice cream", ""]}  # a blank line is a class that is never said
    with pytest.raises(RecipeError, match="missing.txt"):
        build("projector", INPUT_PROJECTORS, {"kind": "tags", "names": str(tmp_path / "missing.txt")}, IN, OUT)


def test_posteriors_are_the_mean_of_the_words_that_are_likely():
    projector = make("posteriors")
    logits = torch.full((3, IN), -30.0)
    logits[0, 1] = logits[1, 3] = 0.0  # certainly "b", certainly "cat"
    logits[2, [0, 2, 4, 5]] = torch.tensor([0.4, 0.35, 0.2, 0.05]).log()  # the fourth is left out
    (rows,) = projector(Features([logits]))
    a, b, filler, d = (LETTERS[ord(letter)] for letter in "ab.d")
    cat = LETTERS[[ord(letter) for letter in "cat"]].mean(0)
    blend = (0.4 * a + 0.35 * filler + 0.2 * d) / 0.95
    expected = torch.stack([b, cat, blend]) + torch.tensor([[1.0], [1.0], [0.4]]) * projector.certainty
    assert torch.allclose(rows, expected, atol=1e-4)


def test_a_word_of_several_pieces_takes_their_places_while_there_are_free_ones():
    """As the mean of its pieces no backbone finds it again in its own text, and copies on from another place."""
    projector = make("posteriors")

    def written(*texts: int) -> torch.Tensor:
        logits = torch.full((len(texts), IN), -30.0)
        logits[range(len(texts)), list(texts)] = 0.0
        (rows,) = projector(Features([logits]))
        return rows - projector.certainty

    def spelled(text: str) -> torch.Tensor:
        return LETTERS[[ord(letter) for letter in text]]

    a, b, silent, cat = range(4)
    mean = spelled("cat").mean(0, keepdim=True)
    assert torch.allclose(written(a, cat, b, silent, silent, silent), spelled("acatb."), atol=1e-4)
    assert torch.allclose(written(a, cat, b, silent), torch.cat((spelled("a"), mean, spelled("b."))), atol=1e-4)
    early = torch.cat((spelled("."), mean, spelled("b")))  # free is what stands behind the last word
    assert torch.allclose(written(silent, cat, b), early, atol=1e-4)
    second = torch.cat((spelled("cat"), mean))  # there is room for one of the two
    assert torch.allclose(written(cat, cat, silent, silent), second, atol=1e-4)


def test_posteriors_need_an_encoder_that_writes():
    with pytest.raises(RecipeError, match="an encoder that writes, such as 'whisper-decoder'"):
        build("projector", INPUT_PROJECTORS, {"kind": "posteriors"}, IN, OUT).speak(VOCABULARY)


def test_branches_stand_one_behind_the_other():
    projector = make("branches")
    (item,) = items("branches")[2:3]
    (rows,) = projector(Features([item]))
    parts = [part(Features([item]))[0] for part in projector.branches.values()]
    assert torch.equal(rows, torch.cat(parts))


def test_a_question_decides_what_is_read_and_nothing_that_fills_it_up_does():
    """InstructBLIP: another question, other positions; what stands with the same picture beside a longer one, the same."""
    projector = awake(make("q-former, of a question"))
    assert projector.reads_question
    x = items("q-former")[20]
    with torch.no_grad():
        red, dog, alone = (projector(Features([x], [text]))[0] for text in ("is it red?", "is it a dog?", "is it red?"))
        beside = projector(Features([x, x], ["is it red?", "the quick brown fox jumps over a lazy dog. " * 9]))[0]
    assert torch.equal(red, alone)
    assert torch.allclose(red, beside, atol=1e-5)
    assert not torch.allclose(red, dog, atol=1e-3)


def test_a_question_looks_at_no_feature():
    """What comes of its own tokens is the same whatever the picture shows; but for what they read of the queries."""
    projector = awake(make("q-former, of a question"))
    layer = projector.q_former.encoder.layer[0]
    said = torch.randn(1, 3 + 4, 16)
    with torch.no_grad():
        seen = [layer(said, encoder_hidden_states=torch.randn(1, 9, IN), query_length=3) for _ in range(2)]
    assert torch.equal(seen[0][:, 3:], seen[1][:, 3:])
    assert not torch.allclose(seen[0][:, :3], seen[1][:, :3], atol=1e-3)


@pytest.mark.parametrize("name", ["q-former, of a question", "clue-aggregator"])
def test_an_item_without_its_question_is_refused(name):
    x = items("q-former")[3]
    for questions in (None, ["what?", None], ["what?", ""]):
        with pytest.raises(ContentError, match="2 items have [01] questions"):
            make(name)(Features([x, x], questions))


def test_clues_are_what_the_question_finds_and_the_last_position_is_the_mean_of_all():
    projector = awake(make("clue-aggregator"))
    x = torch.randn(9, IN)
    cat, dog, longer = projector(Features([x] * 3, ["a cat?", "a dog?", "a cat? or what else is it?"]))
    assert not torch.allclose(cat[:-1], dog[:-1], atol=1e-4)
    assert torch.equal(cat[-1], dog[-1])
    assert torch.allclose(cat[-1], projector.whole(x.mean(0)), atol=1e-6)
    (alone,) = projector(Features([x], ["a cat?"]))  # a longer question beside it changes nothing
    assert torch.allclose(cat, alone, atol=1e-5)
    assert len(longer) == len(cat)


def test_of_a_long_question_the_end_is_read_and_one_that_spells_a_special_token_is_words():
    projector = build("projector", INPUT_PROJECTORS, {**PROJECTORS["q-former, of a question"], "longest": 5}, IN, OUT)
    x = torch.zeros(1)
    for text in ("what is this? " * 50 + "a cat?", "red cat?"):
        (ids,) = projector.questions.ids(Features([x], [text]), x.device)
        assert projector.questions.tokenizer.decode(ids.tolist()).endswith(" cat?")
        assert len(ids) <= 5
    (ids,) = projector.questions.ids(Features([x], ["</s>"]), x.device)
    assert len(ids) > 1


def test_the_tokenizer_of_a_projector_is_a_source_and_then_travels_with_it(tmp_path):
    make_tokenizer().save_pretrained(tmp_path)
    recipe = {**PROJECTORS["q-former, of a question"], "tokenizer": str(tmp_path)}
    projector = build("projector", INPUT_PROJECTORS, recipe, IN, OUT)
    assert projector.options == {"tokenizer": WORDS}
    for wrong, message in ((str(tmp_path / "none"), "no such folder"), ({"model": 3}, "no tokenizer.json")):
        with pytest.raises(RecipeError, match=message):
            build("projector", INPUT_PROJECTORS, {**recipe, "tokenizer": wrong}, IN, OUT)


def test_a_question_reaches_what_stands_in_branches_and_frames():
    reads = {"kind": "q-former", "queries": 2, **SMALL, "tokenizer": WORDS}
    branches = {"kind": "branches", "of": {"a": {"kind": "linear"}, "b": reads}}
    frames = {**PROJECTORS["video-q-former"], "frame": {"queries": 3, **SMALL, "tokenizer": WORDS}}
    for recipe in (branches, frames):
        projector = awake(build("projector", INPUT_PROJECTORS, recipe, IN, OUT).eval())
        assert projector.reads_question
        assert WORDS in (projector.options.get("of", {}).get("b") or projector.options["frame"]).values()
        with torch.no_grad():
            (a,), (b,) = (projector(Features([torch.ones(4, IN)], [text])) for text in ("red?", "a dog?"))
        assert not torch.allclose(a, b, atol=1e-4)
    assert not make("branches").reads_question


def test_a_q_former_over_frames_reads_each_alone_and_knows_when_it_was():
    projector = awake(make("video-q-former"))
    clip = items("video-q-former")[2]  # 5 frames of 2
    with torch.no_grad():
        (states,) = projector.frame(Features([clip]))
        (third,) = projector.frame(Features([clip[4:6]]))
        straight, backwards = projector(Features([clip, clip.view(5, 2, IN).flip(0).flatten(0, 1)]))
    assert torch.allclose(states[6:9], third, atol=1e-5)
    assert not torch.allclose(straight, backwards, atol=1e-3)
    for n, message in (
        (0, "are no frames of 2"),
        (7, "7 features are no frames of 2; set its 'cells'"),
        (66, "33 frames are over 32"),
    ):
        with pytest.raises(RecipeError, match=message):
            projector.length(n)


def examples(seed: int = 0, n: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of two names that differ little in one value and vary much in another."""
    rng = torch.Generator().manual_seed(seed)
    name = torch.arange(n) % 2
    x = torch.randn(n, IN, generator=rng)
    x[:, 1] = 3 * x[:, 0] + 0.1 * x[:, 1] + name
    return x, name * 2  # the second of three names is blank


def discriminant(**options):
    counted = {"kind": "tags", "names": ["cat", "", "red fox"], "top": 1, "tokens": 2, "shrink": 1e-4, **options}
    return build("projector", INPUT_PROJECTORS, counted, IN, OUT)


def test_a_discriminant_tells_names_by_what_does_not_vary_within_them():
    classifier = discriminant().classifier
    classifier.example(*examples())
    x, name = examples(1)
    assert (classifier(x)[:, [0, 2]].argmax(1) * 2 == name).float().mean() > 0.95
    nearest_mean = torch.stack([examples()[0][i::2].mean(0) for i in (0, 1)])
    assert (torch.cdist(x, nearest_mean).argmin(1) * 2 == name).float().mean() < 0.8  # its control
    assert bool((classifier(x).argmax(1) != 1).all())  # of which there was no example


def test_a_discriminant_learns_the_same_however_its_examples_are_cut():
    whole, cut, held = (discriminant().classifier for _ in range(3))
    x, name = examples()
    whole.example(x, name)
    cut.example(x[:7], name[:7])
    cut.example(x[7:], name[7:])
    held.hold()
    held.example(x[:31], name[:31])
    held.example(x[31:], name[31:])
    assert not held.weight.any()  # inside a step it stands still
    held.learn(held.held)
    for other in (cut, held):
        torch.testing.assert_close(other.weight, whole.weight)
        torch.testing.assert_close(other.bias, whole.bias)
    assert not {"seen", "held"} & set(whole.state_dict())  # what it was learned from is not part of a model


def test_a_discriminant_of_a_finished_model_is_not_begun_again():
    whole, loaded = discriminant().classifier, discriminant().classifier
    whole.example(*examples())
    whole.example(*examples(1))  # goes on
    loaded.load_state_dict(whole.state_dict())
    with pytest.raises(RecipeError, match="a discriminant is learned whole"):
        loaded.example(*examples(2))


@pytest.mark.parametrize("options", [{"clip": 6}, {"classifier": "somewhere"}])
def test_a_discriminant_reads_no_clip_and_has_no_other_classifier(options):
    with pytest.raises(RecipeError, match="'shrink' is for a discriminant"):
        discriminant(**options)
