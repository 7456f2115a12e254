"""`kill -9` of the supervisor, the proxy or the controller between any two steps ends where no kill ends.

The controller is not killed as a process here: each step is repeated by a target that knows nothing (`reopened`), and
the supervisor and the proxy are real processes that are really killed.
"""

import os
import signal
import threading
from collections.abc import Callable

import pytest

from moss.adapters.targets.process.target import ProcessTarget
from moss.daemon import lock
from moss.domain.ids import Key
from moss.errors import NotExpected, TargetDown
from moss.ports import Readiness
from moss.testing.live_process import LiveProcess, until

pytestmark = pytest.mark.slow
KEY = Key("ev-01/swap")
STEPS = ("prepare", "hold", "stop", "snapshot", "start", "probe", "release", "settle")


def kill(path_of_lock: str, live: LiveProcess) -> None:
    """`kill -9` of whoever holds a lock, and of nobody else."""
    path = live.target.options.lock if path_of_lock == "proxy" else live.target.home.lock
    for pid in lock.holders(path):
        os.kill(pid, signal.SIGKILL)
    until(lambda: lock.is_free(path))


def steps(live: LiveProcess, old: str, new: str) -> dict[str, Callable[[ProcessTarget], object]]:
    versions = {image.name: image for image in (live.old, live.version("2"), live.version("3", exits_after=0))}
    return {
        "prepare": lambda target: target.prepare(versions[new], KEY),
        "hold": lambda target: target.hold(KEY, 1.0, 60.0),
        "stop": lambda target: target.stop(KEY, versions[old].digest),
        "snapshot": lambda target: target.snapshot(KEY, 1 << 30),
        "start": lambda target: target.start(KEY, versions[new].digest),
        "probe": lambda target: until(lambda: target.probe().readiness is Readiness.READY),
        "release": lambda target: target.release(KEY),
        "settle": lambda target: target.settle(KEY),
    }


@pytest.mark.parametrize("victim", ["supervisor", "proxy"])
@pytest.mark.parametrize("after", STEPS)
def test_a_kill_after_any_step_and_the_step_again(live: LiveProcess, victim: str, after: str) -> None:
    assert live.send("before").wait().status == 200
    for name, step in steps(live, "tiny:1", "tiny:2").items():
        step(live.target)
        if name == after:
            kill(victim, live)
            step(live.reopened())
    now = live.target.current()
    assert (now.image.name, now.running) == ("tiny:2", True)
    assert live.send("after").wait().body["version"] == "2"
    assert live.kept() == ["before", "after"]
    assert not live.two_writers()
    assert len(lock.holders(live.target.home.agent_lock)) == 1


def test_a_killed_supervisor_leaves_the_agent_alone_and_the_next_takes_it_over(live: LiveProcess) -> None:
    first = live.send("one").wait()
    kill("supervisor", live)
    assert live.send("two").wait().body["pid"] == first.body["pid"]
    now = live.reopened().current()
    assert now.running
    assert live.send("three").wait().body["pid"] == first.body["pid"]
    os.kill(int(str(first.body["pid"])), signal.SIGKILL)
    until(lambda: live.target.current().boot not in (None, now.boot))
    assert live.send("four").wait().status == 200
    assert not live.two_writers()


def test_a_supervisor_killed_before_it_wrote_the_pid_down_finds_its_agent(live: LiveProcess) -> None:
    pid = live.send("one").wait().body["pid"]
    kill("supervisor", live)
    home = live.target.home
    record = home.read()
    assert record.agent is not None
    home.write(record.model_copy(update={"agent": record.agent.model_copy(update={"pid": None, "born": None})}))
    now = live.target.current()
    assert (now.boot, now.running) == (record.agent.boot, True)
    taken = home.read().agent
    assert taken is not None
    assert taken.pid == pid
    with pytest.raises(NotExpected):
        live.target.stop(KEY, live.version("2").digest)
    live.target.stop(KEY, live.old.digest)
    assert lock.is_free(home.agent_lock)


def test_an_agent_that_ended_while_nobody_watched_is_seen_and_started_again(live: LiveProcess) -> None:
    pid = int(str(live.send("one").wait().body["pid"]))
    boot = live.target.current().boot
    kill("supervisor", live)
    os.kill(pid, signal.SIGKILL)
    until(lambda: lock.is_free(live.target.home.agent_lock))
    live.until_ready()
    assert live.target.current().boot != boot
    assert not live.two_writers()


def test_a_candidate_that_ended_while_nobody_watched_is_not_started_again(live: LiveProcess) -> None:
    new = live.version("2")
    live.target.prepare(new, KEY)
    live.target.stop(KEY, live.old.digest)
    live.target.start(KEY, new.digest)
    live.until_ready()
    kill("supervisor", live)
    for pid in lock.holders(live.target.home.agent_lock):
        os.kill(pid, signal.SIGKILL)
    until(lambda: lock.is_free(live.target.home.agent_lock))
    probe = live.reopened().probe()
    assert (probe.readiness, probe.exit_code) == (Readiness.FAILED, None)
    assert "while nobody watched" in probe.detail
    assert not live.target.current().running


def test_two_supervisors_started_at_once_are_one_and_start_one_agent(live: LiveProcess) -> None:
    live.target.stop(KEY, live.old.digest)
    kill("supervisor", live)
    targets = [live.reopened() for _ in range(4)]
    starters = [threading.Thread(target=target.install, args=(live.old,)) for target in targets]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join()
    live.until_ready()
    assert len(lock.holders(live.target.home.lock)) == 1
    assert len(lock.holders(live.target.home.agent_lock)) == 1
    assert not live.two_writers()


def test_a_foreign_process_on_the_lock_is_never_joined_by_an_agent(live: LiveProcess) -> None:
    live.target.stop(KEY, live.old.digest)
    held = lock.take(live.target.home.agent_lock)
    assert held is not None
    try:
        with pytest.raises(NotExpected, match=str(os.getpid()) + "|cannot be found"):
            live.target.install(live.old)
        assert not live.target.current().running
    finally:
        os.close(held)
    live.target.install(live.old)
    live.until_ready()


def test_a_stop_killed_in_the_middle_is_finished_by_the_next(live: LiveProcess) -> None:
    deaf = live.version("2", deaf=True)
    live.target.prepare(deaf, KEY)
    live.target.stop(KEY, live.old.digest)
    live.target.start(KEY, deaf.digest)
    live.until_ready()
    failed: list[Exception] = []

    def stop() -> None:
        try:
            live.reopened().stop(KEY, deaf.digest)
        except TargetDown as error:
            failed.append(error)

    stopping = threading.Thread(target=stop)
    stopping.start()
    kill("supervisor", live)
    stopping.join()
    live.target.stop(KEY, deaf.digest)
    assert lock.is_free(live.target.home.agent_lock)
    assert not live.target.current().running


def test_a_hold_outlives_a_killed_proxy_which_the_supervisor_starts_again(live: LiveProcess) -> None:
    live.target.hold(KEY, 0.5, 60.0)
    (pid,) = lock.holders(live.target.options.lock)
    os.kill(pid, signal.SIGKILL)

    def holds_again() -> bool:
        try:
            return live.target._hold.status().held == KEY
        except TargetDown:
            return False

    until(holds_again)
    waiting = live.send("waits")
    live.waits(1)
    live.target.release(KEY)
    assert waiting.wait().status == 200
