"""BEiT-3: the authors' names and shapes, of the branch of pictures or, for queries, of both."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from polymodal.errors import RecipeError
from polymodal.parts.encoders.beit3 import BASE
from polymodal.parts.encoders.beit3_network import Attention, Beit3Network, FeedForward, Layer
from tests.conftest import picture
from tests.parts.encoders.contract import check_lengths_and_neighbours, check_options_rebuild, features, make
from tests.parts.encoders.published import published, save, shapes

TINY = {"width": 24, "depth": 2, "heads": 3, "image": 28, "patch": 7}
MEDIA = [picture(1), picture(2, (28, 28))]


def released(file: Path) -> tuple[dict, list]:
    """A tiny file as the authors lay theirs out, with text and heads, what a recipe needs to read it, and media for it."""
    torch.manual_seed(1)
    network = Beit3Network(**TINY)
    text = {name.replace(".A.", ".B."): torch.zeros(1) for name in network.state_dict() if ".A." in name}
    text |= {
        "beit3.text_embed.weight": torch.zeros(9, 24),
        "vision_head.weight": torch.zeros(1),
        "logit_scale": torch.ones(()),
    }
    save(network, file, "model", **text)
    return {"path": str(file), "config": TINY}, MEDIA


def test_the_state_dict_is_the_published_one_name_for_name_and_shape_for_shape():
    with torch.device("meta"):
        assert shapes(Beit3Network(**BASE)) == published("beit3_base")


def test_both_branches_and_their_heads_have_the_published_number_of_parameters():
    """222 million in the file with contrastive heads, says the authors' page: two branches, words, places, two heads."""
    names = published("beit3_base")
    count = {name: torch.Size(shape).numel() for name, shape in names.items()}
    twice = sum(number for name, number in count.items() if ".A." in name and "embed_positions" not in name)
    assert round((sum(count.values()) + twice + (64010 + 1024 + 2 * 768) * 768) / 1e6) == 222


def test_with_queries_it_has_the_names_of_both_branches():
    """Those of text are the same again, but for a table of 1,024 places."""
    pictures = published("beit3_base")
    text = {name.replace(".A.", ".B."): shape for name, shape in pictures.items() if ".A." in name}
    text["beit3.encoder.embed_positions.B.weight"] = (1024, 768)
    with torch.device("meta"):
        assert shapes(Beit3Network(**BASE, both=True)) == pictures | text


@pytest.mark.parametrize(("queries", "length"), [(None, 16), (5, 5)])
def test_length_is_what_is_emitted_alone_or_in_a_batch(queries, length):
    encoder = make("beit3", config=TINY, queries=queries)
    assert encoder.length(encoder.prepare(MEDIA[0])) == length
    check_lengths_and_neighbours(encoder, MEDIA)
    check_options_rebuild(encoder, "beit3", MEDIA)


def test_queries_and_patches_see_one_another_each_through_its_own_branch():
    """As one pass of a multiway layer, written out: what is joined is keys and values, and nothing else."""
    torch.manual_seed(0)
    layer = Layer(24, 3, split=6).eval()
    x = torch.randn(1, 6 + 4, 24)
    with torch.no_grad():
        parts = {"A": x[:, :6], "B": x[:, 6:]}
        near = {way: layer.self_attn_layer_norm[way](part) for way, part in parts.items()}
        heads = [
            torch.cat([module[way](near[way]) for way in "AB"], 1).unflatten(-1, (3, 8)).transpose(1, 2)
            for module in (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj)
        ]
        query, key, value = heads
        seen = ((query @ key.transpose(-1, -2) / 8**0.5).softmax(-1) @ value).transpose(1, 2).flatten(2)
        expected = []
        for way, states in zip("AB", seen.split((6, 4), 1), strict=True):
            y = parts[way] + layer.self_attn.out_proj[way](layer.self_attn.inner_attn_ln[way](states))
            expected.append(y + layer.ffn[way](layer.final_layer_norm[way](y)))
        assert torch.allclose(layer(x), torch.cat(expected, 1), atol=1e-5)


def test_queries_learn_and_the_authors_branch_of_text_is_read_for_them(tmp_path):
    torch.manual_seed(2)
    network = Beit3Network(**TINY, both=True)
    words = {"beit3.text_embed.weight": torch.zeros(9, 24), "mlm_head.weight": torch.zeros(1)}
    save(network, tmp_path / "beit3.pth", "model", **words)
    encoder = make("beit3", path=str(tmp_path / "beit3.pth"), config=TINY, queries=5)
    for name, tensor in encoder.network.state_dict().items():
        assert torch.equal(tensor, network.state_dict()[name]), name
    (tokens,) = encoder([encoder.prepare(MEDIA[0])]).tokens
    tokens.square().sum().backward()
    assert (encoder.queries.grad.abs().sum(-1) > 0).all()
    with pytest.raises(RecipeError, match="queries"):
        make("beit3", config=TINY, queries=1023)


def test_the_authors_file_is_read_by_name_and_text_is_left(tmp_path):
    options, media = released(tmp_path / "beit3.pth")
    loaded = make("beit3", **options)
    held = torch.load(options["path"])["model"]
    for name, tensor in loaded.network.state_dict().items():
        assert torch.equal(tensor, held[name]), name
    assert not torch.equal(features(loaded, media)[0], features(make("beit3", config=TINY), media)[0])
    held["beit3.encoder.layers.0.self_attn.relative.A.weight"] = torch.zeros(1)
    torch.save({"model": held}, options["path"])
    with pytest.raises(RecipeError, match="belongs to nothing in this encoder"):
        make("beit3", **options)


def test_the_inner_norms_make_attention_and_feed_forward_deaf_to_scale():
    """What Magneto is for: values, or hidden states, ten times as large change nothing behind the norm."""
    torch.manual_seed(0)
    x, attention = torch.randn(2, 5, 24), Attention(24, 3)
    with torch.no_grad():
        before = attention(x)
        for tensor in attention.v_proj["A"].parameters():
            tensor.mul_(10)
        assert torch.allclose(attention(x), before, atol=1e-3)
        forward = FeedForward(24)
        forward.fc2.bias.zero_()
        forward.ffn_layernorm.weight.zero_()
        assert forward(x).abs().max() == 0


def test_places_begin_at_the_third_row_of_their_table():
    encoder = make("beit3", config=TINY)
    (before,) = features(encoder, MEDIA[:1])
    table = encoder.network.beit3["encoder"].embed_positions["A"].weight
    with torch.no_grad():
        table[:2] += 1
    assert torch.equal(features(encoder, MEDIA[:1])[0], before)
    with torch.no_grad():
        table[2] += torch.randn(24)  # the class token's
    assert not torch.allclose(features(encoder, MEDIA[:1])[0], before, atol=1e-5)


def test_white_is_one_and_black_minus_one():
    prepare = make("beit3", config=TINY).prepare
    for shade, number in ((255, 1.0), (0, -1.0)):
        pixels = prepare(picture(0).point(lambda _, shade=shade: shade))["pixel_values"]
        assert pixels.shape == (3, 28, 28)
        assert (pixels == number).all()
