from __future__ import annotations

import numpy as np
import pytest

from polymodal.corpora import appliances, contact_sheet, read
from polymodal.corpora.building import Recipe, run
from polymodal.errors import DataError
from polymodal.media.series import load_series


def written(home, part: str, lines: list[str]) -> None:
    (home / f"PLAID_{part}.ts").write_text("#classes\n@classLabel true 0 1\n@data\n" + "\n".join(lines) + "\n", "utf-8")


@pytest.fixture
def folders(tmp_path):
    home = tmp_path / "plaid"
    home.mkdir()
    written(home, "TRAIN", ["0.5,-2.5E-3,7:8", *(f"{n},2,3,4:0" for n in range(60))])
    written(home, "TEST", ["1,2,3,4:0", "9,9:10", "nan,1:3"])
    return {"plaid": home}


@pytest.fixture
def items(folders, tmp_path):
    run(Recipe("appliances", 1), lambda: appliances.jobs(folders), tmp_path, share=0.1)
    return {item.id: item for item in read("appliances", tmp_path)}


def test_a_trace_is_what_the_file_says_of_a_length_of_its_own(items):
    one = items["train-000"]
    assert (one.modality, one.caption, one.questions[0].answer) == ("imu", "microwave", "microwave")
    series = load_series(one.read())
    assert np.allclose(series.samples, [[0.5], [-0.0025], [7]])
    assert series.channels == ("current",)
    assert series.rate is series.units is None  # nobody says
    assert len(load_series(items["test-001"].read()).samples) == 2
    assert len(one.questions[0].options) == 11


def test_the_test_is_as_shipped_and_nothing_in_it_is_trained_or_validated_on(items):
    assert {id for id, item in items.items() if item.split == "test"} == {"test-000", "test-001"}  # one is no number
    assert "train-002" not in items  # the trace of test-000
    splits = [item.split for id, item in items.items() if id.startswith("train")]
    assert set(splits) == {"train", "val"}
    assert splits.count("val") < splits.count("train") / 2


def test_a_series_of_one_channel_has_a_preview(items, tmp_path):
    contact_sheet.save(list(items.values())[:3], tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 0


def test_a_file_that_is_missing_or_of_other_classes_is_refused(folders):
    file = folders["plaid"] / "PLAID_TEST.ts"
    for label in ("11", "kettle"):
        written(folders["plaid"], "TEST", ["1,2:0", f"1,2:{label}"])
        with pytest.raises(DataError, match=f"PLAID_TEST.ts: trace 1 is of class '{label}'"):
            appliances.jobs(folders)
    file.unlink()
    with pytest.raises(DataError, match=r"lacks PLAID_TEST.ts"):
        appliances.jobs(folders)
