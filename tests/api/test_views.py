"""What people see of runs: played by the pure machine, told as screens, log lines and swaps."""

from dataclasses import replace
from datetime import timedelta

import pytest

from moss.api import screens
from moss.api.lines import log as log_text
from moss.api.says import SwapSeen, SwapStep
from moss.api.story import log_line, stage_lines, swaps
from moss.api.timeline import LEFT, RIGHT, WIDTH, picture
from moss.api.views import Beside, next_words, review, show, verdict_words
from moss.domain.events import CodeReviewResult, Event, LocateResult, PreflightResult, Stage
from moss.domain.ids import CaseId
from moss.domain.journal import GENESIS, Entry
from moss.domain.matrix import matrix
from moss.domain.results import CodeReview, Located, Suspect
from moss.domain.run import Run
from moss.domain.swap import Phase, PhaseResult
from moss.testing.workbench import batch_of
from tests.domain.play import CASES, GUARDS, T0, Play, started

NOTHING = Beside(batch=None, diff=b"", live=None, snapshot_limit=100, state_bytes=None, paused=False)


def entries(play: Play) -> tuple[Entry, ...]:
    """The events of a play as a journal."""
    told = [(event.kind, event.model_dump(mode="json"), when) for event, when in play.events]
    return tuple(
        Entry(run="ev-01", seq=at, at=when, kind=kind, event=event, prev=GENESIS, hash=GENESIS)
        for at, (kind, event, when) in enumerate(told, 1)
    )


def good() -> tuple[Play, Run]:
    play = Play(fixes={1: CASES})
    run = play.all()
    return play, play.on(play.consent(run))


def test_a_run_that_waits_says_how_to_say_yes() -> None:
    play = Play(fixes={1: CASES})
    run = play.all()
    assert next_words(run, False)[1] == "moss approve ev-01 --as NAME"
    assert verdict_words(run) == "CONVERGED: 3 of 3 fixed, 0 of 3 guards broken"
    assert screens.show(show(run, entries(play), None, False))[0] == "run ev-01  waits for consent"


def test_the_matrix_has_a_column_a_candidate_and_the_worst_level_of_each() -> None:
    play = Play(fixes={1: CASES[:1], 2: CASES}, breaks={1: GUARDS[:1]})
    seen = matrix(play.all(), None)
    assert seen.columns == ("live", "it-1", "it-2")
    assert [(row.case, *row.cells, row.standing) for row in seen.rows] == [
        ("case-1", "missing", "strong", "strong", "fixed"),
        ("case-2", "missing", "missing", "strong", "fixed"),
        ("case-3", "missing", "missing", "strong", "fixed"),
    ]
    assert seen.guards_ok == ("3/3", "2/3", "3/3")
    assert (seen.broken, round(seen.below or 0, 2)) == (0, 0.63)


def test_a_case_that_does_not_reproduce_is_left_out_and_named() -> None:
    run = Play(fixes={1: CASES}, reproduces=CASES[:2]).all()
    assert matrix(run, None).left_out == (CASES[2],)
    assert screens.review(review(run, NOTHING))[0] == "Batch      3 failures, 2 reproduced, 1 not (out of the batch)"


def test_before_a_trial_the_matrix_is_empty_and_nothing_is_claimed() -> None:
    play = Play()
    seen = matrix(play.begin(started()), None)
    assert (seen.rows, seen.guards_ok, seen.below) == ((), ("-",), None)


def test_scripted_is_said_wherever_a_result_shows() -> None:
    play = Play(fixes={1: CASES})
    run = play.all(started(scripted=("coder scripted", "model main")))
    for lines in (screens.show(show(run, entries(play), None, False)), screens.review(review(run, NOTHING))):
        assert any("cripted" in line and "coder scripted, model main" in line for line in lines)
    assert "(scripted)" in log_line(entries(play)[0]).says


def test_a_review_warns_where_the_base_is_gone_or_the_state_too_large() -> None:
    run = Play(fixes={1: CASES}).all()
    said = review(run, Beside(None, b"", run.started.evidence, 100, 101, False))
    words = "\n".join(screens.review(said))
    assert "is NOT what runs now: it will end stale" in words
    assert "larger than the snapshot limit" in words


def test_a_review_counts_invalid_trials_of_both_versions_and_cases_of_words_alone() -> None:
    _, run = good()
    base, candidate = run.started.base.image, run.statement.candidate  # type: ignore[union-attr]
    lost = [
        run.trials[0].model_copy(
            update={"key": f"x{at}", "version": on, "valid": False, "invalid_because": "ModelDown: 529"}
        )
        for at, on in enumerate((candidate, base, base))
    ]
    told = run.model_copy(update={"trials": (*run.trials, *lost)})
    batch = batch_of(2, 0)
    words = batch.model_copy(
        update={"cases": tuple(one.model_copy(update={"words_only": True}) for one in batch.cases)}
    )
    lines = screens.review(review(told, replace(NOTHING, batch=words)))
    assert "Invalid    1 trial (ModelDown: 529), rerun; 2 of the live version" in lines
    assert "Words      2 cases told by words alone (moss flag --expect tells more)" in lines
    quiet = "\n".join(screens.review(review(run, NOTHING)))
    assert "Invalid" not in quiet
    assert "Words" not in quiet


def test_a_partial_offer_says_so() -> None:
    run = Play(fixes=dict.fromkeys(range(1, 6), CASES[:2])).all()
    assert "PARTIAL: the rest goes back to the pool" in "\n".join(screens.review(review(run, NOTHING)))
    assert verdict_words(run).startswith("CONVERGED partial: ")


def test_every_event_is_a_line_and_rejections_show_as_such() -> None:
    turned_down = CodeReviewResult(review=CodeReview(accepted=False, reason="swallows the error\x1b[2J"))
    play = Play(fixes={1: CASES}, results={(Stage.CODE_REVIEW, 1, 1): turned_down})
    play.all()
    told = [log_line(entry) for entry in entries(play)]
    assert len(told) == len(play.events)
    rejected = next(line for line in told if line.says.startswith("rejected"))
    assert (rejected.ok, rejected.says) == (False, "rejected: swallows the error\\x1b[2J")
    assert all("\x1b" not in log_text(line) for line in told)


def test_an_entry_of_a_newer_moss_is_a_line_too() -> None:
    entry = Entry(run="ev-01", seq=1, at=T0, kind="dreamt", event={"kind": "dreamt"}, prev=GENESIS, hash=GENESIS)
    assert (log_line(entry).what, log_line(entry).says) == ("dreamt", "written by a newer MOSS")


def test_stage_lines_tell_ranks_trials_and_leave_the_swap_out() -> None:
    two = (Suspect(rank=1, path="a.py", line=4, symbol="f()", why="w"), Suspect(rank=2, path="b.py", line=1, why="v"))
    play = Play(fixes={1: CASES}, results={(Stage.LOCATE, 1, 1): LocateResult(located=Located(suspects=two))})
    run = play.all()
    play.on(play.consent(run))
    told = {line.stage: line.says for line in stage_lines(entries(play))}
    assert told["locate"] == "a.py:4 f(): w (rank 1 of 2)"
    assert told["trial"] == "18 of 18 valid"
    assert told["implement"] == "1 file, +2 -1"
    assert "swap" not in told


# ------------------------------------------------------------------ swaps


def test_a_good_swap_is_one_line_and_a_picture() -> None:
    play, run = good()
    (seen,) = swaps(entries(play))
    assert [step.word for step in seen.steps] == [
        "prepared", "held", "stopped", "snapshot", "started", "ready", "canary", "released", "watched", "settled",
    ]  # fmt: skip
    assert (seen.end, run.outcome) == ("switched", "committed")
    assert screens.swap(seen).endswith("settled · 0 refused, 0 messages waited at most 0.0 s")
    drawn = picture(seen, "x")
    assert drawn is not None
    assert len(drawn.held) == 1


def test_a_swap_that_fails_says_what_was_seen_and_what_was_lost() -> None:
    failed = PhaseResult(ok=False, because="exited 1")
    back = PhaseResult(ok=True, because="the snapshot is the state again", lost=("m-7", "m-8\x1b"))
    play = Play(
        fixes={1: CASES}, phases={Phase.WATCH: failed, Phase.R_PROBE: PhaseResult(ok=False), Phase.RS_STATE: back}
    )
    run = play.on(play.consent(play.all()))
    (seen,) = swaps(entries(play))
    line = screens.swap(seen)
    assert "released after" in line
    assert "exited 1 -> held again · new stopped" in line
    assert "state back" in line
    assert "gone from the state: m-7, m-8\\x1b" in line
    assert run.outcome == "rolled_back"
    held = [step.word for step in seen.steps if step.held]
    assert held[-1] == "old canary"
    drawn = picture(seen, "x")
    assert drawn is not None
    assert len(drawn.held) == 2
    assert "bad" in {bar.kind for bar in drawn.bars}


def test_the_last_words_of_a_version_that_failed_are_shown_as_its_own_and_made_harmless() -> None:
    failed = PhaseResult(ok=False, because="exited 1", said="KeyError: \x1b[2J'order'")
    play = Play(fixes={1: CASES}, phases={Phase.WATCH: failed})
    run = play.on(play.consent(play.all()))
    (told,) = [log_text(log_line(entry)) for entry in entries(play) if "last words" in log_line(entry).says]
    assert told.endswith("watched      exited 1; its own last words: \"KeyError: \\x1b[2J'order'\"")
    shown = screens.show(show(run, entries(play), None, False))
    assert "  last words   \"KeyError: \\x1b[2J'order'\" (the agent's own, as it ended)" in shown
    unfit = PreflightResult(ok=False, live=run.started.base.image, because="it exited 7", said="no\x07 module")
    play = Play(fixes={1: CASES}, results={(Stage.PREFLIGHT, 1, 1): unfit})
    play.on(play.consent(play.all()))
    assert 'it exited 7; its own last words: "no\\x07 module"' in "\n".join(
        log_text(log_line(entry)) for entry in entries(play)
    )


def test_no_line_of_the_log_says_the_same_word_twice_and_each_phase_has_its_own() -> None:
    play, _ = good()
    told = [log_line(entry) for entry in entries(play)]
    assert [line.what for line in told if line.says == line.what or line.says.startswith(f"{line.what} ")] == []
    assert [line.what for line in told if line.kind == "done"][-11:] == [
        "prepared", "held", "stopped", "snapshot", "started", "ready", "canary", "released", "watched", "settled",
        "soak",
    ]  # fmt: skip


def test_an_undo_is_a_swap_of_its_own() -> None:
    from moss.domain.events import Step, UndoAsked
    from moss.domain.ids import Key
    from moss.domain.swap import Swap

    play, run = good()
    assert run.statement is not None
    back = Swap(key=Key("ev-01+1/undo"), old=run.statement.candidate, new=run.started.base.image, undo=True)
    asked: Event = UndoAsked(by="op", because="odd", swap=back, next=Step(stage=Stage.SWAP, iteration=1, epoch=1))
    ended = play.on(play.record(run, asked))
    assert [(one.undo, one.end) for one in swaps(entries(play))] == [(False, "switched"), (True, "switched")]
    assert ended.outcome == "reverted"


@pytest.mark.parametrize("seconds", [0.0, 0.001, 1.0, 600.0])
def test_a_picture_keeps_every_bar_inside_however_long_it_took(seconds: float) -> None:
    one = SwapStep(phase="hold", word="held", says="x", ok=True, seconds=seconds, at=T0, held=True)
    steps = tuple(one.model_copy(update={"at": T0 + timedelta(seconds=at)}) for at in range(12))
    seen = SwapSeen(
        undo=False, steps=steps, end=None, because="", refused=0, waited=0, longest_wait=0, released_after=None, lost=()
    )
    drawn = picture(seen, "x")
    assert drawn is not None
    for bar in drawn.bars:
        assert bar.x >= LEFT - 0.1
        assert bar.x + bar.width <= WIDTH - RIGHT + 3.1
        assert bar.y < drawn.height
    assert len(drawn.ticks) <= 50
    assert picture(seen.model_copy(update={"steps": ()}), "x") is None


def test_case_names_are_ids_in_the_log() -> None:
    play = Play(fixes={1: CASES})
    play.all()
    named = {line.case for line in map(log_line, entries(play)) if line.case}
    assert named == {CaseId(name) for name in (*CASES, *GUARDS)}


def test_a_review_of_a_run_that_ended_says_nothing_of_what_runs_now() -> None:
    play = Play(fixes={1: CASES})
    run = play.on(play.consent(play.all()))
    words = "\n".join(screens.review(review(run, Beside(None, b"", run.started.evidence, 100, 10, False))))
    assert "was live when it began" in words
    assert "NOT what runs now" not in words
