"""The chat page: what it may load, and, in a real browser, that a person can use it."""

from __future__ import annotations

import asyncio
import base64
import io
import re

import httpx
import pytest
import soundfile

from polymodal.serving.app import create
from polymodal.serving.decoding import Decoders
from polymodal.serving.keys import Keys
from polymodal.serving.routes.page import FILES
from tests.serving.browser import Browser, installed
from tests.serving.conftest import KEY, LIMITS, asks, code, png, serving, wav

real = pytest.mark.skipif(installed() is None, reason="no Chromium is installed: `make clients`")


def test_the_page_loads_nothing_but_its_own_files(http):
    page = http.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert not re.search(r"unsafe|https?:|\*", policy)
    named = set()
    for name, data in FILES.items():
        if not name.endswith((".html", ".js", ".css")):
            continue
        text = data.decode()
        assert set(re.findall(r"https?://[^\s\"'`]+", text)) <= {"http://www.w3.org/2000/svg"}  # the name of a format
        assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\(|<script>| on\w+=\"", text)
        named |= set(re.findall(r"[\"`](?:/page/|\./)([\w.]+)[\"`]", text))
    assert named <= set(FILES)
    for name in FILES:
        assert (http.get(f"/page/{name}").status_code == 200) == (name != "index.html")
    for path in ("/page/", "/page/index.html", "/page/..%2fapp.py", "/page/../app.py", "/page/%2e%2e", "/page/app.py"):
        assert http.get(path).status_code == 404


def test_a_link_leads_to_the_page_and_other_origins_to_nothing_else(http):
    follows = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert http.get("/", headers=follows).status_code == 200
    assert code(http.get("/v1/models", headers=follows)) == "origin_not_allowed"
    assert code(http.get("/", headers={**follows, "Sec-Fetch-Mode": "no-cors"})) == "origin_not_allowed"


def test_what_the_model_is_names_kinds_and_no_paths(http, tokenizer_folder):
    parts = http.get("/v1/models").json()["data"][0]["parts"]
    assert [(part["modality"], part["encoder"], part["projector"]) for part in parts["inputs"]] == [
        ("image", "vision", "mlp"),
        ("audio", "whisper", "mlp"),
    ]
    assert [(part["name"], part["projector"], part["generator"]) for part in parts["outputs"]] == [
        ("image", "transformer", "diffusion"),
        ("voice", None, "Tone"),
    ]
    assert parts["backbone"]["kind"] == "llama"
    assert parts["backbone"]["parameters"] > 10_000
    assert tokenizer_folder not in str(parts)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def opened(browser: Browser, address: str) -> None:
    browser.log.clear()
    browser.open(f"{address}/", "document.querySelector('#model').textContent")
    browser.run("(document.querySelector('#tokens').value = 8, document.querySelector('#seed').value = 4)")


def asked(browser: Browser, words: str) -> None:
    """Type, press Enter, and wait for the answer."""
    before = browser.run("document.querySelectorAll('.assistant').length")
    browser.run("document.querySelector('#words').focus()")
    browser.type(words)
    browser.press("Enter", "\r")
    browser.until(f"document.querySelectorAll('.assistant').length > {before}")
    browser.until("document.querySelector('.assistant:last-child').getAttribute('aria-busy') === 'false'")


@real
def test_upload_a_picture_ask_and_see_the_answer(browser, address, http, tmp_path):
    (tmp_path / "cat.png").write_bytes(png(3))
    opened(browser, address)
    browser.choose("#files", tmp_path / "cat.png")
    browser.until("document.querySelector('#tray img')?.naturalWidth === 40")
    asked(browser, "what is this?")
    body = asks(png(3), "what is this?", seed=4)
    expected = http.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]["content"]
    parts = [{"type": "text", "text": expected}] if isinstance(expected, str) else expected
    shown = (
        "[...document.querySelectorAll('.assistant p, .assistant img')].map((e) => e.tagName === 'P' ? e.textContent : '')"
    )
    assert browser.run(shown) == [part.get("text", "") for part in parts]
    assert browser.run("document.querySelector('.user img').naturalWidth") == 40
    assert browser.run("document.querySelector('#status').textContent") == "The answer is complete."
    assert browser.run("document.activeElement.id") == "words"
    asked(browser, "and now?")
    assert browser.run("document.querySelectorAll('.turn').length") == 4
    assert browser.log == []  # no error, nothing that the policy refused


@real
def test_an_example_is_asked_by_a_click_and_a_file_can_be_dropped(browser, address):
    opened(browser, address)
    texts = browser.run("[...document.querySelectorAll('#examples button')].map((each) => each.textContent)")
    assert "What kind of thing is this?" in texts
    assert "Show me a spinning star." not in texts  # this model makes no clips
    browser.run("document.querySelector('#examples button').click()")
    browser.until("document.querySelector('.assistant:last-child')?.getAttribute('aria-busy') === 'false'")
    assert browser.run("document.querySelector('.user img').naturalWidth") > 100
    dropped = base64.b64encode(png(2)).decode()
    browser.run(
        f"""(() => {{
        const bytes = Uint8Array.from(atob("{dropped}"), (each) => each.charCodeAt(0)), dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File([bytes], "dropped.png", {{ type: "image/png" }}));
        document.body.dispatchEvent(new DragEvent("drop", {{ dataTransfer, bubbles: true, cancelable: true }}));
        }})()"""
    )
    browser.until("document.querySelector('#tray img')?.naturalWidth === 40")
    assert browser.log == []


@real
def test_what_is_made_is_shown_and_goes_back_in_the_next_turn(browser, address):
    opened(browser, address)
    browser.run("document.querySelector('#tokens').value = 30")
    asked(browser, "draw a cat")
    browser.until("document.querySelector('.assistant img')?.naturalWidth === 8")
    asked(browser, "what is this?")
    assert browser.run("document.querySelector('#problem').textContent") == ""
    assert browser.run("document.querySelectorAll('.turn').length") == 4
    assert browser.log == []


@real
def test_words_are_never_markup(browser, address):
    opened(browser, address)
    asked(browser, "<img src=x onerror=alert(1)><b>hi</b>")
    assert browser.run("document.querySelector('.user p').textContent") == "<img src=x onerror=alert(1)><b>hi</b>"
    assert browser.run("document.querySelectorAll('.user img, .turn b, .turn [onerror]').length") == 0


@real
def test_sound_is_recorded_and_converted(browser, address, tmp_path):
    opened(browser, address)
    browser.run("document.querySelector('#record-audio').click()")
    browser.until("document.querySelector('#record-audio').getAttribute('aria-pressed') === 'true'")
    browser.run("new Promise((go) => setTimeout(go, 1200))")
    browser.run("document.querySelector('#record-audio').click()")
    browser.until("document.querySelector('#tray audio')")
    uri = browser.run("document.querySelector('#tray audio').src")
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert rate == 16_000
    assert samples.ndim == 1
    assert len(samples) > 8_000
    assert abs(samples).max() > 0.01  # the test device beeps
    asked(browser, "what did you hear?")
    assert browser.run("document.querySelector('#problem').textContent") == ""
    (tmp_path / "tone.wav").write_bytes(wav(0.5))
    browser.choose("#files", tmp_path / "tone.wav")
    browser.until("document.querySelector('#tray audio')")
    uri = browser.run("document.querySelector('#tray audio').src")
    expected, given = soundfile.read(io.BytesIO(wav(0.5)))[0], soundfile.read(io.BytesIO(base64.b64decode(uri[22:])))[0]
    assert abs(expected - given).max() < 1e-3
    assert browser.log == []


@real
def test_clips_as_browsers_record_them_pass_the_gate(browser, address):
    opened(browser, address)
    recorded = """(async () => {
        const { recording, opened } = await import("/page/media.js");
        const running = await recording("video", null);
        await new Promise((go) => setTimeout(go, 1500));
        running.stop();
        return (await opened(await running.done, ["video"])).url;
    })()"""
    header, _, payload = browser.run(recorded).partition(",")
    assert header in ("data:video/webm;base64", "data:video/mp4;base64")

    async def decode():
        decoders = Decoders(LIMITS)
        try:
            return await decoders.decode("video", base64.b64decode(payload), 300_000_000)
        finally:
            await decoders.close()

    frames, rate = asyncio.run(decode())[0].media
    assert len(frames) > 5
    assert frames[0].size == (320, 240)
    assert 1 < rate < 40


@real
def test_what_cannot_be_attached_is_refused_by_name(browser, address, tmp_path):
    opened(browser, address)
    for name, data, said in (
        ("notes.txt", b"hello", "notes.txt: this page takes pictures, recordings and clips."),
        ("clip.mp4", b"hello", "clip.mp4: this model takes no video; it takes audio, image."),
        ("broken.wav", b"hello", "broken.wav: this browser cannot decode this recording."),
    ):
        (tmp_path / name).write_bytes(data)
        browser.choose("#files", tmp_path / name)
        browser.until(f"document.querySelector('#problem').textContent === {said!r}", 20)
    (tmp_path / "broken.png").write_bytes(b"hello")  # a picture by its name: the server says what it is
    browser.choose("#files", tmp_path / "broken.png")
    browser.until("document.querySelector('#tray img')")
    browser.run("(document.querySelector('#words').value = 'hi', document.querySelector('#send').click())")
    browser.until("document.querySelector('#problem').textContent.startsWith('The bytes of the media are of none')")
    assert browser.run("document.querySelector('#words').value") == "hi"  # nothing is lost
    assert browser.run("document.querySelectorAll('#tray li').length") == 1
    browser.run("document.querySelector('#tray button').click()")
    assert browser.run("document.querySelectorAll('#tray li').length") == 0


@real
def test_with_keys_the_page_asks_for_one(browser, engine):
    app = create(engine, LIMITS, Keys([KEY]), name="tiny", closes=False)
    with serving(app) as address:
        assert httpx.get(f"{address}/").status_code == 200
        browser.open(f"{address}/", "!document.querySelector('#door').hidden")
        assert browser.run("document.activeElement.id") == "key"
        browser.type("not-the-key-not-the-key")
        browser.press("Enter", "\r")
        browser.until("document.querySelector('#problem').textContent === 'A valid API key is needed.'")
        browser.run("document.querySelector('#key').value = ''")
        browser.type(KEY)
        browser.press("Enter", "\r")
        browser.until("document.querySelector('#door').hidden && document.querySelector('#model').textContent === 'tiny'")
        browser.run("document.querySelector('#tokens').value = 4")
        asked(browser, "hello")
        assert KEY not in browser.run("document.documentElement.outerHTML")


@real
def test_everything_has_a_name_and_is_reached_by_the_keyboard(browser, address):
    opened(browser, address)
    browser.run("document.querySelector('#about').open = document.querySelector('#settings').open = true")
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "textbox", "spinbutton", "image", "log", "status", "alert", "DisclosureTriangle", "list"}
    found = [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in nodes if not n.get("ignored")]
    assert {"button", "textbox", "spinbutton", "log", "status", "alert"} <= {role for role, _ in found}
    silent = {"status", "alert", "list", "DisclosureTriangle"}
    assert not [role for role, name in found if role in roles - silent and not name]
    assert any("The five parts" in name for _, name in found)
    browser.run("document.body.focus(), document.querySelector('#new').focus()")
    reached = []
    for _ in range(25):
        reached.append(browser.run("document.activeElement.id || document.activeElement.textContent"))
        browser.press("Tab")
    for wanted in ("words", "attach", "record-audio", "send", "temperature", "turns"):
        assert wanted in reached


@real
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_dark(browser, address, scheme):
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    opened(browser, address)
    asked(browser, "hello")
    contrast = """(() => {
        const light = (color) => {
            const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map((x) => x / 255)
                .map((x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4));
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const ground = (one) => { const c = getComputedStyle(one).backgroundColor;
            return c === "rgba(0, 0, 0, 0)" ? ground(one.parentElement) : c; };
        const all = ["body", "h1 span", "#status", "#hint", "#send", "#attach", ".user p", ".user h3", ".assistant p"];
        return all.map((name) => { const one = document.querySelector(name);
            const [a, b] = [light(getComputedStyle(one).color), light(ground(one))];
            return [name, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)]; });
    })()"""
    assert {name: ratio for name, ratio in browser.run(contrast) if ratio < 4.5} == {}
    ground = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
    browser.call("Emulation.setEmulatedMedia", features=[])
