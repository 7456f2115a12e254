"""Control sockets: one line asked, one line answered, only known errors are raised."""

import json
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moss.daemon import lines
from moss.errors import MossError, NotExpected, TargetDown, TargetError


@contextmanager
def answering(path: Path, act: Callable[[bytes], bytes]) -> Iterator[None]:
    server = lines.listen(path)

    def serve() -> None:
        peer, _ = server.accept()
        with peer:
            lines.answer(peer, act)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        server.close()


def test_a_result_comes_back_as_it_was_given(tmp_path: Path) -> None:
    path = tmp_path / "c.sock"
    with answering(path, lambda request: b'{"got":' + request + b"}"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert lines.ask(path, b"[1, 2]", 2) == b'{"got":[1, 2]}'


@pytest.mark.parametrize(
    ("kind", "raised"), [(NotExpected, NotExpected), (MossError, TargetError), (ValueError, TargetError)]
)
def test_an_error_is_raised_by_its_name_when_it_may_be(
    tmp_path: Path, kind: type[Exception], raised: type[Exception]
) -> None:
    def act(request: bytes) -> bytes:
        raise kind("clerk 2 runs")

    with answering(tmp_path / "c.sock", act), pytest.raises(raised, match="clerk 2 runs") as error:
        lines.ask(tmp_path / "c.sock", b"x", 2)
    assert type(error.value) is raised


def test_a_peer_that_says_nothing_in_time_is_down(tmp_path: Path) -> None:
    server = lines.listen(tmp_path / "c.sock")
    with server, pytest.raises(TargetDown, match="nobody answers"):
        lines.ask(tmp_path / "c.sock", b"x", 0.05)


def test_an_old_socket_file_is_replaced_and_a_deep_folder_reached(tmp_path: Path) -> None:
    folder = tmp_path.joinpath(*["f" * 50] * 3)
    folder.mkdir(parents=True)
    path = folder / "c.sock"
    lines.listen(path).close()
    with answering(path, lambda request: b"1"):
        assert lines.ask(path, b"x", 2) == b"1"


@given(st.binary(max_size=100))
def test_whatever_answers_only_moss_errors_come_out(answer: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(answer.replace(b"\n", b" ") + b"\n")
        line = lines.read_line(ours)
    try:
        lines._opened(Path("c.sock"), line)
    except TargetDown:
        return
    assert line.startswith(b'{"result":')


def test_an_answer_that_names_another_class_is_not_raised_as_it() -> None:
    told = json.dumps({"error": "SystemExit", "sentence": "x"}).encode()
    with pytest.raises(TargetDown):
        lines._opened(Path("c.sock"), told)
