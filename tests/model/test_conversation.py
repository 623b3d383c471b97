"""Chat: streaming, caches, batches. What a second turn costs is counted, not guessed."""

from __future__ import annotations

import pytest
import torch
from tests.conftest import picture, sound

from polymodal.content import Message, audio, image, text, user
from polymodal.errors import ContentError, MediaError
from polymodal.model.composition import Composition
from polymodal.model.generation import Sampling, generate
from polymodal.parts import peft

SHORT = Sampling(max_new_tokens=6)


def fresh(composition, history):
    """The same turn answered from nothing."""
    example = composition.processor.encode(history, generate=True)
    out = generate(composition.model, [example], SHORT, composition.processor.stop_ids, composition.processor.pad_id)
    return composition.processor.decode(out.ids[0])[0].text


@pytest.fixture(scope="module")
def tiny_adapted(tiny_recipe):
    """With adapters of every kind that are no longer the identity."""
    recipe = tiny_recipe()
    recipe["model"]["peft"] = {
        "backbone.lm.*_proj": {"kind": "lora"},
        "backbone.lm.*.self_attn": {"kind": "prefix"},
        "backbone.lm.*norm": {"kind": "layernorm"},
    }
    composition = Composition.from_recipe(recipe)
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in peft.weights(composition.model).values():
            weight.add_(torch.randn(weight.shape, generator=random) * 0.2)
    return composition


@pytest.mark.parametrize("which", ["tiny", "tiny_t5", "tiny_adapted"])
def test_a_second_turn_answers_as_from_nothing(which, request):
    composition = request.getfixturevalue(which)
    chat = composition.chat(sampling=SHORT)
    for turn, (question, media) in enumerate([("what is this?", [picture(1)]), ("a red cat?", []), ("and?", [picture(2)])]):
        answer = chat.ask(question, images=media)
        assert answer.text == fresh(composition, chat.messages[:-1]), turn


def test_a_second_turn_encodes_nothing_and_prefills_only_what_is_new(tiny):
    chat = tiny.chat(sampling=SHORT)
    first = chat.ask("what is this?", images=[picture(1)], audio=[sound()])
    assert first.tokens["cached"] == 0
    assert first.tokens["prefilled"] == first.tokens["prompt"]
    encoded, held = tiny.model.encoded, list(chat._held)
    second = chat.ask("is it red?")
    assert tiny.model.encoded == encoded
    # A random model writes tokens that no tokenizer would: what is reused is what the two prompts really share.
    prompt = tiny.processor.encode(chat.messages[:-1], generate=True, prepared=chat._media).identity()
    shared = next((i for i, (a, b) in enumerate(zip(held, prompt, strict=False)) if a != b), len(held))
    assert shared >= first.tokens["prompt"]
    assert second.tokens["cached"] == shared
    assert second.tokens["prefilled"] == len(prompt) - shared


def test_the_backbone_itself_sees_only_the_new_positions(tiny, monkeypatch):
    """The count is measured at the backbone's door, not taken from the answer."""
    seen: list[int] = []
    inner = tiny.model.backbone.lm.model.forward

    def spy(*args, **kwargs):
        given = kwargs.get("inputs_embeds")
        seen.append((given if given is not None else kwargs["input_ids"]).shape[1])
        return inner(*args, **kwargs)

    monkeypatch.setattr(tiny.model.backbone.lm.model, "forward", spy)
    chat = tiny.chat(sampling=SHORT)
    chat.ask("what is this?", images=[picture(1)])
    seen.clear()
    second = chat.ask("is it red?")
    assert seen[0] == second.tokens["prefilled"]
    assert set(seen[1:]) <= {1}


def test_the_same_picture_sent_again_is_not_encoded_again(tiny):
    chat = tiny.chat(sampling=SHORT)
    chat.ask("what is this?", images=[picture(1)])
    encoded = tiny.model.encoded
    chat.ask("and this?", images=[picture(1)])
    chat.reset()
    chat.ask("what is this?", images=[picture(1)])
    assert tiny.model.encoded == encoded


def test_streamed_text_is_the_answer(tiny):
    pieces: list[str] = []
    answer = tiny.ask("what is this?", images=[picture(4)], sampling=Sampling(max_new_tokens=20), on_text=pieces.append)
    assert "".join(pieces) == answer.text
    assert len(pieces) > 1


@pytest.mark.parametrize("which", ["tiny", "tiny_t5", "tiny_adapted"])
def test_a_batch_of_different_media_answers_as_one_at_a_time(which, request):
    composition = request.getfixturevalue(which)
    conversations = [
        [user("hello")],
        [user(image(picture(1)), "what is this?")],
        [user(image(picture(2)), image(picture(3)), audio(sound(0.8)), "which?")],
        [Message("user", (audio(sound(0.3)), text("repeat")))],
    ]
    together = composition.generate(conversations, SHORT)
    alone = [composition.generate([c], SHORT)[0] for c in conversations]
    assert together == alone


def test_sampling_with_a_seed_repeats_itself_and_other_seeds_differ(tiny):
    def draw(seed):
        return tiny.ask("what?", sampling=Sampling(max_new_tokens=24, temperature=1.0, seed=seed)).text

    assert draw(1) == draw(1)
    assert len({draw(seed) for seed in range(4)}) > 1


def test_beams_find_an_answer_at_least_as_likely_as_greedy(tiny):
    example = tiny.processor.encode([user("what?")], generate=True)

    def score(sampling):
        out = generate(tiny.model, [example], sampling, tiny.processor.stop_ids, tiny.processor.pad_id)
        ids = torch.cat([example.ids, torch.tensor(out.ids[0])])
        logits = tiny.model.backbone.lm(input_ids=ids[None]).logits[0].log_softmax(-1)
        at = torch.arange(len(example), len(ids))
        return logits[at - 1, ids[at]].mean()

    with torch.no_grad():
        assert score(Sampling(max_new_tokens=8, beams=6)) >= score(Sampling(max_new_tokens=8)) - 1e-4


def test_a_failed_turn_leaves_the_history_as_it_was(tiny, monkeypatch):
    chat = tiny.chat(sampling=SHORT)
    chat.ask("hello")
    before = list(chat.messages)
    with pytest.raises(MediaError):
        chat.ask("what is this?", images=["no-such-file.png"])
    assert chat.messages == before
    assert chat.ask("is it red?").text == fresh(tiny, chat.messages[:-1])


def test_a_turn_interrupted_while_it_speaks_leaves_nothing_behind(tiny):
    """The cache grows while tokens come; a turn that dies in the middle must not lend it to the next."""

    def interrupt(text: str) -> None:
        raise KeyboardInterrupt

    chat = tiny.chat(sampling=Sampling(max_new_tokens=12))
    chat.ask("what is this?", images=[picture(1)])
    before = list(chat.messages)
    with pytest.raises(KeyboardInterrupt):
        chat.ask("is it red?", on_text=interrupt)
    assert chat.messages == before
    chat.sampling = SHORT
    assert chat.ask("is it blue?").text == fresh(tiny, chat.messages[:-1])


def test_an_empty_turn_is_refused(tiny):
    with pytest.raises(ContentError, match="nothing to answer"):
        tiny.chat().ask("")


def test_a_modality_the_model_lacks_is_refused_by_name(tiny):
    with pytest.raises(MediaError, match="takes no video; it takes audio, image"):
        tiny.chat().say(Message.from_json({"role": "user", "content": [{"type": "video", "video": "clip.mp4"}]}))
