"""`moss` in this process, over a real home: a moss.toml, a store on disk with a run that a bench of fakes walked."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from moss.adapters.stores.sql import SqlStore
from moss.cli import main
from moss.domain.ids import RunId
from moss.testing.puppet import Attempt
from moss.testing.workbench import Workbench, approver, workbench

FIXED = Attempt(fixes=("case-1", "case-2", "case-3"))

TOML = """
[substrate]
name = "puppet"

[live]
kind = "process"
argv = ["puppet"]
port = 1
state = "state"

[gateway]
upstreams = [{ name = "main", script = "model.json" }]

[roles.default]
coder = "scripted"
script = "coder.json"

[[consent.approvers]]
name = "alice"
public_key = "%s"
"""


@dataclass(frozen=True)
class Said:
    """What one call of `moss` left."""

    code: int
    out: str
    err: str


Moss = Callable[..., Said]


@pytest.fixture
def moss(capsys: pytest.CaptureFixture[str]) -> Moss:
    """Calls `moss`; nothing is ever printed as a traceback."""

    def call(*words: str) -> Said:
        capsys.readouterr()
        code = main(list(words))
        got = capsys.readouterr()
        assert "Traceback" not in got.out + got.err
        return Said(code, got.out, got.err)

    return call


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a moss.toml; this process stands in it, and no MOSS_* is set."""
    for name in [name for name in os.environ if name.startswith("MOSS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MOSS_KEYS", str(tmp_path / "keys"))
    folder = tmp_path / "place"
    folder.mkdir()
    (folder / "moss.toml").write_text(TOML % approver().public.text)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def bench(place: Path, tmp_path: Path) -> Iterator[Workbench]:
    """The bench that walks runs into the store of `place`."""
    opened: list[SqlStore] = []

    def store(clock: object) -> SqlStore:
        opened.append(SqlStore.open(place / ".moss", clock))  # type: ignore[arg-type]
        return opened[0]

    yield workbench(tmp_path / "bench", store=store)
    opened[0].close()


@pytest.fixture
def waiting(bench: Workbench) -> RunId:
    """A run that waits for consent."""
    run = bench.attempts(FIXED).start()
    bench.go_on(run)
    return run


@pytest.fixture
def committed(bench: Workbench, waiting: RunId) -> RunId:
    bench.approve(waiting)
    bench.go_on(waiting)
    return waiting
