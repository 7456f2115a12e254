"""Owns the self-test of container boxes: a box looks around on this very engine, and what it finds is judged here.

An engine may accept an option and ignore it (an old one, an odd kernel, rootless), so nothing is believed that was not
seen. Each thing that must not be reached has a positive control on this side: a listener that does answer others.
Never weakens a box to pass. Leaves no box behind.
"""

import contextlib
import json
import socket
import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import psutil

from moss.dockerd import Engine
from moss.domain.ids import Key, RunId
from moss.errors import BoxRefused
from moss.ports import Box, Boxes, BoxRole, BoxSpec, Limits, Probed

RUN = RunId("probe")
SECONDS = 30.0
METADATA = ("169.254.169.254", "169.254.170.2", "100.100.100.200")
OUTSIDE = (("1.1.1.1", 53), ("8.8.8.8", 53))
NAMES = ("example.com", "host.docker.internal", "metadata.google.internal")
LIMITS = Limits(seconds=SECONDS, memory_bytes=128 << 20, cpus=0.5, pids=16)
KERNEL_PIDS = 4 * LIMITS.pids + 64
LISTEN = (
    "import socket\nwith socket.create_server(('0.0.0.0', {port})) as s:\n"
    "  while True: c, _ = s.accept(); c.sendall(b'neighbour'); c.close()"
)


@dataclass(frozen=True, slots=True)
class Isolation:
    """What was seen, one line a property. `closed`: all of them hold."""

    lines: tuple[Probed, ...]

    @property
    def closed(self) -> bool:
        return all(line.ok for line in self.lines)

    def refusal(self) -> str:
        open_lines = "; ".join(f"{line.name}: {line.detail}" for line in self.lines if not line.ok)
        return f"boxes of this engine are not closed, so none is started ({open_lines})"


def look_around(boxes: Boxes, engine: Engine, port: int, root_allowed: bool) -> Isolation:
    """A box looks around while another one listens beside it. Raises: BoxRefused when it cannot even look."""
    source = (files("moss.adapters.boxes") / "docker_inside.py").read_text()
    with _listener() as listening, _box(boxes, ("python3", "-c", LISTEN.format(port=port)), port=True) as neighbour:
        near = host_addresses(engine)
        control = [host for host in near if answers(host, listening)]
        beside = _neighbour_answers(boxes, neighbour)
        targets = [*((host, listening) for host in near), *((host, 80) for host in METADATA), *OUTSIDE]
        argv = ("python3", "-I", "-S", "-c", source, json.dumps({"targets": targets, "names": NAMES}))
        with _box(boxes, argv) as box:
            end = boxes.wait(box, SECONDS)
            said = boxes.output(box)
            if end is None or end.code:
                raise BoxRefused(f"the probe of boxes did not end well: {end}, {boxes.errors(box)[-300:]!r}")
    return Isolation(tuple(judge(json.loads(said), control, beside, root_allowed)))


def judge(seen: dict[str, Any], control: Sequence[str], beside: bool, root_allowed: bool) -> Iterator[Probed]:
    """What was seen against what must be. `control`: addresses at which this host's listener did answer."""
    capabilities = {name: f"{value:x}" for name, value in seen["capabilities"].items() if value}
    yield _line("user", root_allowed or seen["uid"] != 0, f"uid {seen['uid']}", "boxes.user must not be 0:0")
    yield _line("capabilities", not capabilities, str(capabilities or "none"), "the engine ignores cap-drop")
    yield _line("privileges", seen["no_new_privileges"], "none can be gained", "the engine ignores no-new-privileges")
    yield _line("seccomp", seen["seccomp"], "filtered", "start the engine with its default seccomp profile")
    yield _line("root", not seen["written"], str(seen["written"] or "read-only"), "the engine ignores read-only")
    yield _line("engine", not seen["sockets"], str(seen["sockets"] or "no socket"), "unmount the engine's socket")
    yield _line("devices", not seen["devices"], str(seen["devices"] or "none"), "do not run boxes privileged")
    lonely = set(seen["interfaces"]) <= {"lo"}
    closed = lonely and not seen["reached"] and not seen["resolved"]
    found = f"{seen['interfaces']}, reached {seen['reached']}, resolved {seen['resolved']}"
    yield _line("network", closed, found if not closed else "loopback only", "the engine ignores network none")
    said = f"the listener answered others at {', '.join(control)}" if control else "no listener of this host answered"
    yield _line("network control", bool(control), said, "the probe itself cannot work here: no address of this host")
    yield _line("neighbour control", beside, "a box beside it answers its own door", "the slots' sockets do not work")
    yield from _bounds(seen["bounds"])


def _bounds(bounds: dict[str, str | None]) -> Iterator[Probed]:
    """The kernel's own figures, read inside."""
    memory = bounds["memory"] or "max"
    yield _line(
        "memory bound", memory.isdigit() and int(memory) <= LIMITS.memory_bytes, memory, "enable the memory cgroup"
    )
    pids = bounds["pids"] or "max"
    yield _line("process bound", pids.isdigit() and int(pids) <= KERNEL_PIDS, pids, "enable the pids cgroup")
    cpu = (bounds["cpu"] or "max").split()[0]
    yield _line("cpu bound", cpu.isdigit(), cpu, "enable the cpu cgroup with CFS bandwidth control")


def _line(name: str, ok: bool, detail: str, mend: str) -> Probed:
    return Probed(name, bool(ok), detail, None if ok else mend)


def host_addresses(engine: Engine) -> list[str]:
    """Where this host answers: its own addresses and the engine's bridges."""
    with engine.saying("the engine's networks cannot be listed"):
        networks = engine.api.networks()
    bridges = [
        pool["Gateway"] for network in networks for pool in network["IPAM"]["Config"] or () if pool.get("Gateway")
    ]
    own = [
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family is socket.AF_INET and not address.address.startswith("127.")
    ]
    return sorted({*bridges, *own})


def answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1.0):
            return True
    except OSError:
        return False


@contextlib.contextmanager
def _listener() -> Iterator[int]:
    """A port of all of this host's addresses that answers whoever reaches it."""
    with socket.create_server(("0.0.0.0", 0), backlog=64) as server:  # noqa: S104
        accepting = threading.Thread(target=_accept, args=(server,), daemon=True)
        accepting.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            accepting.join()


def _accept(server: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            server.accept()[0].close()


@contextlib.contextmanager
def _box(boxes: Boxes, argv: tuple[str, ...], port: bool = False) -> Iterator[Box]:
    key = Key(f"{RUN}/{uuid.uuid4().hex}")
    try:
        yield boxes.launch(BoxSpec(key, RUN, BoxRole.CHECK, argv, port=port, limits=LIMITS))
    finally:
        boxes.remove(key)


def _neighbour_answers(boxes: Boxes, neighbour: Box) -> bool:
    address = boxes.address(neighbour)
    with contextlib.suppress(OSError):
        for _ in range(1000):
            try:
                with socket.create_connection(address, timeout=2.0) as peer:
                    return peer.recv(100) == b"neighbour"
            except ConnectionRefusedError:
                if boxes.wait(neighbour, 0.01) is not None:
                    return False
    return False
