"""Owns what is around a puppet: its users (the turn driver), its evidence, the live target that starts it.

Invariant: in a box and live it is asked through the same driver and answers by the same source.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from moss.domain.evidence import Turn
from moss.domain.ids import Digest, Key
from moss.domain.trial import Answer
from moss.ports import (
    Box,
    Boxes,
    BoxRole,
    BoxSpec,
    Cursor,
    Image,
    MountName,
    Place,
    Probe,
    Probed,
    Readiness,
    Scan,
)
from moss.testing.conduct import Conduct
from moss.testing.gateways import MemoryGateway
from moss.testing.puppet import BAD, GOOD, Puppet, keep_turn, kept_turns
from moss.testing.targets import FakeTarget

Tree = Callable[[Digest], Path]


class PuppetTarget(FakeTarget):
    """A live target that learns how a version behaves when it is prepared."""

    def __init__(self, image: Image, tree: Tree, now: Callable[[], datetime], folder: Path) -> None:
        self._tree = tree
        super().__init__([image], image.digest, now=now, folder=folder)
        self.behave(image.digest, Puppet.of(tree(image.digest)).live)

    def prepare(self, image: Image, key: Key) -> None:
        if image.digest not in self.images:
            self.images[image.digest] = image
            self.behave(image.digest, Puppet.of(self._tree(image.digest)).live)
        super().prepare(image, key)


class PuppetTurns:
    """The turn driver: a message to the live target, or to the puppet in a box. `spec_of` finds a box's spec."""

    def __init__(
        self,
        boxes: Boxes,
        spec_of: Callable[[Box], BoxSpec],
        target: FakeTarget,
        tree: Tree,
        gateway: MemoryGateway,
        now: Callable[[], datetime],
    ) -> None:
        self._boxes, self._spec_of, self._target, self._tree = boxes, spec_of, target, tree
        self._gateway, self._now = gateway, now
        self._asked: Counter[tuple[Digest, str]] = Counter()

    def send(self, place: Place, session: str, message: str, seconds: float) -> Answer:
        if place.box is None:
            return self._target.turn(message)
        spec = self._spec_of(place.box)
        if self._boxes.wait(place.box, 0.0) is not None:
            return Answer(error="connection refused")
        puppet, conduct, state = self._puppet(spec), self._conduct(spec), _state(spec)
        said = len(kept_turns(state)) + 1
        if conduct.dies_under is not None and said >= conduct.dies_under:
            self._boxes.stop(place.box, 0.0)
            return Answer(error="connection reset: no answer")
        if not conduct.answers or not self._model(spec, conduct.asks or message):
            return Answer(status=500)
        assert spec.image is not None
        self._asked[spec.image.digest, message] += 1
        reply = puppet.reply(message, self._asked[spec.image.digest, message])
        if not puppet.silent:
            ordinal = len(kept_turns(state, session)) + 1
            keep_turn(state, Turn(session=session, ordinal=ordinal, at=self._now(), user=message, reply=reply))
        return Answer(status=200, text=reply, body=reply)

    def health(self, place: Place) -> Probe:
        if place.box is None:
            return self._target.probe()
        conduct = self._conduct(self._spec_of(place.box))
        if conduct.exits_after == 0:
            self._boxes.stop(place.box, 0.0)
        if conduct.exits_after == 0 or conduct.ready_after is None:
            return Probe(Readiness.STARTING, None, "not listening")
        if conduct.health_fails:
            return Probe(Readiness.FAILED, None, "status 500")
        return Probe(Readiness.READY, None, "ready")

    def _puppet(self, spec: BoxSpec) -> Puppet:
        assert spec.image is not None
        return Puppet.of(self._tree(spec.image.digest))

    def _conduct(self, spec: BoxSpec) -> Conduct:
        puppet = self._puppet(spec)
        return puppet.preflight if spec.role is BoxRole.PREFLIGHT else puppet.trial

    def _model(self, spec: BoxSpec, message: str) -> bool:
        """Whether the model answered; the puppet asks it once for each message."""
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": message}]}).encode()
        return self._gateway.ask(spec.env["TOKEN"], body).status == 200


def _state(spec: BoxSpec) -> Path:
    return next(mount.source for mount in spec.mounts if mount.name is MountName.STATE)


class PuppetEvidence:
    """The evidence source of a puppet's state. `pending` is what the next scan gives."""

    def __init__(self) -> None:
        self.pending: list[Scan] = []

    def scan(self, root: Path, cursors: Mapping[str, Cursor], signals: Sequence[bytes]) -> Iterator[Scan]:
        while self.pending:
            yield self.pending.pop(0)

    def history(self, root: Path, session: str, before: int, limit: int) -> Sequence[Turn]:
        return [turn for turn in kept_turns(root, session) if turn.ordinal < before][-limit:]

    def turns(self, root: Path, session: str | None = None) -> Sequence[Turn]:
        return kept_turns(root, session)

    def check(self, root: Path) -> Probed:
        return Probed("evidence", True, f"{len(kept_turns(root))} turns")


__all__ = ["BAD", "GOOD", "PuppetEvidence", "PuppetTarget", "PuppetTurns"]
