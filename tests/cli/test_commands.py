"""What each command says and exits with, over a real store."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from moss.cli.table import COMMANDS, overview
from moss.domain.ids import RunId
from moss.testing.workbench import Workbench
from tests.cli.conftest import Moss


def test_help_lists_every_command_once(moss: Moss) -> None:
    said = moss("--help")
    assert said.code == 0
    for name, command in COMMANDS.items():
        assert said.out.count(f"\n  {name} ") == 1
        assert command.help in said.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_of_its_own(moss: Moss, name: str) -> None:
    said = moss(*name.split(" "), "--help")
    assert said.code == 0
    assert f"moss {name}" in said.out


@pytest.mark.parametrize("noun", ["keys", "token", "store", "gateway"])
def test_a_noun_alone_tells_its_commands(moss: Moss, noun: str) -> None:
    assert moss(noun).out == overview(noun) + "\n"


def test_nothing_at_all_is_wrong_use_with_the_help(moss: Moss) -> None:
    said = moss()
    assert (said.code, said.out) == (2, overview() + "\n")


def test_a_misspelt_command_names_the_nearest(moss: Moss) -> None:
    said = moss("statsu")
    assert (said.code, said.err.split("\n")[0]) == (
        2,
        "moss: there is no command `statsu`; did you mean `moss status`?",
    )


def test_the_version(moss: Moss) -> None:
    assert moss("--version").out.startswith("moss 0.")


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from moss.cli import main; main(['--help']);"
        "heavy = {'pydantic', 'typer', 'rich', 'sqlalchemy', 'fastapi', 'httpx', 'structlog', 'asyncio'};"
        "sys.exit(repr(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_status_imports_no_client_and_no_engine(place: Path) -> None:
    program = (
        "import sys; from moss.cli import main; main(['status']);"
        "heavy = {'rich', 'fastapi', 'httpx', 'structlog', 'aiohttp', 'uvicorn', 'jinja2', 'alembic.command',"
        " 'moss.engine.controller', 'moss.domain.events', 'moss.adapters.targets.process.target'};"
        "sys.exit(repr(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    main = [sys.executable, "-c", program]
    subprocess.run([sys.executable, "-m", "moss.cli", "status"], check=True, capture_output=True)
    done = subprocess.run(main, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# ------------------------------------------------------------------ looking


def test_status_tells_what_waits_and_what_to_do(moss: Moss, waiting: RunId) -> None:
    said = moss("status")
    assert said.code == 0
    assert "ev-01  b-01   refuses  waits for consent" in said.out
    assert said.out.endswith("next: moss review ev-01\n")


def test_show_has_the_stages_the_matrix_and_the_verdict(moss: Moss, committed: RunId) -> None:
    out = moss("show", committed).out
    assert "  implement    1.1  1 file, +" in out
    assert "case-1    it does it  missing  strong  fixed" in out
    assert "3 guards              3/3      3/3     0 broken (turns like these: below 63 %)" in out
    assert "CONVERGED: 3 of 3 fixed, 0 of 3 guards broken" in out
    assert "released after" in out
    assert "scripted     coder puppeteer" in out
    assert out.endswith("next: moss rollback\n")


def test_review_tells_what_the_tour_tells_and_exits_3_while_it_waits(moss: Moss, waiting: RunId) -> None:
    said = moss("review", waiting)
    assert said.code == 3
    for words in (
        "Batch      3 failures, 3 reproduced",
        "Change     puppet.json  +",
        "Proof      3 of 3 fixed in 6 valid trials; 3 of 3 guards held (breakage of turns like these: below 63 %);",
        "12 own checks passed",
        "Base       puppet:first@sha256:",
        "Scripted   coder puppeteer, model main made this result",
        "next: moss approve ev-01 --as alice · moss reject ev-01",
    ):
        assert words in said.out


def test_what_comes_next_can_be_typed_as_it_stands(moss: Moss, place: Path, waiting: RunId) -> None:
    """With the options of this call, with real names, and never the command that was just called."""
    import shlex

    lines = moss("--home", str(place), "show", waiting).out.splitlines()
    *_, following = lines
    assert following == " · ".join(
        f"{start}moss --home {place} {words}"
        for start, words in (("next: ", "review ev-01"), ("", "approve ev-01 --as alice"), ("", "reject ev-01"))
    )
    for command in following.removeprefix("next: ").split(" · "):
        assert moss(*shlex.split(command)[1:], "--help").code == 0
    mend = moss("--home", str(place), "show", "ev-99").err.splitlines()[1]
    assert mend == f"      mend: moss --home {place} runs lists them"


def test_a_batch_where_a_run_is_wanted_is_told_its_run(moss: Moss, waiting: RunId) -> None:
    for command in ("show", "review", "log", "watch", "stop", "diff"):
        said = moss(command, "b-01")
        assert (said.code, said.err) == (
            2,
            f"moss: b-01 is a batch, not a run\n      mend: its run is {waiting}: moss show {waiting}\n",
        )


def test_help_of_a_command_is_its_own(moss: Moss) -> None:
    assert moss("help", "start").out == moss("start", "--help").out
    assert moss("help", "keys", "new").out == moss("keys", "new", "--help").out
    assert (moss("help", "keys").code, moss("help", "bogus").code) == (0, 2)
    names = [line for line in moss("help", "keys").out.splitlines() if line.startswith("  --")]
    assert all("  " in line.strip() for line in names), "each option stands apart from its words"


@pytest.mark.parametrize("command", ["log", "show", "matrix"])
def test_whoever_has_read_enough_ends_a_command_quietly(place: Path, committed: RunId, command: str) -> None:
    """As `moss log RUN | head -1` does, whose reader is gone before the last line."""
    import os

    ours, theirs = os.pipe()
    os.close(ours)
    argv = [sys.executable, "-m", "moss.cli", command, committed]
    ended = subprocess.run(argv, stdout=theirs, stderr=subprocess.PIPE, check=False)
    os.close(theirs)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_rollback_takes_yes_as_the_others_do(moss: Moss) -> None:
    assert "--yes" in moss("rollback", "--help").out


def test_diff_is_the_candidates_change(moss: Moss, waiting: RunId) -> None:
    assert "+++ b/puppet.json" in moss("diff", waiting).out


def test_log_tells_a_line_an_entry_and_follows_to_the_end(moss: Moss, committed: RunId) -> None:
    once, followed = moss("log", committed), moss("log", committed, "--follow")
    assert (once.code, followed.code) == (0, 0)
    assert once.out == followed.out
    for words in ("held", "released", "watched", "consent      alice said yes with SHA256:"):
        assert words in once.out
    assert "trial 1: passed" not in once.out
    assert "trial 1: passed" in moss("log", committed, "--all").out


def test_following_a_run_that_waits_ends_with_3(moss: Moss, waiting: RunId) -> None:
    assert moss("log", waiting, "--follow").code == 3
    assert moss("watch", waiting).code == 3


def test_log_verify_proves_the_chain_and_names_the_first_broken_link(moss: Moss, committed: RunId, place: Path) -> None:
    import sqlite3

    assert moss("log", "--verify").out == "ok: the journal of 1 run holds from first to last\n"
    with sqlite3.connect(place / ".moss" / "store.db") as edit:
        for (trigger,) in edit.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            edit.execute(f"DROP TRIGGER {trigger}")
        edit.execute("UPDATE events SET event = replace(event, 'alice', 'malle') WHERE seq = 5")
        edit.execute("UPDATE events SET hash = 'sha256:0' WHERE seq = 5")
    edit.close()
    said = moss("log", "--verify")
    assert said.code == 1
    assert said.out.startswith("BROKEN: ev-01 entry 5: ")


@pytest.mark.parametrize(
    "words",
    [
        ["status"], ["runs"], ["failures"], ["batches"], ["show", "ev-01"], ["review", "ev-01"], ["diff", "ev-01"],
        ["matrix", "ev-01"], ["log", "ev-01"], ["log", "--verify"], ["keys", "list"], ["token", "list"],
        ["stop", "ev-01"], ["pause", "--all"], ["resume", "--all"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_json_is_one_document_wherever_it_stands(moss: Moss, waiting: RunId, words: list[str]) -> None:
    for line in (["--json", *words], [*words, "--json"]):
        said = moss(*line)
        assert isinstance(json.loads(said.out), dict)
        assert said.err == ""


def test_json_is_a_line_an_event_when_followed(moss: Moss, committed: RunId) -> None:
    lines = moss("watch", committed, "--json").out.splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert lines == moss("log", committed, "--follow", "--json").out.splitlines()


def test_json_errors_are_documents_too(moss: Moss, place: Path) -> None:
    said = moss("show", "ev-01", "--json")
    assert said.code == 2
    assert json.loads(said.out) == {
        "error": "Absent", "sentence": "there is no run ev-01", "mend": "moss runs lists them", "exit": 2,
    }  # fmt: skip


# ------------------------------------------------------------------ doing


def test_a_run_can_be_stopped_and_the_brake_pulled(moss: Moss, waiting: RunId, bench: Workbench) -> None:
    assert moss("stop", waiting).out.startswith("ev-01 stops at its next safe point")
    assert bench.run(waiting).stop == "operator"
    assert moss("pause", "--all").code == 0
    assert "PAUSED      by operator" in moss("status").out
    assert moss("resume", "--all").out == "runs go on\n"


def test_a_run_that_waits_can_be_rejected_or_rewound(moss: Moss, waiting: RunId, bench: Workbench) -> None:
    assert moss("rewind", waiting, "--to", "plan").out.startswith("ev-01 starts again at plan")
    bench.go_on(waiting)
    assert moss("reject", waiting, "--because", "not this way").code == 0
    assert bench.run(waiting).outcome == "rejected"
    assert bench.run(waiting).because == "operator: not this way"


def test_starting_what_is_in_a_run_is_refused_with_the_way_out(moss: Moss, waiting: RunId) -> None:
    said = moss("start", "refuses")
    assert said.code == 1
    sentence, way = said.err.splitlines()
    assert sentence.startswith("moss: fingerprint refuses is already in run ev-01, which waits for consent since ")
    assert way == "      see it: moss review ev-01 · stop it: moss stop ev-01"


def test_a_budget_that_the_first_stage_does_not_fit_spends_and_seals_nothing(moss: Moss, bench: Workbench) -> None:
    said = moss("start", "b-01", "--budget", "0.01USD")
    assert said.code == 1
    assert said.err == "moss: the first stage reserves 0.25 USD, the budget is 0.01 USD. Nothing was spent.\n"
    assert bench.store.runs() == []


def test_a_backup_can_be_restored_into_an_empty_home_only(moss: Moss, committed: RunId, tmp_path: Path) -> None:
    assert "1 run" in moss("store", "backup", str(tmp_path / "copy")).out
    assert moss("store", "restore", str(tmp_path / "copy")).code == 1
    there = tmp_path / "there"
    assert moss("--home", str(there), "store", "restore", str(tmp_path / "copy")).code == 0
    assert "committed" in moss("--home", str(there), "runs").out


def test_what_runs_on_the_machine_itself_is_refused_for_a_server(moss: Moss, place: Path) -> None:
    said = moss("store", "backup", "x", "--server", "http://127.0.0.1:9")
    assert said.code == 2
    assert "only on the machine that MOSS runs on" in said.err


def test_a_server_that_does_not_answer_is_one_sentence(moss: Moss, place: Path) -> None:
    said = moss("status", "--server", "http://127.0.0.1:9")
    assert said.code == 1
    assert said.err.startswith("moss: http://127.0.0.1:9 does not answer")


def test_output_is_plain_when_piped_and_no_color_is_honoured(moss: Moss, committed: RunId) -> None:
    assert "\x1b" not in moss("show", committed).out


def test_quiet_leaves_out_what_was_not_asked_for(moss: Moss, waiting: RunId) -> None:
    token = moss("token", "new", "x", "--role", "viewer", "--quiet").out
    assert token.startswith("moss_")
    assert token.count("\n") == 1


@pytest.mark.parametrize(("length", "height"), [(3, 10), (10, 10), (40, 10), (40, 3), (0, 5), (5, 0)])
def test_a_low_screen_shows_the_head_and_the_newest_lines(length: int, height: int) -> None:
    from moss.cli.watch import fitted

    told = [str(number) for number in range(length)]
    shown = fitted(told, height)
    assert len(shown) <= max(height, 1)
    if length > height >= 6:
        assert shown[:4] == told[:4]
        assert shown[-1] == told[-1]


@pytest.mark.slow
def test_a_terminal_gets_colours_and_nobody_else(place: Path, waiting: RunId) -> None:
    import os
    import pty

    def shown(**more: str) -> bytes:
        ours, theirs = pty.openpty()
        env = {**os.environ, "TERM": "xterm", "COLUMNS": "200", **more}
        subprocess.run([sys.executable, "-m", "moss.cli", "runs"], stdout=theirs, env=env, check=True)
        os.close(theirs)
        data = b""
        try:
            while piece := os.read(ours, 65536):
                data += piece
        except OSError:
            # the other end is closed: that is how a terminal says it
            pass
        os.close(ours)
        return data

    assert b"\x1b[" in shown()
    assert b"waits for consent" in shown(NO_COLOR="1")
    assert b"\x1b[" not in shown(NO_COLOR="1")
    assert b"\x1b[" not in shown(TERM="dumb")
