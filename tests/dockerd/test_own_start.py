"""A box starts the substrate as its container is started: a person's words over the image's, without secrets."""

from pathlib import PurePosixPath
from typing import Any

from moss.config import DockerLive
from moss.dockerd.own_start import own_start
from moss.dockerd.substrate import user_settings

IMAGE = {
    "Id": "sha256:1",
    "Config": {"Cmd": ["serve"], "Entrypoint": ["clerk"], "Env": ["PATH=/bin", "MODE=quiet"], "WorkingDir": "/srv"},
}


def live(**more: Any) -> DockerLive:
    return DockerLive(container="clerk", port=8080, state=PurePosixPath("/data"), **more)


def running(**config: Any) -> dict[str, Any]:
    told = {**IMAGE["Config"], "Labels": {}, **config}  # type: ignore[dict-item]
    return {"Id": "c" * 64, "Config": told, "HostConfig": {}, "Mounts": []}


def start(settings: DockerLive | None = None, **config: Any) -> Any:
    return own_start(user_settings(running(**config), IMAGE), settings or live())


def test_what_nobody_set_is_the_images() -> None:
    own = start()
    assert (own.entrypoint, own.command, own.workdir, own.user) == (None, None, None, None)
    assert (own.state, own.port, dict(own.env), own.left_out) == ("/data", 8080, {}, ())


def test_a_persons_words_go_over_the_images() -> None:
    own = start(Cmd=["serve", "--loud"], WorkingDir="/opt", User="7:8", Env=["PATH=/bin", "MODE=loud", "MORE=1"])
    assert own.command == ("serve", "--loud")
    assert own.entrypoint is None
    assert (own.workdir, own.user) == ("/opt", "7:8")
    assert own.env == {"MODE": "loud", "MORE": "1"}


def test_an_entrypoint_of_a_person_switches_the_images_command_off() -> None:
    own = start(Entrypoint=["sh"], Cmd=None)
    assert (own.entrypoint, own.command) == (("sh",), ())
    assert start(Entrypoint=[""], Cmd=["run"]).entrypoint == ()


def test_secrets_stay_with_the_live_agent_and_are_named() -> None:
    env = ["PATH=/bin", "MODE=quiet", "API_KEY=sk-proj-abcdefgh12345678", "DB=postgres://a:s3cr3tword@db/x", "PLAIN=1"]
    own = start(Env=env)
    assert own.env == {"PLAIN": "1"}
    assert own.left_out == ("API_KEY", "DB")
    assert "s3cr3t" not in repr(own)
    assert "sk-proj" not in repr(own)


def test_what_is_declared_comes_with_each_box_and_is_not_left_out() -> None:
    declared = live(env={"API_KEY": "{token}"}, preflight_env={"OUTWARD": "off"})
    own = start(declared, Env=["PATH=/bin", "MODE=quiet", "API_KEY=sk-proj-abcdefgh12345678", "OUTWARD=on"])
    assert (dict(own.env), own.left_out) == ({}, ())


def test_a_variable_that_a_person_took_away_stays_away() -> None:
    own = start(Env=["PATH=/bin", "MODE"])
    assert own.unset == ("MODE",)
