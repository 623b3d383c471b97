"""The question that stands with a medium, on its way to a projector that reads it."""

from __future__ import annotations

import json

import pytest
import torch
from tests.conftest import CLIP, make_tokenizer, picture

from polymodal.content import Message, Part, assistant, image, text, user
from polymodal.errors import ContentError
from polymodal.model.composition import Composition
from polymodal.model.generation import Sampling, generate
from polymodal.model.sequence import collate
from polymodal.training import dump

SHORT = Sampling(max_new_tokens=6)


@pytest.fixture(scope="module")
def asked(tiny_recipe, tmp_path_factory) -> Composition:
    """Pictures through a Q-Former that reads the question, with weights far from zero, where it matters what is read."""
    folder = tmp_path_factory.mktemp("words")
    make_tokenizer().save_pretrained(folder)
    projector = {"kind": "q-former", "queries": 3, "depth": 2, "hidden": 16, "heads": 2, "tokenizer": str(folder)}
    composition = Composition.from_recipe(
        tiny_recipe(image={"encoder": {"kind": "vision", "config": dict(CLIP)}, "projector": projector})
    )
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in composition.model.modalities["image"].projector.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=random) * 0.5)
    return composition


def encoded(composition: Composition, *turns: Message):
    return composition.processor.encode([*turns, assistant("a red cat")])


def test_the_question_is_the_text_of_the_turn_in_which_the_picture_stands(asked, tiny):
    turns = [
        user("look:", image(picture(1)), " what is this? "),
        assistant("a cat"),
        user(image(picture(2)), image(picture(1)), "and these?"),
    ]
    spans = encoded(asked, *turns).spans
    assert [span.question for span in spans] == ["look: what is this?", "and these?", "and these?"]
    assert [span.question for span in encoded(tiny, *turns).spans] == [None] * 3


def test_the_same_picture_is_seen_otherwise_for_another_question_and_each_as_alone(asked):
    """Also packed and padded: in logits. A longer question beside it fills it up, and changes nothing."""
    long = "is the quick brown fox over a lazy dog? " * 3
    examples = [encoded(asked, user(image(picture(1)), question)) for question in ("what?", long, "is it red?")]
    pad, model = asked.processor.pad_id, asked.model
    with torch.no_grad():
        together = model.features((batch := collate(examples, pad)).media, batch.questions)
        assert not torch.allclose(together[0], together[2], atol=1e-3)
        outs = [model(collate(examples, pad)), model(collate(examples, pad, packing=400))]
        for e, example in enumerate(examples):
            alone = model(collate([example], pad))
            assert torch.allclose(together[e], alone.projected[0], atol=1e-5)
            for out in outs:
                assert torch.allclose(out.logits[out.owner == e], alone.logits, atol=5e-5)


@pytest.mark.parametrize(
    "messages",
    [
        [user(image(picture(1))), assistant("a cat")],
        [user(image(picture(1)), " "), assistant("a cat"), user("is it red?"), assistant("a")],
        [Message("document", (image(picture(1)), text("a red cat")))],
    ],
    ids=["nothing", "later", "the answer"],
)
def test_a_picture_without_a_question_is_refused(asked, messages):
    """What follows it is not its question: an answer, a later turn, the text of a document that is to be learned."""
    with pytest.raises(
        ContentError, match="what this model sees of the image depends on the question: ask in the same turn"
    ):
        asked.processor.encode(messages)


def test_exchanges_that_are_dropped_leave_each_picture_its_question(asked):
    turns = [user(image(picture(1)), "what is this?"), assistant("a cat"), user(image(picture(1)), "is it red?")]
    whole = encoded(asked, *turns)
    cut = asked.processor.truncate(whole, len(whole) - 1)
    assert [span.question for span in cut.spans] == ["is it red?"]


def fresh(composition: Composition, history: list[Message]) -> str | None:
    example = composition.processor.encode(history, generate=True)
    out = generate(composition.model, [example], SHORT, composition.processor.stop_ids, composition.processor.pad_id)
    return composition.processor.decode(out.ids[0])[0].text


def test_in_a_conversation_a_picture_keeps_its_question_and_is_encoded_once(asked):
    """Later turns ask on; shown again with another question, it is another one in what is cached, but not encoded again."""
    chat = asked.chat(sampling=SHORT)
    for turn, (question, media) in enumerate(
        [("what is this?", [picture(1)]), ("a red cat?", []), ("is it blue?", [picture(1)]), ("and?", [])]
    ):
        count = asked.model.encoded
        answer = chat.ask(question, images=media)
        assert asked.model.encoded == count + (turn == 0)
        assert answer.text == fresh(asked, chat.messages[:-1]), turn
        assert turn in (0, 2) or answer.tokens["cached"] > 0
    identity = asked.processor.encode(chat.messages[:-1], generate=True).identity()
    assert {place[0].partition("?")[2] for place in identity if isinstance(place, tuple)} == {
        "what is this?",
        "is it blue?",
    }


def test_ready_features_have_their_question_too(asked):
    example = encoded(asked, user(image(picture(1)), "what?"))
    with torch.no_grad():
        (features,) = asked.model.encode(example.media)
        ready = encoded(asked, user(Part("image", media=features), "what?"))
        outs = [asked.model(collate([each], asked.processor.pad_id)).logits for each in (example, ready)]
    assert torch.allclose(*outs, atol=1e-5)


def test_a_checkpoint_holds_the_tokenizer_of_the_questions(asked, tmp_path):
    asked.save(tmp_path / "model")
    manifest = json.loads((tmp_path / "model/polymodal.json").read_text())
    assert manifest["recipe"]["inputs"]["image"]["projector"]["tokenizer"]["model"]["type"] == "BPE"
    again = Composition.load(tmp_path / "model")
    example = encoded(asked, user(image(picture(1)), "is it red?"))
    with torch.no_grad():
        logits = [c.model(collate([example], c.processor.pad_id)).logits for c in (asked, again)]
    assert torch.equal(*logits)


def test_a_batch_that_is_kept_for_later_keeps_its_questions(asked, tmp_path):
    batch = collate([encoded(asked, user(image(picture(1)), "is it red?"))], asked.processor.pad_id)
    dump.write(tmp_path, [batch], 0, [{}])
    again = dump.read(tmp_path / "0-0.json")
    assert again.questions == ["is it red?"]
    with torch.no_grad():
        assert torch.equal(asked.model(batch).logits, asked.model(again).logits)
