"""Owns a clerk that serves under MOSS, for benchmarks of the swap: candidates of it, and swaps without the run before.

What a run would have recorded up to its consent is written into the journal here, so a swap is the controller's own:
the real store, gateway, supervisor, hold proxy. The preflight is off: it would keep bad candidates from the live
state, and what happens there is what is measured. Every process ends with the `with` block.
"""

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from examples.clerk.workshop import Workshop, lay_out
from moss.adapters.targets.process.words import Spec
from moss.domain.batch import BatchState
from moss.domain.events import Started, Version
from moss.domain.ids import Key, RunId
from moss.domain.run import Run
from moss.engine.journal import append, create, load
from moss.keys import PrivateKey, load_key, new_key
from moss.ports import Readiness
from moss.settings import load as load_settings
from moss.testing.samples import batch, failure
from moss.wiring import Wiring
from tests.benchmarks.clients import ByHand, boot_at, by_hand
from tests.benchmarks.journals import story

APPROVER = "bench"
SETTINGS = (
    "watch_seconds = 3 -> watch_seconds = 1\npreflight = false",
    # The hold's deadline is longer than the slowest bad candidate takes: start_seconds, then the way back.
    "start_seconds = 10 -> start_seconds = 5",
    "grace_seconds = 10 -> grace_seconds = 3",
)


@dataclass(frozen=True, slots=True)
class Shop:
    """A clerk that serves as a process. `place` has its ports and folders, `key` is its approver's."""

    place: Workshop
    wired: Wiring
    key: PrivateKey

    def candidate(self, name: str, conduct: str = "") -> Version:
        """The clerk's commit and image with `conduct` (Python) at the end of its server's module."""
        wired, base = self.wired, self.base
        tree = self.place.root / "work" / name
        wired.source.export(base.commit, tree)
        server = tree / "clerk" / "server.py"
        server.write_text(f"{server.read_text()}\n\n# {name}\n{conduct}\n")
        patch = wired.source.diff(base.commit, tree)
        commit = wired.source.commit(patch, name, Key(f"bench/{name}"))
        image = wired.image_of(commit)
        shutil.rmtree(tree)
        return Version(commit=commit, image=image.digest, name=f"clerk:{name}")

    @property
    def base(self) -> Version:
        """What is live."""
        image = self.wired.target.current().image
        assert image.commit is not None
        return Version(commit=image.commit, image=image.digest, name=image.name)

    def swap(self, new: Version) -> Run:
        """From what is live to `new`, by the controller, until the run has ended."""
        run = self.offered(new)
        assert run.statement is not None
        self.wired.desk.approve(self.key.sign(run.statement))
        return asyncio.run(self._swap(run.id))

    async def _swap(self, run: RunId) -> Run:
        await self.wired.controller.drive(run)
        return load(self.wired.store, run)

    def offered(self, new: Version) -> Run:
        """A run over `new` that waits for consent."""
        store, clock = self.wired.store, self.wired.clock
        run_id = store.new_run_id()
        seen = failure(run_id, fingerprint=f"bench-{run_id}")
        # Long ago: the soak takes a failure of the same kind after the swap for one that came back.
        seen = seen.model_copy(update={"turn": seen.turn.model_copy(update={"at": clock.now() - timedelta(days=1)})})
        store.save_scan("bench", [seen], [], [], [], clock.now())
        sealed = batch(store.new_batch_id(), [seen])
        store.seal(sealed)
        store.set_batch(sealed.id, BatchState.RUNNING, run_id)
        first, *others = story(run_id, sealed.id, self.base, new, clock.now())
        assert isinstance(first, Started)
        run = create(store, first, clock.now())
        for event in others:
            run = append(store, run, event, clock.now(), None)
        return run

    @property
    def spec(self) -> Spec:
        """How the live process is started."""
        spec = self.wired.process_target.home.read().spec
        assert spec is not None
        return spec

    @property
    def state(self) -> Path:
        """The live agent's state, as this host sees it."""
        return self.place.state

    @property
    def died(self) -> Path:
        """Where a candidate that exits writes down when it did."""
        return self.place.root / "died"

    @property
    def died_inside(self) -> str:
        """The same as the candidate sees it."""
        return str(self.died)

    def boot(self) -> str | None:
        """Which start of the agent answers where it listens itself, behind every proxy."""
        agent = self.wired.process_target.home.read().agent
        return boot_at("127.0.0.1", agent.port) if agent else None

    def by_hand(self) -> ByHand:
        """The same agent, stopped and started as a person does it."""
        return by_hand(self.spec, self.state)


@contextmanager
def shop() -> Iterator[Shop]:
    """A clerk of its own that is ready."""
    folder = Path(tempfile.mkdtemp(prefix="moss-bench-"))
    place, wired, key = laid_out(folder, SETTINGS)
    try:
        wired.start_gateway()
        wired.install(wired.source.resolve("HEAD"))
        until_ready(wired)
        yield Shop(place, wired, key)
    finally:
        wired.process_target.shut_down()
        wired.stop_gateway()
        wired.store.close()  # type: ignore[attr-defined]
        shutil.rmtree(folder, ignore_errors=True)


def laid_out(folder: Path, more: Sequence[str], container: str | None = None) -> tuple[Workshop, Wiring, PrivateKey]:
    """A workshop whose approver is the benchmark, with settings of its own."""
    new_key(APPROVER, folder / "keys")
    key = load_key(APPROVER, folder / "keys")
    approvers = f'\n[consent]\napprovers = [{{ name = "{APPROVER}", public_key = "{key.public.text}" }}]\n'
    place = lay_out(folder / "shop", approvers=approvers, more=more, container=container)
    settings = load_settings(place.toml, {"MOSS_HOME": str(place.root / ".moss")})
    return place, Wiring(settings, dict(os.environ)), key


def until_ready(wired: Wiring, seconds: float = 30.0) -> None:
    ends = time.monotonic() + seconds
    while wired.target.probe().readiness is not Readiness.READY:
        assert time.monotonic() < ends, "the clerk does not get ready"
        time.sleep(0.02)
