"""`moss notices`: what nobody was told, and telling it again."""

import json
from pathlib import Path

from moss.ports import Notice
from moss.testing.workbench import Workbench
from tests.cli.conftest import Moss


def lost(bench: Workbench, name: str = "n1") -> None:
    bench.store.enqueue(Notice(name, "run.ended", bench.clock.now(), None, {"says": "it ended"}))
    bench.store.give_up(name, "webhook https://hook.example: status 500\x1b[2J")


def test_what_no_receiver_took_is_listed_with_the_reason(moss: Moss, place: Path, bench: Workbench) -> None:
    lost(bench)
    said = moss("notices")
    assert said.code == 0
    assert said.out.startswith("run.ended, ")
    assert "webhook https://hook.example: status 500" in said.out
    assert "\x1b" not in said.out
    assert json.loads(moss("notices", "--json").out)["notices"][0]["id"] == "n1"


def test_a_retry_makes_them_due_again(moss: Moss, place: Path, bench: Workbench) -> None:
    lost(bench)
    assert "1 notice will be sent again by moss serve" in moss("notices", "--retry").out
    assert bench.store.undeliverable() == []
    assert "every notice was taken" in moss("notices").out
