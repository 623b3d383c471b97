"""docs/serving.md: its examples run against a live server, its tables are those of the code."""

from __future__ import annotations

import re
import subprocess
import textwrap

import pytest

from polymodal.serving.errors import CODES
from polymodal.serving.limits import ServingLimits
from tests.docs.test_docs import ROOT
from tests.serving.conftest import address, app, engine, maker  # noqa: F401  fixtures

PAGE = (ROOT / "docs/serving.md").read_text(encoding="utf-8")


def examples() -> dict[str, str]:
    found = re.findall(r'^( *)```\w+ title="([^"]+)"\n(.*?)^ *```', PAGE, re.M | re.S)
    return {title: textwrap.dedent(body) for _, title, body in found}


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_python_examples_run(address, here, capsys):  # noqa: F811
    names = {"POLYMODAL": address, "MODEL": "tiny"}
    for name in ("ask.py", "stream.py", "make.py", "order.py", "others.py"):
        exec(compile(examples()[name], name, "exec"), names)
    assert (here / "heart.png").read_bytes().startswith(b"\x89PNG")
    assert (here / "morning.wav").read_bytes().startswith(b"RIFF")
    assert "['tiny']" in capsys.readouterr().out


def test_the_curl_example_runs(address):  # noqa: F811
    environment = {"POLYMODAL": address, "MODEL": "tiny", "PATH": "/usr/bin:/bin"}
    out = subprocess.run(["sh", "-c", examples()["curl"]], env=environment, capture_output=True, text=True, check=True)
    assert '"object":"chat.completion"' in out.stdout


def test_the_table_of_limits_is_that_of_the_code():
    rows = [f"| `{name}` | {field.default:,} | {field.description} |" for name, field in ServingLimits.model_fields.items()]
    assert "\n".join(rows) in PAGE


def test_the_table_of_errors_is_that_of_the_code():
    rows = [f"| `{code}` | {status} | {text} |" for code, (status, _, text) in CODES.items() if code != "client_gone"]
    assert "\n".join(rows) in PAGE
