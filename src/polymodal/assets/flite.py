"""Flite from Debian packages, runnable where it lies. Decides that it is silent, as eSpeak NG is: see espeak.py.

libflite is linked to ALSA's libasound, which a machine without sound lacks; the same kind of stand-in takes its name.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

from polymodal.assets.espeak import stand_in
from polymodal.errors import AssetError

SOUND_FUNCTIONS = (
    "snd_config_update_free_global",
    "snd_pcm_close",
    "snd_pcm_drain",
    "snd_pcm_drop",
    "snd_pcm_hw_params",
    "snd_pcm_hw_params_any",
    "snd_pcm_hw_params_set_access",
    "snd_pcm_hw_params_set_channels",
    "snd_pcm_hw_params_set_format",
    "snd_pcm_hw_params_set_rate",
    "snd_pcm_hw_params_sizeof",
    "snd_pcm_open",
    "snd_pcm_prepare",
    "snd_pcm_resume",
    "snd_pcm_set_params",
    "snd_pcm_state",
    "snd_pcm_wait",
    "snd_pcm_writei",
    "snd_strerror",
)


def flite(kept: Path, ready: Path) -> None:
    """Move bin/flite and lib/ (each library under the one name it is loaded by), put the stand-in beside them, and try
    the program on one word.

    Raises AssetError for a processor without a stand-in, or with the program's own words if it does not run.
    """
    shutil.move(kept / "bin", ready / "bin")
    (ready / "lib").mkdir()
    for library in kept.glob("lib/*.so.1"):
        shutil.move(library, ready / "lib" / library.name)
    machine = struct.unpack_from("<H", (ready / "lib" / "libflite.so.1").read_bytes(), 18)[0]
    (ready / "lib" / "libasound.so.2").write_bytes(stand_in("libasound.so.2", SOUND_FUNCTIONS, machine, "ALSA_0.9"))

    sound = kept / "hello.wav"
    command = [str(ready / "bin" / "flite"), "-voice", "kal16", "-t", "hello", "-o", str(sound)]
    environment = {**os.environ, "LD_LIBRARY_PATH": str(ready / "lib")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0 or not sound.is_file():
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1].split(": ", 1)[-1]
        raise AssetError(f"flite does not run on this machine: {said}")
