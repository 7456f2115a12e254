"""Owns kills: a fuse that ends the process between two effects, and the forking that kills a story at every one.

An effect is a call of a port method that changes something outside of the process. The fuse counts the moments before
and after each; the process is ended there with SIGKILL, as by `kill -9` or the OOM killer. `attack` plays a story once
without a kill, then once for each moment: killed there, started anew, compared. Needs `os.fork`; the process that calls
it must have one thread, and lives for nothing else: its garbage is no longer collected.
"""

import gc
import json
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from moss.testing.relay import relay

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


class Passing(Protocol):
    """What is told of every moment; `stood` are seconds that clocks leave out (see `relay`)."""

    stood: float

    def pass_(self, name: str) -> None: ...


class Fuse:
    """Counts moments; ends the process at moment number `at` (1 is the first). `moments` are their names."""

    def __init__(self, at: int | None = None, stood: float = 0.0) -> None:
        self.moments: list[str] = []
        self.stood = stood
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
        fuse: Passing,
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
    play: Callable[[Path, Passing], None]
    tell: Callable[[Path], Mapping[str, Any]]
    harm: Callable[[Path], None] = lambda home: None


def attack(
    story: Story, root: Path, *, workers: int = WORKERS, since: str | None = None, only: Sequence[int] = ()
) -> dict[str, Any]:
    """Plays `story` with a kill at every moment; what happened: `moments`, `tried`, `wrong` (moment -> why), the
    plain `end`, the `slowest` restart in seconds.

    `workers` moments are tried side by side, each worker playing once up to all of its own (see `relay`). `since`:
    every one begins in a home whose process was killed there. `only`: a closer look at these moments, each played to
    from the beginning, in a process as in production.
    """
    # A collection in a child would copy every page of what was imported here; none lives long enough to need one.
    gc.collect()
    gc.freeze()
    gc.disable()
    moments, wanted = _plain(story, root / "plain")
    if since is not None:
        story = _killed_once(story, moments.index(since) + 1)
        moments, wanted = _plain(story, root / "again")

    def share(worker: int) -> dict[str, Any]:
        home = root / f"worker-{worker}"
        if only:
            return {str(one): _killed_at(story, home, one, moments[one - 1], wanted) for one in only[worker::workers]}
        return _relayed(story, home, lambda number: number % workers == worker, wanted)

    tried = _side_by_side(workers, share)
    if not only:
        _complete(tried, moments)
    return {
        "moments": moments,
        "tried": len(tried),
        "wrong": {f"{number} {one['name']}": one["wrong"] for number, one in tried.items() if one["wrong"]},
        "end": wanted,
        "slowest": max(one["seconds"] for one in tried.values()),
    }


def _complete(tried: Mapping[str, Any], moments: Sequence[str]) -> None:
    """A claim is renewed when it took long; apart from that, what was tried are the moments of the plain play."""
    found, there = (
        Counter(name for name in names if not name.endswith("store.renew"))
        for names in ([one["name"] for one in tried.values()], moments)
    )
    assert found == there, f"not tried: {there - found}, only in the relay: {found - there}"


def _plain(story: Story, home: Path) -> tuple[list[str], Mapping[str, Any]]:
    """The moments and the end of a story that nobody kills."""
    story.begin(home)
    said = _in_child(lambda: _played(story, home, None))
    assert "error" not in said, said["error"]
    return list(said["moments"]), _told(story, home)


def _killed_once(story: Story, number: int) -> Story:
    """The rest of a story after a kill at moment `number`."""

    def begin(home: Path) -> None:
        story.begin(home)
        assert _in_child(lambda: _played(story, home, number)).get("signal") == signal.SIGKILL

    return replace(story, begin=begin)


def _relayed(story: Story, home: Path, mine: Callable[[int], bool], wanted: Mapping[str, Any]) -> dict[str, Any]:
    story.begin(home)
    found = {
        str(left.number): {"name": left.name, **_restarted(story, home, wanted, left.stood)}
        for left in relay(story.play, home, mine)
    }
    shutil.rmtree(home)
    return found


def _killed_at(story: Story, home: Path, number: int, name: str, wanted: Mapping[str, Any]) -> dict[str, Any]:
    story.begin(home)
    first = _in_child(lambda: _played(story, home, number))
    if first.get("signal") == signal.SIGKILL:
        found = _restarted(story, home, wanted)
    else:
        found = {"seconds": 0.0, "wrong": {"not killed": first}}
    shutil.rmtree(home)
    return {"name": name, **found}


def _restarted(story: Story, home: Path, wanted: Mapping[str, Any], stood: float = 0.0) -> dict[str, Any]:
    """Goes on in what a kill left, to the end: `seconds`, and what is `wrong` with it."""
    story.harm(home)
    said = _in_child(lambda: _to_the_end(story, home, stood))
    if "told" not in said:
        return {"seconds": 0.0, "wrong": {"after the restart": said}}
    got = said["told"]
    wrong = {key: [wanted[key], got[key]] for key in wanted if wanted[key] != got[key]}
    return {"seconds": said["seconds"], "wrong": wrong}


def _to_the_end(story: Story, home: Path, stood: float) -> dict[str, Any]:
    began = time.monotonic()
    _played(story, home, None, stood)
    return {"seconds": time.monotonic() - began, "told": dict(story.tell(home))}


def _played(story: Story, home: Path, at: int | None, stood: float = 0.0) -> dict[str, Any]:
    fuse = Fuse(at, stood)
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


def _side_by_side(workers: int, share: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
    """What all workers found, by moment. Each is a process of its own."""
    pipes = []
    for worker in range(workers):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            os._exit(_work(partial(share, worker), writing))
        os.close(writing)
        pipes.append((child, reading))
    found: dict[str, Any] = {}
    for child, reading in pipes:
        with os.fdopen(reading, "rb") as pipe:
            data = pipe.read()
        os.waitpid(child, 0)
        said = dict(json.loads(data))
        assert "error" not in said, said["error"]
        found |= said
    return dict(sorted(found.items(), key=lambda one: int(one[0])))
