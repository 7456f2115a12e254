"""The commands of the quickstart and of operations, typed into a shell in the order in which they stand there."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from moss.daemon import lock
from moss.settings import load
from moss.wiring import Wiring
from tests.docs.pages import ROOT, console
from tests.docs.shell import Shell, env_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture
def person() -> Iterator[Path]:
    """A home of somebody who has nothing yet. Whatever was started from it has ended afterwards."""
    home = Path(tempfile.mkdtemp(prefix="moss-docs-"))
    try:
        yield home
    finally:
        end_shop(home / "moss-shop")
        shutil.rmtree(home, ignore_errors=True)


def nothing_runs(shop: Path) -> bool:
    locks = ("gateway/lock", "hold/proxy.lock", "live/supervisor.lock", "live/agent.lock", "serve.lock")
    return all(lock.is_free(shop / ".moss" / name) for name in locks)


def end_shop(shop: Path) -> None:
    """Ends what a page that failed halfway left running."""
    if (shop / "moss.toml").exists() and not nothing_runs(shop):
        wiring = Wiring(load(shop / "moss.toml", {}), dict(os.environ))
        wiring.process_target.shut_down()
        wiring.stop_gateway()


def test_the_quickstart_and_operations_do_what_they_show(person: Path) -> None:
    with Shell(ROOT, env_of(person)) as shell:
        for shown in console(ROOT / "docs" / "quickstart.md"):
            shell.run(shown)
        for shown in console(ROOT / "docs" / "operations.md"):
            shell.run(shown)
    assert nothing_runs(person / "moss-shop"), "the pages leave processes behind"
