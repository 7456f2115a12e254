"""Boxes that play a coding agent's output, and a gateway that only counts: for the runner's tests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from moss.domain.ids import Key, RunId
from moss.errors import BoxLost, GatewayDown
from moss.ports import Box, BoxExit, BoxSpec, ExitReason, Grant, Usage
from moss.testing.clock import ManualClock

OK = BoxExit(0, ExitReason.EXITED, 2.0)


@dataclass
class Play:
    """One box's life: pieces of output, one more visible at each look; `exit` None: it runs until stopped."""

    pieces: Sequence[bytes] = ()
    exit: BoxExit | None = OK
    stderr: bytes = b""
    lost: bool = False


@dataclass
class PlayedBoxes:
    """`Boxes` whose programs were played before. `launched` holds every spec that really started something."""

    clock: ManualClock
    plays: dict[str, Play]
    launched: list[BoxSpec] = field(default_factory=list)
    stopped: set[str] = field(default_factory=set)
    removed: list[str] = field(default_factory=list)
    looks: dict[str, int] = field(default_factory=dict)
    seconds_a_look: float = 1.0

    def launch(self, spec: BoxSpec) -> Box:
        if spec.key not in [each.key for each in self.launched]:
            self.launched.append(spec)
        return self._box(spec)

    def wait(self, box: Box, seconds: float) -> BoxExit | None:
        play = self.plays[box.key]
        if play.lost:
            raise BoxLost(f"box {box.key} is gone")
        self.clock.tick(self.seconds_a_look)
        self.looks[box.key] = self.looks.get(box.key, 0) + 1
        if box.key in self.stopped:
            return BoxExit(137, ExitReason.KILLED, 9.0)
        return play.exit if self.looks[box.key] >= len(play.pieces) else None

    def output(self, box: Box, after: int = 0, limit: int = 1 << 20) -> bytes:
        play = self.plays[box.key]
        return b"".join(play.pieces[: self.looks[box.key]])[after : after + limit]

    def errors(self, box: Box) -> bytes:
        return self.plays[box.key].stderr

    def stop(self, box: Box, grace: float) -> None:
        self.stopped.add(box.key)

    def remove(self, key: Key) -> None:
        self.removed.append(key)

    def list(self, run: RunId | None = None) -> Sequence[Box]:
        return [self._box(spec) for spec in self.launched]

    def _box(self, spec: BoxSpec) -> Box:
        return Box(spec.key, spec.run, spec.role, spec.key, "1", datetime(2026, 1, 1, tzinfo=UTC))


@dataclass
class CountingGateway:
    """`GatewayControl` for one coder: says what `used` says, and remembers what was opened and closed."""

    used: Usage = field(default_factory=Usage)
    opened: list[Grant] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    down: Mapping[str, bool] = field(default_factory=dict)

    def url(self, role: object) -> str:
        return "http://127.0.0.1:9/"

    def open(self, grant: Grant) -> str:
        if self.down.get("open"):
            raise GatewayDown("the gateway does not answer")
        self.opened.append(grant)
        return "token-" + grant.key

    def close(self, key: Key) -> Usage:
        if self.down.get("close"):
            raise GatewayDown("the gateway does not answer")
        self.closed.append(key)
        return self.used


def tree_of(folder: Path, files: Mapping[str, str]) -> Path:
    """A work tree below `folder`."""
    tree = folder / "tree"
    for path, text in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    return tree
