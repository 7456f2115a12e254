"""`moss init`: what it tells of a folder, what it writes, what it never does."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.clerk.workshop import HERE
from moss.cli.guess import Found, look
from moss.cli.template import fill
from moss.settings import load
from moss.testing.repository import Repository
from tests.cli.conftest import Moss


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("MOSS_")]:
        monkeypatch.delenv(name)
    made = tmp_path / "my_agent"
    made.mkdir()
    monkeypatch.chdir(made)
    return made


def agent(folder: Path, main: str = "", name: str = "agent") -> None:
    (folder / name).mkdir()
    (folder / name / "__main__.py").write_text(main)


def test_what_it_writes_is_good_and_commented_and_names_what_to_look_at(moss: Moss, folder: Path) -> None:
    agent(folder, 'parser.add_argument("--port", type=int, default=9123)\nif path == "/healthz": pass\n')
    (folder / "tests").mkdir()
    said = moss("init")
    assert said.code == 0
    assert "`python -m agent`" in said.out
    assert "port 9123" in said.out
    assert "look at: the folder is in no git repository" in said.out
    settings = load(folder / "moss.toml", {})
    assert (settings.live.port, settings.health.path, settings.substrate.name) == (9123, "/healthz", "my-agent")
    assert settings.substrate.editable == ("agent/**",)
    assert settings.live.argv[:4] == ("python3", "-B", "-m", "agent")
    assert (folder / "moss.toml").read_text().count("#") > 20


def test_the_clerk_is_found_as_it_is(tmp_path: Path) -> None:
    found = look(HERE, HERE.parent)
    assert (found.module, found.tests, found.source, found.health) == ("clerk", "tests", "clerk", "/health")


def test_a_moss_toml_that_is_there_stays_unless_forced(moss: Moss, folder: Path) -> None:
    (folder / "moss.toml").write_text("mine")
    said = moss("init")
    assert said.code == 2
    assert said.err == "moss: moss.toml: is there already\n      mend: moss init --force overwrites it\n"
    assert (folder / "moss.toml").read_text() == "mine"
    assert moss("init", "--force").code == 0
    assert load(folder / "moss.toml", {}).substrate.name == "my-agent"


def test_a_git_repository_stays_clean_of_what_moss_keeps(moss: Moss, folder: Path) -> None:
    agent(folder)
    repository = Repository(folder)
    repository.git("init", "--quiet")
    repository.write("agent/__main__.py", "")
    repository.commit("first")
    said = moss("init")
    assert "no git repository" not in said.out
    assert "next: moss doctor" in said.out
    moss("runs")
    assert (folder / ".moss" / "store.db").exists()
    assert repository.git("status", "--porcelain") == "?? moss.toml"


def test_it_tells_the_same_as_json(moss: Moss, folder: Path) -> None:
    agent(folder)
    told = json.loads(moss("init", "--json").out)
    assert (told["module"], told["port"], told["wrote"]) == ("agent", 8080, "moss.toml")


def test_nothing_that_it_finds_is_run_or_followed(moss: Moss, folder: Path, tmp_path: Path) -> None:
    agent(folder, "import pathlib; pathlib.Path('owned').touch()\n")
    (folder / "Dockerfile").symlink_to("/etc/passwd")
    (folder / "loop").symlink_to(folder)
    (folder / "README.md").write_bytes(b"EXPOSE \xff\xfe 99999 \x1b[2J port: 70000" + b"x" * 1000)
    with (folder / "pyproject.toml").open("wb") as large:
        large.truncate(100 << 20)
    assert moss("init").code == 0
    assert not list(tmp_path.rglob("owned"))
    assert load(folder / "moss.toml", {}).live.port == 8080


@pytest.mark.parametrize("words", [["nowhere"], ["moss.txt"], ["\x1b[2J"]])
def test_a_folder_that_is_none_is_one_sentence(moss: Moss, folder: Path, words: list[str]) -> None:
    (folder / "moss.txt").write_text("x")
    said = moss("init", *words)
    assert said.code == 2
    assert "there is no such folder" in said.err


def test_a_folder_that_cannot_be_written_leaves_nothing(moss: Moss, folder: Path) -> None:
    (folder / "file").write_text("")
    said = moss("init", "--config", "file/moss.toml")
    assert said.code == 2
    assert sorted(path.name for path in folder.iterdir()) == ["file"]


@given(
    st.builds(
        Found,
        name=st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True),
        source=st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=30),
        source_folder=st.just(Path()),
        module=st.none() | st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True),
        port=st.integers(1, 65535),
        health=st.sampled_from(["/health", "/readyz"]),
        tests=st.none() | st.sampled_from(["tests", "test"]),
        runner=st.none() | st.sampled_from(["pytest", "unittest"]),
    )
)
def test_whatever_was_found_the_file_is_good(tmp_path_factory: pytest.TempPathFactory, found: Found) -> None:
    path = tmp_path_factory.mktemp("toml") / "moss.toml"
    path.write_text(fill(found), encoding="utf-8")
    settings = load(path, {})
    assert str(settings.substrate.source) == str(Path(found.source))
    assert settings.live.port == found.port
