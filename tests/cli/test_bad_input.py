"""Bad input on every command: one sentence with place and mend, exit code 1 or 2, nothing changed, nothing obeyed."""

import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moss.cli import lift
from moss.cli.asking import budget
from moss.cli.table import COMMANDS
from moss.domain.budget import Budget
from moss.domain.ids import RunId
from moss.errors import UserError
from moss.testing.workbench import Workbench
from tests.cli.conftest import Moss

HOSTILE = {
    "escape": "\x1b[2J\x1b]0;owned\x07",
    "shell": "x; touch owned; $(touch owned) `touch owned` | touch owned && touch owned",
    "nul": "a\0b",
    "markup": "[bold red]x[/] [link=file:///etc/passwd]y[/link]",
    "template": "{{ 7 * 7 }} {% raw %} ${7*7} %s %n {0.__class__}",
    "newline": "ev-01\nmoss: everything is fine",
    "direction": "ev-\u202e10\u2066",
    "long": "x" * 200_000,
    "surrogate": "ev-\udcff\ud800",
    "dots": "../../../../etc/passwd",
    "empty": "",
}
ARGUMENTS: dict[str, list[str]] = {
    "show": ["{}"], "matrix": ["{}"], "diff": ["{}"], "log": ["{}"], "watch": ["{}"], "review": ["{}"], "run": ["{}"],
    "stop": ["{}"], "resume": ["{}"], "start": ["{}"], "rewind": ["{}", "--to", "plan"],
    "reject": ["{}", "--because", "{}"], "approve": ["{}", "--as", "{}", "--yes"], "dismiss": ["{}", "--because", "{}"],
    "flag": ["{}", "1", "--because", "{}", "--expect", "{}"], "keys new": ["{}"], "keys revoke": ["{}"],
    "token new": ["{}", "--role", "viewer"], "token revoke": ["{}"], "store restore": ["{}"], "rollback": ["{}"],
    "adopt": ["--commit", "{}"], "init": ["{}"], "gateway usage": ["{}"], "notices": ["{}"], "status": ["{}"],
    "doctor": ["{}"],
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_every_command_takes_hostile_words_as_words(moss: Moss, place: Path, kind: str, bench: Workbench) -> None:
    before = sorted(path for path in place.parent.rglob("*") if "keys" in path.name or path.suffix in (".toml", ".pem"))
    for name, words in ARGUMENTS.items():
        said = moss(*name.split(" "), *(word.format(HOSTILE[kind]) for word in words))
        assert said.code in (1, 2), (name, said)
        assert said.err.startswith("moss: "), (name, said)
        assert len(said.err) < 2500, name
        for text in (said.out, said.err):
            assert not {"\x1b", "\x07", "\0", "\u202e", "\u2066"} & set(text), (name, text)
        assert "moss: everything is fine" not in said.err.splitlines()
    after = sorted(path for path in place.parent.rglob("*") if "keys" in path.name or path.suffix in (".toml", ".pem"))
    assert after == before
    assert not list(place.parent.rglob("owned*"))
    assert bench.store.runs() == []


@pytest.mark.parametrize("name", ARGUMENTS)
@pytest.mark.parametrize("option", ["--nonsense", "--limit=x", "-z", "--home"])
def test_an_option_that_is_none_is_wrong_use(moss: Moss, place: Path, name: str, option: str) -> None:
    said = moss(*name.split(" "), *ARGUMENTS[name], option)
    assert said.code == 2
    assert said.err.startswith("moss: ")
    assert said.err.count("\n") <= 2


def test_all_commands_are_tried_with_hostile_words() -> None:
    without = {
        "serve",
        "down",
        "scan",
        "failures",
        "batches",
        "runs",
        "pause",
        "keys list",
        "token list",
        "store backup",
    }
    assert set(COMMANDS) - without - {"store backup"} == set(ARGUMENTS)


# ------------------------------------------------------------------ moss.toml

BROKEN = {
    "no toml": (b"[substrate\nname = 1\n", "moss.toml:1"),
    "unknown": (b'[substrate]\nname = "x"\nnmae = "y"\n', "moss.toml:3 substrate.nmae: no setting is called `nmae`"),
    "type": (b'[substrate]\nname = "x"\n[live]\nport = "high"\n', "moss.toml:4"),
    "utf-8": (b'[substrate]\nname = "\xff\xfe"\n', "moss.toml:2: is not UTF-8"),
    "nul": (b"[substrate]\n\n\0", "moss.toml:3: holds a NUL"),
    "secret": (
        b'[substrate]\nname = "x"\n[gateway]\nupstreams = [{ name = "m", url = "http://x", key = "sk-1" }]\n',
        "",
    ),
    "empty": (b"", "moss.toml"),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("command", ["status", "serve", "doctor", "scan", "keys new bob", "down", "adopt"])
def test_a_broken_moss_toml_is_one_sentence_with_its_line(moss: Moss, place: Path, kind: str, command: str) -> None:
    text, words = BROKEN[kind]
    (place / "moss.toml").write_bytes(text)
    said = moss(*command.split(" "))
    assert said.code == 2
    assert words in said.err
    assert "sk-1" not in said.err
    assert not (place / ".moss").exists()
    assert (place / "moss.toml").read_bytes() == text


def test_a_moss_toml_of_100_mb_is_refused_at_once(moss: Moss, place: Path) -> None:
    with (place / "moss.toml").open("wb") as file:
        file.truncate(100 << 20)
    said = moss("status")
    assert (said.code, "larger than 1024 KiB" in said.err) == (2, True)


def test_no_moss_toml_names_the_mend(moss: Moss, place: Path) -> None:
    (place / "moss.toml").unlink()
    said = moss("status")
    assert said.code == 2
    mend = "mend: moss init writes one, in the folder of your agent"
    assert said.err == f"moss: there is no {place}/moss.toml\n      {mend}\n"


def test_a_home_without_a_moss_toml_is_named(moss: Moss, place: Path) -> None:
    (place / "moss.toml").unlink()
    said = moss("--home", "/nonexist", "status")
    assert said.code == 2
    assert f"there is no /nonexist/moss.toml and no {place}/moss.toml" in said.err
    assert "there is no /nonexist.toml\n" in moss("--config", "/nonexist.toml", "status").err


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: os.mkfifo(path)], ids=["folder", "fifo"])
def test_a_moss_toml_that_is_no_file_is_refused(moss: Moss, place: Path, make: object) -> None:
    (place / "moss.toml").unlink()
    make(place / "moss.toml")  # type: ignore[operator]
    assert moss("status").code == 2


def test_the_home_may_stand_elsewhere(moss: Moss, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert moss("--home", str(tmp_path / "else"), "runs").code == 0
    assert (tmp_path / "else" / "store.db").exists()
    assert not (place / ".moss").exists()
    monkeypatch.chdir(tmp_path)
    assert moss("--home", str(place), "runs").code == 0
    assert (place / ".moss" / "store.db").exists()


# ------------------------------------------------------------------ files


def test_a_key_that_is_none_is_one_sentence(moss: Moss, waiting: RunId, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    noise = random.Random(7).randbytes(4000)
    for data in (
        b"",
        b"\0" * 100,
        noise,
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"x" * 20_000,
    ):
        path = keys / "alice.pem"
        path.write_bytes(data)
        path.chmod(0o600)
        said = moss("approve", waiting, "--as", "alice", "--yes")
        assert said.code == 2
        assert str(path) in said.err


def test_a_key_that_others_can_read_is_not_used(moss: Moss, place: Path, tmp_path: Path, waiting: RunId) -> None:
    moss("keys", "new", "alice", "--no-add")
    (tmp_path / "keys" / "alice.pem").chmod(0o644)
    said = moss("approve", waiting, "--as", "alice", "--yes")
    assert (said.code, "others can read the key" in said.err) == (2, True)


@pytest.mark.parametrize("kind", ["missing", "no backup", "file", "hostile store"])
def test_what_is_no_backup_is_not_restored(moss: Moss, place: Path, tmp_path: Path, kind: str) -> None:
    source = tmp_path / "source"
    if kind == "file":
        source.write_text("x")
    elif kind != "missing":
        source.mkdir()
    if kind == "hostile store":
        (source / "store.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 4096)
    said = moss("--home", str(tmp_path / "fresh"), "store", "restore", str(source))
    assert said.code in (1, 2)
    assert not (tmp_path / "fresh" / "store.db").exists()


# ------------------------------------------------------------------ parsers


@given(st.text(max_size=60))
def test_any_text_is_a_budget_or_one_sentence(text: str) -> None:
    try:
        found = budget([text])
    except UserError:
        return
    assert isinstance(found, Budget)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["4USD"], {"money_usd": 4.0}),
        (["0.5usd", "200000tokens"], {"money_usd": 0.5, "tokens": 200_000}),
        (["30min,100trials"], {"seconds": 1800.0, "trials": 100}),
        (["2h", "5iterations"], {"seconds": 7200.0, "iterations": 5}),
        (["1token"], {"tokens": 1}),
    ],
)
def test_budgets(words: list[str], wanted: dict[str, float]) -> None:
    assert budget(words) == Budget.model_validate(wanted)


@pytest.mark.parametrize("word", ["", "4", "USD", "-1USD", "1e9USD", "1.5tokens", "infUSD", "4 dollars", "4USD;rm"])
def test_what_is_no_budget(word: str) -> None:
    with pytest.raises(UserError):
        budget([word])


@given(
    st.lists(st.sampled_from(["--json", "--quiet", "--home=x", "--server=y", "x", "-f", "--to"]), max_size=8), st.data()
)
def test_options_of_every_command_are_found_wherever_they_stand_and_no_word_is_lost(
    words: list[str], data: st.DataObject
) -> None:
    tail = data.draw(st.sampled_from([[], ["--", "--json", "--home=z"]]))
    found, rest = lift([*words, *tail])
    mine = {"--json", "--quiet", "--home=x", "--server=y"}
    assert rest == [word for word in words if word not in mine] + tail
    assert {f"--{name}" if value is True else f"--{name}={value}" for name, value in found.items()} == mine & set(words)


@pytest.mark.parametrize("words", [["--home"], ["status", "--server"], ["--config", "--json"], ["--home", "--", "x"]])
def test_an_option_without_its_value_is_wrong_use(moss: Moss, words: list[str]) -> None:
    said = moss(*words)
    assert (said.code, "needs a value" in said.err) == (2, True)
