"""A controller killed at any call to the engine, in any step of a swap, and another one that does the step again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from docker import APIClient

from moss.domain.ids import Key
from moss.ports import Image
from moss.testing.live_docker import LiveDocker, tiny_image

pytestmark = [pytest.mark.needs("docker"), pytest.mark.slow, pytest.mark.xdist_group("docker")]


class Killed(BaseException):
    """As SIGKILL: nothing of MOSS catches it."""


@contextmanager
def killed_after(calls: int) -> Iterator[list[str]]:
    """The process ends right after so many calls that change something; the calls that were made."""
    real, made = APIClient.send, list[str]()

    def send(self: APIClient, request: Any, **words: Any) -> Any:
        answer = real(self, request, **words)
        if request.method != "GET":
            made.append(f"{request.method} {request.path_url.partition('?')[0]}")
            if len(made) == calls:
                raise Killed
        return answer

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(APIClient, "send", send)
        yield made


def steps(live: LiveDocker, new: Image, key: Key) -> list[tuple[str, Callable[[Any], object]]]:
    """The steps of a whole swap, each on whatever target does it."""
    old = live.target.current().image
    return [
        ("prepare", lambda target: target.prepare(new, key)),
        ("stop", lambda target: target.stop(key, old.digest)),
        ("snapshot", lambda target: target.snapshot(key, 1 << 30)),
        ("start", lambda target: target.start(key, new.digest)),
        ("settle", lambda target: target.settle(key)),
    ]


def back(new: Image, old: Image, key: Key) -> list[tuple[str, Callable[[Any], object]]]:
    """From a started candidate to the old one."""
    return [
        ("stop", lambda target: target.stop(key, new.digest)),
        ("start", lambda target: target.start(key, old.digest)),
        ("settle", lambda target: target.settle(key)),
    ]


def one_lives(live: LiveDocker, image: Image) -> None:
    """Exactly the one, by its name, with its restart policy; the other one stopped, and with none."""
    told: Any = live.inspect()
    assert (told["Image"], told["State"]["Running"]) == (image.digest, True)
    assert told["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
    for name in live.containers():
        other: Any = live.inspect(name)
        if name.startswith(live.name) and name != live.name:
            assert not other["State"]["Running"], name
            assert other["HostConfig"]["RestartPolicy"]["Name"] == "no", name
    assert not live.two_writers()


def performed(live: LiveDocker, todo: list[tuple[str, Callable[[Any], object]]], name: str, at: int) -> bool:
    """Does all steps, the one called `name` killed after its call number `at` and done again; whether it got there."""
    reached = False
    for step, do in todo:
        if step == name:
            try:
                with killed_after(at):
                    do(live.target)
            except Killed:
                reached = True
            live.target = live.reopened()
        do(live.target)
    return reached


@pytest.mark.parametrize("name", ["prepare", "stop", "start", "settle"])
def test_a_step_killed_at_any_call_and_done_again_ends_the_same(tiny: LiveDocker, name: str) -> None:
    tiny.up()
    versions, points = [tiny_image("2"), tiny.old], 0
    while True:
        key, new = Key(f"ev-{points}/swap"), versions[points % 2]
        if not performed(tiny, steps(tiny, new, key), name, points + 1):
            break
        tiny.until_ready()
        one_lives(tiny, new)
        points += 1
        tiny.target.forget(key)
    assert points >= {"prepare": 1, "stop": 2, "start": 3, "settle": 2}[name], "the kill points were not reached"
    print(f"{name}: {points} kill points")


@pytest.mark.parametrize("name", ["stop", "start"])
def test_the_way_back_killed_at_any_call_and_done_again_ends_the_same(tiny: LiveDocker, name: str) -> None:
    tiny.up()
    old, new, points = tiny.target.current().image, tiny_image("2"), 0
    while True:
        key = Key(f"ev-{points}/swap")
        for _, do in steps(tiny, new, key)[:-1]:
            do(tiny.target)
        if not performed(tiny, back(new, old, key), name, points + 1):
            break
        tiny.until_ready()
        one_lives(tiny, old)
        points += 1
        tiny.target.forget(key)
    assert points >= {"stop": 1, "start": 3}[name], "the kill points were not reached"


def test_the_engine_is_told_never_to_start_the_old_one_before_it_is_stopped(tiny: LiveDocker) -> None:
    tiny.up()
    old, key = tiny.target.current().image, Key("ev-01/swap")
    tiny.target.prepare(tiny_image("2"), key)
    with killed_after(-1) as calls:
        tiny.target.stop(key, old.digest)
    verbs = [call.rpartition("/")[2] for call in calls]
    assert verbs.index("update") < verbs.index("stop")
    with killed_after(-1) as calls:
        tiny.target.start(key, tiny_image("2").digest)
    told: Any = tiny.inspect()
    assert told["HostConfig"]["RestartPolicy"]["Name"] == "no"
    tiny.until_ready()
    tiny.target.settle(key)
    one_lives(tiny, tiny_image("2"))
