"""The gateway's door: the same gateway over a Unix socket, for boxes that have no network."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

from moss.config import Upstream
from moss.gateway.home import GatewayHome

from .conftest import gateway, grant

ASKS = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    b"Authorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s"
)


def ask(home: Path, token: str) -> bytes:
    """What the door answers to one chat."""
    folder = os.open(GatewayHome(home).door, os.O_RDONLY)
    body = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}]}'
    try:
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(10)
            peer.connect(f"/proc/self/fd/{folder}/gateway.sock")
            peer.sendall(ASKS % (token.encode(), len(body), body))
            with peer.makefile("rb") as answer:
                return answer.read()
    finally:
        os.close(folder)


def test_a_box_without_a_network_gets_its_answer_at_the_door(tmp_path: Path, scripted: Callable[..., Upstream]) -> None:
    """Also below a home whose path is longer than a socket's may be."""
    home = tmp_path / ("long" * 40)
    with gateway(home, upstreams=(scripted({"text": "come in"}),)) as running:
        token = running.control.open(grant())
        assert b"come in" in ask(home, token)
        assert ask(home, "not-a-token").startswith(b"HTTP/1.1 401")


def test_the_door_is_opened_anew_after_a_restart(tmp_path: Path, scripted: Callable[..., Upstream]) -> None:
    """A killed gateway leaves its socket behind."""
    upstream = scripted({"text": "come in"})
    door = GatewayHome(tmp_path).door
    door.mkdir(mode=0o700, parents=True)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(door / "gateway.sock"))
    with gateway(tmp_path, upstreams=(upstream,)) as running:
        assert b"come in" in ask(tmp_path, running.control.open(grant()))
    assert door.stat().st_mode & 0o777 == 0o700
