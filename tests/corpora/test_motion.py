from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load, save_file

from polymodal.corpora import motion, read
from polymodal.corpora.building import Recipe, run
from polymodal.corpora.items import manifest
from polymodal.errors import DataError


@pytest.fixture
def folders(tmp_path):
    watch, basic = tmp_path / "watch", tmp_path / "basic"
    watch.mkdir()
    basic.mkdir()
    rng = np.random.default_rng(0)
    samples = {f"{n:03d}": rng.normal(size=(100 * n + 150, 6)).astype(np.float32) for n in range(3)}
    samples["002"][120, 3] = np.nan
    save_file(samples, watch / "motion.safetensors")
    rows = [{"exercise": "PEN", "subject": person, "side": "left"} for person in (7, 8, 9)]
    (watch / "recordings.json").write_text(json.dumps(rows))
    for scale, part, activity in ((100, "TRAIN", "Running"), (50, "TEST", "Walking")):
        clip = ":".join(",".join(str(channel + i / scale) for i in range(100)) for channel in range(6))
        (basic / f"BasicMotions_{part}.ts").write_text(f"# units\n@data\n{clip}:{activity}\n")
    return {"watch-motion": watch, "basic-motions": basic}


def test_windows_do_not_overlap_and_a_person_is_in_one_split(folders, tmp_path):
    run(Recipe("motion", 1), lambda: motion.jobs(folders), tmp_path, share=0.2)
    items = {item.id: item for item in read("motion", tmp_path)}
    assert {id: item.split for id, item in items.items()} == {
        "person-07/000-0000": "train",
        "person-08/001-0000": "val",
        "person-08/001-0100": "val",
        "person-09/002-0000": "test",
        "person-09/002-0200": "test",
        "basic-motions/train-00": "train",
        "basic-motions/test-00": "test",
    }
    assert manifest("motion", tmp_path)["quarantined"] == 1  # the window with the sample that is no number
    one = items["person-08/001-0100"]
    assert (one.modality, one.caption, one.questions[0].answer) == ("imu", "pendulum of the left shoulder", "pendulum")
    whole = load((folders["watch-motion"] / "motion.safetensors").read_bytes())["001"]
    assert np.array_equal(load(one.read())["samples"], whole[100:200])


def test_a_clip_says_its_rate_channels_and_units(folders, tmp_path):
    from safetensors import safe_open

    run(Recipe("motion", 1), lambda: motion.jobs(folders), tmp_path, share=0.2)
    said = {}
    for item in read("motion", tmp_path):
        (tmp_path / "clip").write_bytes(item.read())
        with safe_open(tmp_path / "clip", "numpy") as stream:
            said[item.vendor] = json.loads(stream.metadata()["about"])
            assert stream.get_tensor("samples").shape == (100, 6)
    assert said["watch-motion"] == {"rate": 50, "channels": "ax ay az wx wy wz", "units": "g, rad/s"}
    assert said["basic-motions"]["rate"] == 10


def test_a_package_that_lacks_a_file_or_names_another_activity_is_refused(folders):
    file = folders["basic-motions"] / "BasicMotions_TEST.ts"
    file.write_text("@data\n1:Swimming\n")
    with pytest.raises(DataError, match="clip 0 is of 'swimming'"):
        motion.jobs(folders)
    file.unlink()
    with pytest.raises(DataError, match="lacks BasicMotions_TEST.ts"):
        motion.jobs(folders)


def test_a_clip_has_the_same_bytes_each_time(folders):
    """What an item is known by, in the feature cache above all."""
    first = next(iter(motion.jobs(folders)))
    assert len({data for _ in range(8) for data in first.make()}) == 1
