"""What an agent wrote at its end: its own words alone, however it and those before it left the file."""

from pathlib import Path

import pytest

from moss.adapters.targets.process.agent_log import last_words, note


@pytest.mark.parametrize(
    ("before", "wrote", "words"),
    [
        ("", "Traceback\nKeyError: 'order'\n", "Traceback\nKeyError: 'order'"),
        ("an older one's line\n", "", ""),
        ("an older one's last line without an end", "mine", "mine"),
    ],
)
def test_only_what_the_last_start_wrote_counts(tmp_path: Path, before: str, wrote: str, words: str) -> None:
    log = tmp_path / "agent.log"
    log.write_text(before)
    note(log, "clerk:2 starts")
    with log.open("a") as file:
        file.write(wrote)
    assert last_words(log) == words
    assert "\nmoss supervisor: clerk:2 starts\n" in "\n" + log.read_text()


def test_a_start_far_above_the_end_leaves_the_end(tmp_path: Path) -> None:
    log = tmp_path / "agent.log"
    note(log, "clerk:2 starts")
    with log.open("a") as file:
        file.writelines(f"line {number}\n" for number in range(1000))
    assert last_words(log).endswith("line 998\nline 999")


def test_without_a_file_there_are_none(tmp_path: Path) -> None:
    assert last_words(tmp_path / "none") == ""
