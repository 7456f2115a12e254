"""Owns the settings of one hold proxy, as its starter gives them and as its command line carries them."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class HoldOptions:
    """`folder` is the proxy's own (control socket, state, log); `host:port` is where users talk to the agent.

    `health_paths` are passed through even while held, and are no turns. `connect_seconds` is how long a request waits
    for an agent that does not listen (it restarts). `session_header` names the conversation in the answered log.
    """

    folder: Path
    host: str
    port: int
    health_paths: tuple[str, ...] = ("/health",)
    connect_seconds: float = 5.0
    session_header: str = "X-Session-Id"

    @property
    def control(self) -> Path:
        return self.folder / "control.sock"

    @property
    def lock(self) -> Path:
        return self.folder / "proxy.lock"

    @property
    def log(self) -> Path:
        return self.folder / "proxy.log"


def to_argv(options: HoldOptions) -> tuple[str, ...]:
    """The command that starts this proxy as a process of its own."""
    return (
        sys.executable,
        "-m",
        "moss.hold",
        "--dir",
        str(options.folder),
        "--listen",
        f"{options.host}:{options.port}",
        "--connect-seconds",
        str(options.connect_seconds),
        "--session-header",
        options.session_header,
        *(word for path in options.health_paths for word in ("--health", path)),
        "--detach",
    )


@dataclass(frozen=True, slots=True)
class Command:
    """A parsed command line."""

    options: HoldOptions
    backend: tuple[str, int] | None
    detach: bool


def from_argv(argv: Sequence[str]) -> Command:
    """Exits with 2 and a sentence when the words are wrong."""
    parser = argparse.ArgumentParser("python -m moss.hold", description="The hold proxy in front of a live agent.")
    parser.add_argument("--dir", type=Path, required=True, help="its own folder: control socket, state, log")
    parser.add_argument("--listen", type=_address, required=True, metavar="HOST:PORT")
    parser.add_argument("--backend", type=_address, metavar="HOST:PORT", help="the agent, until it is told another")
    parser.add_argument("--health", action="append", default=[], metavar="PATH", help="passed through while held")
    parser.add_argument("--connect-seconds", type=float, default=5.0)
    parser.add_argument("--session-header", default="X-Session-Id")
    parser.add_argument("--detach", action="store_true", help="go on as a process of its own once it is ready")
    words = parser.parse_args(argv)
    host, port = words.listen
    options = HoldOptions(
        words.dir.absolute(), host, port, tuple(words.health), words.connect_seconds, words.session_header
    )
    return Command(options, words.backend, words.detach)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)
