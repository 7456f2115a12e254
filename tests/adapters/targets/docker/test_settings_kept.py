"""What a person set on the live container, field by field: after the move, after a commit, after the way back."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from moss.testing.live_docker import INSIDE, LiveDocker, docker, tiny_image

pytestmark = [pytest.mark.needs("docker"), pytest.mark.slow, pytest.mark.xdist_group("docker")]

OLD = """ENV MODE=old PLAIN=1
LABEL vendor=them release=1
WORKDIR /old
STOPSIGNAL SIGINT
HEALTHCHECK --interval=71s CMD ["true"]
EXPOSE 81
VOLUME /anon
"""
NEW = """ENV MODE=new TEAM=mine
LABEL vendor=us release=2
WORKDIR /new
USER 0:0
"""
MAC = "02:42:0a:5a:00:63"


@pytest.fixture
def networks(tiny: LiveDocker) -> Iterator[tuple[str, str]]:
    names = (f"{tiny.name}-a", f"{tiny.name}-b")
    for name, subnet in zip(names, ("10.90.77.0/28", "10.90.77.16/28"), strict=True):
        docker("network", "create", "--subnet", subnet, name)
    yield names
    tiny.close()
    docker("network", "rm", *names)


def options(tiny: LiveDocker, networks: tuple[str, str]) -> tuple[str, ...]:
    folder = tiny.folder / "shared"
    folder.mkdir()
    health = ("--health-cmd", "test -d /data", "--health-interval", "7s")
    inside = ("-e", "TEAM=mine", "-e", "OWN=1", "--label", "team=agents", "--stop-signal", "SIGTERM", "--user", "0")
    places = ("-v", f"{folder}:/shared:ro", "-v", "/second", "--tmpfs", "/scratch:size=1m")
    limits = ("--memory", "200m", "--pids-limit", "99", "--ulimit", "nofile=1000:2000", "--cap-add", "NET_ADMIN")
    more = ("--cap-drop", "MKNOD", "--sysctl", "net.core.somaxconn=99", "--log-opt", "max-size=1m", "--cpus", "0.9")
    names = ("--dns", "10.90.77.2", "--add-host", "other:10.90.77.3", "--hostname", "agent", "--stop-timeout", "3")
    net = (
        "--network",
        f"name={networks[0]},alias=first,ip=10.90.77.9",
        "--network",
        f"name={networks[1]},alias=second",
    )
    return (*health, *inside, *places, *limits, *more, *names, *net, "--mac-address", MAC)


def persons(told: dict[str, Any]) -> dict[str, Any]:
    """All of a container that a person can have set, in a form that can be compared."""
    config, host = dict(told["Config"]), dict(told["HostConfig"])
    for name in ("Image", "Env", "Labels"):
        config.pop(name)
    for name in ("Binds", "Mounts", "PortBindings"):
        host.pop(name, None)
    mounts = [(one["Type"], one.get("Name") or one["Source"], one["Destination"], one["RW"]) for one in told["Mounts"]]
    joined = {
        name: ([alias for alias in one["Aliases"] or () if alias != told["Id"][:12]], one["IPAMConfig"] or {})
        for name, one in told["NetworkSettings"]["Networks"].items()
    }
    return {"config": config, "host": host, "mounts": sorted(mounts), "networks": joined}


def env(told: dict[str, Any]) -> dict[str, str]:
    return dict(line.split("=", 1) for line in told["Config"]["Env"])


def labels(told: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, value in told["Config"]["Labels"].items() if not name.startswith("moss.dev/")}


def test_every_setting_is_kept_through_the_move_a_commit_and_the_way_back(
    tiny: LiveDocker, networks: tuple[str, str]
) -> None:
    old, new = tiny_image("1", OLD), tiny_image("2", NEW)
    where = ("-v", f"{tiny.volume}:/data", "-p", f"127.0.0.1::{INSIDE}", "-p", "127.0.0.1:0:81/tcp")
    docker("run", "-d", "--name", tiny.name, "--restart", "on-failure:3", *where, *options(tiny, networks), old.digest)
    before = tiny.inspect()
    tiny.adopt()
    adopted = tiny.inspect()
    assert persons(adopted) == persons(before)
    assert env(adopted) == {**env(before), "GATEWAY": "http://moss-gateway:8790", "TOKEN": "tok"}
    assert labels(adopted) == labels(before)

    tiny.swapped(new, "ev-01/swap")
    committed = tiny.inspect()
    expected = persons(before)
    # what only the old image said is now what the new image says
    expected["config"] |= {"WorkingDir": "/new", "ExposedPorts": {"81/tcp": {}, "8080/tcp": {}}}
    expected["config"].pop("Volumes")
    got = persons(committed)
    got["config"].pop("Volumes")
    assert got["config"] == expected["config"]
    assert got == expected
    told = env(committed)
    assert (told["MODE"], told["TEAM"], told["OWN"], "PLAIN" in told) == ("new", "mine", "1", False)
    assert labels(committed) == {"vendor": "us", "release": "2", "team": "agents"}
    assert committed["Image"] == new.digest

    tiny.swapped(old, "ev-01/undo")
    back = tiny.inspect()
    assert persons(back) == persons(before)
    assert (env(back), labels(back), back["Image"]) == (env(adopted), labels(before), old.digest)


def test_what_is_generated_does_not_become_fixed(tiny: LiveDocker) -> None:
    tiny.up()
    tiny.swapped(tiny_image("2"), "ev-01/swap")
    told: Any = tiny.inspect()
    assert told["Config"]["Hostname"] == told["Id"][:12]
    assert not told["Config"].get("MacAddress")
    assert json.dumps(told["HostConfig"]["Binds"]).count(tiny.volume) == 1
