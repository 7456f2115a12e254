"""Owns one step of a build that runs a candidate's own command: in a build box, bounded, its words in the log.

Never runs anything on the host itself. Invariant: nothing of a step's box is left, whatever happens.
"""

from pathlib import Path

from moss.errors import BoxError, BuildBroken, BuildFailed
from moss.ports import Boxes, BoxExit, BoxSpec, ExitReason

TAIL = 4000
"""Characters of a failed build's log that go back as feedback."""


def run_step(boxes: Boxes, spec: BoxSpec, step: str, log: Path) -> None:
    """Raises: BuildFailed when the command does not end well, BuildBroken when it could not run."""
    try:
        # a box of a build that was killed worked on what is gone
        boxes.remove(spec.key)
        end = _run(boxes, spec, step, log)
    except BoxError as error:
        raise BuildBroken(f"{step} could not run: {error}") from error
    finally:
        boxes.remove(spec.key)
    if end.code != 0 or end.reason is not ExitReason.EXITED:
        raise BuildFailed(f"{step} ended with {_ending(end)}:\n{tail(log)}")


def _run(boxes: Boxes, spec: BoxSpec, step: str, log: Path) -> BoxExit:
    box = boxes.launch(spec)
    while (end := boxes.wait(box, 60.0)) is None:
        pass
    with log.open("ab") as out:
        out.write(f"# {step}: {' '.join(spec.argv)}\n".encode(errors="backslashreplace"))
        at = 0
        while piece := boxes.output(box, at):
            at += out.write(piece)
        out.write(boxes.errors(box))
        out.write(f"# {step} ended with {_ending(end)}\n".encode())
    return end


def _ending(end: BoxExit) -> str:
    return f"code {end.code}" if end.reason is ExitReason.EXITED else f"the bound of {end.reason.value}"


def tail(log: Path) -> str:
    """The log's end as text that no terminal obeys."""
    with log.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 4 * TAIL))
        text = file.read().decode(errors="replace")[-TAIL:]
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "?" for sign in text)
