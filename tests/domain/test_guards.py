"""Which turns that went well stand guard."""

from collections.abc import Sequence
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moss.domain.evidence import Guard, ToolCall, Turn
from moss.domain.guards import choose, wanted, went_well, worth_keeping
from moss.domain.ids import Digest
from moss.testing.samples import NOON

RECORDED = Digest("sha256:" + "1" * 64)


def guard(session: str, *tools: str, ordinal: int = 1, minute: int = 0, recorded: bool = True, **more: object) -> Guard:
    turn = Turn(
        session=session,
        ordinal=ordinal,
        at=NOON + timedelta(minutes=minute),
        user="hello",
        reply="hello",
        tools=tuple(ToolCall(name=name) for name in tools),
        recording=RECORDED if recorded else None,
    ).model_copy(update=more)
    earlier = tuple(turn.model_copy(update={"ordinal": number}) for number in range(1, ordinal))
    return Guard(id=turn.id, turn=turn, earlier=earlier)


def names(guards: Sequence[Guard]) -> list[str]:
    return [str(one.id) for one in guards]


@pytest.mark.parametrize(
    ("change", "well"),
    [
        ({}, True),
        ({"status": 204, "finish": "stop"}, True),
        ({"status": None, "finish": None}, True),
        ({"status": 500}, False),
        ({"status": 302}, False),
        ({"finish": "length"}, False),
        ({"error": "it broke"}, False),
        ({"reply": None}, False),
        ({"reply": " \n"}, False),
    ],
)
def test_only_a_turn_that_was_answered_went_well(change: dict[str, object], well: bool) -> None:
    assert went_well(guard("s").turn.model_copy(update=change)) is well


def test_candidates_get_rarer_as_more_are_kept() -> None:
    turns = [guard(f"s{number}").turn for number in range(1000)]
    kept = [sum(worth_keeping(turn, before) for turn in turns) for before in (0, 499, 500, 1500, 1_000_000_000)]
    assert kept[0] == kept[1] == 1000
    assert 400 < kept[2] < 600
    assert 50 < kept[3] < 200
    assert kept[4] <= 1


@pytest.mark.parametrize(("cases", "count"), [(1, 6), (3, 6), (4, 7), (20, 23)])
def test_a_few_more_are_taken_than_needed(cases: int, count: int) -> None:
    assert wanted(cases) == count


def test_each_tool_is_covered_before_a_second_turn_of_the_same() -> None:
    common = [guard(f"common-{number}", "find", minute=number) for number in range(20)]
    rare = [guard("mail", "find", "mail"), guard("note", "note"), guard("plain")]
    chosen = choose([*common, *rare], 4)
    assert names(chosen)[:2] == ["mail#1", "note#1"]
    assert set(names(chosen)[2:]) == {"plain#1", "common-19#1"}


def test_lengths_are_covered_in_turns_and_in_words() -> None:
    short = [guard(f"short-{number}", minute=number) for number in range(9)]
    long = guard("long", user="word " * 200)
    late = guard("late", ordinal=3)
    assert {"long#1", "late#3"} < set(names(choose([*short, long, late], 3)))


def test_recorded_turns_come_first_then_the_newest_whole_text_before_redacted() -> None:
    bare = guard("bare", minute=9, recorded=False)
    old, new = guard("old", minute=1), guard("new", minute=2)
    cut = guard("cut", minute=8, redacted=1)
    assert names(choose([bare, cut, old, new], 4)) == ["new#1", "old#1", "cut#1", "bare#1"]


def test_a_turn_behind_a_failed_one_is_no_guard_and_one_before_it_only_if_need_be() -> None:
    candidates = [guard("s1", ordinal=number, minute=9) for number in (1, 2, 3, 4)]
    failed = [guard("s1", ordinal=4).turn, guard("s1", ordinal=3).turn]
    chosen = names(choose([*candidates, guard("s2")], 9, failed))
    assert chosen[0] == "s2#1"
    assert set(chosen) == {"s2#1", "s1#1", "s1#2"}


@given(
    st.lists(
        st.builds(
            lambda number, tools, minute, recorded: guard(f"s{number}", *tools, minute=minute, recorded=recorded),
            st.integers(0, 30),
            st.sets(st.sampled_from("abcdefg"), max_size=3),
            st.integers(0, 100),
            st.booleans(),
        ),
        max_size=25,
        unique_by=lambda one: one.id,
    ),
    st.integers(0, 12),
    st.randoms(),
)
def test_the_same_candidates_give_the_same_choice_and_tools_come_first(candidates, count, draw) -> None:  # type: ignore[no-untyped-def]
    chosen = choose(candidates, count)
    mixed = [*candidates]
    draw.shuffle(mixed)
    assert choose(mixed, count) == chosen
    assert len(chosen) == min(count, len(candidates))
    every = {tool.name for one in candidates for tool in one.turn.tools}
    covered = {tool.name for one in chosen for tool in one.turn.tools}
    assert covered == every or len(covered) >= len(chosen)
