"""Documents: what a reader sees, in the reader's order, cut between paragraphs; and the message that they become."""

from __future__ import annotations

import random

import pytest

from polymodal import assets
from polymodal.content import Message, Part, assistant, image, text, user
from polymodal.errors import ContentError, DataError
from polymodal.model.processor import Processor
from polymodal.training.sources import build_source
from polymodal.training.sources.interleaved import MEDIA_CHARACTERS, parse, windows
from tests.conftest import make_tokenizer, picture

RNG = random.Random(0)
HTML = """<!doctype html><html><head><title>No text</title><style>p {}</style>
<body><nav>Home</nav><h1>Cats &amp; dogs</h1>
<p>A <b>cat</b>
   sleeps.<br>It dreams.<p>Look: <img src="a%20cat.png?v=2" alt="SPOILER"> there.
<script>alert("<p>no</p>")</script>
<ul><li>one<li>two</ul>
<pre>def f():
    pass
</pre>
<audio controls><source src="meow.wav"></audio><video src="v.mp4"></video>
<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table></body></html>"""


def shown(parts):
    return [part.text if part.type == "text" else (part.type, part.media) for part in parts]


def test_a_page_is_what_a_reader_sees_in_its_order(tmp_path):
    assert shown(parse(HTML, tmp_path)) == [
        "Cats & dogs\n\n",
        "A cat sleeps.\nIt dreams.\n\n",
        "Look:\n\n",
        ("image", str(tmp_path / "a cat.png")),
        "there.\n\n",
        "- one\n\n",
        "- two\n\n",
        "def f():\n    pass\n\n",
        ("audio", str(tmp_path / "meow.wav")),
        ("video", str(tmp_path / "v.mp4")),
        "a\tb\n\n",
        "1\t2\n\n",
    ]


def source(folder, **options):
    return build_source("mine", {"kind": "interleaved", "path": str(folder), **options})


def test_the_folder_may_be_that_of_an_asset(tmp_path, monkeypatch):
    (tmp_path / "page.html").write_text("<p>A page.")
    monkeypatch.setattr(assets, "path", {"manual": tmp_path}.__getitem__)
    assert source("asset:manual").sample(0, RNG).messages == [Message("document", (text("A page.\n\n"),))]


def test_markdown_reads_as_the_page_it_describes(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/post.md").write_text(
        "---\ntitle: x\n---\n# Cats\n\nA *cat*\nsleeps.\n\n![SPOILER](../cat.png)\n\n- one\n\n- [two](http://x)\n"
    )
    sample = source(tmp_path).sample(0, RNG)
    assert sample.name == "sub/post.md#1"
    (message,) = sample.messages
    assert message.role == "document"
    assert shown(message.parts) == [
        "Cats\n\n",
        "A cat sleeps.\n\n",
        ("image", str(tmp_path / "sub/../cat.png")),
        "- one\n\n",
        "- two\n\n",
    ]


def test_windows_hold_every_paragraph_once_and_never_more_than_they_may():
    rng = random.Random(1)
    parts = [text("x" * rng.randint(1, 400)) if rng.random() < 0.8 else image("a.png") for _ in range(200)]
    cut = windows(parts, 1000)
    assert [part for window in cut for part in window][: len(parts)] == parts[: sum(map(len, cut))]
    for window in cut:
        size = sum(len(part.text) if part.text else MEDIA_CHARACTERS for part in window)
        assert size <= 1000 or sum(part.type == "text" for part in window) <= 1
    assert len(cut) > 10


def test_only_a_paragraph_longer_than_a_window_is_cut_and_then_at_a_sentence():
    long = " ".join(f"Sentence number {i} is here." for i in range(60)) + "\n\n"
    cut = windows([text("Before.\n\n"), text(long)], 300)
    joined = "".join(part.text for window in cut for part in window)
    assert joined == "Before.\n\n" + long
    assert all(len(part.text) <= 300 for window in cut for part in window)
    assert all(part.text.rstrip().endswith(".") for window in cut for part in window)
    unbroken = windows([text("y" * 1000)], 300)
    assert all(len(part.text) <= 300 for window in unbroken for part in window)
    assert sum(part.text.count("y") for window in unbroken for part in window) == 1000


def test_every_window_of_a_document_is_a_sample(tmp_path):
    (tmp_path / "long.html").write_text("".join(f"<p>{'word ' * 40}{i}</p>" for i in range(20)))
    (tmp_path / "short.html").write_text("<p>short")
    found = source(tmp_path, window=500)
    names = [found.sample(i, RNG).name for i in range(len(found))]
    assert names == [f"long.html#{i + 1}" for i in range(len(found) - 1)] + ["short.html#1"]
    assert len(found) == 11


@pytest.mark.parametrize(
    ("content", "said"),
    [("<img src=a.png>", "bad.html#1: the document holds no text"), (b"<p>caf\xe9", "bad.html#1: cannot be read")],
)
def test_a_document_that_cannot_be_used_names_itself(tmp_path, content, said):
    (tmp_path / "bad.html").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=said):
        source(tmp_path).sample(0, RNG)


def test_a_folder_without_documents_and_a_window_without_room_are_refused(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        source(tmp_path / "gone")
    with pytest.raises(DataError, match="holds no document"):
        source(tmp_path)
    with pytest.raises(DataError, match="window: 10 "):
        source(tmp_path, window=10)


def document(*parts):
    return [Message("document", tuple(text(p) if isinstance(p, str) else p for p in parts))]


def test_all_text_of_a_document_is_learned_and_no_template_is_around_it(tiny):
    example = tiny.processor.encode(document("The cat.\n\n", image(picture(1)), "It sleeps.\n\n"))
    decode = tiny.processor.tokenizer.decode
    assert decode(example.ids[example.supervised]) == "The cat.\n\nIt sleeps.\n\n</s>"
    (span,) = example.spans
    assert not example.supervised[span.start : span.start + span.length].any()
    assert "<|im_start|>" not in decode(example.ids)


def test_a_document_begins_as_its_tokenizer_begins_a_text():
    from tokenizers.processors import TemplateProcessing

    plain, begins = make_tokenizer(), make_tokenizer()
    begins.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    for tokenizer, first in ((plain, "a"), (begins, "<s>")):
        example = Processor(tokenizer, {}).encode(document("a cat"))
        assert tokenizer.decode(example.ids[:1]) == first
        assert tokenizer.decode(example.ids[example.supervised]) == "a cat</s>"


def test_a_document_that_is_continued_has_no_end(tiny):
    whole = tiny.processor.encode(document("a red cat"))
    prompt = tiny.processor.encode(document("a red cat"), generate=True)
    assert prompt.ids.tolist() == whole.ids.tolist()[:-1]


def test_a_document_over_the_limit_loses_its_last_parts_and_never_half_a_picture(tiny):
    parts = [part for i in range(8) for part in (f"Paragraph number {i} of them.\n\n", image(picture(i)))]
    whole = tiny.processor.encode(document(*parts))
    for limit in range(30, len(whole) + 1, 7):
        example = tiny.processor.encode(document(*parts), limit=limit)
        assert len(example) <= limit
        kept = len(example.messages[0].parts)
        assert example.messages[0].parts == whole.messages[0].parts[:kept]
        assert all(span.length == 16 for span in example.spans)
    with pytest.raises(DataError, match="over the limit of 8"):
        tiny.processor.encode(document("x " * 50), limit=8)


def test_a_document_stands_alone_and_not_before_a_seq2seq_backbone(tiny, tiny_t5):
    with pytest.raises(ContentError, match="a document stands alone"):
        tiny.processor.encode([*document("x"), user("y"), assistant("z")])
    with pytest.raises(ContentError, match="seq2seq"):
        tiny_t5.processor.encode(document("x"))


def test_a_document_is_a_row_of_messages_too(tmp_path):
    (tmp_path / "d.jsonl").write_text(
        '[{"role": "document", "content": [{"type": "image", "image": "a.png"}, "A cat."]}]\n'
    )
    found = build_source("mine", {"kind": "messages", "path": str(tmp_path / "d.jsonl")})
    parts = (Part("image", media=str(tmp_path / "a.png")), text("A cat."))
    assert found.sample(0, RNG).messages == [Message("document", parts)]
