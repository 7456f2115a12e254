"""`moss adopt` after `moss down`: what was live serves again, whatever the branch holds meanwhile."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.clerk.workshop import Workshop, lay_out
from moss.api.around import proxy_runs, supervisor_runs
from moss.cli import DONE, FAILED, main
from moss.domain.events import Stage
from moss.domain.ids import BatchId, RunId
from moss.ports import Head
from moss.settings import load
from moss.testing.repository import Repository
from moss.wiring import Wiring

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    made = lay_out(tmp_path / "shop")
    monkeypatch.chdir(made.root)
    yield made
    main(["down", "--yes"])


def wiring_of(shop: Workshop) -> Wiring:
    return Wiring(load(shop.toml, {}), dict(os.environ))


def live_of(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    capsys.readouterr()
    assert main(["status", "--json"]) == DONE
    live: dict[str, object] = json.loads(capsys.readouterr().out)["live"]
    return live


def test_what_was_live_serves_again_and_not_what_the_branch_became(
    shop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["adopt"]) == DONE
    before = live_of(capsys)
    source = Repository(shop.root / "source")
    source.write("clerk/later.py", '"""Not proven yet."""\n')
    source.commit("later")
    assert main(["down", "--yes"]) == DONE
    assert live_of(capsys)["running"] is False
    assert main(["down", "--yes"]) == DONE
    assert capsys.readouterr().out == "nothing of this home runs\n"
    assert main(["adopt"]) == DONE
    assert "again" in capsys.readouterr().out
    assert live_of(capsys) == before


def test_an_agent_that_is_stopped_by_an_open_swap_is_left_to_it(
    shop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["adopt"]) == DONE
    assert main(["down", "--yes"]) == DONE
    wiring = wiring_of(shop)
    head = Head("clerk", BatchId("b-01"), "refund-twice", Stage.SWAP, None)
    wiring.store.append(RunId("ev-01"), 1, wiring.clock.now(), "started", {}, head, None)
    assert main(["adopt"]) == FAILED
    said = capsys.readouterr().err
    assert "ev-01 is in the middle of its swap" in said
    assert "moss serve" in said
    assert live_of(capsys)["running"] is False


def test_down_ends_what_was_started_for_an_agent_that_never_came(shop: Workshop) -> None:
    """As an `adopt` leaves it that fails at the agent's first start."""
    wiring = wiring_of(shop)
    wiring.process_target.keep_alive()
    assert (supervisor_runs(wiring.home), proxy_runs(wiring.settings)) == (True, True)
    assert main(["down"]) == DONE
    assert (supervisor_runs(wiring.home), proxy_runs(wiring.settings)) == (False, False)
