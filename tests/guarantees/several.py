"""A job for several processes joined by gloo: `python -m tests.guarantees.several FILE` runs the recipes of a JSON file."""

from __future__ import annotations

import faulthandler
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def run_together(folder: Path, world: int, jobs: list[dict[str, Any]], timeout: int = 240) -> None:
    """Train the recipes `jobs` one after another in `world` processes. A job may say `stop_at`, a step after which it is
    broken off with a checkpoint. What a process says is in `folder`/RANK.txt; a failure is shown."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "jobs.json"
    file.write_text(json.dumps(jobs))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    running = []
    for rank in range(world):
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),  # this tree, wherever another is installed
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "WORLD_SIZE": str(world),
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
        }
        with open(folder / f"{rank}.txt", "w") as output:
            command = [sys.executable, "-m", "tests.guarantees.several", str(file)]
            running.append(subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output))
    try:
        until = time.monotonic() + timeout
        while any(process.poll() is None for process in running) and time.monotonic() < until:
            if any(process.poll() for process in running):  # the others would wait for it
                break
            time.sleep(0.1)
        said = [f"process {rank}: {(folder / f'{rank}.txt').read_text()[-2000:]}" for rank in range(world)]
        assert [process.poll() for process in running] == [0] * world, "\n".join(said)
    finally:
        for process in running:
            process.kill()


def main(file: Path) -> None:
    import torch

    from polymodal.training.loop import train
    from polymodal.training.stage import train_recipe

    torch.set_num_threads(1)
    faulthandler.dump_traceback_later(180, exit=True)  # says where it hangs
    for job in json.loads(file.read_text()):
        at = job.pop("stop_at", None)
        steps = iter(range(1, 1000))
        try:
            train(train_recipe(job), stop=None if at is None else lambda steps=steps, at=at: next(steps) == at)
        except KeyboardInterrupt:
            assert at is not None
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
