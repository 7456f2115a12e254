"""Owns what can be told of an agent's running container: which one belongs to a folder, its port, its state.

Only asks the engine, where one answers. A container is the folder's when Compose started it from there, or when it or
its image has the folder's name. What it finds was written by others: it is checked by pattern before it is used.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moss.dockerd.labels import COMPOSE_FOLDER, ROLE
from moss.errors import MossError, TargetDown

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,99}")
PLACE = re.compile(r"(/[A-Za-z0-9_.-]+)+")


@dataclass(frozen=True, slots=True)
class Container:
    """`port`: inside; None where it is not clear. `state`: the place of its volume; None where it has none."""

    name: str
    image: str
    port: int | None
    state: str | None
    volume: str | None
    dockerfile: bool


def containers_of(folder: Path, slug: str, wanted: str | None = None, engine: str | None = None) -> list[Container]:
    """Running ones that belong to the folder, or the one that is `wanted`. Without an engine, none.

    Raises: Absent for one that is wanted and not there, with the nearest name.
    """
    from moss.dockerd import Engine

    door = Engine(engine, TargetDown)
    try:
        if wanted is not None:
            from moss.adapters.targets.docker.running import look

            return [_told(look(door, wanted).told, folder)]
        try:
            with door.saying("containers cannot be listed"):
                rows = door.api.containers()
                found = [door.api.inspect_container(row["Id"]) for row in rows if _belongs(row, folder, slug)]
        except MossError:
            return []
        return [_told(one, folder) for one in found if NAME.fullmatch(one["Name"].lstrip("/"))]
    finally:
        door.close()


def _belongs(row: dict[str, Any], folder: Path, slug: str) -> bool:
    labels = row.get("Labels") or {}
    if ROLE in labels:
        return False
    names = {name.lstrip("/") for name in row["Names"]}
    repository = str(row.get("Image") or "").partition("@")[0].rpartition("/")[2].partition(":")[0]
    return labels.get(COMPOSE_FOLDER) == str(folder) or slug in names or slug == repository


def _told(told: dict[str, Any], folder: Path) -> Container:
    config = told["Config"]
    bound = {key for key, places in (told["NetworkSettings"].get("Ports") or {}).items() if places}
    ports = sorted(_tcp(bound)) or sorted(_tcp(config.get("ExposedPorts") or {}))
    kept = sorted(
        (one for one in told.get("Mounts") or () if one.get("RW") and PLACE.fullmatch(one["Destination"])),
        key=lambda one: (one.get("Type") != "volume", one["Destination"]),
    )
    first = kept[0] if kept else {}
    return Container(
        name=str(told["Name"]).lstrip("/"),
        image=str(config["Image"]),
        port=ports[0] if len(ports) == 1 else None,
        state=first.get("Destination"),
        volume=first.get("Name") or first.get("Source"),
        dockerfile=(folder / "Dockerfile").is_file(),
    )


def _tcp(keys: Any) -> Iterator[int]:
    for key in keys:
        number, _, kind = str(key).partition("/")
        if kind == "tcp" and number.isdigit():
            yield int(number)
