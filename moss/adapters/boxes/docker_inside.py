"""Owns what a box finds when it looks around: run inside a probe box, as `python3 -c SOURCE TARGETS`.

Standard library only. TARGETS is JSON: addresses that must not answer. Prints one JSON object of what was seen; judges
nothing, so that the judge is outside.
"""

import contextlib
import json
import os
import socket
import sys
from typing import Any

SECONDS = 1.0
BOUNDS = {
    "memory": ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"),
    "pids": ("/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max"),
    "cpu": ("/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
}


def status() -> dict[str, str]:
    with open("/proc/self/status") as file:
        pairs = (line.split(":", 1) for line in file)
        return {name: value.strip() for name, value in pairs}


def reached(targets: list[list[Any]]) -> list[str]:
    """Which of the addresses answered a connection."""
    found = []
    for host, port in targets:
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=SECONDS):
            found.append(f"{host}:{port}")
    return found


def resolved(names: list[str]) -> list[str]:
    found = []
    for name in names:
        with contextlib.suppress(OSError):
            found.append(f"{name} is {socket.gethostbyname(name)}")
    return found


def written(paths: list[str]) -> list[str]:
    """Which folders took a file."""
    found = []
    for path in paths:
        with contextlib.suppress(OSError), open(os.path.join(path, ".moss-probe"), "w"):
            found.append(path)
    return found


def first(paths: tuple[str, ...]) -> str | None:
    for path in paths:
        with contextlib.suppress(OSError), open(path) as file:
            return file.read().strip()
    return None


def sockets() -> list[str]:
    """Sockets of an engine, wherever one may be mounted."""
    places = ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock")
    return [path for path in places if os.path.exists(path)]


def look(told: dict[str, Any]) -> dict[str, Any]:
    said = status()
    return {
        "uid": os.getuid(),
        "capabilities": {name: int(said[name], 16) for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")},
        "no_new_privileges": said.get("NoNewPrivs") == "1",
        "seccomp": said.get("Seccomp") == "2",
        "interfaces": [name for _, name in socket.if_nameindex()],
        "reached": reached(told["targets"]),
        "resolved": resolved(told["names"]),
        "written": written(["/", "/etc", "/usr", "/moss/in"]),
        "sockets": sockets(),
        "devices": sorted(name for name in os.listdir("/dev") if name.startswith(("sd", "vd", "nvme", "kmsg", "mem"))),
        "bounds": {name: first(paths) for name, paths in BOUNDS.items()},
    }


if __name__ == "__main__":
    print(json.dumps(look(json.loads(sys.argv[1]))))
