"""The judge of the self-test: each thing that a box must not see, seen once, closes the door."""

from typing import Any

import pytest

from moss.adapters.boxes.docker_inside import look
from moss.adapters.boxes.docker_probe import Isolation, judge
from moss.adapters.boxes.docker_proof import PROVES
from moss.ports import BoxCapabilities

WELL: dict[str, Any] = {
    "uid": 10001,
    "capabilities": {"CapPrm": 0, "CapEff": 0, "CapBnd": 0, "CapAmb": 0},
    "no_new_privileges": True,
    "seccomp": True,
    "interfaces": ["lo"],
    "reached": [],
    "resolved": [],
    "written": [],
    "sockets": [],
    "devices": [],
    "bounds": {"memory": str(128 << 20), "pids": "128", "cpu": "50000"},
}


def isolation(control: tuple[str, ...] = ("172.17.0.1",), beside: bool = True, **seen: Any) -> Isolation:
    return Isolation(tuple(judge({**WELL, **seen}, control, beside, root_allowed=False)))


def failed(found: Isolation) -> set[str]:
    return {line.name for line in found.lines if not line.ok}


def test_a_box_that_sees_nothing_is_closed() -> None:
    assert isolation().closed
    assert isolation(bounds={"memory": "134217728", "pids": "128", "cpu": "50000 100000"}).closed, "cgroup v2"


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("user", {"uid": 0}),
        ("capabilities", {"capabilities": {"CapEff": 1 << 21}}),
        ("capabilities", {"capabilities": {"CapBnd": 1}}),
        ("privileges", {"no_new_privileges": False}),
        ("seccomp", {"seccomp": False}),
        ("root", {"written": ["/etc"]}),
        ("engine", {"sockets": ["/run/docker.sock"]}),
        ("devices", {"devices": ["sda"]}),
        ("network", {"interfaces": ["lo", "eth0"]}),
        ("network", {"reached": ["172.17.0.1:5432"]}),
        ("network", {"resolved": ["example.com is 1.2.3.4"]}),
        ("memory bound", {"bounds": {"memory": "max", "pids": "128", "cpu": "50000"}}),
        ("memory bound", {"bounds": {"memory": "9223372036854771712", "pids": "128", "cpu": "50000"}}),
        ("process bound", {"bounds": {"memory": "1", "pids": "max", "cpu": "50000"}}),
        ("cpu bound", {"bounds": {"memory": "1", "pids": "1", "cpu": "-1"}}),
        ("cpu bound", {"bounds": {"memory": "1", "pids": "1", "cpu": None}}),
    ],
)
def test_each_thing_that_is_open_is_named_with_its_mend(name: str, seen: dict[str, Any]) -> None:
    found = isolation(**seen)
    assert failed(found) == {name}
    assert name in found.refusal()
    assert all(line.mend for line in found.lines if not line.ok)


def test_a_probe_without_its_controls_proves_nothing() -> None:
    assert failed(isolation(control=())) == {"network control"}
    assert failed(isolation(beside=False)) == {"neighbour control"}


def test_root_is_allowed_where_the_settings_ask_for_it() -> None:
    assert Isolation(tuple(judge({**WELL, "uid": 0}, ("x",), True, root_allowed=True))).closed


def test_every_line_belongs_to_a_capability() -> None:
    assert {line.name for line in isolation().lines} == {name for names in PROVES.values() for name in names}
    assert set(PROVES) | {"runtimes", "own_starts"} == set(BoxCapabilities.__dataclass_fields__)


def test_the_look_around_sees_what_is_open() -> None:
    """Run here, outside of any box: the positive control of the probe's eyes."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        seen = look({"targets": [["127.0.0.1", port], ["127.0.0.1", 1]], "names": ["localhost", "no.invalid"]})
    assert seen["reached"] == [f"127.0.0.1:{port}"]
    assert [name.split()[0] for name in seen["resolved"]] == ["localhost"]
    assert "lo" in seen["interfaces"]
    assert set(seen) == set(WELL)
