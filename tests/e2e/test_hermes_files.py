"""The files of the Hermes example are what MOSS reads: settings, scripts, the grader. No engine is needed."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

from examples.hermes.demo import lay_out
from moss.config import DockerLive, HermesEvidence
from moss.gateway.script import find_rule, read_script
from moss.gateway.wire import Heard
from moss.settings import load

from .scene import HERE

HERMES = HERE.parents[1] / "examples" / "hermes"
FAILING = Heard("user", "Please write the report on kiwi")


def test_a_laid_out_folder_is_read_and_keeps_its_own_key_and_name(tmp_path: Path) -> None:
    release = tmp_path / "release"
    release.mkdir()
    shop = lay_out(tmp_path / "shop", lambda: release, "hermes-test", "")
    settings = load(shop.toml, {})
    assert isinstance(settings.live, DockerLive)
    assert isinstance(settings.evidence.source, HermesEvidence)
    key = (shop.root / "api.key").read_text()
    assert (settings.live.container, settings.live.env["API_SERVER_KEY"]) == ("hermes-test", key)
    assert (shop.root / "api.key").stat().st_mode & 0o077 == 0
    again = lay_out(tmp_path / "shop", lambda: pytest.fail("it is there already"), "hermes-test", "")
    assert again == shop


def test_the_scripted_model_dies_behind_the_tools_name_once_a_request() -> None:
    found = find_rule(read_script((HERMES / "script" / "model.json").read_bytes()), FAILING)
    assert found is not None
    rule, said = found
    assert rule.fault is not None
    assert (rule.fault.ends_after, rule.fault.once) == (2, True)
    assert json.loads(said.calls[0].arguments)["path"] == "reports/kiwi.md"


def test_the_growing_model_says_the_same_again_and_longer() -> None:
    found = find_rule(read_script((HERMES / "script" / "model-growing.json").read_bytes()), FAILING)
    assert found is not None
    pieces = found[1].calls[0].pieces
    assert all(later.startswith(piece) for piece, later in itertools.pairwise(pieces))
    assert json.loads(pieces[-1])["path"] == "reports/kiwi.md"


@pytest.mark.parametrize("name", ["coder.json", "coder-naive.json"])
def test_each_stage_of_a_run_is_scripted(name: str) -> None:
    steps = json.loads((HERMES / "script" / name).read_text())["steps"]
    assert [step["stage"] for step in steps] == ["locate", "plan", "plan_review", "implement", "code_review"]
    (edit,) = steps[3]["edits"]
    assert edit["replace"].count("\n") - edit["find"].count("\n") <= 6, "a few lines of our own"


@pytest.mark.parametrize(("made", "code"), [("x", 0), ("", 1), (None, 1)])
def test_the_grader_sees_a_report_with_words_in_it(tmp_path: Path, made: str | None, code: int) -> None:
    reports = tmp_path / "desk" / "reports"
    reports.mkdir(parents=True)
    if made is not None:
        (reports / "kiwi.md").write_text(made)
    argv = [sys.executable, "-B", str(HERMES / "graders" / "written.py"), str(tmp_path), "kiwi"]
    assert subprocess.run(argv, check=False, capture_output=True).returncode == code


def test_the_grader_follows_no_link_and_no_path(tmp_path: Path) -> None:
    reports = tmp_path / "desk" / "reports"
    reports.mkdir(parents=True)
    (tmp_path / "other.md").write_text("x")
    (reports / "kiwi.md").symlink_to(tmp_path / "other.md")
    grader = [sys.executable, "-B", str(HERMES / "graders" / "written.py"), str(tmp_path)]
    for name in ("kiwi", "../../other"):
        assert subprocess.run([*grader, name], check=False, capture_output=True).returncode == 1
