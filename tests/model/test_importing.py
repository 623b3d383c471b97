"""Systems that transformers saved are the same systems here: equal prompts, logits and answers."""

from __future__ import annotations

import json

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tests.conftest import CLIP, LLAMA, T5, make_tokenizer, picture, run_command

import polymodal
from polymodal.content import image, user
from polymodal.errors import AssetError, CheckpointError, RecipeError
from polymodal.model.composition import Composition
from polymodal.model.generation import Sampling, generate
from polymodal.model.importing import IGNORED, convert
from polymodal.model.sequence import collate

VISION = {key: value for key, value in CLIP.items() if key != "model_type"}
OPT = {"hidden_size": 32, "word_embed_proj_dim": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
QUESTION = "what is this?"
TEMPLATE = (  # of llava-hf/llava-1.5-7b-hf
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' ' }}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


def randomized(model):
    """Weights large enough that pictures, positions and norms all show in the logits."""
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=random) * 0.1)
    return model.eval()


def begins_with(tokenizer, token):
    """A tokenizer that begins every text with a token, as Llama's and OPT's do."""
    from tokenizers import processors

    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{token} $A", special_tokens=[(token, tokenizer.convert_tokens_to_ids(token))]
    )
    return tokenizer


def crop():
    return transformers.CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})


def llava(folder, text=LLAMA, tokenizer=None, template=TEMPLATE, **config):
    tokenizer = tokenizer or begins_with(make_tokenizer(), "<s>")
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    text = transformers.AutoConfig.for_model(**{**text, "vocab_size": len(tokenizer)})
    config.setdefault("vision_config", dict(CLIP))
    config = transformers.LlavaConfig(text_config=text, image_token_index=len(tokenizer) - 1, **config)
    model = randomized(transformers.LlavaForConditionalGeneration(config))
    processor = transformers.LlavaProcessor(
        crop(),
        tokenizer,
        patch_size=config.vision_config.patch_size,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        num_additional_image_tokens=int(config.vision_config.model_type == "clip_vision_model"),
        chat_template=template,
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return model, processor


def blip_2(folder, text=None, **q_former):
    text = text or {"model_type": "opt", **OPT}
    tokenizer = make_tokenizer()
    opt = text["model_type"] == "opt"
    if opt:  # one token begins and ends a text, and answers end with a newline
        tokenizer.bos_token = "</s>"
        begins_with(tokenizer, "</s>")
        text |= {"bos_token_id": 2, "pad_token_id": 0, "eos_token_id": tokenizer.convert_tokens_to_ids("Ċ")}
    processor = transformers.Blip2Processor(
        transformers.BlipImageProcessorPil(size={"height": 28, "width": 28}), tokenizer, num_query_tokens=5
    )
    q_former = {"num_hidden_layers": 3, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 64} | q_former
    config = transformers.Blip2Config(
        vision_config=VISION,
        qformer_config=q_former,
        text_config={**text, "vocab_size": len(tokenizer)},
        num_query_tokens=5,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    model = randomized(transformers.Blip2ForConditionalGeneration(config))
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return model, processor


def imported(source, target, **options) -> Composition:
    convert(str(source), target, **options)
    return polymodal.load(target)


def run(ours: Composition, theirs, inputs, seen, asked) -> None:
    """Equal ids but for the picture's, equal logits at every position, equal greedy answers."""
    example = ours.processor.encode([user(image(seen), asked)], generate=True)
    (span,) = example.spans
    mark = inputs["input_ids"][0] == theirs.config.image_token_id
    assert mark.nonzero().flatten().tolist() == list(range(span.start, span.start + span.length))
    assert torch.equal(example.ids[~mark], inputs["input_ids"][0, ~mark])
    batch, backbone = collate([example], ours.processor.pad_id), ours.model.backbone
    answers = generate(ours.model, [example], Sampling(max_new_tokens=12), ours.processor.stop_ids, ours.processor.pad_id)
    said = theirs.generate(**inputs, max_new_tokens=12, do_sample=False)[0].tolist()
    said = said[1:] if backbone.seq2seq else said[len(mark) :]
    target = torch.tensor([[7, 30, 41, 2]]) if backbone.seq2seq else None
    labels = {} if target is None else {"labels": target}
    with torch.no_grad():
        expected = theirs(**inputs, **labels).logits[0]
        other = theirs(**{**inputs, "pixel_values": -inputs["pixel_values"]}, **labels).logits[0]
        embeds = ours.model.embed(batch, ours.model.features(batch.media))
        logits = backbone.head(backbone.hidden(embeds, batch.mask, target)[0])
    assert (expected - other)[-1].abs().max() > 1e-2  # the picture matters
    assert torch.allclose(logits, expected, atol=1e-4, rtol=1e-4)
    assert trimmed(answers.ids[0], ours) == trimmed(said, ours)


def trimmed(ids, composition) -> list[int]:
    """An answer up to where it ends."""
    ends = [i for i, token in enumerate(ids) if token in composition.processor.stop_ids]
    return list(ids)[: ends[0] if ends else None]


def asks_llava(ours, model, processor, seed=1):
    seen = picture(seed, (50, 30))
    prompt = f"USER: <image>\n{QUESTION} ASSISTANT:"
    run(ours, model, processor(images=seen, text=prompt, return_tensors="pt"), seen, QUESTION)


def asks_blip_2(ours, model, processor, seed=1):
    seen, asked = picture(seed, (50, 30)), f"Question: {QUESTION} Answer:"
    run(ours, model, processor(images=seen, text=asked, return_tensors="pt"), seen, asked)


MISTRAL = {**LLAMA, "model_type": "mistral", "sliding_window": None}
QWEN = {**LLAMA, "model_type": "qwen2", "tie_word_embeddings": True}
SIGLIP = {**CLIP, "model_type": "siglip_vision_model"}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"vision_feature_select_strategy": "full"},
        {"vision_feature_layer": 1, "text": MISTRAL},
        {"vision_feature_layer": -1, "vision_feature_select_strategy": "full", "vision_config": SIGLIP, "text": QWEN},
    ],
    ids=["llava-1.5", "with the class token", "layer counted from the front, mistral", "siglip, qwen2, tied"],
)
def test_llava_has_equal_prompts_logits_and_answers(options, tmp_path):
    model, processor = llava(tmp_path / "source", **options)
    asks_llava(imported(tmp_path / "source", tmp_path / "ours"), model, processor)


def rewritten(folder, change) -> None:
    """The weight file of a source with changed names or tensors."""
    save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors", metadata={"format": "pt"})


PAIRS = {
    "model.language_model.": "language_model.model.",
    "lm_head.": "language_model.lm_head.",
    "model.vision_tower.": "vision_tower.",
    "model.multi_modal_projector.": "multi_modal_projector.",
}


def renamed(name: str, pairs: dict[str, str]) -> str:
    return next((new + name.removeprefix(old) for old, new in pairs.items() if name.startswith(old)), name)


def on_the_hub(state):
    """The names of the files that were released: those of transformers before 4.52, and buffers of older ones."""
    inner = {"vision_tower.": "vision_tower.vision_model."}
    found = {renamed(renamed(name, PAIRS), inner): tensor for name, tensor in state.items()}
    found["vision_tower.vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    found["language_model.model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    return found


def of_the_modules(state):
    """The names of transformers' own modules since 4.52."""
    return {renamed(name, {old: new for new, old in PAIRS.items()}): tensor for name, tensor in state.items()}


@pytest.mark.parametrize("layout", [on_the_hub, of_the_modules])
def test_llava_loads_in_either_layout_of_names(layout, tmp_path):
    model, processor = llava(tmp_path / "source")
    rewritten(tmp_path / "source", layout)
    ours = imported(tmp_path / "source", tmp_path / "ours")
    asks_llava(ours, model, processor)
    left = ours.about["imported"]["ignored"]
    assert len(left) == (2 if layout is on_the_hub else 0)
    assert set(left.values()) <= set(IGNORED.values())


def test_shards_are_read_as_one_file(tmp_path):
    model, processor = llava(tmp_path / "source")
    model.save_pretrained(tmp_path / "source", max_shard_size="50kB")
    (tmp_path / "source/model.safetensors").unlink()
    assert len([*(tmp_path / "source").glob("*.safetensors")]) > 1
    asks_llava(imported(tmp_path / "source", tmp_path / "ours"), model, processor)


def llama_tokenizer(legacy: bool):
    """Llama's kind: a space marks where a text begins; in `legacy`, also behind each special token."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), "▁", *map(chr, range(33, 127)), "▁w", "▁U"]
    merges = [("▁", "w"), ("▁", "U")]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    return transformers.LlamaTokenizer(vocab=vocab, merges=merges, legacy=legacy, add_bos_token=True, pad_token="<unk>")


@pytest.mark.parametrize("legacy", [False, True])
def test_llamas_tokenizer_gives_equal_ids_before_and_behind_the_picture(legacy, tmp_path):
    model, processor = llava(tmp_path / "source", tokenizer=llama_tokenizer(legacy))
    asks_llava(imported(tmp_path / "source", tmp_path / "ours"), model, processor)


@pytest.mark.parametrize("text", [None, T5], ids=["opt", "t5"])
def test_blip_2_has_equal_prompts_logits_and_answers(text, tmp_path):
    model, processor = blip_2(tmp_path / "source", text and dict(text))
    ours = imported(tmp_path / "source", tmp_path / "ours")
    asks_blip_2(ours, model, processor)
    assert model.config.text_config.eos_token_id in ours.processor.stop_ids


def test_a_caption_is_asked_for_with_nothing(tmp_path):
    model, processor = blip_2(tmp_path / "source")
    ours, seen = imported(tmp_path / "source", tmp_path / "ours"), picture(3)
    run(ours, model, processor(images=seen, text="", return_tensors="pt"), seen, "")


def test_the_class_token_is_read_by_the_q_former(tmp_path):
    """257 features of the paper, 17 here: 4 x 4 patches and the class token."""
    blip_2(tmp_path / "source")
    ours = imported(tmp_path / "source", tmp_path / "ours")
    image_part = ours.model.modalities["image"]
    assert image_part.encoder.length(image_part.prepare(picture(1))) == 17


def test_half_precision_is_kept_on_disk_and_chosen_to_compute_in(tmp_path):
    model, _ = llava(tmp_path / "source")
    model.half().save_pretrained(tmp_path / "source")
    ours = imported(tmp_path / "source", tmp_path / "ours", dtype="bfloat16")
    assert ours.model.backbone.lm.dtype == torch.bfloat16
    files = [load_file(file) for file in (tmp_path / "ours").rglob("*.safetensors")]
    assert {tensor.dtype for file in files for tensor in file.values()} == {torch.float16}


def without(name):
    return lambda state: {key: tensor for key, tensor in state.items() if key != name}


LINEAR, QUERY = "multi_modal_projector.linear_2.weight", "qformer.encoder.layer.1.attention.attention.key.bias"


@pytest.mark.parametrize(
    ("make", "change", "said"),
    [
        (llava, without(LINEAR), f"{LINEAR}' is missing .1 in all"),
        (llava, without("language_model.model.layers.1.mlp.up_proj.weight"), "layers.1.mlp.up_proj.weight' is missing"),
        (llava, lambda state: {**state, LINEAR: torch.zeros(3, 3)}, f"{LINEAR}' is misshapen"),
        (llava, lambda state: {**state, "image_newline": torch.zeros(32)}, "'image_newline' is of no part"),
        (blip_2, without(QUERY), f"{QUERY}' is missing"),
        (blip_2, without("query_tokens"), "'query_tokens' is missing"),
        (blip_2, lambda state: {**state, "itm_head.weight": torch.zeros(2, 2)}, "'itm_head.weight' is of no part"),
    ],
)
def test_a_tensor_that_is_missing_misshapen_or_extra_is_refused_by_name(make, change, said, tmp_path):
    make(tmp_path / "source")
    rewritten(tmp_path / "source", change)
    with pytest.raises(CheckpointError, match=f"source: tensor '.*{said.lstrip(chr(39))}"):
        convert(str(tmp_path / "source"), tmp_path / "ours")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]  # nothing half-written


@pytest.mark.parametrize(
    ("make", "change", "said"),
    [
        (llava, {"model_type": "llava_next"}, "is of model_type 'llava_next', which import does not read .*llava"),
        (llava, {"projector_hidden_act": "relu"}, "projector_hidden_act is relu, .* has gelu"),
        (llava, {"multimodal_projector_bias": False}, "multimodal_projector_bias is False"),
        (llava, {"vision_feature_layer": [-2, -1]}, r"vision_feature_layer is \[-2, -1\], and the encoder reads one"),
        (llava, {"text_config": {"model_type": "gemma2"}}, "text_config.model_type is gemma2, .* llama or mistral"),
        (blip_2, {"qformer_config": {"layer_norm_eps": 1e-5}}, "qformer_config.layer_norm_eps is 1e-05"),
        (blip_2, {"qformer_config": {"use_qformer_text_input": True}}, "use_qformer_text_input is True"),
    ],
)
def test_what_our_parts_do_not_compute_is_refused_by_the_key_that_says_so(make, change, said, tmp_path):
    make(tmp_path / "source")
    file = tmp_path / "source/config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(CheckpointError, match=said):
        convert(str(tmp_path / "source"), tmp_path / "ours")


def test_a_prompt_that_no_chat_format_writes_needs_one_to_be_chosen(tmp_path):
    template = "{% for m in messages %}<|user|><image>{{ m['content'][1]['text'] }}{% endfor %}<|assistant|>"
    llava(tmp_path / "source", template=template)
    with pytest.raises(CheckpointError, match=r"asks '<\|user\|>.*choose one with --chat-format"):
        convert(str(tmp_path / "source"), tmp_path / "ours")
    assert convert(str(tmp_path / "source"), tmp_path / "ours", "plain")["backbone"]["chat_format"] == "plain"


def test_a_source_without_a_template_is_asked_as_llava_was_trained(tmp_path):
    llava(tmp_path / "source", template=None)
    assert convert(str(tmp_path / "source"), tmp_path / "ours")["backbone"]["chat_format"] == "vicuna"


def test_pickles_folders_that_are_there_and_sources_that_are_not_are_refused(tmp_path, monkeypatch):
    llava(tmp_path / "source")
    with pytest.raises(CheckpointError, match="source: is there already"):
        convert(str(tmp_path / "source"), tmp_path / "source")
    (tmp_path / "source/model.safetensors").rename(tmp_path / "source/pytorch_model.bin")
    with pytest.raises(CheckpointError, match="has no .*safetensors.*save_pretrained, which writes them"):
        convert(str(tmp_path / "source"), tmp_path / "ours")
    with pytest.raises(RecipeError, match="there is no such folder"):
        convert(str(tmp_path / "gone"), tmp_path / "ours")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(AssetError, match="nobody/nothing: no folder here, and the Hub did not give it"):
        convert("nobody/nothing", tmp_path / "ours")


def test_everything_that_transformers_drops_in_silence_is_listed(tmp_path):
    """Of the systems that are read; a pattern that a new version adds has to be looked at."""
    patterns = {r"(^|\.)position_ids$", r"rotary_emb\.inv_freq"}  # of every model
    for make, text in ((llava, LLAMA), (llava, MISTRAL), (llava, QWEN), (blip_2, None), (blip_2, T5)):
        options = {"text": dict(text)} if text else {}
        model, _ = make(tmp_path / f"{make.__name__}-{text and text['model_type']}", **options)
        patterns |= set(model._keys_to_ignore_on_load_unexpected)
    assert patterns == set(IGNORED)


def test_the_command_writes_a_folder_that_answers(tmp_path, monkeypatch, capsys):
    llava(tmp_path / "source")
    capsys.readouterr()
    code, out, error = run_command(monkeypatch, capsys, "import", tmp_path / "source", tmp_path / "ours")
    assert (code, error) == (0, "")
    assert out.endswith("ours: clip_vision_model, mlp, chat format vicuna\n")
    answer = polymodal.load(tmp_path / "ours").ask(QUESTION, images=[picture(1)], sampling=Sampling(max_new_tokens=2))
    assert answer.tokens["media"] == 16
    code, _, error = run_command(monkeypatch, capsys, "import", tmp_path / "source", tmp_path / "ours")
    assert code == 2
    assert error.count("\n") == 1


def test_an_import_that_is_stopped_leaves_nothing(tmp_path, monkeypatch):
    llava(tmp_path / "source")

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("polymodal.model.checkpoint._swap", stopped)
    with pytest.raises(KeyboardInterrupt):
        convert(str(tmp_path / "source"), tmp_path / "ours")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
