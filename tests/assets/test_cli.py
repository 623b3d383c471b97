from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from polymodal import assets
from polymodal.cli_assets import app


@pytest.fixture
def run(catalog, tmp_path):
    """Call the command with the catalogue of fake wheels, as a file of the user's own."""
    data = json.loads(catalog.model_dump_json(exclude_none=True))
    for asset in data["assets"].values():
        del asset["name"]
    (tmp_path / "own.yaml").write_text(json.dumps(data))  # JSON is YAML

    def call(*arguments):
        return CliRunner().invoke(app, [*arguments, "--catalog", str(tmp_path / "own.yaml")])

    return call


def test_fetch_list_and_verify_work_together(run, catalog):
    fetched = run("fetch", "all-words")
    assert fetched.exit_code == 0, fetched.output
    assert fetched.stdout.split() == ["words", str(assets.path("words", catalog=catalog))]
    (row,) = json.loads(run("list", "--json").stdout)
    assert (row["name"], row["state"], row["source"]) == ("words", "ready", "wheel word-list==1.0")
    assert "words" in run("list").stdout
    assert run("verify").stdout == "words  ok\n"


def test_a_damaged_asset_ends_verify_with_code_2_and_names_the_file(run, catalog):
    run("fetch", "--all")
    (assets.path("words", catalog=catalog) / "en.txt").write_bytes(b"mouse\n")
    result = run("verify", "words")
    assert result.exit_code == 2
    assert result.stderr == "words: en.txt has changed; repair it with: polymodal assets fetch words\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fetch", "wrods"], "error: no asset or set is called 'wrods' (did you mean 'words'?)\n"),
        (["fetch"], "error: name the assets to fetch, or say --all; `polymodal assets list` shows them\n"),
        (["verify", "words"], "words is not here; get it with: polymodal assets fetch words\n"),
    ],
)
def test_a_users_error_is_one_line_and_code_2(run, arguments, message):
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stderr == message
    assert result.stdout == ""


def test_listing_the_builtin_catalogue_needs_no_heavy_import(tmp_path):
    script = "import sys; from polymodal.cli_assets import app; app(['list'], standalone_mode=False);"
    script += "assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "POLYMODAL_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "smollm2-135m-instruct" in done.stdout
