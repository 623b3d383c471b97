from __future__ import annotations

import random

import pytest
from PIL import Image

from polymodal.assets.docbook import SMALLEST, docbook
from polymodal.errors import AssetError
from polymodal.training.sources import build_source

PAGE = """<?xml version="1.0" encoding="UTF-8"?>
<html xmlns="http://www.w3.org/1999/xhtml"><head><title>Cartoon</title></head><body>
<div class="navheader"><img src="images/big.png"/> Next</div>
<div class="sect1"><h3>1. Cartoon</h3><div class="toc">1.1</div>
<div class="figure"><p>Figure 1. A <span class="quote">“<span>taj</span>”</span></p>
<div><img src="images/big.png" alt="x"/></div></div>
<div class="note"><table><tr><td><img src="images/big.png" alt="[Note]"/></td><th>Note</th></tr></table></div>
<p>In <acronym>GIMP</acronym> you press
<span class="k"><img src="images/small.png" alt="button"/></span>, <b>once</b>.</p></div>
<div class="navfooter">Report a bug</div></body></html>"""


@pytest.fixture
def kept(tmp_path):
    home = tmp_path / "kept"
    (home / "images").mkdir(parents=True)
    Image.new("RGB", (SMALLEST, 9), "red").save(home / "images/big.png")
    Image.new("RGB", (SMALLEST - 1, 9), "red").save(home / "images/small.png")
    (home / "cartoon.html").write_text(PAGE)
    (home / "index.html").write_text(PAGE.replace("big.png", "small.png"))
    return home


def test_the_source_interleaved_reads_of_a_page_what_its_reader_reads(kept, tmp_path):
    docbook(kept, tmp_path / "ready")
    source = build_source("manual", {"kind": "interleaved", "path": str(tmp_path / "ready")})
    assert len(source) == 1  # a page without pictures is left out
    (message,) = source.sample(0, random.Random(0)).messages
    assert [part.text or part.media for part in message.parts] == [
        "1. Cartoon\n\n",
        "Figure 1. A “taj”\n\n",
        str(tmp_path / "ready/images/big.png"),
        "Note\n\n",
        "In GIMP you press , once.\n\n",
    ]
    assert not (tmp_path / "ready/images/small.png").exists()


@pytest.mark.parametrize("spoil", ["no pages", "not XHTML", "no picture"])
def test_a_manual_that_is_not_whole_is_refused(kept, tmp_path, spoil):
    reasons = {"no pages": "found none", "not XHTML": "cartoon.html: not a page", "no picture": "'big.png' cannot be read"}
    if spoil == "no pages":
        (kept / "cartoon.html").unlink()
    elif spoil == "not XHTML":
        (kept / "cartoon.html").write_text("<p>open")
    else:
        (kept / "images/big.png").unlink()
    with pytest.raises(AssetError, match=reasons[spoil]):
        docbook(kept, tmp_path / "ready")
