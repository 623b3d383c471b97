"""Documents with pictures between their paragraphs. Decides what a document's text is, and where a long one is cut.

An HTML page, or a Markdown file by way of HTML, becomes a message of the role `document`: paragraphs and media in their
order. Text is what a reader sees, without markup; alternative texts are left out, for they would tell what the picture has
to. Scripts, styles and navigation are no text.

A window is a run of whole paragraphs of at most `window` characters, in which a picture counts for 256. Characters, because
a source knows no tokenizer; the processor still holds the window to the stage's `limit` by leaving out its last paragraphs,
and `polymodal check` says how often it has to.
"""

from __future__ import annotations

import random
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from polymodal.content import Message, Part
from polymodal.errors import DataError
from polymodal.media import gate
from polymodal.parts.sources import locate
from polymodal.training.data import Sample

SUFFIXES = (".html", ".htm", ".md", ".markdown")
MEDIA_CHARACTERS = 256
_MEDIA = {"img": "image", "audio": "audio", "video": "video"}
_UNSEEN = {"script", "style", "template", "noscript", "title", "nav", "svg", "button", "form"}
_INLINE = {"a", "abbr", "b", "bdi", "bdo", "cite", "code", "data", "del", "dfn", "em", "i", "ins", "kbd", "mark", "q", "s"}
_INLINE |= {"samp", "small", "span", "strong", "sub", "sup", "time", "u", "var", "wbr", "font", "label", "picture"}
_INLINE |= {"source", "td", "th"}
_SENTENCE = re.compile(r"(?<=[.!?。！？])\s+|(?<=[。！？])")


class InterleavedSource:
    """HTML and Markdown files of a folder, or of `asset:NAME`, and its folders, cut into windows. The index reads every
    document once; what a window holds is read again when it is asked for. Raises `DataError` naming the document."""

    def __init__(self, path: str, window: int = 3000) -> None:
        self.folder = Path(locate(path) if path.startswith("asset:") else path).expanduser()
        self.window = window
        if window < MEDIA_CHARACTERS:
            raise DataError(f"window: {window} characters are fewer than a picture counts for ({MEDIA_CHARACTERS})")
        if not self.folder.is_dir():
            raise DataError(f"{gate.display(path)}: there is no such folder")
        self.windows: list[tuple[Path, int]] = []
        for file in sorted(self.folder.rglob("*")):
            if file.suffix.lower() in SUFFIXES and file.is_file():
                # A document that cannot be read has a place too: `sample` then says why.
                self.windows += [(file, i) for i in range(max(1, len(windows(_parts(file), window))))]
        if not self.windows:
            raise DataError(f"{gate.display(path)}: holds no document ({', '.join(SUFFIXES)})")

    def __len__(self) -> int:
        return len(self.windows)

    def sample(self, index: int, rng: random.Random) -> Sample:
        file, number = self.windows[index]
        name = f"{file.relative_to(self.folder)}#{number + 1}"
        try:
            cut = windows(parse(_read(file), file.parent), self.window)
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{name}: cannot be read ({' '.join(str(error).split())})") from error
        if number >= len(cut):
            raise DataError(f"{name}: the document holds no text" + (" any more" if number else ""))
        return Sample([Message("document", tuple(cut[number]))], name)


def parse(html: str, folder: Path) -> list[Part]:
    """The paragraphs and media of a page in their order; paths of media are relative to `folder`."""
    reader = _Reader(folder)
    reader.feed(html)
    reader.close()
    reader.end_paragraph()
    return reader.parts


def windows(parts: list[Part], size: int) -> list[list[Part]]:
    """Runs of whole paragraphs and media of at most `size` characters, in which there is text. Only a paragraph that is
    longer than a window is cut, at the end of a sentence if it has one."""
    runs: list[list[Part]] = [[]]
    used = 0
    for part in (piece for whole in parts for piece in _pieces(whole, size)):
        cost = MEDIA_CHARACTERS if part.text is None else len(part.text)
        if used + cost > size and any(p.text for p in runs[-1]):
            runs.append([])
            used = 0
        runs[-1].append(part)
        used += cost
    return [run for run in runs if any(part.text for part in run)]


def _pieces(part: Part, size: int) -> list[Part]:
    if part.text is None or len(part.text) <= size:
        return [part]
    lines = [""]
    for sentence in _SENTENCE.split(part.text.strip()):
        for start in range(0, len(sentence), size - 2):
            piece = sentence[start : start + size - 2]
            if len(lines[-1]) + 1 + len(piece) > size - 2:
                lines.append(piece)
            else:
                lines[-1] = f"{lines[-1]} {piece}".strip()
    return [Part("text", text=f"{line}\n\n" if line is lines[-1] else f"{line} ") for line in lines if line]


def _read(file: Path) -> str:
    text = file.read_text(encoding="utf-8-sig")
    if file.suffix.lower() in (".html", ".htm"):
        return text
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable("table").render(_without_front_matter(text))


def _parts(file: Path) -> list[Part]:
    try:
        return parse(_read(file), file.parent)
    except (OSError, UnicodeDecodeError):
        return []


def _without_front_matter(text: str) -> str:
    return re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)


class _Reader(HTMLParser):
    """Collects paragraphs. Every element that is not within a line ends one."""

    def __init__(self, folder: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.folder, self.parts = folder, list[Part]()
        self.text: list[str] = []
        self.unseen = self.preformatted = 0
        self.player: str | None = None  # the <audio> or <video> that is open and has no file yet

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.unseen += tag in _UNSEEN
        if tag == "br":
            self.text.append("\n")
        elif tag not in _INLINE and not (tag == "p" and "".join(self.text).strip() == "-"):  # <li><p>
            self.end_paragraph()
        self.preformatted += tag == "pre"
        if tag == "li":
            self.text.append("- ")
        found = dict(attrs).get("src")
        if tag in _MEDIA or (tag == "source" and self.player):
            modality = _MEDIA.get(tag) or self.player
            if found and modality and not self.unseen:
                self.parts.append(Part(modality, media=self._place(found)))
            self.player = modality if modality != "image" and not found else None

    def handle_endtag(self, tag: str) -> None:
        self.unseen -= tag in _UNSEEN and self.unseen > 0
        if tag in ("td", "th"):
            self.text.append("\t")
        elif tag not in _INLINE:
            self.end_paragraph()
        self.preformatted -= tag == "pre" and self.preformatted > 0
        if tag in ("audio", "video"):
            self.player = None

    def handle_data(self, data: str) -> None:
        if not self.unseen:
            self.text.append(data if self.preformatted else re.sub(r"\s+", " ", data))

    def end_paragraph(self) -> None:
        text = "".join(self.text)
        self.text = []
        text = text.strip("\n") if self.preformatted else re.sub(r" *\n *", "\n", re.sub(r" +", " ", text)).strip()
        if text.strip() not in ("", "-"):
            self.parts.append(Part("text", text=f"{text}\n\n"))

    def _place(self, source: str) -> Any:
        """A path within a page is a URL: `my%20cat.png?v=2` is the file `my cat.png`."""
        if source[:5].lower() == "data:" or "://" in source or source.startswith("//"):
            return source
        return str(self.folder / unquote(urlsplit(source).path))
