"""Owns a shell in which the commands of a page are typed, one after the other, as a person would."""

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import psutil

from tests.docs.pages import Shown, pattern

SECONDS = 120.0
PATIENCE = 20.0
LOOKS = ("moss status", "moss doctor", "moss show", "moss down")


def env_of(person: Path) -> dict[str, str]:
    """The environment of somebody whose home is `person`, with this installation on the PATH."""
    return {
        "HOME": str(person),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
    }


class Shell:
    """A bash with job control (`moss serve &` is a job), its output read line by line."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self._bash = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            cwd=folder,
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._asked = 0
        self._told: list[str] = []
        self._type("set -m")

    def _read(self) -> None:
        assert self._bash.stdout is not None
        for line in self._bash.stdout:
            self._lines.put(line.rstrip("\n"))

    def _type(self, text: str) -> None:
        assert self._bash.stdin is not None
        self._bash.stdin.write(text + "\n")
        self._bash.stdin.flush()

    def run(self, shown: Shown) -> list[str]:
        """Types the command, and a look that says too little once more, as a person who waits would."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return self._run(shown)
            except AssertionError:
                if not shown.command.startswith(LOOKS) or time.monotonic() > until:
                    raise
                time.sleep(0.5)

    def _run(self, shown: Shown) -> list[str]:
        """Types it and waits for its end. Asserts its exit code, and that what is shown was said in order."""
        self._asked += 1
        mark = f"@@{self._asked}:"
        job = shown.command.endswith("&")
        self._type("{ " + shown.command + "\n} </dev/null\nprintf '\\n%s%s\\n' '" + mark + '\' "$?"')
        until, said, code = time.monotonic() + SECONDS, [], None
        while code is None or (job and missing(shown.says, said)):
            try:
                line = self._lines.get(timeout=max(0.01, until - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"line {shown.line}: `{shown.command}` hangs; so far: {said}") from None
            if line.startswith(mark):
                code = int(line.removeprefix(mark))
            elif line and not re.match(r"\[\d+\][ +-]", line):
                said.append(line)
        self._told += [f"$ {shown.command}", *said]
        told = "\n".join(self._told[-60:])
        assert code == shown.code, f"line {shown.line}: `{shown.command}` ended {code}, not {shown.code}:\n{told}"
        assert not (left := missing(shown.says, said)), (
            f"line {shown.line}: `{shown.command}` never said {left}:\n{told}"
        )
        return said

    def __enter__(self) -> "Shell":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the shell and its jobs; what has detached itself (gateway, proxy, agent) is `end_home`'s."""
        jobs = psutil.Process(self._bash.pid).children(recursive=True) if self._bash.poll() is None else []
        for job in jobs:
            with_patience(job)
        assert self._bash.stdin is not None
        self._bash.stdin.close()
        try:
            self._bash.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._bash.pid, signal.SIGKILL)
            self._bash.wait(10)
        self._reader.join(10)
        assert self._bash.stdout is not None
        self._bash.stdout.close()


def with_patience(job: psutil.Process) -> None:
    """SIGTERM, and SIGKILL where that is not heard."""
    try:
        job.terminate()
        job.wait(15)
    except psutil.TimeoutExpired:
        job.kill()
    except psutil.NoSuchProcess:
        pass


def missing(shown: Sequence[str], said: Sequence[str]) -> str | None:
    """The first shown line that was not said, in order; other lines may stand between."""
    at = 0
    for line in shown:
        wanted = pattern(line)
        found = next((number for number in range(at, len(said)) if wanted.search(said[number])), None)
        if found is None:
            return line
        at = found + 1
    return None
