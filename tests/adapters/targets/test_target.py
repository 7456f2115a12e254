"""What the process target promises beside the port's contract: a clean environment, closed files, its own ends."""

import http.client
import json
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from moss.adapters.targets.process import agent_log
from moss.daemon import lock
from moss.domain.ids import Key
from moss.domain.launch import launch
from moss.errors import BoxRefused, NoSpace, TargetDown, TargetError
from moss.ports import Readiness
from moss.testing.live_process import LiveProcess, until

pytestmark = pytest.mark.slow
KEY = Key("ev-01/swap")


def environment(live: LiveProcess) -> dict[str, str]:
    connection = http.client.HTTPConnection(*live.target.address())
    try:
        connection.request("GET", "/env")
        told: dict[str, str] = json.loads(connection.getresponse().read())
        return told
    finally:
        connection.close()


def test_the_agent_gets_what_the_settings_give_and_the_least_a_program_needs(live: LiveProcess) -> None:
    told = environment(live)
    assert set(told) == {"PATH", "LANG", "PYTHONDONTWRITEBYTECODE", "HOME", "TMPDIR", "GATEWAY", "TOKEN", "PORT"}
    assert (told["GATEWAY"], told["TOKEN"]) == ("http://gw", "tok")
    assert told["PORT"] == str(live.target.address()[1])
    assert told["HOME"].startswith(str(live.target.home.folder))


def test_it_is_started_by_the_function_that_starts_every_trial(live: LiveProcess) -> None:
    spec = live.target.home.read().spec
    assert spec is not None
    start = launch(live.settings.live.argv, live.settings.live.env, {}, "http://gw", "tok")
    tree, state = str(live.image(live.old.digest)), str(live.target.state)
    assert spec.argv == tuple(word.replace("{image}", tree).replace("{state}", state) for word in start.argv)
    assert set(start.env) <= set(spec.env)
    assert spec.cwd == Path(tree)


def test_everything_it_writes_is_closed_to_others(live: LiveProcess) -> None:
    live.target.prepare(live.version("2"), KEY)
    for folder, _, names in os.walk(live.settings.home):
        assert stat.S_IMODE(Path(folder).stat().st_mode) == 0o700 or Path(folder) == live.settings.home
        for name in names:
            assert stat.S_IMODE((Path(folder) / name).stat().st_mode) == 0o600, name


def test_last_known_good_is_written_once_for_a_swap(live: LiveProcess) -> None:
    new, file = live.version("2"), live.target.home.folder / "last-known-good.json"
    live.target.prepare(new, KEY)
    before = file.read_bytes()
    live.target.stop(KEY, live.old.digest)
    live.target.start(KEY, new.digest)
    live.reopened().prepare(new, KEY)
    assert file.read_bytes() == before
    assert json.loads(before)["old"]["version"]["digest"] == live.old.digest


def test_a_last_known_good_that_cannot_be_read_is_told(live: LiveProcess) -> None:
    (live.target.home.folder / "last-known-good.json").write_text('{"key": 1}')
    with pytest.raises(TargetError, match=r"last-known-good\.json cannot be read"):
        live.target.prepare(live.version("2"), KEY)


def test_a_version_that_was_not_prepared_is_not_started(live: LiveProcess) -> None:
    live.target.stop(KEY, live.old.digest)
    with pytest.raises(BoxRefused, match="was not prepared"):
        live.target.start(KEY, live.version("2").digest)


def test_less_space_than_the_watermark_stops_a_swap_before_it_begins(live: LiveProcess) -> None:
    retention = live.settings.retention.model_copy(update={"free_bytes": 1 << 60})
    live.settings = live.settings.model_copy(update={"retention": retention})
    with pytest.raises(NoSpace):
        live.reopened().prepare(live.version("2"), KEY)
    assert live.target.current().running


def test_nothing_installed_is_told_with_its_mend(tmp_path: Path) -> None:
    live = LiveProcess(tmp_path)
    try:
        for ask in (live.target.current, live.target.address):
            with pytest.raises(TargetDown):
                ask()
        with pytest.raises(TargetDown, match="moss adopt"):
            live.target.prepare(live.old, KEY)
        assert live.target.probe().readiness is Readiness.FAILED
    finally:
        live.close()


def test_an_agent_that_polls_is_drained_by_its_stop_and_not_held(tmp_path: Path) -> None:
    live = LiveProcess(tmp_path, drain="drain")
    try:
        live.up()
        held = live.target.hold(KEY, 5.0, 60.0)
        assert (held.drained, held.seconds, held.complete) == (0, 0.0, True)
        assert live.send("not held").wait().status == 200
        assert live.target.release(KEY).waited == 0
    finally:
        live.close()


def test_turns_in_flight_end_before_the_stop(live: LiveProcess) -> None:
    slow = live.send("slow", "/say?slow=0.5")
    until(lambda: live.target._hold.status().in_flight == 1)
    held = live.target.hold(KEY, 5.0, 60.0)
    assert (held.drained, held.complete) == (1, True)
    assert slow.wait().status == 200
    live.target.stop(KEY, live.old.digest)
    assert live.kept() == ["slow"]


def test_the_agents_output_is_kept_and_bounded(live: LiveProcess, tmp_path: Path) -> None:
    broken = live.version("2")
    (live.image(broken.digest) / "agent.py").write_text("import sys; print('so', 'long', file=sys.stderr)")
    live.target.prepare(broken, KEY)
    live.target.stop(KEY, live.old.digest)
    live.target.start(KEY, broken.digest)
    until(lambda: not live.target.current().running)
    assert "so long" in agent_log.tail(live.target.home.agent_log)
    log = tmp_path / "log"
    descriptor = agent_log.opened(log)
    try:
        os.write(descriptor, b"a" * 100)
        agent_log.trim(log, 50)
        os.write(descriptor, b"b")
        assert (log.read_bytes(), log.with_name("log.1").read_bytes()) == (b"b", b"a" * 100)
        agent_log.trim(log, 50)
        assert log.read_bytes() == b"b"
    finally:
        os.close(descriptor)


def test_a_shut_down_leaves_no_process(live: LiveProcess) -> None:
    live.target.shut_down()
    for path in (live.target.home.lock, live.target.home.agent_lock, live.target.options.lock):
        assert lock.is_free(path)
        assert lock.holders(path) == frozenset()


def test_a_children_tree_ends_with_its_agent(live: LiveProcess) -> None:
    parent = live.version("parent")
    tree = live.image(parent.digest)
    (tree / "child.py").write_text("import time; time.sleep(600)")
    source = (tree / "agent.py").read_text()
    spawn = "import subprocess, sys; subprocess.Popen([sys.executable, __file__.replace('agent.py', 'child.py')])\n"
    (tree / "agent.py").write_text(source.replace("    main()\n", f"    {spawn}    main()\n"))
    live.target.prepare(parent, KEY)
    live.target.stop(KEY, live.old.digest)
    live.target.start(KEY, parent.digest)
    live.until_ready()
    child = str(tree / "child.py").encode()

    def lives() -> bool:
        return any(child in file.read_bytes() for file in Path("/proc").glob("[0-9]*/cmdline") if file.exists())

    until(lives)
    live.target.stop(KEY, parent.digest)
    assert not lives()


def test_the_proxy_is_told_of_the_agent_again_when_it_forgot(live: LiveProcess) -> None:
    live.target._hold.backend(None)
    live.target.keep_alive()
    assert live.send("m").wait().status == 200


def test_the_state_is_copied_while_it_runs_with_its_database_whole(live: LiveProcess, tmp_path: Path) -> None:
    for number in range(5):
        assert live.send(f"m{number}").wait().status == 200
    live.target.state_copy(tmp_path / "copy")
    with closing(sqlite3.connect(tmp_path / "copy" / "agent.db")) as copied:
        assert copied.execute("SELECT count(*) FROM said").fetchone() == (5,)
    assert live.target.evidence_root() == live.target.state
