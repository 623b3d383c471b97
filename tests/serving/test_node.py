"""The official `openai` client of Node against a live server."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.serving.conftest import asks, png, wav
from tests.serving.test_clients import sound_part

HERE = Path(__file__).parent / "node"
MODULES = Path(__file__).parents[2] / "build" / "node" / "node_modules"
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(
    NODE is None or not (MODULES / "openai").is_dir(),
    reason="no Node with its openai package: `make clients`",
)


def run(script: str, folder: Path, *words: str, **environment: str) -> str:
    """What a script prints, run where the client is found."""
    (folder / "script.mjs").write_text(script)
    (folder / "node_modules").symlink_to(MODULES)
    done = subprocess.run([str(NODE), "script.mjs", *words], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_node
def test_the_node_client_has_the_same_answers_streams_and_errors(address, client, tmp_path):
    image, recording = (base64.b64encode(data).decode() for data in (png(1), wav()))
    said = json.loads(run((HERE / "client.mjs").read_text(), tmp_path, address, image, recording))
    body = asks(png(1), sound_part(wav()), "hello", temperature=1, seed=5, modalities=["text"])
    assert said["text"] == said["streamed"] == client.chat.completions.create(**body).choices[0].message.content != ""
    assert said["refusals"] == [
        ["NotFoundError", 404, "model_not_found"],
        ["BadRequestError", 400, "invalid_field"],
        ["BadRequestError", 400, "not_supported"],
    ]
    assert isinstance(said["held"], list)
    assert base64.b64decode(said["picture"]).startswith(b"\x89PNG")
    assert base64.b64decode(said["speech"]).startswith(b"RIFF")
    assert said["heard"] == client.audio.transcriptions.create(model="tiny", file=("a.wav", wav())).text
    assert said["vectors"] == [32, 32]
    assert said["models"] == ["tiny"]
