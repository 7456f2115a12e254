"""What goes wrong around a swap of containers: two writers, deleted images and containers, dying candidates."""

import time
from typing import Any

import pytest

from moss.domain.ids import Key
from moss.errors import BoxRefused, NotExpected, TargetDown
from moss.ports import Image, Probe, Readiness
from moss.testing.live_docker import REPOSITORY, LiveDocker, docker, tiny_image
from moss.testing.live_process import until
from tests.pace import at_most

pytestmark = [pytest.mark.needs("docker"), pytest.mark.slow, pytest.mark.xdist_group("docker")]

KEY = Key("ev-01/swap")
HUNGRY = """ENTRYPOINT ["python3", "-c", "x = [bytearray(1 << 22) for _ in range(1000)]"]\n"""


def until_started(live: LiveDocker, new: Image) -> Image:
    """`new` is started in a swap; what ran before it."""
    old = live.target.current().image
    live.target.prepare(new, KEY)
    live.target.stop(KEY, old.digest)
    live.target.snapshot(KEY, 1 << 30)
    live.target.start(KEY, new.digest)
    return old


def taken_back(live: LiveDocker, new: Image, old: Image) -> None:
    live.target.stop(KEY, new.digest)
    live.target.start(KEY, old.digest)
    live.until_ready()
    live.target.settle(KEY)
    assert live.target.current().image == old
    assert not live.two_writers()


def failure(live: LiveDocker) -> Probe:
    """The first look that shows it."""
    seen: list[Probe] = []

    def fails() -> bool:
        seen.append(live.target.probe())
        return seen[-1].readiness is Readiness.FAILED

    until(fails)
    return seen[-1]


def by_hand(live: LiveDocker, image: Image, *options: str) -> str:
    """Somebody starts another container on the same volume."""
    name = f"{live.name}-other"
    docker("run", "-d", "--name", name, "-v", f"{live.volume}:/data", *options, image.digest)
    return name


def test_a_second_agent_on_the_state_is_refused_before_anything_is_stopped(tiny: LiveDocker) -> None:
    tiny.up()
    boot = tiny.target.current().boot
    other = by_hand(tiny, tiny_image("2"))
    with pytest.raises(NotExpected, match=f"`{other}` runs on the same state"):
        tiny.target.prepare(tiny_image("2"), KEY)
    assert tiny.target.current().boot == boot


def test_nothing_is_started_while_a_stranger_writes_to_the_state(tiny: LiveDocker) -> None:
    tiny.up()
    old, new = tiny.target.current().image, tiny_image("2")
    tiny.target.prepare(new, KEY)
    tiny.target.stop(KEY, old.digest)
    other = by_hand(tiny, new)
    for image in (new, old):
        with pytest.raises(NotExpected, match=f"`{other}` runs on the same state"):
            tiny.target.start(KEY, image.digest)
    docker("rm", "-f", other)
    tiny.target.start(KEY, new.digest)
    tiny.until_ready()


def test_the_kept_one_started_by_hand_is_a_stranger_too(tiny: LiveDocker) -> None:
    tiny.up()
    new = tiny_image("2")
    old = until_started(tiny, new)
    tiny.until_ready()
    tiny.target.stop(KEY, new.digest)
    (kept,) = (name for name in tiny.containers() if name.startswith(f"{tiny.name}-moss-"))
    docker("start", kept)
    with pytest.raises(NotExpected, match=f"`{kept}` runs on the same state"):
        tiny.target.start(KEY, new.digest)
    docker("stop", kept)
    taken_back(tiny, new, old)


def test_a_container_that_always_wrote_beside_the_agent_and_one_that_only_reads_are_let_be(tiny: LiveDocker) -> None:
    tiny.up()
    beside = ("run", "-d", "--name")
    docker(*beside, f"{tiny.name}-backup", "-v", f"{tiny.volume}:/x", "python:3.11-slim", "sleep", "600")
    new = tiny_image("2")
    tiny.target.prepare(new, KEY)
    docker(*beside, f"{tiny.name}-reader", "-v", f"{tiny.volume}:/x:ro", "python:3.11-slim", "sleep", "600")
    until_started(tiny, new)
    tiny.until_ready()
    assert tiny.target.current().image == new


def test_a_live_container_that_somebody_made_anew_is_never_touched(tiny: LiveDocker) -> None:
    tiny.up()
    old, new = tiny.target.current().image, tiny_image("2")
    tiny.target.prepare(new, KEY)
    docker("rm", "-f", tiny.name)
    docker("run", "-d", "--name", tiny.name, "-v", f"{tiny.volume}:/data", old.digest)
    theirs: Any = tiny.inspect()
    with pytest.raises(NotExpected, match="somebody made it anew"):
        tiny.target.stop(KEY, old.digest)
    now: Any = tiny.inspect()
    assert (now["Id"], now["State"]["StartedAt"]) == (theirs["Id"], theirs["State"]["StartedAt"])


def test_an_image_deleted_between_consent_and_start_is_refused_and_the_old_one_starts(tiny: LiveDocker) -> None:
    tiny.up()
    old, new = tiny.target.current().image, tiny_image("2", "ENV TO_BE_DELETED=1\n")
    tiny.target.prepare(new, KEY)
    tiny.target.stop(KEY, old.digest)
    tiny.drop(new)
    with pytest.raises(BoxRefused, match="the image of tiny:2 is gone"):
        tiny.target.start(KEY, new.digest)
    taken_back(tiny, new, old)


def test_a_candidate_removed_by_hand_is_seen_and_the_old_one_comes_back(tiny: LiveDocker) -> None:
    tiny.up()
    new = tiny_image("2")
    old = until_started(tiny, new)
    docker("rm", "-f", tiny.name)
    probe = tiny.target.probe()
    assert (probe.readiness, probe.detail) == (
        Readiness.FAILED,
        f"there is no container `{tiny.name}`: somebody removed it",
    )
    assert (tiny.target.current().image, tiny.target.current().running) == (old, False)
    taken_back(tiny, new, old)


def test_the_kept_one_removed_by_hand_is_made_again_with_all_its_settings(tiny: LiveDocker) -> None:
    tiny.up("-e", "OWN=1", "--memory", "200m")
    before: Any = tiny.inspect()
    new = tiny_image("2")
    old = until_started(tiny, new)
    (kept,) = (name for name in tiny.containers() if name.startswith(f"{tiny.name}-moss-"))
    docker("rm", "-f", kept)
    taken_back(tiny, new, old)
    after: Any = tiny.inspect()
    assert sorted(after["Config"]["Env"]) == sorted(before["Config"]["Env"])
    assert after["HostConfig"]["Memory"] == before["HostConfig"]["Memory"]
    assert after["HostConfig"]["RestartPolicy"] == before["HostConfig"]["RestartPolicy"]


def test_both_removed_by_hand_the_old_one_is_made_again(tiny: LiveDocker) -> None:
    tiny.up()
    new = tiny_image("2")
    old = until_started(tiny, new)
    docker("rm", "-f", *(name for name in tiny.containers() if name.startswith(tiny.name) and "before" not in name))
    assert tiny.target.current().image == old
    taken_back(tiny, new, old)


def test_one_that_exits_at_once_is_seen_within_a_second_with_its_code_and_last_words(tiny: LiveDocker) -> None:
    tiny.up()
    new = tiny_image("3", 'ENTRYPOINT ["python3", "-c", "import sys; sys.exit(\'no such model\')"]\n')
    old = until_started(tiny, new)
    began = time.monotonic()
    probe = failure(tiny)
    assert time.monotonic() - began < at_most(1.0)
    assert (probe.exit_code, probe.detail, probe.said.strip()) == (1, "it ended with 1", "no such model")
    taken_back(tiny, new, old)


def test_one_that_eats_its_memory_is_seen_with_the_reason(tiny: LiveDocker) -> None:
    tiny.up("--memory", "100m", "--memory-swap", "100m")
    new = tiny_image("4", HUNGRY)
    old = until_started(tiny, new)
    probe = failure(tiny)
    assert (probe.exit_code, probe.detail) == (137, "killed for want of memory")
    taken_back(tiny, new, old)


def test_one_that_cannot_be_started_says_why_and_the_old_one_comes_back(tiny: LiveDocker) -> None:
    tiny.up()
    new, old = tiny_image("5", 'ENTRYPOINT ["/no/such/program"]\n'), tiny.target.current().image
    tiny.target.prepare(new, KEY)
    tiny.target.stop(KEY, old.digest)
    with pytest.raises((TargetDown, BoxRefused), match="no such file"):
        tiny.target.start(KEY, new.digest)
    assert tiny.target.probe().readiness is Readiness.FAILED
    taken_back(tiny, new, old)


def test_the_tag_moves_with_what_is_live_for_good_and_not_before(tiny: LiveDocker) -> None:
    tiny.up()
    new = tiny_image("2")

    def tagged() -> str:
        return docker("image", "ls", "-q", "--no-trunc", f"{REPOSITORY}:moss-live")

    docker("image", "rm", f"{REPOSITORY}:moss-live") if tagged() else None
    until_started(tiny, new)
    tiny.until_ready()
    tiny.target.settle(KEY, soaks=True)
    assert not tagged()
    tiny.target.settle(KEY)
    assert tagged() == new.digest


def test_a_kept_container_goes_only_when_the_swap_is_forgotten_and_never_the_one_that_lives(tiny: LiveDocker) -> None:
    tiny.up()
    tiny.swapped(tiny_image("2"), "ev-01/swap")
    kept = [name for name in tiny.containers() if name.startswith(f"{tiny.name}-moss-")]
    assert len(kept) == 1
    tiny.swapped(tiny_image("6"), "ev-02/swap")
    for _ in range(2):
        tiny.target.forget(Key("ev-01/swap"))
    assert kept[0] not in tiny.containers()
    assert tiny.target.current().image == tiny_image("6")
    assert f"{tiny.name}.before-moss" in tiny.containers()
    tiny.swapped(tiny_image("2"), "ev-02/undo")
    assert tiny.target.current().image == tiny_image("2")
    tiny.target.forget(Key("ev-02/undo"))
    assert not [name for name in tiny.containers() if name.startswith(f"{tiny.name}-moss-")]
    assert tiny.send("still here").wait().status == 200


def test_in_a_compose_project_nothing_is_kept_that_compose_would_count_and_the_old_one_is_made_again(
    tiny: LiveDocker,
) -> None:
    tiny.up("--label", f"com.docker.compose.image={tiny.old.digest}", "-e", "OWN=1")
    new = tiny_image("2")
    old = until_started(tiny, new)
    tiny.until_ready()
    assert len([name for name in tiny.containers() if name.startswith(f"{tiny.name}-moss-")]) == 1
    tiny.target.settle(KEY, soaks=True)
    assert not [name for name in tiny.containers() if name.startswith(f"{tiny.name}-moss-")]
    live: Any = tiny.inspect()
    assert live["Config"]["Labels"]["com.docker.compose.image"] == new.digest
    taken_back(tiny, new, old)
    back: Any = tiny.inspect()
    assert back["Config"]["Labels"]["com.docker.compose.image"] == old.digest
    assert "OWN=1" in back["Config"]["Env"]
    assert back["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"


def test_without_the_move_under_moss_no_swap_begins(tiny: LiveDocker) -> None:
    tiny.run()
    with pytest.raises(TargetDown, match="moss adopt"):
        tiny.target.prepare(tiny_image("2"), KEY)
    assert tiny.target.standing() is None


def test_taken_down_and_installed_again_it_serves_as_before(tiny: LiveDocker) -> None:
    tiny.up()
    live, port = tiny.target.current(), tiny.port
    tiny.target.shut_down()
    standing = tiny.target.standing()
    assert standing is not None
    assert (standing.image, standing.running) == (live.image, False)
    assert not [name for name in tiny.containers() if name.endswith(("-front", "-door"))]
    tiny.target.install(live.image)
    tiny.until_ready()
    assert (tiny.port, tiny.send("again").wait().status) == (port, 200)
    told: Any = tiny.inspect()
    assert told["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
