"""Owns the operations that change something. Each is one call of the desk, the curator or the store.

Never asks who somebody is (see `operations`); `by` is the caller's name, as the journal keeps it. Invariant: an
operation that is refused changed nothing.
"""

from typing import TYPE_CHECKING

from moss.api import asks, says
from moss.api.caller import Caller, new_token, revoke_token, tokens
from moss.api.plain import count, plain
from moss.api.reading import found, nearest
from moss.domain.batch import BatchState
from moss.domain.facts import REVOKED
from moss.domain.ids import BatchId, Fingerprint
from moss.domain.rights import Role
from moss.errors import Absent, Forbidden, Refused, UserError

if TYPE_CHECKING:
    from moss.domain.batch import Batch
    from moss.domain.budget import Budget
    from moss.domain.run import Run
    from moss.wiring import Wiring


# ------------------------------------------------------------------ evidence


def scan(wiring: "Wiring", caller: Caller, ask: asks.Nothing) -> says.Scanned:
    """Reads what is new in the evidence and seals what is ripe."""
    did = wiring.curator.scan()
    sealed = wiring.curator.seal_ripe()
    return says.Scanned(
        sessions=did.sessions,
        turns=did.turns,
        failures=did.failures,
        new=did.new,
        fingerprints=len(wiring.store.fingerprints(limit=1000)),
        skipped=did.rejected,
        sealed=tuple(batch.id for batch in sealed),
    )


def flag(wiring: "Wiring", caller: Caller, ask: asks.Flag) -> says.Flagged:
    """Adds a failure that a person saw."""
    made = wiring.curator.flag(ask.session, ask.turn, ask.because, ask.expect, caller.name)
    words = f"{made.id} is failure {made.fingerprint}"
    return says.Flagged(id=made.id, fingerprint=made.fingerprint, says=words)


def dismiss(wiring: "Wiring", caller: Caller, ask: asks.Dismiss) -> says.Dismissed:
    """Closes a fingerprint; a later failure with it re-opens it."""
    known = [row.fingerprint for row in wiring.store.fingerprints(limit=1000)]
    if ask.fingerprint not in known:
        raise Absent(
            f"there is no fingerprint {plain(ask.fingerprint, 60)}{nearest(ask.fingerprint, known)}",
            mend="moss failures lists them",
        )
    closed = wiring.curator.dismiss(Fingerprint(ask.fingerprint), ask.because)
    return says.Dismissed(fingerprint=Fingerprint(ask.fingerprint), closed=closed)


# ------------------------------------------------------------------ runs


def start(wiring: "Wiring", caller: Caller, ask: asks.Start) -> says.RunStarted:
    """A run over a batch; a fingerprint's or session's failures are sealed for it. Raises: Refused, nothing spent."""
    from moss.domain.depth import DIALS
    from moss.engine.desk import Wish

    if caller.role is Role.PROPOSER and (ask.depth or ask.coder or ask.budget is not None or ask.anyway):
        raise Forbidden(
            "proposer may start a run only as moss.toml has it, with no budget, depth or coder of its own. "
            "Nothing was changed.",
            mend="ask an operator",
        )
    _refuse_small(wiring, ask.budget)
    wish = Wish(by=caller.name, depth=ask.depth, budget=ask.budget, coder=ask.coder, anyway=ask.anyway)
    batch, fresh = _batch_for(wiring, ask.name)
    run = wiring.desk.start(batch.id, wish)
    started = run.started
    return says.RunStarted(
        run=run.id,
        batch=batch.id,
        label=batch.label,
        cases=len(batch.cases),
        guards=len(batch.guards),
        iterations=DIALS[started.depth].iterations,
        budget=_budget_words(started.budget),
        sealed=fresh,
        scripted=started.scripted,
    )


def _refuse_small(wiring: "Wiring", wish: "Budget | None") -> None:
    """Before a batch is sealed for it: a budget that not even the first stage fits. The desk says no to all others."""
    budget = wish or wiring.settings.policy.budget
    first = wiring.settings.role("locate")
    if budget.money_usd is not None and first.money_usd > budget.money_usd:
        raise Refused(
            f"the first stage reserves {first.money_usd:.2f} USD, the budget is {budget.money_usd:.2f} USD. "
            "Nothing was spent."
        )
    if budget.tokens is not None and first.tokens > budget.tokens:
        raise Refused(
            f"the first stage reserves {first.tokens:,} tokens, the budget is {budget.tokens:,}. Nothing was spent."
        )


def _batch_for(wiring: "Wiring", name: str | None) -> "tuple[Batch, bool]":
    """The batch that is meant, and whether it was sealed just now. Raises: Refused, Absent."""
    from moss.engine.second_run import refuse_second

    store = wiring.store
    if name is None:
        oldest = wiring.curator.oldest_sealed()
        known = store.batch(oldest.id) if oldest is not None else None
        if known is None:
            raise Refused("no sealed batch waits", mend="moss failures · moss start FINGERPRINT seals what is there")
        return known, False
    if (batch := store.batch(BatchId(name))) is not None:
        return batch, False
    refuse_second(store, name, wiring.clock.now())
    for row in store.batches(BatchState.SEALED, limit=1000):
        if row.label == name and (sealed := store.batch(row.id)) is not None:
            return sealed, False
    _refuse_unknown(wiring, name)
    return wiring.curator.seal(name), True


def _refuse_unknown(wiring: "Wiring", name: str) -> None:
    """Raises: Absent where the name is no group with failures of its own."""
    store = wiring.store
    groups = [group for by in ("fingerprint", "session") for group, _ in store.open_groups(by)]
    if name in groups:
        return
    row = next((one for one in store.fingerprints(limit=1000) if one.fingerprint == name), None)
    if row is not None:
        raise Refused(f"no open failure has the fingerprint {plain(name, 80)}: it is {row.state}", mend="moss failures")
    known = [*groups, *(one.id for one in store.batches(limit=1000))]
    raise Absent(
        f"there is no batch, fingerprint or session {plain(name, 60)}{nearest(name, known)}",
        mend="moss failures and moss batches list them",
    )


def _budget_words(budget: "Budget") -> str:
    words = [f"{budget.money_usd:.2f} USD"] if budget.money_usd is not None else []
    if budget.tokens is not None:
        words.append(f"{budget.tokens:,} tokens")
    if budget.seconds is not None:
        words.append(f"{budget.seconds:g} s")
    words += [count(limit, noun) for limit, noun in ((budget.trials, "trial"),) if limit is not None]
    return ", ".join(words) or "no budget"


def stop(wiring: "Wiring", caller: Caller, ask: asks.OneRun) -> says.Done:
    run = wiring.desk.stop(found(wiring.store, ask.run).id, caller.name)
    return says.Done(says=f"{run.id} stops at its next safe point", next=(f"moss log {run.id} --follow",))


def resume(wiring: "Wiring", caller: Caller, ask: asks.Resume) -> says.Done:
    run = wiring.desk.resume(found(wiring.store, ask.run).id, caller.name, ask.budget)
    return says.Done(says=f"{run.id} goes on at {_stage(run)}", next=(f"moss watch {run.id}",))


def rewind(wiring: "Wiring", caller: Caller, ask: asks.Rewind) -> says.Done:
    from moss.domain.events import Stage

    run_id, stages = found(wiring.store, ask.run).id, [str(stage) for stage in Stage]
    if ask.to not in stages:
        raise UserError(f"there is no stage {ask.to}{nearest(ask.to, stages)}", mend="one of: " + ", ".join(stages))
    run = wiring.desk.rewind(run_id, Stage(ask.to), caller.name, ask.iteration)
    return says.Done(says=f"{run.id} starts again at {_stage(run)}", next=(f"moss watch {run.id}",))


def reject(wiring: "Wiring", caller: Caller, ask: asks.Because) -> says.Done:
    run = wiring.desk.reject(found(wiring.store, ask.run).id, caller.name, ask.because)
    return says.Done(says=f"{run.id} is rejected; the live agent was not touched")


def approve(wiring: "Wiring", caller: Caller, ask: asks.Approve) -> says.Done:
    """Hands in a signed consent."""
    name = found(wiring.store, ask.run).id
    statement = ask.consent.statement
    if statement.run != name:
        raise Refused(f"the consent is for {plain(statement.run, 60)}, not for {name}. Nothing was changed.")
    run = wiring.desk.approve(ask.consent)
    have, needed = len({one.approver for one in run.consents}), run.started.approvals
    begins = run.next is not None and run.next.stage != "consent"
    words = "preflight and swap begin" if begins else f"{have} of {needed} approvers have said yes"
    return says.Done(says=f"{run.id}: {words}", next=(f"moss log {run.id} --follow",))


def rollback(wiring: "Wiring", caller: Caller, ask: asks.Rollback) -> says.Done:
    name = found(wiring.store, ask.run).id if ask.run else None
    run = wiring.desk.rollback(name, caller.name, ask.because)
    base = run.started.base.name
    return says.Done(says=f"{run.id} is taken back: {base} comes back", next=(f"moss log {run.id} --follow",))


def pause(wiring: "Wiring", caller: Caller, ask: asks.Nothing) -> says.Done:
    wiring.desk.pause(caller.name)
    return says.Done(
        says="paused: no run takes a step (a swap that is open is finished first)", next=("moss resume --all",)
    )


def unpause(wiring: "Wiring", caller: Caller, ask: asks.Nothing) -> says.Done:
    wiring.desk.unpause()
    return says.Done(says="runs go on")


def _stage(run: "Run") -> str:
    return str(run.next.stage) if run.next else "its end"


# ------------------------------------------------------------------ people and things of the home


def approvers(wiring: "Wiring", caller: Caller, ask: asks.Nothing) -> says.Approvers:
    """Who may say yes, as `moss.toml` and the revocations have it."""
    from moss.domain.consent import fingerprint

    consent, gone = wiring.settings.consent, wiring.store.facts(REVOKED)
    return says.Approvers(
        substrate=wiring.settings.substrate.name,
        needed=consent.needed,
        approvers=tuple(
            says.ApproverLine(
                name=one.name,
                fingerprint=fingerprint(one.public_key),
                revoked=one.revoked or REVOKED + fingerprint(one.public_key) in gone,
            )
            for one in consent.approvers
        ),
    )


def revoke(wiring: "Wiring", caller: Caller, ask: asks.Named) -> says.Done:
    """From now on no signature of this approver counts, also one that was handed in. Raises: Absent."""
    listed = approvers(wiring, caller, asks.Nothing()).approvers
    keys = [one.fingerprint for one in listed if one.name == ask.name and not one.revoked]
    if not keys:
        known = ", ".join(dict.fromkeys(one.name for one in listed if not one.revoked)) or "none"
        raise Absent(f"{ask.name} has no key that counts (approvers: {known})", mend="moss keys list")
    at = wiring.clock.now().isoformat(timespec="seconds")
    for key in keys:
        wiring.store.set_fact(REVOKED + key, f"{caller.name} {at}")
    return says.Done(says=f"{count(len(keys), 'key')} of {ask.name} no longer counts, from this moment on")


def token_new(wiring: "Wiring", caller: Caller, ask: asks.NewToken) -> says.TokenMade:
    from moss.api.caller import TOKEN_ROLES

    if ask.role not in TOKEN_ROLES:
        raise UserError(f"no token can be {ask.role}", mend="one of: " + ", ".join(TOKEN_ROLES))
    token = new_token(wiring.store, ask.name, ask.role, wiring.clock.now())
    return says.TokenMade(name=ask.name, role=ask.role, token=token)


def token_revoke(wiring: "Wiring", caller: Caller, ask: asks.Named) -> says.Done:
    revoke_token(wiring.store, ask.name)
    return says.Done(says=f"the token {ask.name} opens nothing any more")


def token_list(wiring: "Wiring", caller: Caller, ask: asks.Nothing) -> says.Tokens:
    rows = tokens(wiring.store)
    return says.Tokens(tokens=tuple(says.TokenRow(name=one.name, role=one.role, made=one.made) for one in rows))


def backup(wiring: "Wiring", caller: Caller, ask: asks.Folder) -> says.BackedUp:
    from pathlib import Path

    copied = wiring.store.backup(Path(ask.folder))  # type: ignore[attr-defined]
    return says.BackedUp(folder=ask.folder, runs=copied.runs, artifacts=copied.artifacts, bytes=copied.bytes)


def restore(wiring: "Wiring", caller: Caller, ask: asks.Folder) -> says.BackedUp:
    """A backup becomes this home's store; the home holds none yet. Raises: Refused, StoreBroken."""
    from pathlib import Path

    from moss.adapters.stores.backup import restore as restored
    from moss.api.around import serve_runs

    if serve_runs(wiring.home):
        raise Refused("moss serve of this home runs and has its store open. Nothing was restored.", mend="end it first")
    copied = restored(Path(ask.folder), wiring.home)
    return says.BackedUp(folder=str(wiring.home), runs=copied.runs, artifacts=copied.artifacts, bytes=copied.bytes)


def gateway_usage(wiring: "Wiring", caller: Caller, ask: asks.Nothing) -> says.GatewayUsage:
    """What models were used, by run and stage."""
    scripted = tuple(one.name for one in wiring.settings.gateway.upstreams if one.script is not None)
    return says.GatewayUsage(
        lines=tuple(
            says.UsageLine(
                run=one.run,
                stage=one.stage,
                upstream=one.upstream,
                model=one.model,
                requests=one.requests,
                tokens_in=one.tokens_in,
                tokens_out=one.tokens_out,
                money_usd=one.money_usd,
            )
            for one in wiring.gateway.spending()
        ),
        scripted=scripted,
    )
