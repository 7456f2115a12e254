import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast

import pytest

from moss.adapters.turns.exec import ExecDriver
from moss.config import ExecTurn, HealthSettings
from moss.domain.ids import Key, RunId
from moss.errors import BoxError, BoxLost
from moss.ports import Box, Boxes, BoxExit, BoxRole, ExitReason, Place, Readiness

BOX = Box(Key("k"), RunId("ev-01"), BoxRole.TRIAL, "id", "boot-1", datetime(2026, 1, 1, tzinfo=UTC))
HERE = Place(box=BOX)
ECHO = (sys.executable, "-c", "import sys; sys.stdout.write('|'.join(sys.argv[1:]) + sys.stdin.read())")


class OneBox:
    """A box that runs commands as they are, until it is lost or ended."""

    def __init__(self) -> None:
        self.raises: BoxError | None = None
        self.ended: BoxExit | None = None

    def exec(self, box: Box, argv: Sequence[str], stdin: bytes, seconds: float) -> tuple[int, bytes, bytes]:
        if self.raises:
            raise self.raises
        try:
            done = subprocess.run(list(argv), input=stdin, capture_output=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            return 137, b"", b""
        return done.returncode, done.stdout, done.stderr

    def wait(self, box: Box, seconds: float) -> BoxExit | None:
        if self.raises:
            raise self.raises
        return self.ended


@pytest.fixture
def box() -> OneBox:
    return OneBox()


def driver(box: OneBox, *argv: str, stdin: bool = False) -> ExecDriver:
    return ExecDriver(ExecTurn(argv=argv, stdin=stdin), None, HealthSettings(), cast(Boxes, box))


def test_message_and_session_are_whole_words_and_never_a_shell_s(box: OneBox) -> None:
    answer = driver(box, *ECHO, "--chat={session}", "{message}").send(HERE, "s 1", "hi; $(touch /x) 'q' {session}", 5)
    assert answer.text == "--chat=s 1|hi; $(touch /x) 'q' {session}"
    assert (answer.exit_code, answer.status, answer.error) == (0, None, None)


def test_with_stdin_the_message_goes_there_and_nowhere_else(box: OneBox) -> None:
    answer = driver(box, *ECHO, "{message}", "{session}", stdin=True).send(HERE, "s", "a\0b", 5)
    assert answer.text == "{message}|sa\ufffdb"


def test_a_command_that_fails_says_how(box: OneBox) -> None:
    answer = driver(box, sys.executable, "-c", "import sys; sys.exit('no model \\udcff')").send(HERE, "s", "hi", 5)
    assert (answer.text, answer.exit_code, answer.error) == ("", 1, None)
    assert answer.body.startswith("no model")


def test_a_command_that_never_ends_is_no_answer(box: OneBox) -> None:
    answer = driver(box, sys.executable, "-c", "import time; time.sleep(30)").send(HERE, "s", "hi", 0.2)
    assert (answer.exit_code, answer.error) == (137, "no answer within 0.2 s")


def test_a_nul_cannot_be_a_word(box: OneBox) -> None:
    assert "turn.stdin" in (driver(box, *ECHO, "{message}").send(HERE, "s", "a\0b", 5).error or "")


def test_without_a_box_there_is_no_turn(box: OneBox) -> None:
    assert "no box" in (driver(box, *ECHO).send(Place(), "s", "hi", 5).error or "")


def test_a_lost_box_is_raised_and_another_trouble_is_an_answer(box: OneBox) -> None:
    box.raises = BoxLost("evicted")
    with pytest.raises(BoxLost):
        driver(box, *ECHO).send(HERE, "s", "hi", 5)
    box.raises = BoxError("the engine said no")
    assert driver(box, *ECHO).send(HERE, "s", "hi", 5).error == "the engine said no"


def test_a_box_without_a_port_is_ready_while_it_runs(box: OneBox) -> None:
    look = driver(box, *ECHO).health(HERE)
    assert (look.readiness, look.boot) == (Readiness.READY, "boot-1")
    box.ended = BoxExit(3, ExitReason.EXITED, 1.0)
    look = driver(box, *ECHO).health(HERE)
    assert (look.readiness, look.exit_code) == (Readiness.FAILED, 3)
