"""Owns the one live agent: started, watched, started again, stopped. Never decides which version should live.

Invariant: at most one process on the state, ever. The agent itself holds the lock; the record names it before it is
made; a supervisor that finds the lock taken takes that agent over and starts none.
"""

import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from moss.adapters.targets.process import agent_log, life
from moss.adapters.targets.process.home import SupervisorHome
from moss.adapters.targets.process.life import Life
from moss.adapters.targets.process.words import Agent, Ended, Record, Restart, Spec
from moss.daemon import lock
from moss.domain.ids import Digest
from moss.domain.launch import fill, fill_all
from moss.errors import NotExpected, TargetDown
from moss.hold.words import Backend

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0
"""seconds before an agent that ended by itself is started again: doubled each time"""
GOOD_LIFE = 10.0
"""seconds of life after which the pause is the first one again"""


class Ward:
    """Thread-safe. `tell` names the agent's address to the hold proxy; it raises TargetDown when that is away."""

    def __init__(self, home: SupervisorHome, machine_boot: str, tell: Callable[[Backend], None]) -> None:
        self._home, self._machine_boot, self._tell = home, machine_boot, tell
        self._changing = threading.RLock()
        self._record = home.read()
        self._life: Life | None = None
        self._untold: Backend | None = None
        self._pause, self._due = FIRST_PAUSE, 0.0
        self._take_over()

    @property
    def record(self) -> Record:
        """As it is on the disk."""
        return self._record

    def start(self, spec: Spec, restart: Restart) -> None:
        """Exactly one agent of that version; already running it is silent. Raises: NotExpected: another one runs."""
        with self._changing:
            running = self._record.agent
            if running is not None and running.version.digest != spec.version.digest:
                raise NotExpected(f"{running.version.name} runs, {spec.version.name} was to be started")
            if running is None:
                self._pause = FIRST_PAUSE
                self._begin(spec, restart)
            elif restart is not self._record.restart:
                self._write(restart=restart)

    def stop(self, expected: Digest | None) -> None:
        """Nothing runs when this returns, and nothing comes back by itself. Raises: NotExpected."""
        with self._changing:
            running = self._record.agent
            if running is not None and expected is not None and running.version.digest != expected:
                raise NotExpected(f"{running.version.name} runs, another version was to be stopped")
            self._write(restart=Restart.NO)
            if running is not None and self._life is not None:
                grace = self._record.spec.grace_seconds if self._record.spec else 0.0
                self._ended(running, self._life, self._life.end(grace))

    def set_restart(self, restart: Restart) -> None:
        with self._changing:
            self._write(restart=restart)

    def tend(self) -> None:
        """One look: an agent that is due is started again, the proxy is told what it missed, the log is cut."""
        with self._changing:
            record = self._record
            if record.agent is None and record.spec is not None and record.restart is Restart.ALWAYS:
                if time.monotonic() >= self._due:
                    self._begin(record.spec, Restart.ALWAYS)
            elif self._untold is not None:
                self._told(self._untold)
        agent_log.trim(self._home.agent_log)

    # inside

    def _begin(self, spec: Spec, restart: Restart) -> None:
        held = lock.take(self._home.agent_lock)
        if held is None:
            raise NotExpected(f"a process that is not on record is on the state: {_named(self._home)}")
        try:
            agent = Agent(
                boot=uuid.uuid4().hex[:12],
                version=spec.version,
                port=free_port(),
                machine_boot=self._machine_boot,
                at=datetime.now(UTC),
            )
            self._write(spec=spec, restart=restart, agent=agent, ended=None)
            self._make(spec, agent, held)
        finally:
            os.close(held)

    def _make(self, spec: Spec, agent: Agent, held: int) -> None:
        values = {"port": str(agent.port)}
        agent_log.note(self._home.agent_log, f"{spec.version.image.name} starts")
        output = agent_log.opened(self._home.agent_log)
        try:
            argv = fill_all(spec.argv, values)
            env = {name: fill(value, values) for name, value in spec.env.items()}
            made = life.make(argv, env, spec.cwd, output, held, self._home.agent_lock)
        except OSError as error:
            agent_log.note(self._home.agent_log, f"{spec.argv[0]} cannot be run: {error.strerror}")
            self._gone(agent, life.NOT_STARTED)
            return
        finally:
            os.close(output)
        self._lives(agent.model_copy(update={"pid": made.pid, "born": life.born_at(made.pid)}), made)

    def _lives(self, agent: Agent, found: Life) -> None:
        self._write(agent=agent)
        self._life = found
        self._told(Backend(host="127.0.0.1", port=agent.port, boot=agent.boot))
        threading.Thread(target=self._watch, args=(agent, found), name=f"watch-{agent.boot}", daemon=True).start()

    def _watch(self, agent: Agent, found: Life) -> None:
        found.wait(None)
        with self._changing:
            if self._life is found:
                self._ended(agent, found, found.sweep())

    def _ended(self, agent: Agent, ended: Life, code: int | None) -> None:
        self._life = None
        ended.close()
        self._gone(agent, code)

    def _gone(self, agent: Agent, code: int | None) -> None:
        lived = (datetime.now(UTC) - agent.at).total_seconds()
        self._pause = FIRST_PAUSE if lived > GOOD_LIFE else self._pause
        self._due = time.monotonic() + self._pause
        self._pause = min(LONGEST_PAUSE, self._pause * 2)
        ended = Ended(boot=agent.boot, version=agent.version, code=code, at=datetime.now(UTC))
        self._write(agent=None, ended=ended)

    def _take_over(self) -> None:
        """What an earlier supervisor left: an agent that lives on is ours, one that ended is put down as ended."""
        agent = self._record.agent
        if agent is None:
            return
        pid, born = agent.pid, agent.born
        if pid is None:
            # Killed between making the agent and writing its pid down: whoever holds the lock is it.
            pid = life.leader_of(lock.holders(self._home.agent_lock))
            born = life.born_at(pid) if pid is not None else None
        same_machine = agent.machine_boot == self._machine_boot
        found = life.found(pid, born, self._home.agent_lock) if same_machine and pid and born else None
        if found is None:
            if same_machine:
                life.clear(pid, self._home.agent_lock)
            self._gone(agent, None)
        else:
            self._lives(agent.model_copy(update={"pid": pid, "born": born}), found)

    def _told(self, backend: Backend) -> None:
        self._untold = backend
        try:
            self._tell(backend)
        except TargetDown:
            return
        self._untold = None

    def _write(self, **change: object) -> None:
        record = self._record.model_copy(update=change)
        self._home.write(record)
        self._record = record


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment(home: SupervisorHome, given: Mapping[str, str]) -> dict[str, str]:
    """What the agent gets: what the settings give, and the least a program needs (the same as in a trial's box).
    Nothing of this process's own."""
    path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    return {
        "PATH": path,
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(home.tmp),
        "TMPDIR": str(home.tmp),
        **given,
    }


def _named(home: SupervisorHome) -> str:
    pids = sorted(lock.holders(home.agent_lock))
    return f"pid {', '.join(map(str, pids))}" if pids else "its pid cannot be found"
