"""RAM++: the authors' names and shapes, its decoder of tags, and tags that a backbone can be told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from polymodal.errors import RecipeError
from polymodal.parts.base import Features, Vocabulary, build
from polymodal.parts.encoders.ram_plus import DECODER, L14, RamPlusImages
from polymodal.parts.encoders.ram_plus_network import COMPUTED, SWIN, RamPlus, named
from polymodal.parts.input_projectors import INPUT_PROJECTORS
from polymodal.parts.tiny_encoders import RAM_PLUS
from tests.conftest import picture
from tests.parts.encoders.contract import check_lengths_and_neighbours, check_options_rebuild, features, make
from tests.parts.encoders.published import published, shapes

MEDIA = [picture(1), picture(2, (50, 90))]
NAMES = ["cat", "dog", "tree", "car", "sea"]


def louder(network: RamPlus) -> RamPlus:
    """What is far apart at tiny width too."""
    for parameter in network.parameters():
        parameter.data.mul_(4 if parameter.ndim == 2 else 1)
    return network


def as_published(network: RamPlus) -> dict[str, Tensor]:
    """A network's tensors under the authors' names, with a buffer that follows from its sizes."""
    out: dict[str, Tensor] = {}
    own = network.state_dict()
    for name, tensor in own.items():
        theirs = name
        for pattern, ours in SWIN.items():
            theirs = theirs.replace(ours, re.sub(r"[\^$\\]", "", pattern), 1) if ours in theirs else theirs
        if "q_proj" in theirs:
            joined = torch.cat([own[name.replace("q_proj", f"{x}_proj")] for x in "qkv"])
            out[theirs.replace("attention.q_proj", "attn.qkv")] = joined
        elif "k_proj" not in theirs and "v_proj" not in theirs:
            out[theirs] = tensor
    return out | {"visual_encoder.layers.0.blocks.0.attn.relative_position_index": torch.zeros(2)}


def released(file: Path) -> tuple[dict, list]:
    """A tiny file of the authors' layout, what a recipe needs to read it, and media for it."""
    torch.save({"model": as_published(louder(make("ram-plus", config=RAM_PLUS).network))}, file)
    return {"path": str(file), "config": RAM_PLUS}, MEDIA


def test_the_state_dict_is_the_published_one_name_for_name_and_shape_for_shape():
    theirs = {name: torch.empty(shape, device="meta") for name, shape in published("ram_plus").items()}
    with torch.device("meta"):
        encoder = RamPlusImages(config=L14 | DECODER)
    assert shapes(encoder.network) == {name: tuple(tensor.shape) for name, tensor in named(theirs).items()}
    assert len([name for name in theirs if re.search(COMPUTED, name)]) == 24 + 11  # of all blocks, of the shifted ones


def test_queries_keys_and_values_stand_one_below_the_other():
    out = named({"visual_encoder.layers.1.blocks.0.attn.qkv.bias": torch.arange(6)})
    assert {name.rsplit(".", 2)[1]: tensor.tolist() for name, tensor in out.items()} == {
        "q_proj": [0, 1],
        "k_proj": [2, 3],
        "v_proj": [4, 5],
    }


@pytest.mark.parametrize(("options", "length"), [({}, 4), ({"features": "tags", "names": NAMES, "top": 3}, 3)])
def test_length_is_what_is_emitted_alone_or_in_a_batch(options, length):
    encoder = make("ram-plus", config=RAM_PLUS, **options)
    louder(encoder.network)
    assert encoder.length(encoder.prepare(MEDIA[0])) == length
    check_lengths_and_neighbours(encoder, MEDIA)
    check_options_rebuild(encoder, "ram-plus", MEDIA)


def test_a_released_file_is_read_by_name_and_what_it_computes_itself_is_left(tmp_path):
    options, media = released(tmp_path / "ram.pth")
    loaded, held = make("ram-plus", **options), torch.load(options["path"])["model"]
    assert torch.equal(loaded.network.label_embed, held["label_embed"])
    block = loaded.network.visual_encoder.encoder.layers[1].blocks[0].attention
    qkv = torch.cat([block.q_proj.weight, block.k_proj.weight, block.v_proj.weight])
    assert torch.equal(qkv, held["visual_encoder.layers.1.blocks.0.attn.qkv.weight"])
    expected = make("ram-plus", config=RAM_PLUS)
    louder(expected.network)
    for a, b in zip(features(loaded, media), features(expected, media), strict=True):
        assert torch.equal(a, b)


def test_each_tag_is_read_by_itself_from_a_mean_of_its_descriptions():
    torch.manual_seed(0)
    network = louder(make("ram-plus", config=RAM_PLUS).network)
    seen = torch.randn(2, 5, RAM_PLUS["space"])
    with torch.no_grad():
        logits = network.tags(seen)
        for b, tag in ((0, 0), (1, 3)):
            texts = network.label_embed[tag * RAM_PLUS["descriptions"] :][: RAM_PLUS["descriptions"]]
            whole = seen[b, 0] / seen[b, 0].norm()
            meant = (network.reweight_scale.exp() * texts @ whole).softmax(0) @ texts
            x = network.wordvec_proj(meant).relu()[None, None]
            for layer in network.tagging_head["encoder"]["layer"]:
                x = layer(x, seen[b : b + 1])
            assert torch.allclose(logits[b, tag], network.fc(x)[0, 0, 0], atol=1e-4)


def test_a_tag_is_said_as_far_as_it_is_sure():
    """The likeliest first; of one that is less sure than not, nothing is said."""
    encoder = make("ram-plus", config=RAM_PLUS, features="tags", names=NAMES, top=2)
    logits = torch.tensor([[-3.0, 2.0, -9.0, -1.0, -9.0]])
    encoder.network.tags = lambda seen: logits
    (rows,) = features(encoder, MEDIA[:1])
    assert rows.argmax(-1).tolist() == [1, 3]
    assert torch.allclose(rows.sum(-1), logits.sigmoid()[0, [1, 3]])
    told = encoder.writing.logits(rows).softmax(-1)
    assert [encoder.writing.texts[i] for i in told.argmax(-1)] == ["dog", ""]
    assert torch.allclose(told[:, :5], rows)
    projector = build("projector", INPUT_PROJECTORS, {"kind": "posteriors", "top": 1}, encoder.width, 6)
    words = torch.nn.Embedding(200, 6)
    projector.speak(Vocabulary(lambda text: [ord(letter) for letter in text], words), encoder.writing)
    (said,) = projector(Features([rows]))
    dog = words(torch.tensor([ord(letter) for letter in "dog"])).mean(0)
    assert torch.allclose(said[0], dog + rows[0].sum() * projector.certainty, atol=1e-5)


def test_names_are_as_many_as_tags():
    with pytest.raises(RecipeError, match="writes 5 tags, 'names' are 1, 'top' is 10"):
        make("ram-plus", config=RAM_PLUS, features="tags", names=["cat"])
