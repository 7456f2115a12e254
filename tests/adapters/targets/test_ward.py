"""The ward in the test's own process: one agent, started again as its policy says, on record before it is made."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from moss.adapters.targets.process import ward as ward_module
from moss.adapters.targets.process.home import SupervisorHome
from moss.adapters.targets.process.ward import Ward, environment
from moss.adapters.targets.process.words import Restart, Spec, Version
from moss.daemon import durable, lock
from moss.daemon.machine import boot_id
from moss.domain.frozen import sha256
from moss.domain.ids import Digest
from moss.errors import NotExpected, TargetDown
from moss.hold.words import Backend
from moss.testing.live_process import until

SLEEP = "import time; time.sleep(600)"


def spec(name: str, program: str = SLEEP) -> Spec:
    version = Version(digest=Digest(sha256(name.encode())), name=name)
    argv = (sys.executable, "-S", "-c", program, "{port}")
    return Spec(version=version, argv=argv, env={"PORT": "{port}"}, cwd=Path("/"), grace_seconds=2.0)


class Door:
    """The hold proxy's side: what it was told, and whether it is away."""

    def __init__(self) -> None:
        self.told: list[Backend] = []
        self.away = False

    def __call__(self, backend: Backend) -> None:
        if self.away:
            raise TargetDown("away")
        self.told.append(backend)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[SupervisorHome]:
    made = SupervisorHome(durable.private_folder(tmp_path / "live"))
    yield made
    for pid in lock.holders(made.agent_lock):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
def ward(home: SupervisorHome, door: Door) -> Iterator[Ward]:
    made = Ward(home, boot_id(), door)
    yield made
    made.stop(None)


def pid_of(ward: Ward) -> int:
    agent = ward.record.agent
    assert agent is not None
    assert agent.pid is not None
    return agent.pid


def test_a_start_is_on_record_told_to_the_door_and_silent_when_repeated(
    ward: Ward, home: SupervisorHome, door: Door
) -> None:
    ward.start(spec("1"), Restart.NO)
    pid = pid_of(ward)
    assert home.read() == ward.record
    agent = ward.record.agent
    assert agent is not None
    assert door.told == [Backend(host="127.0.0.1", port=agent.port, boot=agent.boot)]
    assert f"PORT={agent.port}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    ward.start(spec("1"), Restart.ALWAYS)
    assert pid_of(ward) == pid
    assert ward.record.restart is Restart.ALWAYS


def test_another_version_is_neither_started_beside_it_nor_stopped_for_it(ward: Ward) -> None:
    ward.start(spec("1"), Restart.ALWAYS)
    pid = pid_of(ward)
    with pytest.raises(NotExpected, match="1 runs, 2 was to be started"):
        ward.start(spec("2"), Restart.NO)
    with pytest.raises(NotExpected):
        ward.stop(spec("2").version.digest)
    assert pid_of(ward) == pid
    assert ward.record.restart is Restart.ALWAYS, "a stop that was refused changes nothing"


def test_a_stop_is_durable_before_it_is_done_and_nothing_comes_back(ward: Ward, home: SupervisorHome) -> None:
    ward.start(spec("1"), Restart.ALWAYS)
    ward.stop(spec("1").version.digest)
    assert (ward.record.agent, ward.record.restart) == (None, Restart.NO)
    assert ward.record.ended is not None
    assert ward.record.ended.code == 128 + signal.SIGTERM
    ward.tend()
    assert home.read().agent is None
    ward.stop(spec("1").version.digest)


def test_with_always_it_comes_back_on_another_boot_and_with_no_it_does_not(ward: Ward) -> None:
    ward.start(spec("1"), Restart.NO)
    os.kill(pid_of(ward), signal.SIGKILL)
    until(lambda: ward.record.agent is None)
    ended = ward.record.ended
    assert ended is not None
    assert ended.code == 128 + signal.SIGKILL
    ward.tend()
    assert ward.record.agent is None
    ward.set_restart(Restart.ALWAYS)

    def comes_back() -> bool:
        ward.tend()
        return ward.record.agent is not None

    until(comes_back)
    assert ward.record.agent is not None
    assert ward.record.agent.boot != ended.boot


def test_one_that_ends_at_once_again_and_again_is_started_ever_more_slowly(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    ward.start(spec("1", "raise SystemExit(3)"), Restart.ALWAYS)
    pauses = []
    for _ in range(3):
        until(lambda: ward.record.agent is None)
        pauses.append(ward._pause)
        ward._due = 0.0
        ward.tend()
    assert pauses == [ward_module.FIRST_PAUSE * 2, ward_module.FIRST_PAUSE * 4, ward_module.FIRST_PAUSE * 8]


def test_a_door_that_was_away_is_told_later(ward: Ward, door: Door) -> None:
    door.away = True
    ward.start(spec("1"), Restart.ALWAYS)
    ward.tend()
    assert door.told == []
    door.away = False
    ward.tend()
    ward.tend()
    assert [backend.boot for backend in door.told] == [ward.record.agent.boot if ward.record.agent else ""]


def test_a_program_that_cannot_be_run_ended_with_127_and_is_noted(ward: Ward, home: SupervisorHome) -> None:
    gone = spec("1").model_copy(update={"argv": ("/nowhere/agent",)})
    ward.start(gone, Restart.NO)
    assert ward.record.agent is None
    assert ward.record.ended is not None
    assert ward.record.ended.code == 127
    assert "cannot be run" in home.agent_log.read_text()
    assert lock.is_free(home.agent_lock)


def test_a_later_ward_takes_the_agent_over_and_can_stop_it(home: SupervisorHome, door: Door) -> None:
    first = Ward(home, boot_id(), door)
    first.start(spec("1"), Restart.ALWAYS)
    second = Ward(home, boot_id(), door)
    assert second.record.agent == first.record.agent
    second.stop(spec("1").version.digest)
    assert lock.is_free(home.agent_lock)
    assert second.record.ended is not None


def test_a_record_of_another_run_of_the_machine_names_no_living_process(home: SupervisorHome, door: Door) -> None:
    first = Ward(home, "the run before", door)
    first.start(spec("1"), Restart.NO)
    pid = pid_of(first)
    after = Ward(home, boot_id(), door)
    assert after.record.agent is None
    assert after.record.ended is not None
    assert after.record.ended.code is None
    os.kill(pid, 0)
    with pytest.raises(NotExpected, match=str(pid)):
        after.start(spec("1"), Restart.NO)
    first.stop(None)


def test_a_record_that_cannot_be_read_is_told_and_starts_nothing(home: SupervisorHome, door: Door) -> None:
    (home.folder / "state.json").write_text('{"restart": "sometimes"}')
    with pytest.raises(TargetDown, match=r"state\.json cannot be read"):
        Ward(home, boot_id(), door)


def test_settings_win_over_what_a_program_gets_anyway_and_nothing_else_comes_in(home: SupervisorHome) -> None:
    given = environment(home, {"PATH": "/mine", "X": "1"})
    least = {"LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(home.tmp), "TMPDIR": str(home.tmp)}
    assert given == {"PATH": "/mine", "X": "1", **least}
