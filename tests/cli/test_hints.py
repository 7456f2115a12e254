"""Commands in answers: typed with the options of this call; everything else stays letter for letter."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moss.cli.hints import following, typed, way

CALLED = "moss --home shop"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("moss show ev-01", "moss --home shop show ev-01"),
        ("see it: moss review ev-07 · stop it: moss stop ev-07",
         "see it: moss --home shop review ev-07 · stop it: moss --home shop stop ev-07"),
        ("the moss grows, moss.toml and moss-evolve stay", "the moss grows, moss.toml and moss-evolve stay"),
        ("/usr/bin/moss show is no hint", "/usr/bin/moss show is no hint"),
        ("moss statuses", "moss statuses"),
    ],
)  # fmt: skip
def test_only_commands_of_moss_get_the_options(text: str, shown: str) -> None:
    assert typed(text, CALLED) == shown


@given(st.text())
def test_without_options_nothing_changes(text: str) -> None:
    assert typed(text, "moss") == text


def test_the_command_that_was_called_is_not_next() -> None:
    assert following("next: moss watch ev-01 · moss stop ev-01", "moss", "watch") == "next: moss stop ev-01"
    assert following("next: moss watch ev-01", "moss", "watch") is None
    assert following("done. next: moss serve", "moss", "serve") == "done."
    assert following("next: moss rewind ev-01", "moss", "re") == "next: moss rewind ev-01"


def test_paths_are_quoted_and_the_program_is_the_one_that_was_called(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert way({"home": "my shop", "json": True}) == "moss --home 'my shop'"
    assert way({"config": "moss.toml"}) == "moss", "that one is read from here anyway"
    assert way({"config": "other.toml"}) == "moss --config other.toml"
    program = tmp_path / "bin" / "moss"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr("sys.argv", [str(program)])
    monkeypatch.setenv("PATH", str(program.parent))
    assert way({}) == "moss"
    monkeypatch.setenv("PATH", "/nowhere")
    assert way({}) == str(program)
    monkeypatch.chdir(tmp_path)
    assert way({"server": "http://a"}) == "bin/moss --server http://a"
