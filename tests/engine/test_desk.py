"""What people do with runs: each wish is one event, or one sentence with nothing changed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moss.config import Approver, ExecTurn
from moss.domain.batch import BatchState
from moss.domain.budget import Budget
from moss.domain.depth import Depth
from moss.domain.events import Outcome, Stage
from moss.domain.ids import ApproverName, BatchId, Digest, RunId
from moss.engine.desk import Wish
from moss.engine.journal import append_next
from moss.errors import Refused, SeqTaken, UserError
from moss.testing.puppet import Attempt
from moss.testing.workbench import Workbench, approver, workbench

FIX = Attempt(fixes=("case-1",))


@pytest.fixture
def small(tmp_path: Path) -> Workbench:
    return workbench(tmp_path / "bench", cases=1).attempts(FIX)


async def waiting(bench: Workbench) -> RunId:
    """A run that waits for consent."""
    return (await bench.go(bench.start())).id


def refused(bench: Workbench, wish: Callable[[], Any], sentence: str) -> None:
    """The wish is refused in that sentence, and nothing was changed."""
    before = snapshot(bench)
    with pytest.raises((Refused, UserError), match=sentence):
        wish()
    assert snapshot(bench) == before


def snapshot(bench: Workbench) -> Any:
    rows = bench.store.runs()
    return rows, [bench.store.batches(state) for state in BatchState], bench.store.facts(""), bench.target.starts


# ------------------------------------------------------------------ start


def test_a_run_begins_with_all_it_was_told(small: Workbench) -> None:
    wish = Wish(by="alice", depth=Depth.DEEP, budget=Budget(money_usd=9.0), coder="claude", anyway=True)
    run = small.desk.start(small.batch.id, wish)
    begun = run.started
    assert (begun.depth, begun.budget.money_usd, begun.coder, begun.anyway, begun.by) == (
        Depth.DEEP, 9.0, "claude", True, "alice",
    )  # fmt: skip
    assert begun.base.image == small.base
    assert begun.scripted == ("coder puppeteer", "model main")
    assert begun.evidence == small.batch.evidence
    assert [row.run for row in small.store.batches(BatchState.RUNNING)] == [run.id]


def test_start_is_refused(small: Workbench) -> None:
    desk = small.desk
    refused(small, lambda: desk.start(BatchId("b-99"), Wish(by="a")), "there is no batch b-99")
    tiny = Wish(by="a", budget=Budget(money_usd=0.01))
    refused(small, lambda: desk.start(small.batch.id, tiny), r"the first stage does not fit the budget .*0\.25 wanted")
    small.start()
    refused(small, lambda: desk.start(small.batch.id, Wish(by="a")), "batch b-01 is already in run ev-0")


def test_an_agent_that_no_canary_can_ask_is_refused_before_anything_is_spent(small: Workbench) -> None:
    asked = small.with_settings(turn=ExecTurn(argv=("ask", "{message}")))
    refused(asked, lambda: asked.desk.start(small.batch.id, Wish(by="a")), r"turn.kind = exec: .* Nothing was spent")
    assert not small.store.runs()


def test_a_batch_whose_starter_was_killed_before_saying_so_is_still_taken(small: Workbench) -> None:
    run = small.start()
    small.store.set_batch(small.batch.id, BatchState.SEALED, None)
    refused(small, lambda: small.desk.start(small.batch.id, Wish(by="a")), f"already in run {run}")


async def test_a_killed_start_is_made_good_by_the_next_tick(small: Workbench) -> None:
    run = small.start()
    small.store.set_batch(small.batch.id, BatchState.SEALED, None)
    await small.controller().tick(run)
    assert [row.run for row in small.store.batches(BatchState.RUNNING)] == [run]


def test_an_agent_without_a_known_commit_is_not_started_on(small: Workbench) -> None:
    image = small.target.images[small.base]
    unknown = type(image)(image.digest, image.name, None)
    small.target._running.image = unknown  # type: ignore[union-attr]
    refused(small, lambda: small.start(), "no commit is known for it")


# ------------------------------------------------------------------ stop, resume, rewind, reject


async def test_stop_twice_is_once_and_a_run_that_ended_cannot_be_stopped(small: Workbench) -> None:
    run = small.start()
    first = small.desk.stop(run, "alice")
    assert small.desk.stop(run, "bob").seq == first.seq
    await small.go(run)
    refused(small, lambda: small.desk.stop(run, "alice"), "ev-01 has ended already: stopped")
    refused(small, lambda: small.desk.stop(RunId("ev-77"), "alice"), "there is no run ev-77")


async def test_resume_goes_on_with_another_budget_and_has_its_batch_again(small: Workbench) -> None:
    run = (await small.whole(FIX, budget=Budget(money_usd=0.26))).id
    assert small.run(run).outcome is Outcome.OUT_OF_BUDGET
    small.desk.resume(run, "alice", Budget(money_usd=5.0))
    assert [row.run for row in small.store.batches(BatchState.RUNNING)] == [run]
    await small.go(run)
    small.approve(run)
    assert (await small.go(run)).outcome is Outcome.COMMITTED
    assert len(small.paid) == len(set(small.paid))


async def test_resume_is_refused(small: Workbench) -> None:
    run = await waiting(small)
    refused(small, lambda: small.desk.resume(run, "a"), "cannot be resumed: it is at consent")
    small.approve(run)
    await small.go(run)
    refused(small, lambda: small.desk.resume(run, "a"), "cannot be resumed: it ended committed")


async def test_a_run_that_failed_in_its_swap_is_not_resumed(small: Workbench) -> None:
    small = small.with_settings(swap=small.parts.settings.swap.model_copy(update={"preflight": False}))
    run = await waiting(small)
    small.approve(run)
    small.builder.remove(small.run(run).statement.candidate)  # type: ignore[union-attr]
    await small.go(run)
    refused(small, lambda: small.desk.resume(run, "a"), "ended in its swap: start a new run")


@pytest.mark.parametrize("to", [Stage.BASELINE, Stage.LOCATE, Stage.IMPLEMENT, Stage.BUILD, Stage.TRIAL])
async def test_rewind_starts_again_from_an_earlier_stage_and_keeps_what_was_spent(small: Workbench, to: Stage) -> None:
    run = await waiting(small)
    before = small.run(run).spent
    rewound = small.desk.rewind(run, to, "alice")
    assert rewound.statement is None
    assert rewound.next is not None
    assert (rewound.next.stage, rewound.next.epoch) == (to, 1)
    again = await small.go(run)
    assert again.spent.trials > before.trials or to not in (Stage.BASELINE, Stage.TRIAL)
    small.approve(run)
    assert (await small.go(run)).outcome is Outcome.COMMITTED
    assert len(small.paid) == len(set(small.paid))
    assert small.store.verify(run) is None


async def test_a_consent_from_before_a_rewind_is_not_good_after_it(small: Workbench) -> None:
    run = await waiting(small)
    old = small.consent(run)
    small.clock.tick(5)
    small.attempts(Attempt(fixes=("case-1",), becomes={"note": "another"}))
    small.desk.rewind(run, Stage.IMPLEMENT, "alice")
    await small.go(run)
    refused(small, lambda: small.desk.approve(old), "the consent is for another candidate than ev-01 offers now")


async def test_a_consent_that_was_used_stays_used_over_a_rewind(small: Workbench) -> None:
    """The same candidate is offered again: a yes of before the rewind is no yes to going on after it."""
    two = with_approvers(small, 2, named("alice"), named("bob"))
    run = await waiting(two)
    old = two.consent(run)
    two.approve(run)
    two.clock.tick(5)
    two.desk.rewind(run, Stage.EVALUATE, "alice")
    await two.go(run)
    assert two.run(run).consents == ()
    refused(two, lambda: two.desk.approve(old), "alice's consent to this statement was used already")
    two.approve(run)
    two.approve(run, "bob")
    assert (await two.go(run)).outcome is Outcome.COMMITTED


# ------------------------------------------------------------------ settings that changed meanwhile


def with_other_trials(bench: Workbench) -> Workbench:
    return bench.with_settings(trials=bench.parts.settings.trials.model_copy(update={"seconds": 1.0}))


async def test_a_run_stands_still_while_its_settings_are_others_and_goes_on_when_they_are_put_back(
    small: Workbench,
) -> None:
    run = small.attempts(FIX).start()
    await small.controller().tick(run)
    await with_other_trials(small).controller().tick(run)
    after = small.run(run)
    assert after.outcome is Outcome.FAILED
    assert after.because == (
        "SettingsChanged: moss.toml [trials] changed since ev-01 began, and its proof stands on the settings of then: "
        "put it back and moss resume ev-01, or start a new run"
    )
    assert small.paid == []
    small.desk.resume(run, "alice")
    await small.go(run)
    small.approve(run)
    assert (await small.go(run)).outcome is Outcome.COMMITTED


async def test_a_yes_under_other_settings_is_refused(small: Workbench) -> None:
    run = await waiting(small)
    other = with_other_trials(small)
    refused(small, lambda: other.desk.approve(small.consent(run)), r"moss\.toml \[trials\] changed since ev-01 began")
    small.approve(run)
    assert (await small.go(run)).outcome is Outcome.COMMITTED


@pytest.mark.parametrize("until", [Stage.PREFLIGHT, Stage.SWAP])
async def test_settings_that_change_between_yes_and_swap_make_the_run_stale(small: Workbench, until: Stage) -> None:
    run = await waiting(small)
    small.approve(run)
    while small.run(run).next.stage is not until:  # type: ignore[union-attr]
        await small.controller().tick(run)
    ended = await with_other_trials(small).go(run)
    assert ended.outcome is Outcome.STALE
    assert "[trials] changed since ev-01 began" in ended.because
    assert small.target.running == small.base


async def test_what_says_nothing_of_the_proof_may_change_in_mid_run(small: Workbench) -> None:
    run = await waiting(small)
    settings = small.parts.settings
    other = small.with_settings(
        retention=settings.retention.model_copy(update={"candidates": 1}),
        boxes=settings.boxes.model_copy(update={"parallel": 1}),
        evidence=settings.evidence.model_copy(update={"every_seconds": 5.0}),
    )
    other.approve(run)
    assert (await other.go(run)).outcome is Outcome.COMMITTED


async def test_a_run_of_before_the_pins_goes_on(small: Workbench) -> None:
    from moss.engine.pins import settings_changed

    run = small.run(small.start())
    old = run.model_copy(update={"started": run.started.model_copy(update={"pinned": {}})})
    assert settings_changed(with_other_trials(small).parts.settings, old) is None


async def test_rewind_is_refused(small: Workbench) -> None:
    run = await waiting(small)
    desk = small.desk
    refused(small, lambda: desk.rewind(run, Stage.SWAP, "a"), "swap cannot be rewound to")
    refused(small, lambda: desk.rewind(run, Stage.PLAN, "a", iteration=3), "ev-01 has no iteration 3")
    small.approve(run)
    await small.go(run)
    refused(small, lambda: desk.rewind(run, Stage.PLAN, "a"), "ev-01 has begun its swap")


async def test_reject_ends_a_run_that_waits_and_tells_it(small: Workbench) -> None:
    run = small.start()
    refused(small, lambda: small.desk.reject(run, "a", "no"), "does not wait for consent: it is at baseline")
    await small.go(run)
    small.desk.reject(run, "alice", "not like this")
    refused(small, lambda: small.desk.reject(run, "a", "no"), "does not wait for consent: it ended rejected")
    assert small.run(run).because == "alice: not like this"
    assert [failure.turn.user for failure in small.store.failures(unbatched=True)] == ["case-1"]
    assert "run_ended" in [out.notice.kind for out in small.store.due(small.clock.now(), 100)]


async def test_a_no_that_comes_after_a_yes_changes_nothing(small: Workbench) -> None:
    """The no was decided on a run that waited; when it arrives the run is on its way to the swap."""
    run = await waiting(small)
    store = _Between(small.store, lambda: small.approve(run))
    refused_after = small.with_parts(store=store)
    with pytest.raises(Refused, match="does not wait for consent: it is at preflight"):
        refused_after.desk.reject(run, "bob", "no")
    assert (await small.go(run)).outcome is Outcome.COMMITTED


class _Between:
    """A store in which something comes in between, once, right before an append."""

    def __init__(self, store: Any, act: Callable[[], None]) -> None:
        self._store, self._act = store, act

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def append(self, *args: Any) -> Any:
        act, self._act = self._act, lambda: None
        act()
        return self._store.append(*args)


def test_a_run_that_never_stands_still_refuses_a_wish(small: Workbench) -> None:
    run = small.start()

    class Restless(_Between):
        def append(self, *args: Any) -> Any:
            raise SeqTaken("always")

    bench = small.with_parts(store=Restless(small.store, lambda: None))
    with pytest.raises(Refused, match="ev-01 moves on too fast"):
        bench.desk.stop(run, "alice")


def test_an_event_is_added_right_after_what_is_known_or_not_at_all(small: Workbench) -> None:
    from moss.domain.events import StopAsked

    run = small.run(small.start())
    append_next(small.store, run, StopAsked(by="a"), small.clock.now(), None)
    with pytest.raises(SeqTaken):
        append_next(small.store, run, StopAsked(by="b"), small.clock.now(), None)


# ------------------------------------------------------------------ consent


def with_approvers(bench: Workbench, needed: int, *approvers: Approver) -> Workbench:
    consent = bench.parts.settings.consent.model_copy(update={"approvers": approvers, "needed": needed})
    return bench.with_settings(consent=consent)


def named(name: str, *, key: str | None = None, revoked: bool = False) -> Approver:
    return Approver(name=name, public_key=approver(key or name).public.text, revoked=revoked)


async def test_approve_is_refused_in_one_sentence_with_nothing_changed(small: Workbench) -> None:
    run = small.start()
    await small.controller().tick(run)
    good = None
    await small.go(run)
    good = small.consent(run)
    statement = good.statement
    wrong = approver("alice").sign(statement.model_copy(update={"candidate": Digest("sha256:" + "0" * 64)}))
    longer = approver("alice").sign(statement.model_copy(update={"expires": statement.expires.replace(year=2030)}))
    bobs = approver("bob").sign(statement)
    flipped = good.model_copy(update={"signature": bytes([good.signature[0] ^ 1]) + good.signature[1:]})
    for consent, sentence in (
        (approver("mallory").sign(statement), r"mallory is not an approver of `puppet` \(approvers: alice\)"),
        (good.model_copy(update={"signature": b"x" * 64}), "the signature is not alice's over this statement"),
        (flipped, "the signature is not alice's"),
        (wrong, "the consent is for another candidate than ev-01 offers now"),
        (longer, "the consent would be valid longer than"),
        (
            bobs.model_copy(update={"approver": ApproverName("alice")}),
            "is not one of alice's",
        ),
    ):
        refused(small, lambda consent=consent: small.desk.approve(consent), sentence)  # type: ignore[misc]
    revoked = with_approvers(small, 1, named("alice", revoked=True))
    refused(revoked, lambda: revoked.desk.approve(good), "of alice is revoked")
    small.clock.tick(25 * 3600)
    refused(small, lambda: small.desk.approve(good), "the consent of alice expired at")


async def test_two_of_three_must_say_yes_and_one_says_it_once(small: Workbench) -> None:
    bench = with_approvers(small, 2, named("alice"), named("bob"), named("carol"))
    run = (await bench.go(bench.start())).id
    bench.approve(run, "alice")
    assert bench.run(run).next.stage is Stage.CONSENT  # type: ignore[union-attr]
    refused(bench, lambda: bench.approve(run, "alice"), "alice's consent to this statement was used already")
    bench.approve(run, "carol")
    assert (await bench.go(run)).outcome is Outcome.COMMITTED


async def test_two_yeses_at_the_same_moment_are_both_counted(small: Workbench) -> None:
    bench = with_approvers(small, 2, named("alice"), named("bob"))
    run = (await bench.go(bench.start())).id
    store = _Between(bench.store, lambda: bench.approve(run, "bob"))
    bench.with_parts(store=store).desk.approve(bench.consent(run, "alice"))
    assert bench.run(run).next.stage is Stage.PREFLIGHT  # type: ignore[union-attr]


async def test_a_key_that_is_revoked_between_yes_and_swap_stops_it(small: Workbench) -> None:
    run = await waiting(small)
    small.approve(run)
    revoked = with_approvers(small, 1, named("alice", revoked=True))
    ended = await revoked.go(run)
    assert ended.outcome is Outcome.EXPIRED
    assert "revoked" in ended.because
    assert small.target.starts == [small.base]


async def test_an_automatic_policy_needs_no_signature(small: Workbench) -> None:
    auto = small.with_settings(consent=small.parts.settings.consent.model_copy(update={"auto": True}))
    assert (await auto.go(auto.start())).outcome is Outcome.COMMITTED


async def test_approve_says_when_the_base_is_no_longer_live(small: Workbench) -> None:
    run = await waiting(small)
    candidate = small.run(run).statement.candidate  # type: ignore[union-attr]
    image = small.builder.find(candidate)
    assert image is not None
    small.target.images[candidate] = image
    small.target.replace(candidate)
    with pytest.raises(Refused, match="the live version is no longer the base of ev-01: it will end stale"):
        small.approve(run)


# ------------------------------------------------------------------ rollback


async def test_rollback_takes_back_what_is_live_and_its_failures_are_open_again(small: Workbench) -> None:
    await small.whole(FIX)
    assert not small.store.failures(unbatched=True)
    run = small.desk.rollback(None, "alice", "odd answers").id
    assert (await small.go(run)).outcome is Outcome.REVERTED
    assert small.target.running == small.base
    assert [failure.turn.user for failure in small.store.failures(unbatched=True)] == ["case-1"]


async def test_rollback_is_refused(small: Workbench) -> None:
    desk = small.desk
    refused(small, lambda: desk.rollback(None, "a", ""), "nothing that MOSS made live runs now")
    run = await waiting(small)
    refused(small, lambda: desk.rollback(run, "a", ""), "has nothing to take back: it is at consent")
    small.approve(run)
    await small.go(run)
    small.builder.remove(small.base)
    refused(small, lambda: desk.rollback(run, "a", ""), "the image of puppet:first is gone")


async def test_rollback_of_what_somebody_else_replaced_is_refused(small: Workbench) -> None:
    run = (await small.whole(FIX)).id
    small.target.replace(small.base)
    with pytest.raises(Refused, match="what ev-01 made live is not what runs now"):
        small.desk.rollback(run, "a", "")


async def test_an_undo_that_does_not_work_out_leaves_the_candidate_live(small: Workbench) -> None:
    from moss.testing.conduct import Conduct

    run = (await small.whole(FIX)).id
    small.target.behave(small.base, Conduct(health_fails=True))
    small.desk.rollback(run, "alice", "odd")
    ended = await small.go(run)
    assert ended.outcome is Outcome.COMMITTED
    assert small.target.running == ended.statement.candidate  # type: ignore[union-attr]


async def test_more_approvers_asked_for_meanwhile_are_needed_meanwhile(small: Workbench) -> None:
    run = small.attempts(FIX).start()
    await small.go(run)
    stricter = small.with_settings(consent=small.parts.settings.consent.model_copy(update={"needed": 2}))
    stricter.approve(run)
    assert (await stricter.go(run)).outcome is None
    assert stricter.run(run).next is not None
    assert stricter.run(run).next.stage is Stage.CONSENT  # type: ignore[union-attr]
