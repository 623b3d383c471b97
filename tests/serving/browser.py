"""A real browser without a window, driven by its DevTools protocol over a pipe: no driver, no library, no port."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--mute-audio"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"),
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--autoplay-policy=no-user-gesture-required"),
    *("--remote-debugging-pipe", "--window-size=1000,900", "--force-device-scale-factor=1"),
)


def installed() -> str | None:
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One page. As a context manager it ends with its process; `folder`: for its profile."""

    def __init__(self, folder: Path) -> None:
        self._read, theirs_out = os.pipe()
        theirs_in, self._write = os.pipe()
        self._held, self._number = b"", 0
        self.log: list[str] = []  # what the page said in its console, and what it was refused

        def place() -> None:  # it reads commands at 3 and writes at 4
            taken = os.dup(theirs_in), os.dup(theirs_out)
            os.dup2(taken[0], 3)
            os.dup2(taken[1], 4)

        self._process = subprocess.Popen(
            [str(installed()), *OPTIONS, f"--user-data-dir={folder}", "about:blank"],
            preexec_fn=place,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._read)
        os.close(self._write)

    def call(self, method: str, seconds: float = 60, **parameters: Any) -> dict[str, Any]:
        """One command, and what it gives."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + seconds
        while True:
            reply = self._message(until)
            if reply.get("id") == self._number:
                assert "error" not in reply, (method, reply["error"])
                return reply["result"]

    def _message(self, until: float) -> dict[str, Any]:
        while b"\0" not in self._held:
            left = until - time.monotonic()
            assert left > 0, "the browser does not answer"
            assert select.select([self._read], [], [], left)[0], "the browser does not answer"
            self._held += os.read(self._read, 1 << 20)
        one, _, self._held = self._held.partition(b"\0")
        message = json.loads(one)
        if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"):
            self.log.append(json.dumps(message["params"])[:500])
        return message

    def open(self, address: str, ready: str = "true") -> None:
        self.call("Page.navigate", url=address)
        self.until(f"document.readyState === 'complete' && ({ready})")

    def run(self, script: str) -> Any:
        """The value of an expression in the page, promises awaited."""
        reply = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in reply, reply["exceptionDetails"]
        return reply["result"].get("value")

    def until(self, condition: str, seconds: float = 60) -> None:
        """Wait for an expression to become true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.run(f"Boolean({condition})"):
                return
            time.sleep(0.05)
        raise AssertionError(f"never: {condition}; {self.log}; {self.run('document.body.innerText')}")

    def choose(self, selector: str, *files: Path) -> None:
        """As a person does who picks files."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        found = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=found, files=[str(file) for file in files])

    def press(self, key: str, text: str = "", modifiers: int = 0) -> None:
        about = {
            "key": key,
            "code": key,
            "windowsVirtualKeyCode": {"Enter": 13, "Tab": 9}.get(key, 0),
            "modifiers": modifiers,
        }
        self.call("Input.dispatchKeyEvent", type="keyDown", **about, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def type(self, words: str) -> None:
        self.call("Input.insertText", text=words)

    def screenshot(self, file: Path) -> None:
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
