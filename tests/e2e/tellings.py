"""Owns a demo that is run as a person runs it: started, interrupted, killed at random moments, told to its end."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]


def start(module: str, folder: Path, *words: str, env: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
    """One run of a demo. Ctrl-C reaches it also where this process was started in the background, which has SIGINT
    ignored, and so would all that it starts."""
    argv = [sys.executable, "-u", "-m", module, "--folder", str(folder), *words]
    return subprocess.Popen(
        argv,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def killed_at_random(module: str, folder: Path, times: int, within: float) -> None:
    """Started and killed so often, each time after at most `within` seconds. The seed is printed, and can be given."""
    seed = int(os.environ.get("MOSS_TEST_SEED") or random.randrange(1 << 32))
    print(f"seed {seed}")
    moments = random.Random(seed)
    for _ in range(times):
        with start(module, folder) as demo:
            try:
                demo.communicate(timeout=moments.uniform(0.5, within))
            except subprocess.TimeoutExpired:
                demo.kill()
                demo.communicate()


def told_to_its_end(module: str, folder: Path, seconds: float) -> str:
    """What is on the screen of a run that ends as the story does."""
    with start(module, folder) as demo:
        shown, said = demo.communicate(timeout=seconds)
    print(shown, said)
    assert demo.returncode == 0
    last = json.loads(shown.splitlines()[-1])
    assert last["demo"] == "ok"
    assert last["runs"] == {"ev-01": "committed", "ev-02": "rolled_back"}
    assert (last["refused"], last["lost"], last["journal"]) == (0, 0, "whole")
    return shown
