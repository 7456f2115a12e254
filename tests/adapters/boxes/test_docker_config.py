"""What the engine is told of a box and of a slot: the whole hardening, always, as values."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moss.adapters.boxes import docker_config
from moss.adapters.boxes.docker_config import ImageFacts
from moss.domain.ids import Key, RunId
from moss.errors import BoxRefused
from moss.ports import BoxRole, BoxSpec, Limits, MountName, OwnStart

IMAGE = ImageFacts("sha256:1", "/srv/agent", "", ("/data", "/moss/state"), {"PATH": "/bin", "LANG": "fr"})
BINDS = ("/h/state:/moss/state:rw", "/h/in:/moss/in:ro")


def config(**more: Any) -> dict[str, Any]:
    spec = BoxSpec(Key("ev-01/1"), RunId("ev-01"), BoxRole.TRIAL, ("run", "a b", "$x"), **more)
    return docker_config.box_config(spec, IMAGE, "slot-1", "7:8", BINDS, {"l": "1"}, spec.argv, {"A": "1=2"}, "/w")


def test_every_box_is_hardened() -> None:
    host = config()["HostConfig"]
    assert host["CapDrop"] == ["ALL"]
    assert "CapAdd" not in host
    assert host["SecurityOpt"] == ["no-new-privileges"], "and no seccomp or AppArmor profile but the engine's default"
    assert (host["Privileged"], host["ReadonlyRootfs"]) == (False, True)
    assert host["NetworkMode"] == host["PidMode"] == "container:slot-1"
    assert host["RestartPolicy"] == {"Name": "no"}
    assert "PortBindings" not in host
    assert not [bind for bind in host["Binds"] if "docker.sock" in bind]


def test_limits_become_the_kernels() -> None:
    host = config(limits=Limits(memory_bytes=1 << 28, cpus=0.5, pids=10, disk_bytes=1 << 24))["HostConfig"]
    assert host["Memory"] == host["MemorySwap"] == 1 << 28
    assert host["NanoCpus"] == 500_000_000
    assert host["PidsLimit"] == 104
    assert {"Name": "fsize", "Soft": (1 << 24) + (64 << 20), "Hard": (1 << 24) + (64 << 20)} in host["Ulimits"]


def test_volumes_of_the_image_are_bounded_memory_unless_a_place_is_there() -> None:
    assert set(config()["HostConfig"]["Tmpfs"]) == {"/tmp", "/data"}
    assert "size=16777216" in config(limits=Limits(disk_bytes=1 << 24))["HostConfig"]["Tmpfs"]["/data"]


def test_words_stay_words() -> None:
    made = config()
    assert made["Entrypoint"] == ["run"]
    assert made["Cmd"] == ["a b", "$x"]
    assert made["Env"] == ["A=1=2"]
    assert made["User"] == "7:8"
    assert made["Healthcheck"] == {"Test": ["NONE"]}
    assert made["OpenStdin"] is False
    assert config(stdin=b"x")["StdinOnce"] is True


def test_a_program_gets_the_images_environment_and_what_is_missing() -> None:
    env = docker_config.environment(IMAGE, {"MINE": "1"})
    assert env == {"TMPDIR": "/tmp", "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/tmp", "MINE": "1"}


def test_words_stand_for_places_inside() -> None:
    assert docker_config.words("/srv", 20080) == {
        "work": "/moss/work", "state": "/moss/state", "in": "/moss/in", "out": "/moss/out", "image": "/srv",
        "port": "20080",
    }  # fmt: skip
    assert set(docker_config.words(None, None)) == {name.value for name in MountName}


def test_a_slot_has_no_network_and_only_what_it_needs() -> None:
    made = docker_config.keeper_config("python", {"k": "1"}, 8790, Path("/h/slot"), Path("/h/door"))
    host = made["HostConfig"]
    assert host["NetworkMode"] == "none"
    assert host["CapDrop"] == ["ALL"]
    assert sorted(host["CapAdd"]) == ["DAC_OVERRIDE", "KILL", "SYS_PTRACE"]
    assert host["Binds"] == ["/h/slot:/slot:rw", "/h/door:/door:ro"]
    assert host["AutoRemove"] is True, "a slot that nobody needs any more goes by itself"
    assert made["Cmd"][:3] == ["-I", "-S", "-c"]
    assert "class Keeper" in made["Cmd"][3]


@given(st.integers(1, 1 << 40))
def test_the_engines_log_is_bounded_and_holds_what_a_box_may_say(output_bytes: int) -> None:
    told = docker_config.log_config(output_bytes)
    assert told["Type"] == "local", "the only one that is byte-exact"
    assert int(told["Config"]["max-size"]) > output_bytes


@pytest.mark.parametrize("field", ["Privileged", "CapAdd", "Devices", "DeviceRequests", "VolumesFrom", "GroupAdd"])
def test_nothing_else_is_asked_for(field: str) -> None:
    assert not config(env={field: "true"})["HostConfig"].get(field)


# ------------------------------------------------------------------ started as its image says

STARTS = ImageFacts("sha256:1", "/srv", "", (), {"PATH": "/bin", "MODE": "quiet"}, None, ("clerk",), ("serve",))


def own_spec(argv: tuple[str, ...] = (), **more: Any) -> BoxSpec:
    own = OwnStart(state="/data", port=8080, **more)
    return BoxSpec(Key("ev-01/1"), RunId("ev-01"), BoxRole.TRIAL, argv, own=own)


def test_an_own_start_is_the_images_words_with_the_persons_over_them() -> None:
    assert docker_config.started(own_spec(), STARTS) == (("clerk", "serve"), "/srv")
    assert docker_config.started(own_spec(command=("loud",), workdir="/opt"), STARTS) == (("clerk", "loud"), "/opt")
    assert docker_config.started(own_spec(entrypoint=(), command=("sh",)), STARTS)[0] == ("sh",)
    assert docker_config.started(own_spec(("python3", "-m", "x")), STARTS)[0] == ("python3", "-m", "x")


def test_an_image_that_starts_nothing_is_refused_with_the_mend() -> None:
    with pytest.raises(BoxRefused, match=r"live\.argv"):
        docker_config.started(own_spec(), IMAGE)


def test_an_own_start_gets_no_variable_that_it_would_not_have_live_but_a_home_that_it_can_write() -> None:
    env = docker_config.environment(STARTS, {"TOLD": "1"}, OwnStart(state="/d", port=1, env={"MODE": "x", "TOLD": "0"}))
    assert env == {"HOME": "/tmp", "MODE": "x", "TOLD": "1"}
    spec = own_spec(unset=("GONE", "TOLD"))
    told = docker_config.box_config(spec, STARTS, "slot-1", "7:8", (), {}, ("x",), {"TOLD": "1"}, "/")
    assert told["Env"] == ["TOLD=1", "GONE"]


def test_the_state_of_an_own_start_is_where_it_is_live() -> None:
    assert docker_config.words("/srv", 8080, "/data")["state"] == "/data"
    assert docker_config.words("/srv", 8080, "/data")["out"] == "/moss/out"
