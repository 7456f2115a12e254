"""Owns what one look at a running container tells: may MOSS take it over, and what has a person to know before.

Never changes anything. Whatever is not sure is an objection (refused, with the mend) or a warning (told, then asked).
Invariant: what cannot be brought back as it was is not taken over.
"""

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from moss.adapters.targets.docker.containers import beneath, mount_of, name_of, networks_of
from moss.adapters.targets.docker.front import Published
from moss.adapters.targets.docker.own import NAMELESS
from moss.config import DockerLive
from moss.dockerd import Config, Engine, plain
from moss.dockerd.labels import ROLE
from moss.errors import Absent, Refused, TargetDown

ANONYMOUS = re.compile(r"[0-9a-f]{64}")
SWARM = "com.docker.swarm.service.name"
WHERE = "moss.toml live.container"
FEW = 3
BEHIND = ("/tmp", "/var/tmp", "/run", "/var/run", "/dev", "/proc", "/sys")  # noqa: S108
"""what nobody misses from a container's own layer"""


@dataclass(frozen=True, slots=True)
class Running:
    """One container and its image as the engine tells them, the other containers, and what the container's own layer
    holds."""

    told: Config
    image: Config
    others: tuple[Config, ...]
    layer: tuple[str, ...]

    @property
    def name(self) -> str:
        return name_of(self.told)

    @property
    def image_name(self) -> str:
        return str(self.told["Config"]["Image"])

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.told["Config"].get("Labels") or {})

    @property
    def networks(self) -> tuple[str, ...]:
        """By name, the one it was created on first."""
        return networks_of(self.told)

    def published(self, port: int) -> tuple[Published, ...]:
        """Where its port is on the host at this moment."""
        bound = self.told["NetworkSettings"].get("Ports") or {}
        found = {(one["HostIp"], int(one["HostPort"])) for one in bound.get(f"{port}/tcp") or ()}
        both = {number for host, number in found if host == "0.0.0.0" and ("::", number) in found}  # noqa: S104
        merged = {("" if number in both else host, number) for host, number in found}
        return tuple(Published(host=host, port=number) for host, number in sorted(merged))

    def mount(self, folder: str) -> Config | None:
        """What keeps a folder: the mount at it, or above it."""
        return mount_of(self.told, folder)


def look(engine: Engine, name: str) -> Running:
    """Raises: Absent with the nearest name; TargetDown."""
    with engine.saying("containers cannot be listed"):
        rows = engine.api.containers(all=True)
    found = {row["Names"][0].lstrip("/"): row["Id"] for row in rows if row["Names"]}
    if name not in found:
        raise Absent(f"no container is called `{name}`", where=WHERE, mend=_nearest(name, list(found)))
    told = engine.container(found[name])
    if told is None:
        raise Absent(f"the container `{name}` went away", where=WHERE)
    others = tuple(one for key, one in _all(engine, found) if key != name)
    return Running(told, _image(engine, told), others, _layer(engine, told))


def objections(running: Running, live: DockerLive) -> Iterator[Refused]:
    """Why it is not taken over, each with the mend."""
    yield from _not_as_it_must_be(running)
    yield from _network_objections(running, live)
    yield from _state_objections(running, live)
    for other in _dependants(running):
        yield Refused(
            f"the container `{other}` uses the network or processes of `{running.name}` (container:{running.name}) and "
            "would lose them when it is exchanged",
            mend=f"give `{other}` networks of its own, or remove it",
        )


def warnings(running: Running, live: DockerLive) -> Iterator[str]:
    """What a person has to know: one sentence each."""
    for mount in running.told.get("Mounts") or ():
        if mount.get("Type") == "volume" and ANONYMOUS.fullmatch(mount.get("Name") or ""):
            yield f"the volume at {mount['Destination']} has no name: it stays, but `docker rm -v` would delete it"
    if running.layer:
        some = ", ".join(plain(path) for path in running.layer[:FEW])
        yield (
            f"{len(running.layer)} files changed in the container's own layer and stay behind ({some}"
            f"{', ...' if len(running.layer) > FEW else ''})"
        )
    left = running.told["HostConfig"].get("PublishAllPorts") or _left_to_engine(running.told, live.port)
    if left:
        ports = ", ".join(str(one.port) for one in running.published(live.port))
        yield f"its host port was left to the engine: from now on it is always {ports}"
    state = running.mount(str(live.state))
    if state is not None and (writers := list(_writers(running, state))):
        yield f"`{writers[0]}` runs on the same state ({_source(state)}): MOSS does not stop it during a swap"
    adopted = running.labels.get(ROLE) == "live"
    if live.drain == "hold" and not adopted and not running.published(live.port):
        yield (
            f"port {live.port} is published nowhere: who asks the agent on its own networks has to ask "
            f"http://moss-front:{live.port}, or is refused during a swap"
        )
    elif live.drain == "hold" and (near := _neighbours(running)):
        yield (
            f"containers on the same networks ({', '.join(near[:FEW])}) that ask the agent itself are refused during "
            f"a swap; through http://moss-front:{live.port} they wait"
        )


# ------------------------------------------------------------------ inside


def _not_as_it_must_be(running: Running) -> Iterator[Refused]:
    name, state = running.name, running.told["State"]
    if not state["Running"] or state.get("Restarting") or state.get("Paused"):
        how = f"exited with {state['ExitCode']}" if not state["Running"] else state["Status"]
        yield Refused(f"the container `{name}` does not run ({plain(how)})", mend=f"docker start {name}")
    if running.told["HostConfig"].get("AutoRemove"):
        yield Refused(
            f"`{name}` was started with --rm: the engine deletes it when it stops, so nothing could bring it back",
            mend="start it without --rm",
        )
    if SWARM in running.labels:
        yield Refused(
            f"`{name}` is a task of the Swarm service `{plain(running.labels[SWARM])}`: Swarm would start another one "
            "as soon as MOSS stops it",
            mend="run the agent as a plain container or with Compose",
        )


def _network_objections(running: Running, live: DockerLive) -> Iterator[Refused]:
    name, mode = running.name, running.networks[0] if running.networks else "none"
    if mode.startswith("container:"):
        yield Refused(
            f"`{name}` is on the network of another container ({mode[:40]}): no proxy can stand before it",
            mend="give it networks of its own, with the port published",
        )
    elif mode in ("host", "none") and live.drain == "hold":
        yield Refused(
            f"`{name}` is on the network `{mode}`: no proxy can stand before it",
            mend=f'publish its port instead (-p {live.port}:{live.port}); or live.drain = "drain" for one that polls',
        )


def _state_objections(running: Running, live: DockerLive) -> Iterator[Refused]:
    if running.mount(str(live.state)) is not None:
        return
    places = ", ".join(sorted(one["Destination"] for one in running.told.get("Mounts") or ())) or "none"
    yield Refused(
        f"the state {live.state} of `{running.name}` is in the container's own layer and would stay behind (mounts: "
        f"{plain(places)})",
        mend=f"docker cp it into a volume and mount that at {live.state}; or mend live.state",
    )


def _dependants(running: Running) -> Iterator[str]:
    means = {f"container:{running.told['Id']}", f"container:{running.name}", f"container:{running.told['Id'][:12]}"}
    for other in running.others:
        host = other["HostConfig"]
        if means & {str(host.get(kind)) for kind in ("NetworkMode", "PidMode", "IpcMode")}:
            yield name_of(other)


def _writers(running: Running, state: Config) -> Iterator[str]:
    """Running containers that may write the same volume or folder."""
    for other in running.others:
        mounts = other.get("Mounts") or ()
        if other["State"]["Running"] and any(one.get("RW") and _source(one) == _source(state) for one in mounts):
            yield name_of(other)


def _neighbours(running: Running) -> list[str]:
    """Running containers, none of MOSS's, on the agent's networks that have names."""
    named = set(running.networks) - NAMELESS
    return [
        name_of(other)
        for other in running.others
        if other["State"]["Running"]
        and named & set(other["NetworkSettings"]["Networks"])
        and ROLE not in (other["Config"].get("Labels") or {})
    ]


def _left_to_engine(told: Config, port: int) -> bool:
    asked = (told["HostConfig"].get("PortBindings") or {}).get(f"{port}/tcp") or ()
    return any(not str(one.get("HostPort", "")).isdigit() or one["HostPort"] == "0" for one in asked)


def _source(mount: Config) -> str:
    return str(mount.get("Name") or mount.get("Source"))


def _nearest(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean `{near[0]}`?"
    shown = ", ".join(sorted(names)[:10]) or "none"
    return f"docker ps -a lists them (there are: {shown}); then live.container"


def _all(engine: Engine, found: dict[str, str]) -> Iterator[tuple[str, Config]]:
    for name, key in found.items():
        if (told := engine.container(key)) is not None:
            yield name, told


def _image(engine: Engine, told: Config) -> Config:
    if (image := engine.image(told["Image"])) is not None:
        return image
    raise TargetDown(
        f"the image of `{name_of(told)}` is gone from the engine: nothing could bring it back (mend: make the "
        "container anew from an image that is there)"
    )


def _layer(engine: Engine, told: Config) -> tuple[str, ...]:
    """Files that were changed in the container's own layer, those that nobody misses left out."""
    with engine.saying("the container's own layer cannot be looked at"):
        changes = engine.api.diff(told["Id"]) or ()
    places = tuple(one["Destination"] for one in told.get("Mounts") or ()) + BEHIND
    paths = sorted(one["Path"] for one in changes)
    folders = {path[:at] for path in paths for at in range(1, len(path)) if path[at] == "/"}
    return tuple(
        path
        for path in paths
        if path not in folders
        and not any(beneath(path, place) or beneath(place, path) for place in places)
        and "__pycache__" not in path
    )
