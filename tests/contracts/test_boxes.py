"""The contract of boxes, for each adapter that there is."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from moss import config
from moss.adapters.boxes.process import ProcessBoxes
from moss.domain.frozen import sha256
from moss.domain.ids import Digest, Key, RunId
from moss.errors import BoxLost, BoxRefused
from moss.ports import Box, Boxes, BoxExit, BoxRole, BoxSpec, ExitReason, Image
from moss.testing.boxes import FakeBoxes, Program, Running, listening
from moss.testing.conformance.boxes import SECONDS, BoxesContract, Programs

DIGEST = Digest(sha256(b"an image"))


def images(root: Path) -> Path:
    (root / "image").mkdir()
    (root / "image" / "which").write_text("this one")
    return root / "image"


class TestProcessBoxes(BoxesContract):
    @pytest.fixture
    def image(self) -> Image:
        return Image(DIGEST, "clerk:1", None)

    @pytest.fixture
    def boxes(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boxes]:
        self.home = tmp_path_factory.mktemp("home")
        self.tree = images(self.home)
        boxes = self.reopen()
        yield boxes
        for box in boxes.list():
            boxes.remove(box.key)

    @pytest.fixture
    def reopened(self, boxes: Boxes) -> Boxes:
        return self.reopen()

    def reopen(self) -> ProcessBoxes:
        def tree(digest: Digest) -> Path:
            if digest != DIGEST:
                raise BoxRefused("gone")
            return self.tree

        return ProcessBoxes(self.home, config.ProcessBoxes(), tree)


def words(box: Running) -> int:
    box.say("\0".join(box.argv[1:]).encode())
    return 0


def leave(box: Running) -> int:
    box.complain(b"so long")
    return int(box.argv[1])


def cat(box: Running) -> int:
    box.say(box.stdin)
    return 0


def env(box: Running) -> int:
    box.say("\0".join(f"{name}={value}" for name, value in box.env.items()).encode())
    return 0


def read(box: Running) -> int:
    box.say(Path(box.argv[1]).read_bytes())
    return 0


def append(box: Running) -> int:
    with open(box.argv[1], "a") as file:
        file.write(box.argv[2])
    return 0


def link(box: Running) -> int:
    os.symlink(box.argv[1], box.argv[2])
    return 0


def sleep(box: Running) -> int:
    box.say(b"up\n")
    box.stopped.wait()
    return 143


def stubborn(box: Running) -> int:
    box.say(b"up\n")
    box.stopped.wait()
    while True:
        # what it says after the box's end is what ends it
        box.say(b"")
        threading.Event().wait(0.01)


def shout(box: Running) -> int:
    while True:
        box.say(b"x" * 1000)


def serve(box: Running) -> int:
    with listening(int(box.argv[2])) as server:
        server.settimeout(0.01)
        while not box.stopped.is_set():
            try:
                peer, _ = server.accept()
            except TimeoutError:
                continue
            with peer:
                peer.sendall(b"hello")
    return 143


def bounded_by_nothing(box: Running) -> int:
    return 0


PROGRAMS: dict[str, Program] = {
    "words": words,
    "exit": leave,
    "cat": cat,
    "env": env,
    "read": read,
    "append": append,
    "link": link,
    "sleep": sleep,
    "stubborn": stubborn,
    "shout": shout,
    "serve": serve,
    "eat": bounded_by_nothing,
    "fork": bounded_by_nothing,
    "fill": bounded_by_nothing,
}


class TestFakeBoxes(BoxesContract):
    @pytest.fixture
    def image(self) -> Image:
        return Image(DIGEST, "clerk:1", None)

    @pytest.fixture
    def program(self) -> Programs:
        return lambda name, *words: (name, *words)

    @pytest.fixture
    def boxes(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boxes]:
        home = tmp_path_factory.mktemp("home")
        image = images(home)

        def tree(digest: Digest) -> Path:
            if digest != DIGEST:
                raise BoxRefused("gone")
            return image

        boxes = FakeBoxes(home, PROGRAMS, tree)
        yield boxes
        for box in boxes.list():
            boxes.remove(box.key)


class TestWhatGoesWrongInMemory:
    """Failures that tests script."""

    @pytest.fixture
    def boxes(self, tmp_path: Path) -> FakeBoxes:
        return FakeBoxes(tmp_path, PROGRAMS)

    def launch(self, boxes: FakeBoxes, key: str, *argv: str) -> Box:
        return boxes.launch(BoxSpec(Key(key), RunId("ev-01"), BoxRole.TRIAL, argv))

    def test_a_scripted_exit_replaces_the_program(self, boxes: FakeBoxes) -> None:
        end = BoxExit(137, ExitReason.MEMORY, 1.0)
        boxes.fail("ev-01/*/trial/*", end)
        box = self.launch(boxes, "ev-01/1/trial/1", "words", "never said")
        assert boxes.wait(box, 0.0) == end
        assert boxes.output(box) == b""
        other = self.launch(boxes, "ev-01/1/trial/2", "words", "said")
        assert boxes.wait(other, SECONDS) == BoxExit(0, ExitReason.EXITED, pytest.approx(0, abs=SECONDS))

    def test_a_scripted_error_is_raised_as_often_as_it_says(self, boxes: FakeBoxes) -> None:
        boxes.fail("*", BoxRefused("no rights"), times=2)
        for _ in range(2):
            with pytest.raises(BoxRefused, match="no rights"):
                self.launch(boxes, "ev-01/1", "words")
        assert boxes.launched == []
        assert self.launch(boxes, "ev-01/1", "words").key == "ev-01/1"

    def test_a_box_gets_lost_at_once_or_later(self, boxes: FakeBoxes) -> None:
        boxes.fail("ev-01/1", BoxLost("evicted"))
        running = self.launch(boxes, "ev-01/2", "sleep")
        assert boxes.wait(running, 0.0) is None
        boxes.lose(running.key)
        for box in (self.launch(boxes, "ev-01/1", "words"), running):
            with pytest.raises(BoxLost):
                boxes.wait(box, SECONDS)
