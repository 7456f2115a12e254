"""Owns how one run reads as plain text: `moss show`, the matrix, the review, the diff. Pure; lists are `lines`.

Invariant: every text from outside has passed `plain` or `block`, and "scripted" is said wherever stand-ins made it.
"""

from collections.abc import Sequence
from datetime import timedelta

from moss.api import says
from moss.api.lines import following, table
from moss.api.plain import block, count, date, plain, span
from moss.domain.grid import MatrixRow

CURRENT = {
    True: "is still what runs",
    False: "is NOT what runs now: it will end stale",
    None: "nothing runs now",
}
HELD = {True: "seen", False: "NOT seen", None: "nothing in the trials tells"}


def matrix(result: says.Matrix) -> list[str]:
    """The keypoint matrix, its guards as one line."""
    rows = [
        (
            plain(row.case, 40) if _is_first(result.rows, at) else "",
            plain(row.says, 48),
            *row.cells,
            row.mark,
        )
        for at, row in enumerate(result.rows)
    ]
    if any(one != "-" for one in result.guards_ok):
        rows.append((count(result.guards, "guard"), "", *result.guards_ok, guards_words(result)))
    lines = table(("case", "keypoint", *result.columns, ""), rows)
    if result.left_out:
        lines.append(f"left out, not reproduced on the live version: {plain(', '.join(result.left_out), 300)}")
    return lines


def _is_first(rows: Sequence[MatrixRow], at: int) -> bool:
    return at == 0 or rows[at - 1].case != rows[at].case


def guards_words(result: says.Matrix) -> str:
    """`0 broken (turns like these: below 39 %)`; nothing before a candidate was tried."""
    if len(result.columns) < 2:
        return ""
    shaky = f", {result.shaky} shaky" if result.shaky else ""
    bound = f" (turns like these: below {100 * result.below:.0f} %)" if result.below is not None else ""
    return f"{result.broken} broken{shaky}{bound}"


# ------------------------------------------------------------------ show


def show(result: says.Show) -> list[str]:
    lines = [
        f"run {result.run}  {state(result)}" + (f": {plain(result.because, 300)}" if result.because else ""),
        f"  {'batch':<12} {result.batch} ({plain(result.label, 60)}), depth {result.depth}, by {plain(result.by, 40)}",
        f"  {'base':<12} {plain(result.base, 80)}",
    ]
    if result.scripted:
        lines.append(f"  {'scripted':<12} {plain(', '.join(result.scripted))}")
    lines += [stage(line) for line in result.lines]
    if result.trials:
        invalid = f", {result.trials_invalid} invalid" if result.trials_invalid else ""
        lines.append(f"  {'trials':<12} {result.trials} valid{invalid}")
        lines += ["", *(f"    {line}" for line in matrix(result.matrix)), ""]
    if result.verdict:
        lines.append(f"  {'verdict':<12} {plain(result.verdict, 300)}")
    for one in result.swaps:
        lines.append(f"  {'undo' if one.undo else 'swap':<12} {swap(one)}")
        lines += [f"  {'last words':<12} {last_words(step)}" for step in one.steps if step.said]
    lines.append(f"  {'cost':<12} {cost(result.cost)}")
    if result.paused and result.outcome is None:
        lines.append("  PAUSED       no run takes a step")
    if result.stopping:
        lines.append(f"  {'stopping':<12} at the next safe point, asked by {plain(result.stopping, 40)}")
    return lines + following(result.next)


def state(result: says.Show) -> str:
    return result.outcome or ("waits for consent" if result.stage == "consent" else f"at {result.stage}")


def stage(line: says.StageLine) -> str:
    """`implement  1.2  1 file, +4 -1  3.2 s`: stage, iteration and round, what it said, what it took."""
    where = f"{line.iteration}.{line.round}" if line.iteration else ""
    took = f"  {line.seconds:.1f} s" if line.seconds >= 0.1 else ""
    return f"  {line.stage.replace('_', ' '):<12} {where:<4} {line.says}{took}"


def swap(result: says.SwapSeen) -> str:
    """One line for a whole swap."""
    words = [_swap_word(step, result) for step in result.steps]
    told = f"{result.refused} refused, {count(result.waited, 'message')} waited at most {result.longest_wait:.1f} s"
    lost = f" · gone from the state: {plain(', '.join(result.lost), 400)}" if result.lost else ""
    return " · ".join([*words, told]).replace("-> ·", "->") + lost


def last_words(step: says.SwapStep) -> str:
    """What a version that failed wrote at its end, marked as its own."""
    return f'"{plain(step.said, 300)}" (the agent\'s own, as it ended)'


def _swap_word(step: says.SwapStep, result: says.SwapSeen) -> str:
    if not step.ok:
        return f"{plain(step.says, 120)} ->"
    if step.phase == "watch":
        return f"{step.word} {step.seconds:.0f} s"
    if step.phase in ("release", "r_release") and step is _last_release(result) and result.released_after is not None:
        return f"{step.word} after {result.released_after:.1f} s"
    return step.word


def _last_release(result: says.SwapSeen) -> says.SwapStep | None:
    """The fold keeps the time of the last one only."""
    return next((step for step in reversed(result.steps) if step.phase in ("release", "r_release")), None)


def cost(result: says.Money) -> str:
    limit = f" of {result.money_limit:.2f}" if result.money_limit is not None else ""
    tokens = f" of {result.token_limit:,}" if result.token_limit is not None else ""
    return f"{result.money_usd:.2f}{limit} USD, {result.tokens:,}{tokens} tokens, {result.trials} trials"


# ------------------------------------------------------------------ saying yes


def review(result: says.Review) -> list[str]:
    rows = review_rows(result)
    return [f"{name:<10} {words}".rstrip() for name, words in rows] + following(result.next)


def review_rows(result: says.Review) -> list[tuple[str, str]]:
    """(name, words) of each line of the review; a name is empty where the line goes on."""
    rows = [("Batch", _batch(result)), *_changes(result), *_proof(result), *_predictions(result)]
    rows += [("Risk", plain(risk, 300)) for risk in result.risks]
    if result.invalid or result.invalid_live:
        rows.append(("Invalid", _invalid(result)))
    if result.words_only:
        told = f"{count(result.words_only, 'case')} told by words alone (moss flag --expect tells more)"
        rows.append(("Words", told))
    if result.redacted:
        rows.append(("Redacted", f"{count(result.redacted, 'case')} may replay differently"))
    rows.append(("Cost", f"{cost(result.cost)}, {span(timedelta(seconds=result.seconds))}"))
    # Of a run that ended, what runs now says nothing any more.
    now = CURRENT[result.current] if result.outcome is None else "was live when it began"
    rows.append(("Base", f"{plain(result.base, 60)}@{result.base_image[:18]}...  {now}"))
    if result.snapshot_note:
        rows.append(("Snapshot", result.snapshot_note))
    if result.scripted:
        rows.append(("Scripted", plain(", ".join(result.scripted)) + " made this result"))
    if result.consents:
        rows.append(("Signed", f"{len(result.consents)} of {result.needed}: {', '.join(result.consents)}"))
    if result.statement and result.waits:
        rows.append(("Expires", date(result.statement.expires)))
    return rows + ([("Ended", result.outcome)] if result.outcome else [])


def _batch(result: says.Review) -> str:
    out = result.failures - result.reproduced
    more = f", {out} not (out of the batch)" if out else ""
    return f"{count(result.failures, 'failure')}, {result.reproduced} reproduced{more}"


def _changes(result: says.Review) -> list[tuple[str, str]]:
    if not result.files:
        return [("Change", "none yet, or its diff is not kept any more")]
    rows = [f"{one.path}  +{one.added} -{one.removed}" for one in result.files[:20]]
    more = [f"and {len(result.files) - 20} more files"] if len(result.files) > 20 else []
    rows[0] += f"      (moss diff {result.run})"
    words = [("Change" if at == 0 else "", row) for at, row in enumerate([*rows, *more])]
    return [*words, *([("Why", result.summary)] if result.summary else [])]


def _proof(result: says.Review) -> list[tuple[str, str]]:
    bound = f" (breakage of turns like these: below {100 * result.below:.0f} %)" if result.below is not None else ""
    fixed = f"{result.fixed} of {result.cases} fixed in {count(result.valid, 'valid trial')}"
    guards = f"{result.guards_held} of {count(result.guards, 'guard')} held{bound}"
    own = "; ".join(_own(result))
    return [("Proof", f"{fixed}; {guards}" + (";" if own else "")), *([("", own)] if own else [])]


def _own(result: says.Review) -> list[str]:
    words = []
    if result.own_checks_ran:
        words.append(f"{result.own_checks} own checks passed" if result.own_checks is not None else "own checks passed")
    if result.lines_told:
        words.append(f"changed lines ran in {result.lines_ran} of {count(result.lines_told, 'trial')}")
    if result.partial:
        words.append("PARTIAL: the rest goes back to the pool")
    return words


def _predictions(result: says.Review) -> list[tuple[str, str]]:
    return [
        ("Predicted" if at == 0 else "", f'"{one.says}": {HELD[one.held]}') for at, one in enumerate(result.predictions)
    ]


def _invalid(result: says.Review) -> str:
    kinds = {reason: result.invalid.count(reason) for reason in result.invalid}
    told = [f"{count(number, 'trial')} ({plain(reason, 100)})" for reason, number in kinds.items()]
    here = ", ".join(told) + ", rerun" if told else "none of the candidate"
    return f"{here}; {result.invalid_live} of the live version" if result.invalid_live else here


def diff(result: says.Diff) -> list[str]:
    lines = list(block(result.text.rstrip("\n"), 20_000))
    return lines if result.whole else [*lines, "... the diff is larger than what is shown"]
