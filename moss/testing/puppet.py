"""Owns the puppet: a substrate whose source says how it behaves, and the coding agent that rewrites that source.

Its source is `puppet.json` (see `Puppet`); a build of it behaves as that file says, in a trial, in the preflight and
live. So who passes which case follows from the source alone, as with a real agent. Starts nothing, knows no port's
fake: `programs` are callables for boxes in memory, whatever runs them.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from moss.domain.evidence import Turn
from moss.domain.frozen import Frozen
from moss.domain.ids import CommitId
from moss.errors import BuildFailed, MossError
from moss.ports import CoderCommand, CoderEvent, CoderTask, EventKind
from moss.testing.boxes import Program, Running
from moss.testing.conduct import Conduct

SOURCE = "puppet.json"
TURNS = "turns.jsonl"
GOOD, BAD = "well done", "sorry, not today"


class Puppet(Frozen):
    """How one version behaves. Cases are named by the user's message; a failure case fails until it is in `fixed`."""

    fixed: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    """guards that fail"""
    flaky: tuple[str, ...] = ()
    """cases that pass every second time they are asked"""
    silent: bool = False
    """leaves no turn in its state"""
    builds: bool = True
    checks: bool = True
    trial: Conduct = Conduct()
    preflight: Conduct = Conduct()
    live: Conduct = Conduct()
    note: str = ""

    @classmethod
    def of(cls, tree: Path) -> "Puppet":
        """The version whose source is `tree`."""
        return cls.model_validate_json((tree / SOURCE).read_bytes())

    def write(self, tree: Path) -> None:
        (tree / SOURCE).write_text(self.model_dump_json(indent=1) + "\n")

    def reply(self, message: str, asked: int) -> str:
        """What it says to a message that it is asked for the `asked`-th time."""
        if message in self.flaky:
            return GOOD if asked % 2 == 0 else BAD
        if message.startswith("case"):
            return GOOD if message in self.fixed else BAD
        return BAD if message in self.broken else GOOD


@dataclass(frozen=True)
class Attempt:
    """What the coding agent does in one iteration; without a word it changes a note: an unchanged rebuild.

    `fixes` are added to what the tree has fixed, `unfixes` taken away. `writes`: other files (None: deleted).
    `plans_rejected`, `codes_rejected`: rounds that the reviews turn down.
    """

    fixes: tuple[str, ...] = ()
    unfixes: tuple[str, ...] = ()
    becomes: Mapping[str, object] = field(default_factory=dict)
    writes: Mapping[str, str | None] = field(default_factory=dict)
    plans_rejected: int = 0
    codes_rejected: int = 0
    idle: bool = False
    """changes nothing at all"""
    errors: Mapping[str, str] = field(default_factory=dict)
    """stage -> class of the error that its call ends with"""


class PuppetCoder:
    """A `CodingAgent` that does what its attempts say. `paid` gets a line for each call that would cost money."""

    name = "puppeteer"
    scripted = True

    def __init__(self, paid: Callable[[str], None] = lambda key: None, money_usd: float = 0.01) -> None:
        self.attempts: dict[int, Attempt] = {}
        self._paid, self._money = paid, money_usd

    def command(self, task: CoderTask, gateway_url: str, token: str) -> CoderCommand:
        words = ("puppeteer", task.stage, str(task.iteration), str(task.round), task.key)
        return CoderCommand(words, {}, {}, task.prompt.encode())

    def parse(self, line: bytes) -> Sequence[CoderEvent]:
        said = json.loads(line)
        return (CoderEvent(kind=EventKind(said.pop("kind")), **said),)

    def program(self, running: Running) -> int:
        """Runs in the box: words, edits of the work tree, a result."""
        from moss.ports import MountName

        _, stage, iteration, round, key = running.argv
        attempt = self.attempts.get(int(iteration), Attempt())
        self._paid(key)
        _say(running, kind="usage", tokens_in=100, tokens_out=20, money_usd=self._money)
        if (error := attempt.errors.get(stage)) is not None:
            _say(running, kind="error", error=error, text=f"told to end with {error}")
            return 1
        if stage == "implement" and not attempt.idle:
            _rewrite(running.places[MountName.WORK], attempt, f"{iteration}/{round}")
        _say(running, kind="result", result=_result(stage, attempt, int(round)))
        return 0


def _say(running: Running, **said: object) -> None:
    running.say(json.dumps(said).encode() + b"\n")


def _rewrite(tree: Path, attempt: Attempt, note: str) -> None:
    before = Puppet.of(tree)
    fixed = tuple(case for case in (*before.fixed, *attempt.fixes) if case not in attempt.unfixes)
    change = {"fixed": tuple(dict.fromkeys(fixed)), "note": note, **attempt.becomes}
    before.model_copy(update=change).write(tree)
    for path, text in attempt.writes.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            (tree / path).unlink(missing_ok=True)
        else:
            (tree / path).write_text(text)


def _result(stage: str, attempt: Attempt, round: int) -> Mapping[str, object]:
    match stage:
        case "locate":
            return {"suspects": [{"rank": 1, "path": SOURCE, "line": 1, "symbol": "fixed", "why": "it is not there"}]}
        case "plan":
            return {"summary": "add it", "cause": "it is not there", "steps": ["add it"]}
        case "plan_review":
            good = round > attempt.plans_rejected
            return {"accepted": good, "fault": None if good else "too_narrow", "reason": "" if good else "one of many"}
        case "code_review":
            good = round > attempt.codes_rejected
            return {"accepted": good, "reason": "" if good else "swallows the error"}
        case _:
            return {"summary": "added it"}


# ------------------------------------------------------------------ what runs in boxes


def serve(running: Running) -> int:
    """The substrate's own process: lives until it is stopped. What it says comes from `PuppetTurns`."""
    running.stopped.wait()
    return 143


def check(running: Running) -> int:
    """The substrate's own tests."""
    good = Puppet.of(Path(running.argv[1])).checks
    running.say(b"12 passed\n" if good else b"11 passed, 1 failed\n")
    return 0 if good else 1


def programs(coder: PuppetCoder) -> Mapping[str, Program]:
    """By the first word of argv."""
    return {"puppeteer": coder.program, "puppet": serve, "check": check}


def smoke(tree: Path) -> MossError | None:
    """For a builder in memory: what keeps the tree from building."""
    return None if Puppet.of(tree).builds else BuildFailed("puppet.json says that it does not build")


# ------------------------------------------------------------------ its state


def keep_turn(state: Path, turn: Turn) -> None:
    """Adds a turn to the state, as the substrate does."""
    with (state / TURNS).open("a") as file:
        file.write(turn.model_dump_json() + "\n")


def kept_turns(state: Path, session: str | None = None) -> Sequence[Turn]:
    """The turns of a state folder, oldest first."""
    place = state / TURNS
    lines = place.read_text().splitlines() if place.exists() else []
    turns = [Turn.model_validate_json(line) for line in lines]
    return [turn for turn in turns if session in (None, turn.session)]


def first_tree(tree: Path) -> None:
    """The source of the first version: nothing fixed, a test and a hidden grader beside it."""
    for path, text in {"tests/test_puppet.txt": "asks\n", "graders/secret.txt": "the answer\n"}.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    Puppet(note="first").write(tree)


FIRST = CommitId("f" * 40)
