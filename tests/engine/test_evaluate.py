"""Jurors: when they are asked, what is kept of what they say, and how a rubric is marked."""

from pathlib import Path
from typing import Any

import pytest

from moss.domain.case import Keypoint, Level, Rubric
from moss.domain.events import Outcome
from moss.domain.evidence import Observed
from moss.domain.ids import Key
from moss.domain.trial import Answer, Observation
from moss.engine.evaluate import lessons_of
from moss.engine.rubric import rubric_mark
from moss.errors import ModelDown
from moss.ports import Vote
from moss.testing.puppet import BAD, Attempt
from moss.testing.workbench import workbench

FIX = Attempt(fixes=("case-1",))


class Asked:
    """A juror who remembers what it was asked."""

    def __init__(self, name: str = "a", level: int = 3, quote: str = BAD, down: int = 0) -> None:
        self.name, self._level, self._quote, self._down = name, level, quote, down
        self.keys: list[str] = []
        self.lessons: list[Any] = []

    def limits(self, batch: object, lessons: Any, key: Key) -> Vote:
        self.keys.append(key)
        self.lessons.append(tuple(lessons))
        if self._down > 0:
            self._down -= 1
            raise ModelDown("529")
        return Vote(self.name, "limit_model", "because " * 2000, self._quote)

    def level(self, sentence: str, record: str, key: Key) -> tuple[int, str]:
        return self._level, f"{sentence}: seen"


async def test_nobody_is_asked_while_the_candidate_stands(tmp_path: Path) -> None:
    juror = Asked()
    bench = workbench(tmp_path, cases=1, judges=(juror,))
    assert (await bench.whole(FIX)).outcome is Outcome.COMMITTED
    assert juror.keys == []


async def test_nobody_is_asked_when_the_run_goes_on_anyway(tmp_path: Path) -> None:
    juror = Asked()
    bench = workbench(tmp_path, cases=1, judges=(juror,))
    await bench.whole(Attempt(), anyway=True)
    assert juror.keys == []


async def test_each_is_asked_once_under_a_key_of_its_own_and_hears_the_lessons(tmp_path: Path) -> None:
    a, b = Asked("a"), Asked("b", quote="never said by anybody")
    bench = workbench(tmp_path, cases=1, judges=(a, b))
    run = await bench.whole(Attempt(becomes={"broken": ("guard-1",)}), Attempt(becomes={"broken": ()}))
    assert a.keys == ["ev-01/1/evaluate/1/a", "ev-01/2/evaluate/1/a"]
    assert b.keys == ["ev-01/1/evaluate/1/b", "ev-01/2/evaluate/1/b"]
    assert a.lessons[1] == lessons_of(run)[:1]
    assert a.lessons[1][0].startswith("iteration 1: add it -> never offered")


async def test_what_is_kept_of_a_vote_is_bounded_redacted_and_looked_up(tmp_path: Path) -> None:
    bench = workbench(tmp_path, cases=1, judges=(Asked("a"), Asked("b", quote="never said by anybody")))
    bench = bench.with_parts(redact=lambda text: text.replace("because", "[word]"))
    run = await bench.whole(Attempt())
    first, second = run.iterations[0].votes
    assert (first.quote_found, second.quote_found) == (True, False)
    assert len(first.because) == 2000
    assert first.because.startswith("[word]")


async def test_a_juror_that_is_down_for_a_moment_is_asked_again(tmp_path: Path) -> None:
    juror = Asked(down=1)
    bench = workbench(tmp_path, cases=1, judges=(juror,))
    run = await bench.whole(Attempt())
    assert run.outcome is Outcome.NO_IMPROVEMENT
    assert juror.keys == ["ev-01/1/evaluate/1/a", "ev-01/1/evaluate/1.2/a"]


POINT = Keypoint(
    id="kind", says="it is kind", check=Rubric(sentence="it is kind"), positive=True, observed=Observed.HTTP
)


@pytest.mark.parametrize(("levels", "marked"), [((3,), 3), ((1, 3), 1), ((0, 2, 3), 2), ((3, 3, 0, 1), 1)])
async def test_a_rubric_is_marked_by_the_lower_median(tmp_path: Path, levels: tuple[int, ...], marked: int) -> None:
    judges = tuple(Asked(f"j{number}", level) for number, level in enumerate(levels))
    bench = workbench(tmp_path, judges=judges)
    mark = await rubric_mark(bench.parts, Key("k"), POINT, Observation(answer=Answer(status=200, text="dear")))
    assert mark.level is Level(marked)
    assert "j0: it is kind: seen" in mark.because


async def test_a_rubric_without_a_juror_is_not_met(tmp_path: Path) -> None:
    mark = await rubric_mark(workbench(tmp_path).parts, Key("k"), POINT, Observation(answer=Answer()))
    assert (mark.level, mark.because) == (Level.MISSING, "no juror is configured for this rubric")
