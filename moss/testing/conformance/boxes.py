"""Owns the contract of `moss.ports.Boxes` as tests. Subclass `BoxesContract` and give it `boxes` and `reopened`.

Never looks inside an adapter. Programs are Python sources (`PROGRAMS`), run by the box's `python3`; an adapter that
runs none gives another `program`. What an adapter does not declare in its capabilities is a strict xfail.
"""

import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from moss.domain.frozen import sha256
from moss.domain.ids import Digest, Key, RunId
from moss.errors import BoxLost, BoxRefused
from moss.ports import Box, Boxes, BoxExit, BoxRole, BoxSpec, ExitReason, Image, Limits, Mount, MountName, OwnStart

RUN = RunId("ev-01")
SECONDS = 60.0
"""Longer than any box of this suite lives: a wait that takes so long has failed."""

PROGRAMS = {
    "words": "import sys; sys.stdout.write('\\0'.join(sys.argv[1:]))",
    "exit": "import sys; sys.stderr.write('so long'); sys.exit(int(sys.argv[1]))",
    "cat": "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())",
    "env": "import os; print('\\0'.join(f'{k}={v}' for k, v in os.environ.items()), end='')",
    "read": "import sys; print(open(sys.argv[1]).read(), end='')",
    "append": "import sys; f = open(sys.argv[1], 'a'); f.write(sys.argv[2]); f.close()",
    "link": "import os, sys; os.symlink(sys.argv[1], sys.argv[2])",
    "sleep": "import time; print('up', flush=True); time.sleep(600)",
    "stubborn": (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    ),
    "shout": "import sys\nwhile True: sys.stdout.write('x' * 1000)",
    "serve": (
        "import socket, sys\n"
        "with socket.create_server((sys.argv[1], int(sys.argv[2]))) as s:\n"
        "  while True:\n    c, _ = s.accept(); c.sendall(b'hello'); c.close()"
    ),
    "eat": "import time; x = bytearray(b'x') * (400 << 20); time.sleep(600)",
    "fork": ("import os, time\nfor _ in range(60):\n  if os.fork() == 0: time.sleep(600)\ntime.sleep(600)"),
    "fill": (
        "import sys, time\nf = open(sys.argv[1], 'wb')\n"
        "for _ in range(64): f.write(b'x' * (1 << 20)); f.flush(); time.sleep(0.02)\ntime.sleep(600)"
    ),
}

Programs = Callable[..., tuple[str, ...]]


def until(true: Callable[[], object]) -> None:
    """Waits for a condition, never longer than `SECONDS`."""
    end = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < end, "the condition never came true"
        time.sleep(0.005)


class _Parts:
    @pytest.fixture
    def boxes(self) -> Boxes:
        raise NotImplementedError

    @pytest.fixture
    def reopened(self, boxes: Boxes) -> Boxes:
        """The same boxes as a controller sees them that was started anew."""
        return boxes

    @pytest.fixture
    def image(self) -> Image:
        """An image whose tree holds the file `which` with the text `this one`."""
        raise NotImplementedError

    @pytest.fixture
    def program(self) -> Programs:
        return lambda name, *words: ("python3", "-c", PROGRAMS[name], *words)

    @pytest.fixture
    def start(self, boxes: Boxes, program: Programs) -> Callable[..., Box]:
        def start(name: str, *words: str, key: str = "ev-01/1/trial/1", **more: object) -> Box:
            run = RunId(key.split("/")[0])
            spec = BoxSpec(Key(key), run, BoxRole.TRIAL, program(name, *words), **more)  # type: ignore[arg-type]
            return boxes.launch(spec)

        return start

    @pytest.fixture
    def ends(self, boxes: Boxes, start: Callable[..., Box]) -> Callable[..., tuple[Box, BoxExit]]:
        def ends(*words: str, **more: object) -> tuple[Box, BoxExit]:
            box = start(*words, **more)
            end = boxes.wait(box, SECONDS)
            assert end is not None
            return box, end

        return ends


Start = Callable[..., Box]
Ends = Callable[..., tuple[Box, BoxExit]]
HOSTILE_WORDS = ("; rm -rf /", "$(id)", "`id`", "a\nb", "", "-x", "{unknown}", "*", "ü €", '"', "'", "\\", "%s")


class ProgramContract(_Parts):
    def test_words_reach_the_program_as_they_are(self, boxes: Boxes, ends: Ends) -> None:
        box, end = ends("words", *HOSTILE_WORDS)
        assert (end.code, end.reason) == (0, ExitReason.EXITED)
        assert boxes.output(box).decode().split("\0") == list(HOSTILE_WORDS)

    def test_the_exit_code_and_the_errors_are_the_programs(self, boxes: Boxes, ends: Ends) -> None:
        box, end = ends("exit", "3")
        assert (end.code, end.reason) == (3, ExitReason.EXITED)
        assert boxes.errors(box) == b"so long"
        assert boxes.output(box) == b""

    def test_an_own_start_that_is_not_declared_is_refused(self, boxes: Boxes, image: Image) -> None:
        own = OwnStart(state="/data", port=8080)
        spec = BoxSpec(Key("ev-01/own"), RUN, BoxRole.TRIAL, ("no-such-program-here",), image=image, own=own)
        if not boxes.capabilities.own_starts:
            with pytest.raises(BoxRefused):
                boxes.launch(spec)
            return
        assert (end := boxes.wait(boxes.launch(spec), SECONDS)) is not None
        assert end.code == 127

    def test_a_program_that_does_not_exist_is_code_127(self, boxes: Boxes) -> None:
        box = boxes.launch(BoxSpec(Key("ev-01/x"), RUN, BoxRole.CHECK, ("no-such-program-here",)))
        end = boxes.wait(box, SECONDS)
        assert end is not None
        assert (end.code, end.reason) == (127, ExitReason.EXITED)
        assert b"no-such-program-here" in boxes.errors(box)

    def test_stdin_reaches_the_program_whole(self, boxes: Boxes, ends: Ends) -> None:
        data = bytes(range(256)) * 1000
        box, _ = ends("cat", stdin=data)
        assert boxes.output(box) == data

    def test_output_is_read_in_pieces(self, boxes: Boxes, ends: Ends) -> None:
        box, _ = ends("cat", stdin=b"0123456789")
        assert boxes.output(box, after=3, limit=4) == b"3456"
        assert boxes.output(box, after=8) == b"89"
        assert boxes.output(box, after=10) == b""

    def test_nothing_of_our_environment_is_inherited(
        self, boxes: Boxes, ends: Ends, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-4711")
        box, _ = ends("env", env={"MINE": "yes", "STATE": "{state}/db"})
        env = dict(pair.split("=", 1) for pair in boxes.output(box).decode().split("\0"))
        assert env["MINE"] == "yes"
        assert env["STATE"].endswith("/db")
        assert "{" not in env["STATE"]
        assert "sk-planted-4711" not in boxes.output(box).decode()

    def test_files_are_in_the_place_in(self, boxes: Boxes, ends: Ends) -> None:
        box, _ = ends("read", "{in}/deep/er.txt", files={"deep/er.txt": b"found"})
        assert boxes.output(box) == b"found"

    @pytest.mark.parametrize("name", ["../out", "/etc/x", "a/../../b", "", "a//b", "."])
    def test_a_file_that_points_out_is_refused(self, boxes: Boxes, start: Start, name: str) -> None:
        with pytest.raises(BoxRefused):
            start("cat", files={name: b"x"})
        assert boxes.list() == []

    def test_the_image_is_where_the_word_says(self, boxes: Boxes, ends: Ends, image: Image) -> None:
        box, _ = ends("read", "{image}/which", image=image)
        assert boxes.output(box) == b"this one"

    def test_an_image_that_is_gone_is_refused(self, boxes: Boxes, start: Start) -> None:
        with pytest.raises(BoxRefused):
            start("cat", image=Image(Digest(sha256(b"nothing")), "clerk:gone", None))
        assert boxes.list() == []


class PlaceContract(_Parts):
    def test_a_writable_mount_is_the_folder_itself(self, ends: Ends, tmp_path: Path) -> None:
        (tmp_path / "w").mkdir()
        ends("append", "{work}/x", "new", mounts=(Mount(MountName.WORK, tmp_path / "w", writable=True),))
        assert (tmp_path / "w" / "x").read_text() == "new"

    def test_a_read_only_mount_is_never_changed(self, boxes: Boxes, ends: Ends, tmp_path: Path) -> None:
        (tmp_path / "s").mkdir()
        (tmp_path / "s" / "x").write_text("old")
        mounts = (Mount(MountName.STATE, tmp_path / "s", writable=False),)
        ends("append", "{state}/x", "new", mounts=mounts)
        assert (tmp_path / "s" / "x").read_text() == "old"
        box, _ = ends("read", "{state}/x", mounts=mounts, key="ev-01/2")
        assert boxes.output(box) == b"old"

    def test_what_the_box_leaves_behind_is_fetched(self, boxes: Boxes, ends: Ends) -> None:
        box, _ = ends("append", "{out}/report", "0123456789")
        assert boxes.fetch(box, MountName.OUT, "report", 100) == b"0123456789"
        assert boxes.fetch(box, MountName.OUT, "report", 4) == b"0123"

    @pytest.mark.parametrize(
        "path", ["none", "report/x", "../out/report", "/etc/passwd", "", ".", "a\0b", "x/../report"]
    )
    def test_nothing_else_is_fetched(self, boxes: Boxes, ends: Ends, path: str) -> None:
        box, _ = ends("append", "{out}/report", "x")
        assert boxes.fetch(box, MountName.OUT, path, 100) is None

    @pytest.mark.parametrize(
        ("to", "path"), [("/etc/passwd", "l"), ("/etc", "l/passwd"), ("report", "l"), ("/", "l/etc/passwd")]
    )
    def test_no_symlink_is_followed(self, boxes: Boxes, ends: Ends, to: str, path: str) -> None:
        box, end = ends("link", to, "{out}/l")
        assert end.code == 0
        assert boxes.fetch(box, MountName.OUT, path, 100) is None


class LifeContract(_Parts):
    def test_wait_gives_none_while_it_runs(self, boxes: Boxes, start: Start) -> None:
        box = start("sleep")
        assert boxes.wait(box, 0.0) is None
        assert boxes.wait(box, 0.05) is None
        boxes.remove(box.key)

    def test_one_key_is_one_box_running_or_ended(self, boxes: Boxes, ends: Ends, start: Start) -> None:
        box, end = ends("append", "{out}/x", "once")
        again = start("append", "{out}/x", "twice")
        assert again == box
        assert boxes.wait(again, SECONDS) == end
        assert boxes.fetch(again, MountName.OUT, "x", 100) == b"once"

    def test_launches_at_the_same_moment_are_one(self, start: Start, boxes: Boxes, tmp_path: Path) -> None:
        mounts = (Mount(MountName.STATE, tmp_path, writable=True),)
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: start("append", "{state}/x", "1", mounts=mounts), range(8)))
        assert len({box.boot for box in found}) == 1
        assert boxes.wait(found[0], SECONDS) is not None
        assert (tmp_path / "x").read_text() == "1"

    def test_keys_that_look_alike_are_different_boxes(self, boxes: Boxes, start: Start) -> None:
        keys = [
            "ev-01/a/b",
            "ev-01/a.b",
            "ev-01/a b",
            "ev-01/" + "x" * 300,
            "ev-01/" + "x" * 301,
            "ev-01/../b",
            "ev-01/ü",
        ]
        found = [start("words", key, key=key) for key in keys]
        assert len({box.id for box in found}) == len(keys)
        for box, key in zip(found, keys, strict=True):
            assert boxes.wait(box, SECONDS) is not None
            assert boxes.output(box).decode() == key
        assert {box.key for box in boxes.list()} == set(keys)

    def test_a_new_controller_finds_the_box(self, boxes: Boxes, reopened: Boxes, start: Start) -> None:
        box = start("sleep")
        until(lambda: boxes.output(box) == b"up\n")
        assert reopened.list(RUN) == [box]
        assert reopened.wait(box, 0.0) is None
        reopened.stop(box, 5.0)
        end = boxes.wait(box, SECONDS)
        assert end is not None
        assert end.reason is ExitReason.KILLED

    @pytest.mark.parametrize("name", ["sleep", "stubborn"])
    def test_stop_ends_what_listens_and_what_does_not(self, boxes: Boxes, start: Start, name: str) -> None:
        box = start(name)
        until(lambda: boxes.output(box) == b"up\n")
        boxes.stop(box, 0.2)
        end = boxes.wait(box, 0.0)
        assert end is not None
        assert end.reason is ExitReason.KILLED
        assert end.code == {"sleep": 143, "stubborn": 137}[name]

    def test_stopping_what_has_ended_or_is_gone_is_silent(self, boxes: Boxes, ends: Ends) -> None:
        box, end = ends("exit", "0")
        boxes.stop(box, 5.0)
        assert boxes.wait(box, 0.0) == end
        boxes.remove(box.key)
        boxes.stop(box, 5.0)

    def test_remove_kills_and_forgets(self, boxes: Boxes, start: Start) -> None:
        box = start("stubborn")
        until(lambda: boxes.output(box) == b"up\n")
        boxes.remove(box.key)
        boxes.remove(box.key)
        assert boxes.list() == []
        for use in (
            lambda: boxes.wait(box, 0.0),
            lambda: boxes.output(box),
            lambda: boxes.errors(box),
            lambda: boxes.address(box),
            lambda: boxes.exec(box, ("true",), b"", 1.0),
            lambda: boxes.fetch(box, MountName.OUT, "x", 1),
        ):
            with pytest.raises(BoxLost):
                use()

    def test_a_key_that_was_removed_is_free_again(self, boxes: Boxes, ends: Ends) -> None:
        first, _ = ends("words", "one")
        boxes.remove(first.key)
        second, _ = ends("words", "two")
        assert boxes.output(second) == b"two"
        assert second.boot != first.boot
        boxes.remove(second.key)
        with pytest.raises(BoxLost):
            boxes.wait(first, 0.0)

    def test_list_is_of_a_run_or_of_all(self, boxes: Boxes, ends: Ends) -> None:
        one, _ = ends("words", key="ev-01/1")
        two, _ = ends("words", key="ev-02/1")
        assert boxes.list(RunId("ev-02")) == [two]
        assert set(boxes.list()) == {one, two}
        assert boxes.list(RunId("ev-03")) == []


class InsideContract(_Parts):
    def test_a_port_is_reached(self, boxes: Boxes, start: Start) -> None:
        box = start("serve", "127.0.0.1", "{port}", port=True)
        address = boxes.address(box)

        def answers() -> bool:
            try:
                with socket.create_connection(address, timeout=5) as peer:
                    return peer.recv(10) == b"hello"
            except OSError:
                return False

        until(answers)
        boxes.remove(box.key)

    def test_a_box_without_a_port_has_no_address(self, boxes: Boxes, ends: Ends) -> None:
        box, _ = ends("words")
        with pytest.raises(BoxRefused):
            boxes.address(box)

    def test_exec_runs_inside(self, boxes: Boxes, start: Start, program: Programs) -> None:
        box = start("sleep", files={"x": b"inside"}, env={"MINE": "yes"})
        assert boxes.exec(box, program("cat"), b"to stdin", SECONDS) == (0, b"to stdin", b"")
        assert boxes.exec(box, program("exit", "7"), b"", SECONDS) == (7, b"", b"so long")
        assert boxes.exec(box, program("read", "{in}/x"), b"", SECONDS) == (0, b"inside", b"")
        assert b"MINE=yes" in boxes.exec(box, program("env"), b"", SECONDS)[1]
        code, out, _ = boxes.exec(box, program("words", *HOSTILE_WORDS), b"", SECONDS)
        assert (code, out.decode().split("\0")) == (0, list(HOSTILE_WORDS))
        boxes.remove(box.key)

    def test_exec_that_takes_too_long_is_killed(self, boxes: Boxes, start: Start, program: Programs) -> None:
        box = start("sleep")
        code, out, _ = boxes.exec(box, program("stubborn"), b"", 0.5)
        assert (code, out) in ((137, b"up\n"), (137, b""))
        assert boxes.wait(box, 0.0) is None
        boxes.remove(box.key)

    def test_exec_in_a_box_that_ended_is_lost(self, boxes: Boxes, ends: Ends, program: Programs) -> None:
        box, _ = ends("words")
        with pytest.raises(BoxLost):
            boxes.exec(box, program("words"), b"", SECONDS)


class BoundContract(_Parts):
    def test_time_is_bounded(self, boxes: Boxes, ends: Ends) -> None:
        _, end = ends("stubborn", limits=Limits(seconds=0.3))
        assert (end.code, end.reason) == (137, ExitReason.DEADLINE)
        assert end.seconds < SECONDS / 2

    def test_output_is_bounded_and_cut_with_a_mark(self, boxes: Boxes, ends: Ends) -> None:
        box, end = ends("shout", limits=Limits(output_bytes=5000))
        assert end.reason is ExitReason.OUTPUT
        out = boxes.output(box)
        assert out.startswith(b"x" * 5000 + b"\n[moss: output cut")
        assert len(out) < 5100

    def test_memory_is_bounded(self, boxes: Boxes, ends: Ends, request: pytest.FixtureRequest) -> None:
        _undeclared(request, boxes.capabilities.limits_memory)
        _, end = ends("eat", limits=Limits(seconds=10, memory_bytes=200 << 20))
        assert (end.code, end.reason) == (137, ExitReason.MEMORY)

    def test_processes_are_bounded(self, boxes: Boxes, ends: Ends, request: pytest.FixtureRequest) -> None:
        _undeclared(request, boxes.capabilities.limits_pids)
        _, end = ends("fork", limits=Limits(seconds=10, pids=20))
        assert (end.code, end.reason) == (137, ExitReason.PIDS)

    def test_disk_is_bounded(self, boxes: Boxes, ends: Ends, request: pytest.FixtureRequest) -> None:
        _undeclared(request, boxes.capabilities.limits_disk)
        _, end = ends("fill", "{out}/x", limits=Limits(seconds=10, disk_bytes=8 << 20))
        assert end.reason is ExitReason.DISK or end.code != 0
        assert end.reason is not ExitReason.DEADLINE


def _undeclared(request: pytest.FixtureRequest, declared: bool) -> None:
    if not declared:
        request.applymarker(pytest.mark.xfail(reason="not among the adapter's capabilities", strict=True))


class BoxesContract(ProgramContract, PlaceContract, LifeContract, InsideContract, BoundContract):
    """The whole contract."""
