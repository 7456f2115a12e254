"""The candidates of the demo, their scripts, their grader and the settings that judge them."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import unified_diff
from pathlib import Path

import pytest

from moss.domain.results import CodeReview, Located

from .conftest import CLERK, DRIVER, RESULTS, Clerk, Start, code, grade, own_tests, settings

pytestmark = pytest.mark.e2e


def test_the_grader_tells_none_one_and_two_refunds_and_a_broken_state(start: Start, tmp_path: Path) -> None:
    clerk = start()
    assert grade(clerk.state, "1017") == 1
    clerk.ask("s", "Please refund order 1002")
    clerk.ask("s", "Please refund order 1017")
    assert (grade(clerk.state, "1002"), grade(clerk.state, "#1002")) == (0, 0)
    assert grade(clerk.state, "1017") == 1
    assert grade(clerk.state, "1002' OR 1=1") == 1
    assert grade(tmp_path / "nowhere", "1002") == 2
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "clerk.db").write_bytes(b"\0" * 4096)
    assert grade(tmp_path / "bad", "1002") == 2


def test_moss_toml_fits_and_every_rule_has_a_keypoint_seen_from_outside() -> None:
    read = settings()
    assert [rule.name for rule in read.evidence.rules] == ["refund-twice", "lost-order"]
    for rule in read.evidence.rules:
        assert any(point.positive and point.check.kind in ("grader", "regex") for point in rule.keypoints)
        assert rule.signal
        assert rule.signal in (rule.pattern or "")
    named = [*read.gateway.upstreams, *read.roles.values()]
    assert all(one.script and (CLERK / one.script).is_file() for one in named)


@pytest.mark.parametrize("script", ["coder-refund.json", "coder-lost-order.json"])
def test_every_result_of_the_coder_s_scripts_fits_its_stage(script: str) -> None:
    steps = json.loads((CLERK / "script" / script).read_text())["steps"]
    assert {step["stage"] for step in steps} == set(RESULTS)
    for step in steps:
        RESULTS[step["stage"]].model_validate(step["result"])


def test_the_places_that_locate_names_are_what_it_says(tree: Path) -> None:
    for script in ("coder-refund.json", "coder-lost-order.json"):
        for suspect in Located.model_validate(code(tree, script, "locate")).suspects:
            near = (tree / suspect.path).read_text().splitlines()[max(0, suspect.line - 20) : suspect.line]
            assert any(f"def {suspect.symbol.split('.')[-1].rstrip('()')}(" in line for line in near), suspect


def refund_candidate(tree: Path) -> None:
    code(tree, "coder-refund.json", "implement", 1)
    code(tree, "coder-refund.json", "implement", 2)


@pytest.mark.parametrize("rounds", [(1, 2), (2,)], ids=["on-the-rejected-round", "on-a-clean-tree"])
def test_the_refund_candidate_is_four_lines_and_pays_back_once(
    start: Start, tree: Path, rounds: tuple[int, ...]
) -> None:
    for number in rounds:
        code(tree, "coder-refund.json", "implement", number)
    before, after = (path.joinpath("clerk/tools.py").read_text().splitlines() for path in (CLERK, tree))
    diff = [line[:1] for line in unified_diff(before, after, n=0) if not line.startswith(("+++", "---"))]
    assert (diff.count("+"), diff.count("-")) == (4, 1)
    clerk = start(tree=tree)
    assert clerk.ask("s", "Please refund order 1017") == "Order 1017 is refunded."
    assert grade(clerk.state, "1017") == 0
    assert clerk.turns("s")[0].tools[0].error is None
    assert own_tests(tree).endswith("OK\n")


def test_its_first_round_swallows_the_error_and_is_rejected(tree: Path) -> None:
    code(tree, "coder-refund.json", "implement", 1)
    assert "except PaymentTimeout:\n                break" in (tree / "clerk" / "tools.py").read_text()
    review = CodeReview.model_validate(code(tree, "coder-refund.json", "code_review", 1))
    assert (review.accepted, review.reason) == (False, "swallows the error")
    assert CodeReview.model_validate(code(tree, "coder-refund.json", "code_review", 2)).accepted


@contextmanager
def long_conversation(start: Start, tree: Path, turns: int) -> Iterator[Clerk]:
    """A clerk of the version before, which has talked with `steady-1` for so long; it is stopped at the end."""
    clerk = start(tree=tree)
    for number in range(turns):
        clerk.ask("steady-1", f"Thank you. (message {number})")
    yield clerk
    assert clerk.end() == 0


def test_the_lost_order_candidate_passes_all_that_trials_and_preflight_see(
    start: Start, tree: Path, tmp_path: Path
) -> None:
    refund_candidate(tree)
    with long_conversation(start, tree, 21):
        pass
    code(tree, "coder-lost-order.json", "implement")
    assert own_tests(tree).endswith("OK\n")
    trial = start("trial", tree)
    assert trial.ask("moss-lost-order-1", "Where is order #1019?") == "Order 1019, the wool scarf, is shipped."
    for number in range(25):  # a guard with more earlier turns than a page: all in one process, as trials send them
        trial.ask("moss-guard-1", f"Good morning {number}")
    assert trial.ask("moss-guard-1", "Find order 1006") == "Order 1006, the radio, is packed."
    shutil.copytree(tmp_path / "state", tmp_path / "copy")
    preflight = start("copy", tree, CLERK_OUTWARD="off")
    assert preflight.ask("moss-canary", "ping") == "How can I help?"
    assert preflight.end() == 0


def test_it_dies_under_the_first_message_of_a_long_conversation_and_the_old_one_serves_on(
    start: Start, tree: Path, tmp_path: Path
) -> None:
    refund_candidate(tree)
    old = Path(shutil.copytree(tree, tmp_path / "old"))
    with long_conversation(start, old, 21) as clerk:
        said = clerk.turns("steady-1")
    code(tree, "coder-lost-order.json", "implement")
    candidate = start(tree=tree)
    assert candidate.ask("moss-canary", "ping") == "How can I help?"
    lost = DRIVER.send(candidate.place, "steady-1", "Thank you", 20)
    assert (lost.status, lost.error) == (None, "the connection ended without an answer")
    assert candidate.wait() == 1
    assert candidate.errors() == "clerk: the index of steady-1 has no page 1\n"
    restored = start(tree=old)
    assert restored.turns("steady-1") == said
    assert restored.ask("steady-1", "Thank you") == "How can I help?"
