"""The log: a JSON object a line, values cut, no secret in it."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from moss import logs

KEY = "sk-proj-" + "aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xY"


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "log" / "moss.log"
    logs.to_file(path)
    yield path
    logs.close()


def told(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_event_is_one_line_with_what_is_bound(file: Path) -> None:
    with structlog.contextvars.bound_contextvars(run="ev-01", stage="plan"):
        structlog.get_logger().info("step", says="line one\nline two\x1b[2J")
    (event,) = told(file)
    assert (event["run"], event["stage"], event["level"]) == ("ev-01", "plan", "info")
    assert file.read_text().count("\n") == 1
    assert "\x1b" not in file.read_text()


def test_values_are_cut(file: Path) -> None:
    structlog.get_logger().info("step", says="word " * 100_000)
    assert len(str(told(file)[0]["says"])) == logs.VALUE_LIMIT


@pytest.mark.parametrize("value", [f"with {KEY} twice: {KEY}", f"Authorization: Bearer {KEY}", {"key": KEY}, [KEY]])
def test_secrets_leave_as_a_placeholder(file: Path, value: object) -> None:
    structlog.get_logger().warning("step failed", sentence=value)
    assert KEY not in file.read_text()
    assert "[secret]" in file.read_text()


def test_a_traceback_is_a_value_like_any_other(file: Path) -> None:
    try:
        raise ValueError(f"bad {KEY}")
    except ValueError:
        structlog.get_logger().exception("broke")
    assert "ValueError" in str(told(file)[0]["exception"])
    assert KEY not in file.read_text()


def test_the_file_is_its_owners_alone_and_turned_over_when_it_is_large(tmp_path: Path) -> None:
    path = tmp_path / "moss.log"
    with path.open("wb") as old:
        old.truncate(logs.FILE_LIMIT + 1)
    logs.to_file(path)
    structlog.get_logger().info("fresh")
    logs.close()
    assert path.stat().st_size < 1000
    assert path.with_suffix(".log.1").stat().st_size > logs.FILE_LIMIT
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_who_listens_gets_each_event_clean(tmp_path: Path) -> None:
    heard: list[dict[str, object]] = []
    logs.to_file(tmp_path / "moss.log", lambda event: heard.append(dict(event)))
    structlog.get_logger().info("step", says=KEY)
    structlog.get_logger().debug("tick", says="not worth a line")
    logs.close()
    assert [event["says"] for event in heard] == ["[secret]"]
