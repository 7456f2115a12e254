"""Owns how lists read as plain text: one function a result, lines out. Pure; one run's own screens are `screens`.

Invariant: every text from outside has passed `plain`, and "scripted" is said wherever stand-ins made a result.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from moss.api import says
from moss.api.plain import ago, clock, count, date, plain, size


def table(header: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Columns as wide as their widest cell; `right`: indexes of columns that are numbers."""
    every = [tuple(header), *(tuple(row) for row in rows)]
    widths = [max(len(row[at]) for row in every) for at in range(len(header))]
    return [
        "  ".join(
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in every
    ]


def scripted(names: Sequence[str]) -> str:
    """Said wherever stand-ins made a result."""
    return f"scripted stand-ins: {plain(', '.join(names))}" if names else ""


def done(result: says.Done) -> list[str]:
    return [plain(result.says, 400), *following(result.next)]


def following(commands: Sequence[str]) -> list[str]:
    """What to do next, as one line or none."""
    return ["next: " + " · ".join(commands)] if commands else []


# ------------------------------------------------------------------ where everything is


def status(result: says.Status, now: datetime) -> list[str]:
    live = result.live
    runs = f"{plain(live.name, 60)} {'runs' if live.running else 'does not run'}"
    serve, gateway = ("runs" if one else "does not run" for one in (result.serve, result.gateway))
    lines = [
        f"live agent  {runs if live.known else 'not under MOSS yet: moss adopt'}",
        f"moss serve  {serve}; gateway {gateway}",
        f"evidence    {count(result.sessions, 'session')}, {count(result.turns, 'turn')}, "
        f"{count(result.failures, 'failure')}, {count(result.guards, 'guard')}; "
        f"{count(result.sealed, 'sealed batch', 'sealed batches')} waiting",
    ]
    if result.paused:
        lines.append(f"PAUSED      by {plain(result.paused, 60)}: no run takes a step. moss resume --all")
    rows = (*result.active, *result.last)
    lines += ["", *(run_rows(rows, now) if rows else ["no runs yet"])]
    return lines + following([f"moss review {run.id}" for run in result.active if run.waits])


def runs(result: says.Runs, now: datetime) -> list[str]:
    return run_rows(result.runs, now) if result.runs else ["no runs yet: moss start"]


def run_rows(rows: Sequence[says.RunLine], now: datetime) -> list[str]:
    return table(
        ("RUN", "BATCH", "WHAT", "STATE", "SINCE"),
        [(row.id, row.batch, plain(row.label, 40), run_state(row), ago(row.updated, now)) for row in rows],
    )


def run_state(row: says.RunLine) -> str:
    return row.outcome or ("waits for consent" if row.waits else f"at {row.stage}")


# ------------------------------------------------------------------ evidence


def failures(result: says.Failures, now: datetime) -> list[str]:
    if not result.fingerprints:
        return ["no failures: moss scan reads the evidence"]
    return table(
        ("FINGERPRINT", "SEEN", "USERS", "LAST", "STATE", "EXAMPLE"),
        [
            (
                plain(row.fingerprint, 60),
                f"{row.seen:,}",
                f"{row.users:,}",
                ago(row.last, now),
                f"{row.state} {row.run}" if row.run else row.state,
                plain(row.example, 80),
            )
            for row in result.fingerprints
        ],
        right=(1, 2),
    )


def batches(result: says.Batches, now: datetime) -> list[str]:
    if not result.batches:
        return ["no batches: moss start FINGERPRINT seals one"]
    return table(
        ("BATCH", "WHAT", "BY", "STATE", "FAILURES", "GUARDS", "SEALED", "RUN"),
        [
            (
                row.id,
                plain(row.label, 60),
                row.group_by,
                row.state,
                str(row.cases),
                str(row.guards),
                ago(row.sealed_at, now),
                row.run or "",
            )
            for row in result.batches
        ],
        right=(4, 5),
    )


def scanned(result: says.Scanned) -> list[str]:
    lines = [
        f"{count(result.sessions, 'session')}, {count(result.turns, 'turn')}, "
        f"{count(result.failures, 'failure')} ({result.new} new), {count(result.fingerprints, 'fingerprint')}. "
        f"Skipped: {result.skipped}."
    ]
    return lines + ([f"sealed: {', '.join(result.sealed)}"] if result.sealed else [])


def started(result: says.RunStarted) -> list[str]:
    how = "sealed as batch" if result.sealed else "of batch"
    lines = [
        f"run {result.run} started: {count(result.cases, 'failure')} {how} {result.batch}, "
        f"{count(result.guards, 'guard')}, at most {count(result.iterations, 'iteration')}, {result.budget}"
    ]
    return lines + ([scripted(result.scripted)] if result.scripted else [])


# ------------------------------------------------------------------ the journal, people, things


def log(line: says.LogLine) -> str:
    return f"{clock(line.at)} {plain(line.what, 20).replace('_', ' '):<12} {line.says}"


def verified(result: says.Verified) -> list[str]:
    if result.broken_run is None:
        return [f"ok: the journal of {count(result.runs, 'run')} holds from first to last"]
    return [f"BROKEN: {result.broken_run} entry {result.broken_seq}: {plain(result.because, 300)}"]


def approvers(result: says.Approvers) -> list[str]:
    if not result.approvers:
        return [f"nobody may approve `{result.substrate}` yet: moss keys new NAME"]
    rows = [(one.name, one.fingerprint, "revoked" if one.revoked else "") for one in result.approvers]
    return [*table(("APPROVER", "KEY", ""), rows), f"{result.needed} needed for a yes"]


def tokens(result: says.Tokens) -> list[str]:
    rows = [(one.name, str(one.role), date(one.made)) for one in result.tokens]
    return table(("TOKEN", "ROLE", "MADE"), rows) if rows else ["no tokens: moss token new NAME --role viewer"]


def backed_up(result: says.BackedUp, what: str) -> list[str]:
    held = f"{count(result.runs, 'run')}, {count(result.artifacts, 'artifact')}, {size(result.bytes)}"
    return [f"{what} {plain(result.folder, 300)}: {held}; its chain holds"]


def usage(result: says.GatewayUsage) -> list[str]:
    if not result.lines:
        return ["nothing was used yet"]
    rows = [
        (
            plain(one.run, 30),
            plain(one.stage, 30),
            plain(one.upstream, 30) + (" (scripted)" if one.upstream in result.scripted else ""),
            plain(one.model, 40),
            f"{one.requests:,}",
            f"{one.tokens_in:,}",
            f"{one.tokens_out:,}",
            f"{one.money_usd:.4f}",
        )
        for one in result.lines
    ]
    header = ("RUN", "STAGE", "UPSTREAM", "MODEL", "REQUESTS", "TOKENS IN", "TOKENS OUT", "USD")
    told = table(header, rows, right=(4, 5, 6, 7))
    return [*told, "what passed the gateway; a coding agent's own account, where it asked no model, is in moss show"]
