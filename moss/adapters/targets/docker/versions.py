"""Owns the containers of a swap's two versions: found, made again where one is gone, given their names. Starts none.

A container is known by its id where it was there before the swap, else by labels that say which swap made it. The live
one has the name that the user knows, the other one waits under a name of its own.
Invariant: what has the user's name and is neither of the two is never touched.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from moss.adapters.targets.docker.containers import Containers, name_of, runs
from moss.adapters.targets.docker.swaps import LastKnownGood, Side, short
from moss.dockerd import Config
from moss.dockerd.labels import HOME, ROLE
from moss.dockerd.substrate import LENT, container_config, variables
from moss.domain.ids import Digest, Key
from moss.errors import BoxRefused, NotExpected

SWAP, VERSION = "moss.dev/swap", "moss.dev/version"
"""labels: the swap that made it, the image that it was made of"""
LIVE = "live"


@dataclass(frozen=True, slots=True)
class Versions:
    """The two of `good`."""

    containers: Containers
    home_tag: str
    good: LastKnownGood

    def live(self) -> Config | None:
        """What has the user's name."""
        return self.containers.look(self.good.name)

    def find(self, side: Side) -> Config | None:
        """The side's container, wherever its name went; None when somebody deleted it."""
        if side.id is not None and (told := self.containers.look(side.id)) is not None:
            return told
        labels = {HOME: self.home_tag, SWAP: self.good.key, VERSION: side.version.digest}
        return max(self.containers.labelled(labels), key=runs, default=None)

    def is_of(self, told: Config) -> bool:
        """Whether it is one of the two."""
        labels = told["Config"].get("Labels") or {}
        ours = (labels.get(HOME), labels.get(SWAP)) == (self.home_tag, self.good.key)
        return ours or told["Id"] in [side.id for side in self.good.sides]

    def ensure(self, side: Side) -> Config:
        """There, not started where it was not. Raises: BoxRefused when its image is gone too, TargetError, NoSpace."""
        if (found := self.find(side)) is not None:
            return found
        image = self.containers.image(side.version.digest)
        if image is None:
            raise BoxRefused(f"the image of {side.version.name} is gone")
        good = self.good
        labels = {HOME: self.home_tag, ROLE: LIVE, SWAP: good.key, VERSION: side.version.digest}
        making = container_config(good.user, image, api=self.containers.engine.version, env=side.env, labels=labels)
        made = self.containers.look(self.containers.create(making, side.kept))
        if made is None:
            raise BoxRefused(f"the container of {side.version.name} was deleted as soon as it was made")
        return made

    def name_live(self, side: Side, mine: Config) -> None:
        """`mine` has the user's name when this returns. Raises: NotExpected when a stranger has it."""
        there = self.live()
        if there is not None and there["Id"] != mine["Id"]:
            if not self.is_of(there):
                raise NotExpected(f"`{self.good.name}` is another container than before: somebody made it anew")
            other = next((one for one in self.good.sides if one is not side), side)
            self.containers.rename(there["Id"], other.kept)
        self.containers.rename(mine["Id"], self.good.name)


def lent_variables(told: Config) -> dict[str, str]:
    """The variables of a container that MOSS set."""
    names = json.loads((told["Config"].get("Labels") or {}).get(LENT, "[]"))
    return {name: value for name, value in variables(told["Config"].get("Env")).items() if name in names and value}


def kept_name(name: str, key: Key, image: Digest) -> str:
    """Of a container that is not the live one."""
    return f"{name}-moss-{short(f'{key} {image}')}"


def forgotten(containers: Containers, home_tag: str, good: LastKnownGood, needed: set[str]) -> Iterator[str]:
    """Ids of the swap's containers that nobody needs: stopped, without the user's name, in no other swap."""
    versions = Versions(containers, home_tag, good)
    for side in good.sides:
        told = versions.find(side)
        if told is not None and name_of(told) == side.kept and not runs(told) and told["Id"] not in needed:
            yield told["Id"]
