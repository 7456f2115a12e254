"""Owns the scripted coding agent: a program that does what a script says, as a real one would, in a box.

It stands in for claude, codex and the others in tests and in the demo, and is called scripted wherever it shows.
Never imports anything beside the standard library: the adapter ships this one file into any box. It reads its prompt
from stdin to the end before it starts (as several real programs do, so a stdin left open hangs it), works in its
current folder and speaks one JSON object a line.

A script is `{"steps": [STEP, ...]}`; the first step that fits (stage, and iteration and round where given) is done:
    {"stage", "iteration", "round", "result": {...}, "edits": [EDIT, ...], "fault", "think_seconds", "usage": {...},
     "says": "text", "corrects": true}
EDIT is `{"path", "find", "replace"}` (found exactly once), `{"path", "create": text}` or `{"path", "delete": true}`.
Faults: see `FAULTS`. `corrects`: a `bad-result` is followed by the right one on the corrective retry.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

USAGE = {"tokens_in": 1000, "tokens_out": 200, "money_usd": 0.01}
FAULTS = ("hang", "garbage", "exit1", "empty", "bad-result", "refuse", "fork", "long-line")
TOLD = "-"
CHILD = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(3600)"


class Unfit(Exception):
    """The script asks for what cannot be done; said as an error event."""


def emit(kind: str, **said: object) -> None:
    sys.stdout.write(json.dumps({"kind": kind, **said}) + "\n")
    sys.stdout.flush()


def pay(key: str, stage: str) -> None:
    """Leaves one durable line for a call that would have cost money, where MOSS_SCRIPTED_CALLS names a file. `-`: says
    it instead, for a box from which no file of the host can be reached."""
    if not (ledger := os.environ.get("MOSS_SCRIPTED_CALLS")):
        return
    if ledger == TOLD:
        emit("text", text="paid", paid={"key": key, "stage": stage, "once": os.urandom(8).hex()})
        return
    line = json.dumps({"key": key, "stage": stage, "pid": os.getpid()}).encode() + b"\n"
    handle = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, line)
        os.fsync(handle)
    finally:
        os.close(handle)


def step_for(script: dict[str, Any], stage: str, iteration: int, round: int) -> dict[str, Any]:
    """The first step that fits. Raises: Unfit when there is none."""
    asked = {"iteration": iteration, "round": round}
    for step in script["steps"]:
        if step["stage"] == stage and all(step.get(name, value) == value for name, value in asked.items()):
            return dict(step)
    raise Unfit(f"the script has no step for {stage}, iteration {iteration}, round {round}")


def edit(change: dict[str, Any]) -> None:
    """One edit of the work tree. Raises: Unfit when it does not fit the tree."""
    path = Path(change["path"])
    if change.get("delete"):
        path.unlink(missing_ok=True)
    elif "create" in change:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(change["create"])
    else:
        text = path.read_text() if path.is_file() else ""
        if (found := text.count(change["find"])) != 1:
            raise Unfit(f"{path}: the text to replace is there {found} times, not once")
        path.write_text(text.replace(change["find"], change["replace"]))
    emit("file", text=str(path))


def fault(name: str) -> None:
    """Misbehaves; returns only where the program goes on to its result."""
    if name == "hang":
        while True:
            time.sleep(3600)
    elif name == "garbage":
        sys.stdout.buffer.write(b'\x1b[2J{"kind": \xff\xfe not json\n' * 3)
        sys.exit(0)
    elif name == "exit1":
        sys.stderr.write("Traceback: the scripted coder was told to break\n")
        sys.exit(1)
    elif name == "empty":
        sys.exit(0)
    elif name == "refuse":
        emit("error", error="CoderRefused", text="the model declined to answer")
        sys.exit(0)
    elif name == "fork":
        child = subprocess.Popen([sys.executable, "-c", CHILD], start_new_session=True)
        emit("tool", text=f"forked {child.pid}")
    elif name == "long-line":
        sys.stdout.write("x" * (8 << 20) + "\n")


def work(step: dict[str, Any], corrective: bool) -> None:
    """Does one step: words, edits, the fault, the result."""
    emit("usage", **{**USAGE, **step.get("usage", {})})
    name = step.get("fault", "")
    if name and name not in FAULTS:
        raise Unfit(f"unknown fault {name}; there are {', '.join(FAULTS)}")
    if name != "empty" and name != "garbage":
        emit("text", text=step.get("says", "working"))
    time.sleep(step.get("think_seconds", 0))
    if not corrective:
        for change in step.get("edits", ()):
            edit(change)
    fault(name)
    wrong = name == "bad-result" and not (corrective and step.get("corrects"))
    emit("result", result={"not": "what the schema asks for"} if wrong else step.get("result", {}))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="scripted_coder")
    for name in ("script", "stage", "key"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("iteration", "round"):
        parser.add_argument(f"--{name}", type=int, required=True)
    asked = parser.parse_args(argv)
    script = json.loads(Path(asked.script).read_text())
    if not sys.stdin.buffer.read().strip():
        emit("error", error="CoderFailed", text="the prompt is empty")
        return 1
    pay(asked.key, asked.stage)
    try:
        work(step_for(script, asked.stage, asked.iteration, asked.round), asked.key.endswith("/fix"))
    except Unfit as unfit:
        emit("error", error="CoderFailed", text=str(unfit))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
