"""A missing, forbidden, old or strange engine is one sentence with the mend, whatever is behind the address."""

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moss.dockerd import Conflict, Engine, Gone, home_tag, plain
from moss.errors import BoxRefused, BuildBroken, NoSpace


def refusal(address: str) -> str:
    engine = Engine(address, BuildBroken)
    with pytest.raises(BuildBroken) as caught:
        _ = engine.api
    return str(caught.value)


def test_no_engine_names_the_socket_and_the_mend(tmp_path: Path) -> None:
    said = refusal(f"unix://{tmp_path}/none.sock")
    assert said.startswith(f"no Docker Engine answers at unix://{tmp_path}/none.sock (mend: start it")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may use every socket: run the tests as another user")
def test_a_socket_without_the_right_to_it_says_so(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        (tmp_path / "s").chmod(0)
        assert "join the group `docker`" in refusal(f"unix://{tmp_path}/s")


@pytest.fixture
def strange(tmp_path: Path) -> Iterator[tuple[str, list[bytes]]]:
    """Somebody else who listens, with the answers that it gives in turn (the last one for good)."""
    answers: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()

        def serve() -> None:
            while True:
                try:
                    peer, _ = server.accept()
                except OSError:
                    return
                with peer:
                    # the first visit only knocks and says nothing
                    if peer.recv(65536):
                        peer.sendall(answers[0])

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"unix://{tmp_path}/s", answers
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def http(status: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    )
    return head.encode() + b"\r\n" + body


def test_an_engine_that_is_too_old_says_which_it_needs(strange: tuple[str, list[bytes]]) -> None:
    address, answers = strange
    answers.append(http("200 OK", b'{"ApiVersion": "1.40"}'))
    assert "too old (API 1.40, needs 1.41: Docker 20.10)" in refusal(address)


def test_what_is_no_engine_is_told_so(strange: tuple[str, list[bytes]]) -> None:
    address, answers = strange
    answers.append(http("200 OK", b"[]"))
    assert "is no Docker Engine" in refusal(address)


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        ("404 Not Found", b'{"message": "no such container"}', Gone),
        ("409 Conflict", b'{"message": "is in use"}', Conflict),
        ("500 Internal Server Error", b'{"message": "write /x: no space left on device"}', NoSpace),
        ("500 Internal Server Error", b'{"message": "broken\\u001b[2J"}', BoxRefused),
    ],
)
def test_what_an_engine_says_becomes_our_own_errors(
    strange: tuple[str, list[bytes]], status: str, body: bytes, error: type[Exception]
) -> None:
    address, answers = strange
    answers.append(http("200 OK", b'{"ApiVersion": "1.51"}'))
    engine = Engine(address, BoxRefused)
    _ = engine.api
    answers[0] = http(status, body)
    with pytest.raises(error) as caught, engine.saying("looking"):
        engine.api.inspect_container("x")
    assert "\x1b" not in str(caught.value)
    engine.close()


def test_a_home_has_one_tag_for_good(tmp_path: Path) -> None:
    assert home_tag(tmp_path / "a") == home_tag(tmp_path / "a")
    assert home_tag(tmp_path / "a") != home_tag(tmp_path / "b")
    assert len(home_tag(tmp_path / "a")) == 8


@given(st.text())
def test_an_engines_words_are_one_short_line_that_no_terminal_obeys(words: str) -> None:
    said = plain(words)
    assert len(said) <= 500
    assert said.isprintable()
