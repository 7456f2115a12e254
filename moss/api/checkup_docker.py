"""Owns what `moss doctor` looks at where the live agent is a container: the engine, MOSS's own image, the container.

Never changes anything. Invariant: each thing that `moss adopt` would refuse or warn of is said here before.
"""

from typing import TYPE_CHECKING

from moss.api.look import Level, Look
from moss.api.plain import plain

if TYPE_CHECKING:
    from moss.wiring import Wiring


def docker(wiring: "Wiring") -> Look:
    """The engine of the live agent, and the image of what stands beside it."""
    target = wiring.docker_target
    with target.engine.saying("the engine cannot be asked"):
        version, driver = target.engine.api.version()["Version"], target.engine.api.info()["Driver"]
    said = f"Docker {plain(version, 40)}, {plain(driver, 40)}"
    if target.engine.image(target.own_image) is None:
        mend = "scripts/images in MOSS's repository makes it; or name one: live.front_image"
        detail = f"{said}; {target.own_image}, MOSS's own image, is not there"
        return Look(name="docker", level=Level.FAIL, detail=detail, mend=mend)
    return Look(name="docker", level=Level.OK, detail=f"{said}; {target.own_image} is there")


def container(wiring: "Wiring") -> Look:
    """The container that `live.container` names, as `moss adopt` sees it. Raises: Absent with the nearest name."""
    from moss.adapters.targets.docker.running import look, objections, warnings

    target, name = wiring.docker_target, "container"
    running = look(target.engine, target.live.container)
    if (no := next(objections(running, target.live), None)) is not None:
        return Look(name=name, level=Level.FAIL, detail=str(no), mend=no.mend)
    told = list(warnings(running, target.live))
    if told:
        more = f" (and {len(told) - 1} more: moss adopt says them)" if len(told) > 1 else ""
        return Look(name=name, level=Level.WARN, detail=f"{told[0]}{more}", mend="docs/docker.md says what it means")
    return Look(name=name, level=Level.OK, detail=f"`{running.name}` runs {plain(running.image_name, 80)}")


def state(wiring: "Wiring") -> Look:
    """What keeps the live state, and that it can be read."""
    from moss.adapters.targets.docker.running import ANONYMOUS, look

    target, name = wiring.docker_target, "state"
    running = look(target.engine, target.live.container)
    mount = running.mount(str(target.live.state))
    if mount is None:
        said = f"{target.live.state} is in the container's own layer: no swap could keep it"
        return Look(name=name, level=Level.FAIL, detail=said, mend="mount a volume there; or mend live.state")
    if mount.get("Type") == "volume" and ANONYMOUS.fullmatch(mount.get("Name") or ""):
        said = f"{target.live.state} is on a volume without a name: `docker rm -v` would delete it"
        return Look(name=name, level=Level.WARN, detail=said, mend="give it one: -v NAME:" + str(mount["Destination"]))
    if not mount.get("RW", True):
        said = f"{target.live.state} is mounted read-only"
        return Look(name=name, level=Level.FAIL, detail=said, mend="mount it so that the agent may write")
    kind = f"the volume {mount['Name']}" if mount.get("Type") == "volume" else f"the folder {mount.get('Source')}"
    target.evidence_root()
    return Look(name=name, level=Level.OK, detail=f"{target.live.state} is on {plain(kind, 120)} and can be read")


CHECKS = (("docker", docker), ("container", container), ("state", state))
