"""The swap machine: every path of design 9, and what no path may do."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moss.domain.ids import Digest, Key
from moss.domain.swap import HELD, UNDER_HOLD, Phase, PhaseResult, Swap, SwapEnd, Turned, next_phase, turn

T0 = datetime(2026, 1, 1, tzinfo=UTC)
OK = PhaseResult(ok=True)
SNAPPED = PhaseResult(ok=True, has_snapshot=True)


def begun(**change: object) -> Swap:
    return Swap(key=Key("k"), old=Digest("sha256:old"), new=Digest("sha256:new")).model_copy(update=change)


def walk(results: dict[Phase, PhaseResult], swap: Swap | None = None) -> tuple[list[Phase], Swap]:
    """All phases that are performed until the end; a phase that is not named goes well."""
    swap, walked = swap or begun(), []
    while swap.phase is not Phase.END:
        walked.append(swap.phase)
        result = results.get(swap.phase, SNAPPED if swap.phase is Phase.SNAPSHOT else OK)
        swap = turn(swap, T0 + timedelta(seconds=len(walked)), result, next_phase(swap, result))
        assert len(walked) < 40
    return walked, swap


def no(because: str = "broken", **more: object) -> PhaseResult:
    return PhaseResult.model_validate({"ok": False, "because": because, **more})


def test_a_good_swap_walks_the_timeline_in_order() -> None:
    walked, swap = walk({})
    assert walked == [
        Phase.PREPARE, Phase.HOLD, Phase.STOP, Phase.SNAPSHOT, Phase.START, Phase.PROBE,
        Phase.CANARY, Phase.RELEASE, Phase.WATCH, Phase.SETTLE,
    ]  # fmt: skip
    assert swap.end is SwapEnd.SWITCHED
    assert swap.released_after == 6.0


@pytest.mark.parametrize("phase", [Phase.PREPARE, Phase.HOLD])
def test_what_fails_before_the_stop_leaves_the_agent_untouched(phase: Phase) -> None:
    walked, swap = walk({phase: no()})
    assert swap.end is SwapEnd.UNTOUCHED
    assert Phase.STOP not in walked
    assert swap.because == "broken"
    assert (Phase.UNHOLD in walked) == (phase is Phase.HOLD)


@pytest.mark.parametrize("phase", [Phase.PREPARE, Phase.HOLD, Phase.STOP])
def test_another_live_version_ends_stale_and_lets_go(phase: Phase) -> None:
    walked, swap = walk({phase: no(stale=True)})
    assert swap.end is SwapEnd.STALE
    assert Phase.START not in walked
    assert Phase.R_START not in walked
    assert (Phase.UNHOLD in walked) == (phase is not Phase.PREPARE)


@pytest.mark.parametrize("phase", [Phase.STOP, Phase.SNAPSHOT])
def test_a_stop_or_snapshot_that_fails_starts_the_old_version_again(phase: Phase) -> None:
    walked, swap = walk({phase: no("disk full")})
    assert walked[walked.index(phase) + 1 :] == [
        Phase.R_START,
        Phase.R_PROBE,
        Phase.R_CANARY,
        Phase.R_RELEASE,
        Phase.R_SETTLE,
    ]
    assert swap.end is SwapEnd.RESTORED


@pytest.mark.parametrize("phase", [Phase.START, Phase.PROBE, Phase.CANARY])
def test_a_candidate_that_fails_under_the_hold_is_restored_without_a_second_hold(phase: Phase) -> None:
    walked, swap = walk({phase: no("exited 1")})
    assert Phase.R_HOLD not in walked
    assert Phase.RELEASE not in walked
    assert walked[walked.index(phase) + 1] is Phase.R_STOP
    assert (swap.end, swap.because) == (SwapEnd.RESTORED, "exited 1")


@pytest.mark.parametrize("phase", [Phase.RELEASE, Phase.WATCH])
def test_a_candidate_that_fails_after_the_release_is_held_again_first(phase: Phase) -> None:
    walked, swap = walk({phase: no()})
    assert walked[walked.index(phase) + 1 : walked.index(phase) + 3] == [Phase.R_HOLD, Phase.R_STOP]
    assert swap.end is SwapEnd.RESTORED


@pytest.mark.parametrize("phase", [Phase.R_START, Phase.R_PROBE, Phase.R_CANARY])
def test_only_when_the_old_version_does_not_get_ready_the_snapshot_comes_back(phase: Phase) -> None:
    lost = PhaseResult(ok=True, lost=("m-1", "m-2"))
    walked, swap = walk({Phase.WATCH: no(), phase: no("schema is newer"), Phase.RS_STATE: lost})
    assert walked[-6:] == [
        Phase.RS_STATE,
        Phase.RS_START,
        Phase.RS_PROBE,
        Phase.RS_CANARY,
        Phase.R_RELEASE,
        Phase.R_SETTLE,
    ]
    assert (swap.end, swap.lost) == (SwapEnd.RESTORED, ("m-1", "m-2"))


def test_the_state_stays_when_the_old_version_gets_ready() -> None:
    walked, _ = walk({Phase.WATCH: no()})
    assert Phase.RS_STATE not in walked


def test_without_a_snapshot_nothing_older_can_come_back() -> None:
    over = PhaseResult(ok=True, has_snapshot=False)
    walked, swap = walk({Phase.SNAPSHOT: over, Phase.WATCH: no(), Phase.R_PROBE: no()})
    assert Phase.RS_STATE not in walked
    assert swap.end is SwapEnd.DOWN


def test_the_agent_is_down_only_after_both_versions_failed() -> None:
    walked, swap = walk({Phase.PROBE: no(), Phase.R_PROBE: no(), Phase.RS_PROBE: no()})
    assert swap.end is SwapEnd.DOWN
    assert {Phase.START, Phase.R_START, Phase.RS_START} <= set(walked)
    assert walked[-1] is Phase.DOWN_RELEASE


def test_the_soak_takes_back_by_the_same_road() -> None:
    walked, swap = walk({}, begun(phase=Phase.R_HOLD, has_snapshot=True, because="came back"))
    assert walked == [
        Phase.R_HOLD,
        Phase.R_STOP,
        Phase.R_START,
        Phase.R_PROBE,
        Phase.R_CANARY,
        Phase.R_RELEASE,
        Phase.R_SETTLE,
    ]
    assert (swap.end, swap.because) == (SwapEnd.RESTORED, "came back")


def test_no_phase_between_hold_and_end_is_a_safe_point() -> None:
    assert not begun().critical
    assert all(begun(phase=phase).critical for phase in Phase if phase not in (Phase.PREPARE, Phase.END))


results = st.builds(
    lambda ok, stale, snap: PhaseResult(ok=ok, because="" if ok else "x", stale=stale and not ok, has_snapshot=snap),
    st.booleans(), st.booleans(), st.sampled_from([None, True, False]),
)  # fmt: skip


@given(st.lists(results, min_size=30, max_size=30))
def test_every_road_ends_and_no_two_versions_are_started_without_a_stop_between(many: list[PhaseResult]) -> None:
    swap, running, ended = begun(), "old", 0
    for result in many:
        if swap.phase is Phase.END:
            break
        match swap.phase:
            case Phase.STOP | Phase.R_STOP | Phase.RS_STOP:
                # One that could not be stopped stays: then the target refuses to start another beside it.
                running = running if swap.phase is Phase.STOP and not result.ok else "none"
            case Phase.START:
                assert running in ("none", "new")
                running = "new"
            case Phase.R_START | Phase.RS_START:
                assert running in ("none", "old")
                running = "old"
            case _:
                pass
        swap = turn(swap, T0, result, next_phase(swap, result))
        ended += 1
    assert swap.phase is Phase.END
    assert ended <= 25
    assert swap.end is not None


@pytest.mark.parametrize("end", [SwapEnd.RESTORED, None])
def test_a_swap_that_is_over_stays_over(end: SwapEnd | None) -> None:
    over = next_phase(begun(phase=Phase.END, end=end), no())
    assert over == Turned(phase=Phase.END, end=end or SwapEnd.UNTOUCHED)


def test_users_wait_from_hold_to_release_on_every_way() -> None:
    assert {phase for phase in HELD if phase not in UNDER_HOLD} == {Phase.HOLD, Phase.R_HOLD}
    assert not UNDER_HOLD & {Phase.PREPARE, Phase.RELEASE, Phase.WATCH, Phase.R_RELEASE, Phase.UNHOLD, Phase.END}
    assert {Phase.STOP, Phase.SNAPSHOT, Phase.CANARY, Phase.R_CANARY, Phase.RS_STATE, Phase.RS_CANARY} < UNDER_HOLD
