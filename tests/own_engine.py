"""An engine of the tests' own: started in a network and mount namespace of its own, restarted and killed at will.

The machine's engine is never touched. What runs `inside` sees this engine at the usual socket, and its containers at
their addresses, as on a host of its own.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

START_SECONDS = 60.0
BASE = "python:3.11-slim"
MACHINES = "/run/docker.sock"


class OwnEngine:
    """`program` is a dockerd. Nothing of it is left after `close`."""

    def __init__(self, program: Path) -> None:
        # a short path: sockets of containerd lie deep in it, and a socket's path has 108 bytes
        self.program, self.folder = program, Path(tempfile.mkdtemp(prefix="moss-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._space: subprocess.Popen[bytes] | None = None
        self._before = -1

    @property
    def socket(self) -> Path:
        return self.folder / "engine.sock"

    @property
    def address(self) -> str:
        return f"unix://{self.socket}"

    def start(self) -> None:
        """It answers when this returns."""
        if self._space is None:
            # the namespaces outlive the engine: what it started goes on in them while it restarts
            told = ["unshare", "--net", "--mount", "sh", "-c", "ip link set lo up && echo ready && exec sleep infinity"]
            self._space = subprocess.Popen(told, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
            assert self._space.stdout is not None
            assert self._space.stdout.readline() == b"ready\n"
        argv = [str(self.program), "--data-root", f"{self.folder}/data", "--exec-root", f"{self.folder}/exec"]
        argv += ["--pidfile", f"{self.folder}/pid", "-H", self.address]
        env = {**os.environ, "PATH": f"{self.program.parent}:{os.environ['PATH']}"}
        with (self.folder / "engine.log").open("ab") as log:
            self._process = subprocess.Popen(self._entered(argv), env=env, stdout=log, stderr=log)
        ends = time.monotonic() + START_SECONDS
        while self.docker("info", check=False).returncode:
            assert self._process.poll() is None, (self.folder / "engine.log").read_text()[-2000:]
            assert time.monotonic() < ends, "the engine does not come up"
            time.sleep(0.05)

    def end(self, sign: signal.Signals = signal.SIGTERM) -> None:
        """SIGTERM stops its containers, as a reboot does; SIGKILL leaves them to go on."""
        assert self._process is not None
        self._process.send_signal(sign)
        self._process.wait(60)
        (self.folder / "pid").unlink(missing_ok=True)

    def restart(self, sign: signal.Signals = signal.SIGTERM) -> None:
        self.end(sign)
        self.start()

    def docker(self, *words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(["docker", "-H", self.address, *words], check=check, capture_output=True, text=True)

    def take(self, image: str = BASE) -> None:
        """Copies an image from the machine's engine."""
        saved = self.folder / "image.tar"
        subprocess.run(["docker", "save", "-o", saved, image], check=True)
        self.docker("load", "-q", "-i", str(saved))
        saved.unlink()

    def inside(self, argv: Sequence[str], cwd: Path, seconds: float) -> "subprocess.CompletedProcess[str]":
        """Runs a program where this engine is the machine's."""
        mount = 'mount --bind "$0" ' + MACHINES + ' && exec "$@"'
        words = ["unshare", "--mount", "sh", "-c", mount, str(self.socket), *argv]
        return subprocess.run(
            self._entered(words), cwd=cwd, check=False, capture_output=True, text=True, timeout=seconds
        )

    def enter(self) -> None:
        """This thread, and all that it starts from now on, are in its network: containers answer at their addresses."""
        assert self._space is not None
        self._before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        with open(f"/proc/{self._space.pid}/ns/net") as space:
            _set_network(space.fileno())

    def leave(self) -> None:
        """This thread is where it was before."""
        _set_network(self._before)
        os.close(self._before)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            names = self.docker("ps", "-aq", check=False).stdout.split()
            if names:
                self.docker("rm", "-fv", *names, check=False)
            self.end()
        if self._space is not None:
            self._space.kill()
            self._space.wait()
            assert self._space.stdout is not None
            self._space.stdout.close()
        for left in self.folder.glob("data/*/*/merged"):
            subprocess.run(["umount", "-l", left], check=False, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _entered(self, argv: Sequence[str]) -> list[str]:
        assert self._space is not None
        return ["nsenter", f"--target={self._space.pid}", "--net", *argv]


def _set_network(space: int) -> None:
    """setns(2), which Python 3.11 does not have."""
    if ctypes.CDLL(None, use_errno=True).setns(space, 0x40000000) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), "setns")


def dockerd(variable: str, version: str = "") -> Path | str:
    """The engine's program that `variable` names, else the one on the PATH; or what is missing."""
    if os.geteuid() != 0:
        return "an engine of the tests' own needs root"
    named = os.environ.get(variable) or shutil.which("dockerd")
    if named is None or not Path(named).exists():
        return f"there is no program `dockerd` (name one: {variable})"
    said = subprocess.run([named, "--version"], check=False, capture_output=True, text=True).stdout
    if f"version {version}" not in said:
        return f"{named} is not Docker {version} but {said.strip()} (name one: {variable})"
    return Path(named)
