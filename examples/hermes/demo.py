"""Owns `make demo-hermes`: a real Hermes Agent 0.19.0 repairs a bug that its newest release has, in containers.

    python -m examples.hermes.demo [--folder .demo-hermes] [--down]

The model and the coding agent are scripted; Hermes, the engine, the images, the boxes, the swap are real. Killed at any
moment and run again, it goes on where it was. The last line is one JSON object; exit 0 only when all is as it must be.
"""

import asyncio
import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from examples.clerk import demo, screen
from examples.clerk.demo_docker import SHOP, DockerDemo
from examples.clerk.workshop import READY, Workshop, free_ports
from examples.hermes import customers, prepare
from moss.dockerd import Engine
from moss.domain.depth import Depth
from moss.domain.events import Outcome, read_event
from moss.domain.evidence import Turn
from moss.domain.ids import Fingerprint, RunId
from moss.domain.run import Run
from moss.engine.journal import load
from moss.errors import UserError
from moss.ports import Image

HERE = Path(__file__).parent
FOLDER = ".demo-hermes"
STORY = Fingerprint("tool-args-empty")
RUN = RunId("ev-01")
HEAD = """MOSS demo with Hermes Agent 0.19.0 · real: Hermes, its containers, its bug (its issue 80498), its tests
            scripted: the model, whose provider's streams end right behind a tool's name, and the coding agent
            the watch after a swap is 5 s here (10 s by default), the soak is off (24 h by default)
"""


def lay_out(
    root: Path, release: Callable[[], Path], name: str, approvers: str, *, version: str = prepare.NEWEST
) -> Workshop:
    """A folder with Hermes's source and a `moss.toml` with ports, key and container's name of its own. Made anew unless
    it was made to its end before."""
    root = root.resolve()
    if (root / READY).exists():
        return Workshop(root, int((root / READY).read_text()))
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    prepare.clone(release(), root / "source")
    for beside in ("seed", "script", "graders"):
        shutil.copytree(HERE / beside, root / beside, ignore=shutil.ignore_patterns("__pycache__"))
    port, gateway, api = free_ports(3)
    key = secrets.token_hex(16)
    (root / "api.key").touch(mode=0o600)
    (root / "api.key").write_text(key)
    text = (HERE / "moss.toml").read_text()
    for old, new in (
        ("a-key-of-this-machine", key),
        ('container = "hermes"', f'container = "{name}"'),
        ("port = 8790", f"port = {gateway}"),
        (f"Hermes Agent {prepare.NEWEST}", f"Hermes Agent {version}"),
    ):
        if old not in text:
            raise ValueError(f"moss.toml has no {old}")
        text = text.replace(old, new)
    (root / "moss.toml").write_text(f"{text}\n[api]\nport = {api}\n{approvers}")
    (root / READY).write_text(str(port))
    return Workshop(root, port)


class HermesDemo(DockerDemo):
    """One telling in a folder. The container is called as the folder is: `hermes-demo` for `.demo-hermes`."""

    head, command = HEAD, "make demo-hermes"
    depth = Depth.LIGHT
    version = prepare.NEWEST

    def _lay_out(self, folder: Path, approvers: str) -> Workshop:
        self.engine = Engine(None, UserError)
        name = folder.name.strip(".").removesuffix("-hermes")
        self.name = f"hermes-{name}"
        return lay_out(folder, self._release, self.name, approvers, version=self.version)

    def _release(self) -> Path:
        try:
            return prepare.prepare(version=self.version)
        except prepare.Unprepared as error:
            raise UserError(str(error), mend="docs/hermes.md says what it needs") from None

    @property
    def line(self) -> customers.Line:
        return customers.Line(self.shop.port, (self.shop.root / "api.key").read_text())

    # ------------------------------------------------------------------ before MOSS

    def _run_by_hand(self, image: Image) -> None:
        """As its owner would have: a volume with the configuration, then `docker run`. Silent where it runs."""
        if not prepare.run("docker", "container", "ls", "-aq", "--filter", f"name=^{self.name}$").strip():
            self._configured(image)
            where = ("-v", f"{self.volume}:/data/hermes", "-p", f"127.0.0.1:{self.shop.port}:8642")
            told = ("API_SERVER_ENABLED=true", "API_SERVER_HOST=0.0.0.0", "API_SERVER_PORT=8642")
            env = [word for one in (*told, f"API_SERVER_KEY={self.line.key}") for word in ("-e", one)]
            more = ("--restart", "unless-stopped", "--stop-timeout", "60", "--label", f"{SHOP}={self.shop.root}")
            prepare.run("docker", "container", "create", "--name", self.name, *where, *env, *more, image.digest)
        prepare.run("docker", "container", "start", self.name)

    def _configured(self, image: Image) -> None:
        mounts = ("-v", f"{self.volume}:/data/hermes", "-v", f"{self.shop.root / 'seed'}:/seed:ro")
        copy = ("cp", "-r", "--no-preserve=mode,ownership", "/seed/.", "/data/hermes/")
        prepare.run("docker", "run", "--rm", "--network", "none", *mounts, image.digest, *copy)

    # ------------------------------------------------------------------ the day

    def day(self) -> None:
        """The day's messages, from where a killed demo left off."""
        done = sum(1 for turn in self.turns() if turn.session in {session for session, _ in customers.DAY})
        for session, message in customers.DAY[done:]:
            said = self.line.say(session, message)
            if said.status != 200:
                raise UserError(f"Hermes answered `{message}` with {said.status}: {said.text[:200]}", mend=self.anew)

    def turns(self, session: str | None = None) -> list[Turn]:
        """What Hermes keeps of its conversations, as MOSS reads it."""
        return [*self.wired.evidence.turns(self.wired.target.evidence_root(), session)]

    def evidence(self) -> None:
        where = f"Hermes Agent {self.version} on 127.0.0.1:{self.shop.port}, {len(customers.DAY)} turns served"
        demo.say(screen.line("live agent", where, 2))
        self.wired.curator.scan()
        rows = self.wired.store.fingerprints()
        kinds = ", ".join(f"{row.fingerprint} x{row.seen}" for row in rows)
        well = f"{len(self.wired.store.guards())} turns that went well"
        demo.say(screen.line("evidence", f"{sum(row.seen for row in rows)} failures: {kinds}; {well}", 2))

    # ------------------------------------------------------------------ the swap and after

    def _swapped(self, run_id: RunId) -> Run:
        """The swap, while two people send without pause."""
        run = load(self.wired.store, run_id)
        tally = customers.Tally()
        if run.outcome is None:
            with customers.Steady(self.line) as steady:
                time.sleep(0.5)
                run = asyncio.run(self._driven(run_id))
                time.sleep(0.5)
            tally = steady.tally
        self.tally = tally
        if run.swap is None:
            demo.say(screen.line("ended", f"{run.outcome}: {run.because}", 2))
            return run
        events = [(read_event(entry.event), entry.at) for entry in self.wired.store.entries(run_id)]
        demo.say(screen.line("swap", screen.swap_line(events, run.swap), 2))
        for last in screen.last_words(events):
            demo.say(last)
        waited = f"longest wait {tally.longest_wait:.1f} s, while {tally.sent} were sent" if tally.sent else ""
        demo.say(screen.line("", f"{tally.refused} messages refused, {tally.lost} lost, {waited}", 2))
        return run

    def written(self, name: str) -> bool:
        """Whether a report lies on the live agent's desk."""
        return (self.wired.target.evidence_root() / "desk" / "reports" / f"{name}.md").is_file()

    def after(self) -> dict[str, bool]:
        """What is true of the live agent now: the failing turn works, in a conversation that goes on."""
        before = len(self.turns("ann"))
        name = f"pears{before}"
        said = self.line.say("ann", f"Please write the report on {name}")
        works = said.status == 200 and self.written(name)
        goes_on = len(self.turns("ann")) == before + 1
        demo.say(screen.line("now", f'ann: "Please write the report on {name}" -> "{said.text}"', 2))
        turns = f"turn {before + 1} of the conversation that began before the swap"
        demo.say(screen.line("", f"{turns}; the report is {'' if works else 'not '}on the desk", 2))
        return {"works": works, "goes_on": goes_on}

    # ------------------------------------------------------------------ the whole

    def tell(self) -> int:
        demo.say(self.head)
        self.start()
        row = self.wired.store.run(RUN)
        if row is None or row.outcome is None:
            self.day()
            self.evidence()
        run = self.run(RUN, str(STORY), "coder.json")
        live = self.after() if run.outcome is Outcome.COMMITTED else {"works": False, "goes_on": False}
        broken = self.wired.store.verify()
        ok = run.outcome is Outcome.COMMITTED and all(live.values()) and broken is None
        ok = ok and not self.tally.refused and not self.tally.lost
        moss = f".venv/bin/moss --home {os.path.relpath(self.shop.root)}"
        demo.say("")
        demo.say("Hermes goes on running, mended: make demo-down ends it.")
        demo.say(f"Look around: {moss} review ev-01 · {moss} diff ev-01 · {moss} log ev-01 · {moss} rollback")
        for trouble in self.tally.troubles[:5]:
            demo.say(f"  not as it should be: {trouble}")
        last = {
            "demo": "ok" if ok else "failed",
            "runs": {RUN: str(run.outcome)},
            "refused": self.tally.refused,
            "lost": self.tally.lost,
            "sent": self.tally.sent,
            **live,
            "journal": "whole" if broken is None else f"broken at {broken.run} {broken.seq}",
            "scripted": list(run.started.scripted),
        }
        print(json.dumps(last), flush=True)
        return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(demo.told(HermesDemo, FOLDER))
