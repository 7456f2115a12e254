"""Owns kills: a fuse that ends the process between two effects, and the forking that kills a story at every one.

An effect is a call of a port method that changes something outside of the process. The fuse counts the moments before
and after each; the process is ended there with SIGKILL, as by `kill -9` or the OOM killer. `attack` plays a story once
without a kill, then once for each moment: killed there, started anew, compared. Needs `os.fork`; the process that calls
it must have one thread.
"""

import json
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

STORE = (
    "append", "claim", "renew", "release", "put", "set_fact", "set_batch", "seal", "save_scan", "new_run_id",
    "new_batch_id", "enqueue", "delivered", "postpone", "give_up", "dismiss", "drop_rejected",
)  # fmt: skip
SOURCE = ("export", "commit", "publish")
BUILDER = ("build", "remove")
BOXES = ("launch", "stop", "remove")
TARGET = (
    "prepare", "hold", "stop", "snapshot", "start", "release", "restore_state", "settle", "state_copy", "forget",
)  # fmt: skip
GATEWAY = ("open", "close")
TURNS = ("send",)
NOTIFIER = ("send",)


WORKERS = max(2, os.cpu_count() or 2)


class Fuse:
    """Counts moments; ends the process at moment number `at` (1 is the first). `moments` are their names."""

    def __init__(self, at: int | None = None) -> None:
        self.moments: list[str] = []
        self._at, self._lock = at, threading.Lock()

    def pass_(self, name: str) -> None:
        with self._lock:
            self.moments.append(name)
            if len(self.moments) == self._at:
                os.kill(os.getpid(), signal.SIGKILL)


class Watched:
    """A port whose effects pass the fuse before and after. `saved` is called after every call, inside of the effect.
    `seen(name, error)` hears of each call that ended."""

    def __init__(
        self,
        port: object,
        name: str,
        effects: Sequence[str],
        fuse: Fuse,
        saved: Callable[[], None] = lambda: None,
        seen: Callable[[str, BaseException | None], None] = lambda name, error: None,
    ) -> None:
        self._port, self._name, self._effects, self._fuse = port, name, effects, fuse
        self._saved, self._seen = saved, seen

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if not callable(found) or name.startswith("_"):
            return found

        def called(*args: Any, **kwargs: Any) -> Any:
            effect = name in self._effects
            if effect:
                self._fuse.pass_(f"before {self._name}.{name}")
            error: BaseException | None = None
            try:
                return found(*args, **kwargs)
            except BaseException as raised:
                error = raised
                raise
            finally:
                self._seen(name, error)
                self._saved()
                if effect:
                    self._fuse.pass_(f"after {self._name}.{name}")

        return called


@dataclass(frozen=True, slots=True)
class Story:
    """`begin(home)` lays a home out; `play(home, fuse)` goes on where the home is, to the end; `tell(home)` says what
    came of it, in values that do not depend on when or how often it was started. `harm(home)` is what else a crash
    did, between the kill and the restart."""

    begin: Callable[[Path], None]
    play: Callable[[Path, Fuse], None]
    tell: Callable[[Path], Mapping[str, Any]]
    harm: Callable[[Path], None] = lambda home: None


def attack(
    story: Story, root: Path, *, workers: int = WORKERS, since: str | None = None, only: Sequence[int] = ()
) -> dict[str, Any]:
    """Plays `story` with a kill at every moment; what happened: `moments`, `tried`, `wrong` (moment -> why), the
    plain `end`, the `slowest` restart in seconds.

    `workers` moments are tried side by side. `since`: every one begins in a home whose process was killed there.
    `only`: a closer look.
    """
    moments, wanted = _plain(story, root / "plain")
    if since is not None:
        story = _killed_once(story, root / "begun", moments.index(since) + 1)
        moments, wanted = _plain(story, root / "again")
    numbers = list(only or range(1, len(moments) + 1))
    wrong: dict[str, Any] = {}
    slowest = 0.0
    for number, found in _side_by_side(numbers, workers, lambda one: _killed_at(story, root, one, wanted)):
        slowest = max(slowest, found.pop("seconds", 0.0))
        if found:
            wrong[f"{number} {moments[number - 1]}"] = found
    return {"moments": moments, "tried": len(numbers), "wrong": wrong, "end": wanted, "slowest": slowest}


def _plain(story: Story, home: Path) -> tuple[list[str], Mapping[str, Any]]:
    """The moments and the end of a story that nobody kills."""
    story.begin(home)
    said = _in_child(lambda: _played(story, home, None))
    assert "error" not in said, said["error"]
    return list(said["moments"]), _told(story, home)


def _killed_once(story: Story, begun: Path, number: int) -> Story:
    """The rest of a story after a kill at moment `number`."""
    story.begin(begun)
    _in_child(lambda: _played(story, begun, number))

    def begin(home: Path) -> None:
        shutil.copytree(begun, home, symlinks=True)

    return replace(story, begin=begin)


def _killed_at(story: Story, root: Path, number: int, wanted: Mapping[str, Any]) -> dict[str, Any]:
    home = root / f"at-{number}"
    story.begin(home)
    first = _in_child(lambda: _played(story, home, number))
    if first.get("signal") != signal.SIGKILL:
        return {"not killed": first}
    story.harm(home)
    began = time.monotonic()
    second = _in_child(lambda: _played(story, home, None))
    seconds = time.monotonic() - began
    if "error" in second or "signal" in second:
        return {"after the restart": second}
    got = _told(story, home)
    differs = {name: [wanted[name], got[name]] for name in wanted if wanted[name] != got[name]}
    if not differs:
        shutil.rmtree(home, ignore_errors=True)
    return {**differs, "seconds": seconds}


def _played(story: Story, home: Path, at: int | None) -> dict[str, Any]:
    fuse = Fuse(at)
    story.play(home, fuse)
    return {"moments": fuse.moments}


def _told(story: Story, home: Path) -> dict[str, Any]:
    told = _in_child(lambda: dict(story.tell(home)))
    assert "error" not in told, told["error"]
    return told


def _in_child(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `work` gives in a process of its own; `signal` where it was killed, `error` where it raised."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os._exit(_work(work, writing))
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return {"signal": os.WTERMSIG(status)}
    return dict(json.loads(data))


def _work(work: Callable[[], dict[str, Any]], writing: int) -> int:
    try:
        said = work()
    except BaseException:
        said = {"error": traceback.format_exc()}
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(json.dumps(said).encode())
    sys.stdout.flush()
    return 0


def _all_of(numbers: Sequence[int], work: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
    return {str(one): work(one) for one in numbers}


def _side_by_side(
    numbers: Sequence[int], workers: int, work: Callable[[int], dict[str, Any]]
) -> list[tuple[int, dict[str, Any]]]:
    """Each worker is a process of its own and takes every `workers`-th number."""
    shares = [numbers[start::workers] for start in range(workers)]
    pipes = []
    for share in shares:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            os._exit(_work(partial(_all_of, share, work), writing))
        os.close(writing)
        pipes.append((child, reading))
    found: list[tuple[int, dict[str, Any]]] = []
    for child, reading in pipes:
        with os.fdopen(reading, "rb") as pipe:
            data = pipe.read()
        os.waitpid(child, 0)
        said = dict(json.loads(data))
        assert "error" not in said, said["error"]
        found += [(int(number), one) for number, one in said.items()]
    return sorted(found, key=lambda one: one[0])
