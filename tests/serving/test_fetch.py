"""Remote media: off, and where it is on, one look-up, one checked address, redirects included. SSRF and DNS rebinding."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import polymodal
from polymodal.serving.errors import ApiError
from polymodal.serving.fetch import Fetcher, is_public
from polymodal.serving.limits import ServingLimits
from tests.serving.conftest import png, refused

HOST = "media.example.org"


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
        *("192.0.0.1", "198.18.0.1", "192.0.2.1", "203.0.113.9", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
        *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12:3456::1", "fec0::1", "ff02::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:169.254.169.254", "::127.0.0.1", "::ffff:0:127.0.0.1"),
        *("64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1", "2002:7f00:1::", "2002:808:808::1", "2001:0:4136:e378::1"),
        *("", "localhost", "2130706433", "0x7f.0.0.1", "0177.0.0.1", "127.1"),
    ],
)
def test_no_private_address_is_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.215.14", "2606:4700:4700::1111"])
def test_public_addresses_are(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/a.png", "https://media.example.org/a.png", "HTTP://[::1]/a.png", "http:/\\127.0.0.1/a.png"]
)
def test_nothing_is_fetched_by_default(http, url):
    part = {"type": "image_url", "image_url": {"url": url}}
    assert refused(http, part) == "remote_media_not_allowed"


@pytest.mark.parametrize(
    "url",
    [
        "http://other.example.org/a.png",
        f"http://{HOST}.evil.org/a.png",
        f"http://evil-{HOST}/a.png",
        f"http://{HOST}:22/a.png",
        f"http://{HOST}:99999/a.png",
        f"http://user@{HOST}/a.png",
        f"http://{HOST}@127.0.0.1/a.png",
        f"http://127.0.0.1#{HOST}/a.png",
        f"http://{HOST}#@127.0.0.1/a.png",
        f"http://127.0.0.1\\@{HOST}/a.png",
        f"http://{HOST}\\@127.0.0.1/a.png",
        f"http://{HOST}\t/a.png",
        f"http://{HOST}/a.png HTTP/1.1\r\nX: y",
        f"http:///{HOST}/a.png",
        f"http:{HOST}/a.png",
        f"http://{HOST}./a.png",
        "http://ｍedia.example.org/a.png",
        "http://127.0.0.1/a.png",
        "http://2130706433/a.png",
        "http://0x7f000001/a.png",
        "http://0177.0.0.1/a.png",
        "http://127.1/a.png",
        "http://[::1]/a.png",
        "http://[::ffff:127.0.0.1]/a.png",
        "http://169.254.169.254/latest/meta-data",
        "http://localhost/a.png",
    ],
)
def test_only_plain_urls_of_listed_hosts_are_looked_up(url):
    asked = []
    fetcher = Fetcher({HOST}, ServingLimits(), resolve=lambda host, port: asked.append(host) or ["8.8.8.8"])
    with pytest.raises(ApiError) as caught:
        fetcher.checked(url, None)
    assert (caught.value.code, asked) == ("remote_media_not_allowed", [])


@pytest.mark.parametrize("numeral", ["2130706433", "0x7f000001", "127.1", "127.0.0.1"])
def test_a_numeral_is_no_host_even_if_it_is_listed(numeral):
    with pytest.raises(ApiError, match="remote_media_not_allowed"):
        Fetcher({numeral}, ServingLimits()).checked(f"http://{numeral}/a.png", None)


@pytest.mark.parametrize("found", [["127.0.0.1"], ["10.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["::ffff:127.0.0.1"], []])
def test_one_private_address_spoils_a_name_and_nothing_is_dialled(found, monkeypatch):
    monkeypatch.setattr("socket.create_connection", lambda *_, **__: pytest.fail("dialled"))
    fetcher = Fetcher({HOST}, ServingLimits(), resolve=lambda host, port: found)
    assert failure(fetcher, f"http://{HOST}/a.png") == "remote_media_not_allowed"


class Site(BaseHTTPRequestHandler):
    """A small site: what a path says is what it does."""

    def do_GET(self) -> None:
        name, _, rest = self.path[1:].partition("/")
        data = png()
        if name == "to":
            self.send_response(302)
            self.send_header("Location", rest)
            self.end_headers()
            return
        self.send_response(404 if name == "gone" else 200)
        if name == "long":
            data = bytes(50_000)
        if name == "lie":
            self.send_header("Content-Length", "99999999999")
        if name == "short":
            self.send_header("Content-Length", "9000")
        self.end_headers()
        if name == "drip":
            with contextlib.suppress(OSError):
                for _ in range(100):
                    self.wfile.write(b"x")
                    self.wfile.flush()
                    time.sleep(0.1)
            return
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Not here."""


@pytest.fixture(scope="module")
def port():
    site = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    yield site.server_address[1]
    site.shutdown()


def fetcher_of(port: int, asked: list | None = None, addresses=("127.0.0.1",), allowed=lambda _: True, **limits) -> Fetcher:
    """One that finds the site under HOST, and notes what is looked up."""
    found = iter([*addresses, *["127.0.0.1"] * 9])
    note = asked if asked is not None else []
    resolve = lambda host, number: note.append(host) or [next(found)]  # noqa: E731
    return Fetcher({HOST}, ServingLimits(**limits), ports={port}, resolve=resolve, allowed=allowed)


def failure(fetcher: Fetcher, url: str, most: int = 10_000) -> str:
    with pytest.raises(ApiError) as caught:
        asyncio.run(fetcher.fetch(url, most))
    return caught.value.code


def test_a_listed_host_is_fetched_by_the_address_that_was_checked(port):
    asked, seen = [], []
    fetcher = fetcher_of(port, asked, allowed=lambda address: not seen.append(address))
    assert asyncio.run(fetcher.fetch(f"http://{HOST}:{port}/a.png", 10_000)) == png()
    assert (asked, seen) == ([HOST], ["127.0.0.1"])  # looked up once: a second answer would not be heard


def test_every_redirect_is_checked_again(port):
    at = f"http://{HOST}:{port}"
    asked: list[str] = []
    assert asyncio.run(fetcher_of(port, asked).fetch(f"{at}/to/{at}/a.png", 10_000)) == png()
    assert asked == [HOST, HOST]
    for target in (f"http://127.0.0.1:{port}/a.png", "file:///etc/hosts", "http://169.254.169.254/", "//localhost/a.png"):
        asked = []
        assert failure(fetcher_of(port, asked), f"{at}/to/{target}") == "remote_media_not_allowed"
        assert asked == [HOST]
    rebound = fetcher_of(port, addresses=("127.0.0.1", "127.0.0.9"), allowed=lambda address: address == "127.0.0.1")
    assert failure(rebound, f"{at}/to/{at}/a.png") == "remote_media_not_allowed"
    assert failure(fetcher_of(port, redirects=1), f"{at}/to/{at}/to/{at}/a.png") == "remote_media_failed"


def test_size_and_time_are_bounded_while_reading(port):
    at = f"http://{HOST}:{port}"
    assert failure(fetcher_of(port), f"{at}/long") == "media_too_large"
    assert failure(fetcher_of(port), f"{at}/lie") == "media_too_large"
    assert failure(fetcher_of(port), f"{at}/short") == "remote_media_failed"
    assert failure(fetcher_of(port), f"{at}/gone") == "remote_media_failed"
    started = time.monotonic()
    assert failure(fetcher_of(port, fetch_seconds=0.5), f"{at}/drip") == "remote_media_failed"
    assert time.monotonic() - started < 5


def test_only_one_module_opens_what_a_request_names():
    """Assets are fetched by name, before anything is served; all else must go through `fetch`."""
    source = Path(polymodal.__file__).parent
    opens = re.compile(r"urlopen|urllib\.request|requests\.(get|post)|import httpx|http\.client|aiohttp|create_connection")
    found = {str(file.relative_to(source)) for file in source.rglob("*.py") if opens.search(file.read_text("utf-8"))}
    assert {name for name in found if not name.startswith("assets/")} == {"serving/fetch.py"}
    serving = "".join(file.read_text("utf-8") for file in (source / "serving").rglob("*.py"))
    assert not re.search(r"\bopen\(|load_from_url|trust_remote_code|torch\.load|import pickle", serving)
