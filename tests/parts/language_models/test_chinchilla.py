"""Chinchilla: the relative positions of Transformer-XL as its paper writes them, whatever else stands in a row."""

from __future__ import annotations

import pytest
import torch
import transformers

from polymodal.parts import peft
from polymodal.parts.backbones import Backbone
from polymodal.parts.language_models import register
from polymodal.parts.language_models.chinchilla import RelativeAttention, waves
from polymodal.parts.peft import LoRA
from polymodal.parts.tiny import FAMILIES

TINY = FAMILIES["chinchilla"]


@pytest.fixture(scope="module")
def backbone(tokenizer_folder) -> Backbone:
    torch.manual_seed(0)
    backbone = Backbone(config=dict(TINY), tokenizer=tokenizer_folder).eval()
    with torch.no_grad():
        for name, parameter in backbone.named_parameters():
            if name.endswith("_bias"):  # u and v begin at 0
                parameter.normal_()
    return backbone


def test_it_is_as_large_as_its_paper_says():
    """70 billion of Chinchilla (table 4) and 280 of Gopher (2112.11446, table 1), of sizes that the tables give."""
    register()
    gopher = {"hidden_size": 16384, "intermediate_size": 65536, "num_attention_heads": 128}
    for sizes, low, high in (({}, 69.5e9, 70.5e9), (gopher, 279e9, 281e9)):
        config = transformers.AutoConfig.for_model("chinchilla", **sizes)
        with torch.device("meta"):
            model = transformers.AutoModelForCausalLM.from_config(config)
        assert low < sum(p.numel() for p in model.parameters()) < high
        assert model.lm_head.weight is model.model.embed_tokens.weight


def test_scores_are_the_four_terms_of_transformer_xl(backbone):
    """Written out one query and one key at a time: (a) to (d) of section 3.3, eq. 5 of 1901.02860."""
    attention: RelativeAttention = backbone.lm.model.layers[0].self_attn
    x, width = torch.randn(1, 5, TINY["hidden_size"]), attention.head_dim
    u, v = attention.content_bias[:, 0], attention.position_bias[:, 0]
    with torch.no_grad():
        ahead = torch.full((5, 5), torch.finfo(x.dtype).min).triu(1)[None, None]
        ours = attention(x, waves(5, x.shape[2]), ahead, None)
        query, key, value = (
            p(x[0]).unflatten(-1, (-1, width)) for p in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        out = torch.zeros(5, *query.shape[1:])
        for head in range(query.shape[1]):
            for i in range(5):
                scores = []
                for j in range(i + 1):
                    frequencies = 10000.0 ** -(torch.arange(0, x.shape[2], 2) / x.shape[2])
                    wave = torch.cat([torch.sin((i - j) * frequencies), torch.cos((i - j) * frequencies)])
                    place = attention.r_proj(wave).unflatten(-1, (-1, width))[head]
                    q, k = query[i, head], key[j, head]
                    scores.append(q @ k + q @ place + u[head] @ k + v[head] @ place)
                out[i, head] = (torch.stack(scores) / width**0.5).softmax(0) @ value[: i + 1, head]
        assert torch.allclose(ours[0], attention.o_proj(out.flatten(1)), atol=1e-5)


def test_places_matter_only_by_their_distance(backbone):
    """The same tokens behind padding have the same states; in another order they have others."""
    ids = torch.arange(5, 13)[None]
    with torch.no_grad():
        states = backbone.hidden(backbone.embed(ids), torch.ones_like(ids))
        behind, mask = torch.cat([torch.zeros(1, 4, dtype=torch.long), ids], 1), torch.ones(1, 12, dtype=torch.long)
        mask[:, :4] = 0
        shifted = backbone.hidden(backbone.embed(behind), mask)[:, 4:]
        swapped = ids[:, [1, 0, *range(2, 8)]]
        other = backbone.hidden(backbone.embed(swapped), torch.ones_like(ids))
    assert torch.allclose(shifted, states, atol=1e-5)
    assert not torch.allclose(other[:, -1], states[:, -1], atol=1e-3)


def test_packed_equals_alone(backbone):
    assert backbone.packing == "positions"
    lengths = (3, 6, 1)
    ids = torch.randint(5, 60, (1, sum(lengths)))
    positions = torch.cat([torch.arange(n) for n in lengths])[None]
    with torch.no_grad():
        together = backbone.hidden(backbone.embed(ids), torch.ones_like(ids), positions=positions)
        alone = [backbone.hidden(backbone.embed(part), torch.ones_like(part)) for part in ids.split(lengths, 1)]
    assert torch.allclose(together, torch.cat(alone, 1), atol=1e-5)


def test_cached_generation_equals_the_full_forward(backbone):
    """A row of a padded batch, token by token; LoRA beside W_R."""
    ids = torch.arange(5, 21).view(2, 8)
    mask = torch.ones_like(ids)
    mask[1, :3] = 0
    with torch.no_grad(), peft.trial(backbone):
        plain = backbone.lm(input_ids=ids, attention_mask=mask).logits
        peft.attach(backbone, {"lm.*.[qr]_proj": LoRA(kind="lora", r=2)})
        assert any("r_proj" in name for name in peft.weights(backbone))
        for name, weight in peft.weights(backbone).items():
            weight.add_(0.3 if "lora_B" in name else 0)
        whole = backbone.lm(input_ids=ids, attention_mask=mask).logits
        cache, steps = None, []
        for t in range(8):
            out = backbone.lm(
                input_ids=ids[:, t : t + 1], attention_mask=mask[:, : t + 1], past_key_values=cache, use_cache=True
            )
            cache = out.past_key_values
            steps.append(out.logits)
    assert torch.allclose(torch.cat(steps, 1)[mask == 1], whole[mask == 1], atol=1e-4)
    assert not torch.allclose(whole[mask == 1], plain[mask == 1], atol=1e-2)


def test_saved_it_is_found_by_its_folder(backbone, tmp_path):
    backbone.lm.save_pretrained(tmp_path)
    backbone.tokenizer.save_pretrained(tmp_path)
    again = Backbone(path=str(tmp_path)).eval()
    ids = torch.arange(5, 13)[None]
    with torch.no_grad():
        expected, found = (b.hidden(b.embed(ids), torch.ones_like(ids)) for b in (backbone, again))
    assert torch.equal(expected, found)
