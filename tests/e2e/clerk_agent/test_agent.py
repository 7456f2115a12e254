"""The clerk as MOSS meets it: a real process, a scripted model, its evidence and its two bugs."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from moss.domain.detect import Detectors, fingerprint_of

from .conftest import CLERK, DRIVER, Clerk, Model, Start, settings

pytestmark = pytest.mark.e2e


def test_a_day_of_customers_is_23_turns_of_which_4_went_wrong(start: Start, traffic: ModuleType, model: Model) -> None:
    clerk = start()
    tally = traffic.day("127.0.0.1", clerk.place.port)
    assert (tally.sent, tally.answered, tally.troubles) == (23, 23, [])
    rules = settings().evidence
    detectors = Detectors(rules.builtin, rules.rules)
    wrong = {turn.id: fingerprint_of(found) for turn in clerk.turns() if (found := detectors.findings(turn))}
    assert wrong == {
        "ada-2#1": "lost-order",
        "bo-2#2": "refund-twice",
        "cyd-1#1": "refund-twice",
        "eli-1#2": "refund-twice",
    }
    assert all(turn.reply for turn in clerk.turns())
    assert len({turn.user_id for turn in clerk.turns()}) == 6
    used = {tool.name for turn in clerk.turns() for tool in turn.tools}
    assert used == {"find_order", "order_status", "list_orders", "refund", "note", "send_mail"}
    assert set(model.turns) == {turn.id for turn in clerk.turns()}


def test_a_conversation_goes_on_after_a_kill_and_after_a_restart(start: Start) -> None:
    clerk = start()
    clerk.ask("s", "Where is order 1004?")
    assert clerk.end(signal.SIGKILL) == -signal.SIGKILL
    clerk = start()
    clerk.ask("s", "Please refund order 1002")
    assert clerk.end() == 0
    clerk = start()
    assert clerk.ask("s", "What is the status of order 1002?") == "Order 1002 is refunded."
    assert [turn.ordinal for turn in clerk.turns("s")] == [1, 2, 3]


def test_sigterm_lets_turns_in_flight_end_and_nobody_in(start: Start, model: Model) -> None:
    clerk = start()
    model.gate.clear()
    said: list[str] = []
    waiting = threading.Thread(target=lambda: said.append(clerk.ask("s", "ping")))
    waiting.start()
    assert model.asked.wait(10)
    clerk.process.terminate()
    until = time.monotonic() + 10
    while DRIVER.health(clerk.place).detail != "connection refused":
        assert time.monotonic() < until
    assert clerk.process.poll() is None
    model.gate.set()
    waiting.join(10)
    assert (said, clerk.wait()) == (["How can I help?"], 0)
    assert clerk.turns("s")[0].reply == "How can I help?"


def test_no_handler_takes_a_sigterm_so_none_can_meet_a_lock_of_its_own_thread(start: Start) -> None:
    clerk = start()
    words = Path(f"/proc/{clerk.process.pid}/status").read_text()
    caught = int(words.split("SigCgt:")[1].split()[0], 16)
    assert not caught & 1 << (signal.SIGTERM - 1)
    clerk.process.terminate()
    assert clerk.wait() == 0


def _cut(answer: Any) -> None:
    answer.begin()
    answer.event({"delta": {"content": "Order 10"}, "finish_reason": None})


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (lambda answer: answer.send_error(500), "the model answered 500"),
        (_cut, "the model's stream ended in the middle of its answer"),
        (lambda answer: (answer.begin(), answer.wfile.write(b"data: [1,\n\n")), "the model's stream cannot be read"),
        (lambda answer: None, "no answer from the model"),
    ],
    ids=["500", "cut", "garbage", "hang-up"],
)
def test_a_model_s_fault_is_a_502_and_one_line_of_evidence(
    start: Start, model: Model, fault: Callable[[Any], None], error: str
) -> None:
    clerk = start()
    model.answer = fault
    answer = DRIVER.send(clerk.place, "s", "ping", 20)
    (turn,) = clerk.turns("s")
    assert (answer.status, answer.text, turn.status, turn.finish) == (502, "", 502, "error")
    assert error in (turn.error or "")
    assert error in answer.body


def test_with_outward_effects_off_no_mail_leaves_and_the_words_are_the_same(start: Start) -> None:
    mail = "Please mail the customer of order 1004 that it is on its way"
    on, off = start("on"), start("off", CLERK_OUTWARD="off")
    assert on.ask("s", mail) == off.ask("s", mail) == "I sent Dee a mail about order 1004."
    assert (on.state / "outbox.jsonl").exists()
    assert not (off.state / "outbox.jsonl").exists()


def test_a_state_of_a_newer_clerk_is_refused_in_one_sentence(model: Model, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    newer = sqlite3.connect(tmp_path / "state" / "clerk.db")
    newer.execute("PRAGMA user_version=2")
    newer.close()
    clerk = Clerk(model, tmp_path / "state")
    assert clerk.wait() == 3
    assert "has schema 2, this clerk knows 1" in clerk.errors()
    clerk.close()


def test_customers_without_pause_are_counted_and_what_was_answered_is_kept(start: Start, traffic: ModuleType) -> None:
    clerk = start()
    with traffic.Steady("127.0.0.1", clerk.place.port) as steady:
        until = time.monotonic() + 20
        while steady.tally().answered < 40:
            assert time.monotonic() < until
            time.sleep(0.02)
        clerk.end()
        while steady.tally().refused < 4:
            assert time.monotonic() < until
            time.sleep(0.02)
    tally = steady.tally()
    assert tally.sent == tally.answered + tally.refused + tally.lost + tally.failed
    assert 0 < tally.longest_wait < 10
    assert traffic.missing(clerk.state, tally.acknowledged) == []
    assert traffic.missing(clerk.state, ["steady-1-999999"]) == ["steady-1-999999"]


def test_the_clerk_needs_nothing_but_python() -> None:
    start = f"import sys; sys.path.insert(0, {str(CLERK)!r}); import clerk.__main__"
    argv = [sys.executable, "-I", "-S", "-B", "-c", start]
    done = subprocess.run(argv, env={"PATH": os.defpath}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
