"""A person's settings, taken off a container and put on another image, as `docker run` would have put them there."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moss.dockerd.substrate import COMPOSE_IMAGE, LENT, USERS, Making, container_config, user_settings, variables

NEW_API, OLD_API = (1, 51), (1, 41)
ID = "ab" * 32
OLD: dict[str, Any] = {
    "Id": "sha256:" + "1" * 64,
    "Config": {
        "Env": ["PATH=/bin", "MODE=old", "SAME=1"],
        "Labels": {"version": "1", "vendor": "them"},
        "Entrypoint": ["/entry"],
        "Cmd": ["serve", "--old"],
        "WorkingDir": "/srv/old",
        "User": "1000",
        "StopSignal": "SIGINT",
        "ExposedPorts": {"80/tcp": {}},
        "Volumes": {"/data": {}},
        "Healthcheck": {"Test": ["CMD", "old"], "Interval": 30},
    },
}
NEW: dict[str, Any] = {
    "Id": "sha256:" + "2" * 64,
    "Config": {"Env": ["PATH=/opt/bin:/bin", "MODE=new"], "Cmd": ["serve", "--new"]},
}


def container(image: dict[str, Any] = OLD, host: dict[str, Any] | None = None, **told: Any) -> dict[str, Any]:
    """As an engine tells a container of `image` on which `told` was set."""
    config = {**image["Config"], "Hostname": ID[:12], "Image": "them:1", **told}
    return {
        "Id": ID,
        "Config": config,
        "HostConfig": {"NetworkMode": "default", "RestartPolicy": {"Name": "always"}, "Memory": 5, **(host or {})},
        "Mounts": [],
        "NetworkSettings": {"Networks": {"bridge": {"Aliases": None, "MacAddress": "02:42:00:00:00:01"}}},
    }


def remade(told: dict[str, Any], image: dict[str, Any] = NEW, **words: Any) -> dict[str, Any]:
    return made(told, image, **words).config


def made(told: dict[str, Any], image: dict[str, Any] = NEW, **words: Any) -> Making:
    return container_config(user_settings(told, OLD), image, **{"api": NEW_API, **words})


def test_what_only_the_old_image_said_is_left_to_the_new_one() -> None:
    config = remade(container())
    assert config["Env"] == []
    assert not {"Cmd", "Entrypoint", "WorkingDir", "User", "StopSignal", "Healthcheck", "Volumes"} & set(config)
    assert "ExposedPorts" not in config
    assert config["Image"] == NEW["Id"]
    assert set(config["Labels"]) == {USERS, LENT, "moss.dev/repository"}


def test_what_a_person_set_is_put_on_the_new_image() -> None:
    told = container(
        Env=["PATH=/bin", "MODE=mine", "KEY=k=v", "SAME=1"],
        Labels={"version": "1", "vendor": "them", "team": "agents"},
        Cmd=["serve", "--mine"],
        WorkingDir="/elsewhere",
        User="0",
        StopSignal="SIGQUIT",
        StopTimeout=30,
        Tty=True,
        ExposedPorts={"80/tcp": {}, "81/tcp": {}},
    )
    config = remade(told)
    assert config["Env"] == ["MODE=mine", "KEY=k=v"]
    assert {name: value for name, value in config["Labels"].items() if not name.startswith("moss.")} == {
        "team": "agents"
    }
    assert (config["Cmd"], config["WorkingDir"], config["User"]) == (["serve", "--mine"], "/elsewhere", "0")
    assert (config["StopSignal"], config["StopTimeout"], config["Tty"]) == ("SIGQUIT", 30, True)
    assert config["ExposedPorts"] == {"81/tcp": {}}
    assert "Entrypoint" not in config


def test_a_persons_entrypoint_switches_the_new_images_command_off() -> None:
    config = remade(container(Entrypoint=["/mine"], Cmd=None))
    assert (config["Entrypoint"], config["Cmd"]) == (["/mine"], None)
    assert remade(container(Entrypoint=None, Cmd=["sh"]))["Entrypoint"] == []


def test_of_a_health_check_only_what_a_person_changed_is_kept() -> None:
    told = container(Healthcheck={"Test": ["CMD", "old"], "Interval": 5, "Retries": 0})
    assert remade(told)["Healthcheck"] == {"Interval": 5}
    assert remade(container(Healthcheck={"Test": ["NONE"], "Interval": 30}))["Healthcheck"] == {"Test": ["NONE"]}


def test_a_setting_that_an_image_in_between_shares_is_not_lost() -> None:
    """FOO=1 is the person's; version 2 happens to set it too; back on version 1 it must be there."""
    user = user_settings(container(Env=[*OLD["Config"]["Env"], "FOO=1"], User="7"), OLD)
    between = {"Id": "sha256:b", "Config": {"Env": ["FOO=1"], "User": "7"}}
    second = container_config(user, between, api=NEW_API).config
    told = container(between, Env=["FOO=1"], User="7", Labels=second["Labels"])
    third = container_config(user_settings(told, between), OLD, api=NEW_API).config
    assert (third["Env"], third["User"]) == (["FOO=1"], "7")


def test_a_variable_that_moss_set_goes_with_it_and_wins_while_it_is_set() -> None:
    first = remade(container(Env=[*OLD["Config"]["Env"], "URL=mine"]), env={"URL": "gateway", "TOKEN": "t"})
    assert set(first["Env"]) == {"URL=gateway", "TOKEN=t"}
    told = container(NEW, Env=first["Env"], Labels=first["Labels"])
    second = container_config(user_settings(told, NEW), OLD, api=NEW_API).config
    assert second["Env"] == []


def test_labels_of_moss_are_never_taken_for_a_persons_and_composes_names_the_new_image() -> None:
    told = container(Labels={"moss.dev/swap": "ev-1", COMPOSE_IMAGE: OLD["Id"], "com.docker.compose.service": "a"})
    labels = remade(told, labels={"moss.dev/swap": "ev-2"})["Labels"]
    assert (labels["moss.dev/swap"], labels[COMPOSE_IMAGE]) == ("ev-2", NEW["Id"])
    assert labels["com.docker.compose.service"] == "a"
    assert COMPOSE_IMAGE not in remade(container())["Labels"]


def test_the_automatic_hostname_goes_and_a_persons_stays() -> None:
    assert "Hostname" not in remade(container())
    assert remade(container(Hostname="agent"))["Hostname"] == "agent"
    assert "Hostname" not in remade(container(Hostname="agent", host={"NetworkMode": "container:other"}))


def test_the_restart_policy_is_the_swaps_and_limits_stay() -> None:
    host = remade(container())["HostConfig"]
    assert (host["RestartPolicy"], host["Memory"]) == ({"Name": "no", "MaximumRetryCount": 0}, 5)
    assert remade(container(), restart="always")["HostConfig"]["RestartPolicy"]["Name"] == "always"


def test_anonymous_volumes_are_bound_by_their_names() -> None:
    told = container(
        Volumes={"/data": {}, "/cache": {}},
        host={"Binds": ["named:/named:ro", "/srv/x:/x"], "Mounts": [{"Type": "volume", "Target": "/new"}]},
    )
    told["Mounts"] = [
        {"Type": "volume", "Name": "aaa", "Destination": "/data", "RW": True},
        {"Type": "volume", "Name": "bbb", "Destination": "/cache", "RW": False},
        {"Type": "volume", "Name": "ccc", "Destination": "/new", "RW": True},
        {"Type": "volume", "Name": "named", "Destination": "/named", "RW": False},
        {"Type": "bind", "Source": "/srv/x", "Destination": "/x"},
    ]
    host = remade(told)["HostConfig"]
    assert host["Binds"] == ["named:/named:ro", "/srv/x:/x", "bbb:/cache:ro", "aaa:/data"]
    assert host["Mounts"] == [{"Type": "volume", "Target": "/new", "Source": "ccc"}]


def networked(mode: str, **networks: dict[str, Any]) -> dict[str, Any]:
    told = container(host={"NetworkMode": mode})
    told["NetworkSettings"] = {"Networks": networks}
    return told


def test_networks_are_joined_all_at_once_or_one_first_on_an_old_engine() -> None:
    told = networked(
        "front",
        back={"Aliases": ["db-user", ID[:12]], "MacAddress": "02:42:00:00:00:09"},
        front={
            "Aliases": [ID[:12]],
            "IPAMConfig": {"IPv4Address": "10.9.0.7"},
            "NetworkID": "x",
            "IPAddress": "10.9.0.7",
        },
    )
    wanted = {"back": {"Aliases": ["db-user"]}, "front": {"IPAMConfig": {"IPv4Address": "10.9.0.7"}}}
    new, old = made(told), made(told, api=OLD_API)
    assert (new.config["NetworkingConfig"]["EndpointsConfig"], new.connect) == (wanted, {})
    assert old.config["NetworkingConfig"]["EndpointsConfig"] == {"front": wanted["front"]}
    assert old.connect == {"back": wanted["back"]}


def test_the_engines_own_network_gets_no_aliases_and_borrowed_ones_no_endpoint() -> None:
    told = networked("default", bridge={"Aliases": ["odd"]})
    assert remade(told)["NetworkingConfig"]["EndpointsConfig"] == {"bridge": {}}
    for mode in ("host", "none", "container:abc"):
        assert remade(networked(mode, host={}))["NetworkingConfig"]["EndpointsConfig"] == {}


def test_a_generated_mac_address_goes_and_a_persons_stays() -> None:
    assert remade(container())["NetworkingConfig"]["EndpointsConfig"] == {"bridge": {}}
    told = container(MacAddress="02:42:ac:11:00:99")
    assert remade(told)["NetworkingConfig"]["EndpointsConfig"]["bridge"]["MacAddress"] == "02:42:ac:11:00:99"
    assert remade(told, api=OLD_API)["MacAddress"] == "02:42:ac:11:00:99"


def test_ports_that_a_proxy_has_are_not_published() -> None:
    ports = {"80/tcp": [{"HostPort": "8080"}], "81/tcp": [{"HostPort": "8081"}]}
    host = remade(container(host={"PortBindings": ports}), unpublished=("80/tcp",))["HostConfig"]
    assert host["PortBindings"] == {"81/tcp": [{"HostPort": "8081"}]}


def test_what_is_published_is_exposed_also_where_only_the_old_image_exposed_it() -> None:
    told = container(host={"PortBindings": {"80/tcp": [{"HostPort": "8080"}]}})
    assert remade(told)["ExposedPorts"] == {"80/tcp": {}}


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        ("them:1", "them"),
        ("them", "them"),
        ("host:5000/team/them:1.2", "host:5000/team/them"),
        ("host:5000/them", "host:5000/them"),
        ("them@sha256:abc", "them"),
        ("sha256:" + "1" * 64, None),
        ("1" * 12, None),
    ],
)
def test_the_name_under_which_a_person_knows_the_image_goes_along(name: str, repository: str | None) -> None:
    told = {**container(Image=name), "Image": OLD["Id"]}
    config = remade(told)
    assert config["Labels"].get("moss.dev/repository") == repository
    again = {**container(NEW, Image=NEW["Id"], Labels=config["Labels"]), "Image": NEW["Id"]}
    assert user_settings(again, NEW).repository == repository


def test_links_are_asked_as_they_are_told() -> None:
    host = remade(container(host={"Links": ["/db:/agent/store"]}))["HostConfig"]
    assert host["Links"] == ["db:store"]


names = st.text("ABC_", min_size=1, max_size=3)
values = st.text(max_size=5).filter(lambda text: "\0" not in text)


@given(st.dictionaries(names, values), st.dictionaries(names, values), st.dictionaries(names, values))
def test_through_any_images_and_back_the_variables_are_those_that_a_run_gives(
    mine: dict[str, str], first: dict[str, str], second: dict[str, str]
) -> None:
    """What a container sees is the image's variables with the person's over them, whatever came in between."""

    def image(env: dict[str, str]) -> dict[str, Any]:
        return {"Id": "sha256:x", "Config": {"Env": [f"{name}={value}" for name, value in env.items()]}}

    def run(config: dict[str, Any], env: dict[str, str]) -> dict[str, Any]:
        merged = {**env, **variables(config["Env"])}
        return container(image(env), Env=[f"{n}={v}" for n, v in merged.items()], Labels=config["Labels"])

    asked = {"Env": [f"{name}={value}" for name, value in mine.items()], "Labels": {}}
    told = run(asked, first)
    for env, before in ((second, first), (first, second)):
        config = container_config(user_settings(told, image(before)), image(env), api=NEW_API).config
        told = run(config, env)
        mine_now = {name: value for name, value in mine.items() if first.get(name) != value}
        assert variables(told["Config"]["Env"]) == {**env, **mine_now}


@pytest.mark.parametrize("label", [USERS, LENT])
def test_the_labels_of_moss_hold_names_and_no_values(label: str) -> None:
    config = remade(container(Env=["SECRET=hush"]), env={"TOKEN": "hush-too"})
    assert "hush" not in config["Labels"][label]
    assert json.loads(config["Labels"][label])
