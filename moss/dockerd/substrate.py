"""Owns how every container of the substrate is made: a person's settings, on whatever image. Pure: nothing is asked.

An engine tells of a container the image's values and the person's as one. `user_settings` takes them apart,
`container_config` puts them on another image, as `docker run` would have. Invariants: no value of the old image beats
one of the new; what a person set is never lost, also when an image in between happened to say the same (so the names of
what is the person's are kept in a label); nothing that the engine made up (name, address, id) becomes fixed.

A variable that MOSS sets goes when MOSS no longer sets it; what a person had set under that name does not come back.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from moss.dockerd.engine import Config
from moss.dockerd.labels import COMPOSE_IMAGE
from moss.domain.frozen import Frozen

OURS = "moss.dev/"
USERS = "moss.dev/user"
"""label: names of what a person set, as a JSON list (`Env/FOO`, `Cmd`)"""
LENT = "moss.dev/env"
"""label: names of the variables that MOSS set, as a JSON list"""
REPOSITORY = "moss.dev/repository"
"""label: the name, without a tag, under which a person knows the image"""

MAPS = ("Env", "Labels", "ExposedPorts", "Volumes", "Healthcheck")
WORDS = ("Cmd", "Entrypoint", "WorkingDir", "User", "StopSignal")
PERSONS = ("Domainname", "Tty", "OpenStdin", "StdinOnce", "StopTimeout")
"""what no image can say"""
ENDPOINT = ("IPAMConfig", "Links", "Aliases", "DriverOpts", "GwPriority")
NAMELESS = ("bridge", "default")
"""networks of the engine on which there are no aliases"""
ALL_NETWORKS_AT_ONCE = (1, 44)


class UserSettings(Frozen):
    """What a person set, in the engine's form. `maps` by key, `words` whole; `host` is all of `HostConfig` but its
    restart policy; `endpoints`: the networks, `primary` the one it is created on."""

    maps: dict[str, dict[str, Any]]
    words: dict[str, Any]
    persons: dict[str, Any]
    host: dict[str, Any]
    endpoints: dict[str, dict[str, Any]] = {}
    primary: str | None = None
    mac: str | None = None
    repository: str | None = None
    """the image's name without its tag; None where a person only gave an id"""

    @property
    def names(self) -> tuple[str, ...]:
        """Of all that an image could say as well."""
        return tuple(sorted([*self.words, *(f"{kind}/{name}" for kind, found in self.maps.items() for name in found)]))


@dataclass(frozen=True, slots=True)
class Making:
    """What `create_container_from_config` takes, and the networks to connect before the start (old engines take one
    at once): name -> endpoint."""

    config: Config
    connect: Mapping[str, Config] = field(default_factory=dict)


def user_settings(container: Config, image: Config) -> UserSettings:
    """A container's configuration (as inspected) without what comes from its image (as inspected) or from MOSS."""
    told, own = container["Config"], image.get("Config") or {}
    labels = told.get("Labels") or {}
    known = set(json.loads(labels[USERS])) if USERS in labels else None
    lent = set(json.loads(labels.get(LENT, "[]")))
    maps = {kind: _map_of_user(kind, told, own, known) for kind in MAPS}
    maps["Env"] = {name: value for name, value in maps["Env"].items() if name not in lent}
    maps["Labels"] = {name: value for name, value in maps["Labels"].items() if not name.startswith(OURS)}
    endpoints, primary = _endpoints(container)
    return UserSettings(
        maps={kind: found for kind, found in maps.items() if found},
        words=_words_of_user(told, own, known),
        persons={name: told[name] for name in PERSONS if told.get(name)} | _hostname(container),
        host=_host(container),
        endpoints=endpoints,
        primary=primary,
        mac=told.get("MacAddress") or None,
        repository=labels.get(REPOSITORY)
        or _repository(str(told.get("Image") or ""), str(container.get("Image") or "")),
    )


def container_config(
    user: UserSettings,
    image: Config,
    *,
    api: tuple[int, ...],
    env: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    unpublished: Collection[str] = (),
    restart: str = "no",
) -> Making:
    """The container of `user` on `image` (as inspected). `env` and `labels` are MOSS's own and win; `unpublished` are
    ports (`8080/tcp`) that a proxy has instead; `api` is the engine's version."""
    env = env or {}
    config: Config = {"Image": image["Id"], **inside(user, env), **user.persons}
    config["Labels"] = {
        **user.maps.get("Labels", {}),
        **({COMPOSE_IMAGE: image["Id"]} if COMPOSE_IMAGE in user.maps.get("Labels", {}) else {}),
        **({REPOSITORY: user.repository} if user.repository else {}),
        **(labels or {}),
        USERS: json.dumps(user.names),
        LENT: json.dumps(sorted(env)),
    }
    ports = {port: bound for port, bound in (user.host.get("PortBindings") or {}).items() if port not in unpublished}
    if ports:
        # as the client does: what is published is exposed, whatever the image exposes
        config["ExposedPorts"] = {**config.get("ExposedPorts", {}), **{port: {} for port in ports}}
    config["HostConfig"] = {
        **user.host,
        "PortBindings": ports,
        "RestartPolicy": {"Name": restart, "MaximumRetryCount": 0},
    }
    return _on_networks(config, user, api)


def inside(user: UserSettings, env: Mapping[str, str]) -> Config:
    """What a program of the substrate sees of it, whatever holds it in: words, variables, health check, volumes."""
    config: Config = {**user.words, **{kind: dict(found) for kind, found in user.maps.items() if kind != "Labels"}}
    merged = {**user.maps.get("Env", {}), **env}
    config["Env"] = [name if value is None else f"{name}={value}" for name, value in merged.items()]
    return config


def variables(env: Iterable[str] | None) -> dict[str, str | None]:
    """An engine's `Env` by name; None: a variable that is to be unset."""
    found: dict[str, str | None] = {}
    for line in env or ():
        name, sign, value = line.partition("=")
        found[name] = value if sign else None
    return found


def _repository(name: str, image: str) -> str | None:
    name = name.partition("@")[0]
    if not name or name.startswith("sha256:") or image.removeprefix("sha256:").startswith(name):
        return None
    head, sign, tag = name.rpartition(":")
    return head if sign and "/" not in tag else name


def _map_of_user(kind: str, told: Config, own: Config, known: set[str] | None) -> dict[str, Any]:
    found, images = _as_map(kind, told), _as_map(kind, own)
    if known is not None:
        return {name: value for name, value in found.items() if f"{kind}/{name}" in known}
    return {name: value for name, value in found.items() if name not in images or images[name] != value}


def _as_map(kind: str, told: Config) -> dict[str, Any]:
    if kind == "Env":
        return variables(told.get("Env"))
    found = told.get(kind) or {}
    # of a health check, 0 means that the image's value holds
    return {name: value for name, value in found.items() if value or kind != "Healthcheck"}


def _words_of_user(told: Config, own: Config, known: set[str] | None) -> dict[str, Any]:
    if known is not None:
        return {name: told.get(name) for name in WORDS if name in known}
    found = {name: told.get(name) for name in WORDS if not _same_word(name, told.get(name), own.get(name))}
    if "Entrypoint" in found:
        # a person's entrypoint switches the image's command off; an empty one is told as a list
        found["Entrypoint"] = found["Entrypoint"] or []
        found["Cmd"] = told.get("Cmd")
    return found


def _same_word(name: str, one: Any, other: Any) -> bool:
    return (one or _nothing(name)) == (other or _nothing(name))


def _nothing(name: str) -> str | None:
    """What an empty word means."""
    return {"WorkingDir": "/", "StopSignal": "SIGTERM"}.get(name)


def _hostname(container: Config) -> Config:
    """A person's own; the automatic one is the start of the id, and a borrowed network has a name already."""
    name, host = container["Config"].get("Hostname"), container["HostConfig"]
    borrowed = str(host.get("NetworkMode", "")).startswith(("container:", "host")) or host.get("UTSMode") == "host"
    return {} if not name or name == container["Id"][:12] or borrowed else {"Hostname": name}


def _host(container: Config) -> Config:
    """All of it, with the anonymous volumes by their names: without, empty new ones would take their place."""
    host = {
        name: value for name, value in container["HostConfig"].items() if name not in ("RestartPolicy", "AutoRemove")
    }
    host["ContainerIDFile"] = ""
    host["Links"] = [_link(link) for link in host.get("Links") or ()] or None
    volumes = {mount["Destination"]: mount for mount in container.get("Mounts") or () if mount.get("Type") == "volume"}
    mounts = [_named(mount, volumes) for mount in host.get("Mounts") or ()]
    binds = list(host.get("Binds") or ())
    placed = {bind.split(":")[1] for bind in binds if ":" in bind} | {mount.get("Target") for mount in mounts}
    binds += [_bind(mount) for path, mount in sorted(volumes.items()) if path not in placed]
    return {**host, "Binds": binds or None, "Mounts": mounts or None}


def _bind(mount: Config) -> str:
    return f"{mount['Name']}:{mount['Destination']}" + ("" if mount.get("RW", True) else ":ro")


def _named(mount: Config, volumes: Mapping[str, Config]) -> Config:
    if mount.get("Type") == "volume" and not mount.get("Source") and mount.get("Target") in volumes:
        return {**mount, "Source": volumes[mount["Target"]]["Name"]}
    return mount


def _link(link: str) -> str:
    """`/other:/me/alias` as inspected, `other:alias` as asked."""
    other, _, alias = link.partition(":")
    return f"{other.removeprefix('/')}:{alias.rpartition('/')[2]}"


def _endpoints(container: Config) -> tuple[dict[str, Config], str | None]:
    mode = str(container["HostConfig"].get("NetworkMode") or "default")
    if mode in ("host", "none") or mode.startswith("container:"):
        return {}, None
    joined = (container.get("NetworkSettings") or {}).get("Networks") or {}
    found = {name: _endpoint(name, one or {}, container["Id"][:12]) for name, one in joined.items()}
    wanted = "bridge" if mode == "default" else mode
    by_id = [name for name, one in joined.items() if one and one.get("NetworkID") == wanted]
    primary = wanted if wanted in found else (by_id or sorted(found) or [None])[0]
    return found, primary


def _endpoint(network: str, told: Config, short: str) -> Config:
    kept = {name: told[name] for name in ENDPOINT if told.get(name)}
    aliases = [alias for alias in kept.pop("Aliases", ()) if alias != short]
    return kept if network in NAMELESS or not aliases else {**kept, "Aliases": aliases}


def _on_networks(config: Config, user: UserSettings, api: tuple[int, ...]) -> Making:
    endpoints = {name: dict(one) for name, one in user.endpoints.items()}
    modern = api >= ALL_NETWORKS_AT_ONCE
    if user.mac and modern and user.primary is not None:
        endpoints[user.primary]["MacAddress"] = user.mac
    elif user.mac:
        config["MacAddress"] = user.mac
    first = endpoints if modern else {name: one for name, one in endpoints.items() if name == user.primary}
    config["NetworkingConfig"] = {"EndpointsConfig": first}
    return Making(config, {name: one for name, one in endpoints.items() if name not in first})
