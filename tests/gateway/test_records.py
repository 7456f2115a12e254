"""What is kept of exchanges: whole lines, by grant and by day, redacted, bounded, dropped in time."""

import json
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from moss.config import Upstream
from moss.domain.evidence import Chunk, Exchange
from moss.domain.ids import Digest, Key
from moss.gateway.call import redact_chunks
from moss.gateway.records import Records
from moss.ports import GatewayMode
from moss.testing.models import completion, model_server

from .conftest import chat, gateway, grant

DAY = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = Key("ev-01/t/1")


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return make(tmp_path)


def make(tmp_path: Path, day_bytes: int = 1 << 20) -> Records:
    for name in ("records", "live"):
        (tmp_path / name).mkdir(exist_ok=True)
    return Records(tmp_path / "records", tmp_path / "live", 1 << 20, day_bytes)


def exchange(ordinal: int = 1, at: datetime = DAY) -> Exchange:
    return Exchange(
        ordinal=ordinal, at=at, upstream="main", path="/x", request=b"{}", canonical=Digest("c"), status=200
    )


def test_they_come_by_ordinal_and_by_attempt(records: Records) -> None:
    for attempt, ordinal in ((1, 2), (1, 1), (2, 1)):
        records.add(KEY, attempt, exchange(ordinal))
    assert [each.ordinal for each in records.of(KEY, 1)] == [1, 2]
    assert [each.ordinal for each in records.of(KEY, 2)] == [1]
    assert records.of(KEY, 3) == ()


def test_a_line_that_a_kill_cut_short_is_dropped_before_the_next(records: Records, tmp_path: Path) -> None:
    records.add(KEY, 1, exchange(1))
    (path,) = (tmp_path / "records").iterdir()
    with path.open("ab") as file:
        file.write(b'{"ordinal": 2, "at": "' + b"x" * 200_000)
    again = make(tmp_path)
    assert [each.ordinal for each in again.of(KEY, 1)] == [1]
    again.add(KEY, 1, exchange(3))
    assert [each.ordinal for each in again.of(KEY, 1)] == [1, 3]


def test_a_file_of_nothing_but_a_cut_line_begins_anew(records: Records, tmp_path: Path) -> None:
    records.add(KEY, 1, exchange(1))
    (path,) = (tmp_path / "records").iterdir()
    path.write_bytes(b"x" * 100_000)
    again = make(tmp_path)
    again.add(KEY, 1, exchange(1))
    assert len(again.of(KEY, 1)) == 1


def test_the_live_record_is_found_by_time_over_days(records: Records, tmp_path: Path) -> None:
    times = [DAY + timedelta(hours=hours) for hours in (30, 0, 13, 12)]
    for at in times:
        records.add_live(exchange(at=at))
    assert sorted(path.name for path in (tmp_path / "live").iterdir()) == ["2026-03-01.jsonl", "2026-03-02.jsonl"]
    found = records.live_between(DAY + timedelta(hours=12), DAY + timedelta(hours=30))
    assert [each.at for each in found] == [times[3], times[2]]


def test_old_days_and_old_records_are_dropped(records: Records, tmp_path: Path) -> None:
    for days in (0, 10, 20):
        records.add_live(exchange(at=DAY + timedelta(days=days)))
    records.prune_live(DAY + timedelta(days=20), days=10)
    assert sorted(path.stem for path in (tmp_path / "live").iterdir()) == ["2026-03-11", "2026-03-21"]
    records.add(KEY, 1, exchange())
    records.add(KEY, 2, exchange())
    (old,) = [path for path in (tmp_path / "records").iterdir() if path.name.endswith(".1.jsonl")]
    os.utime(old, (DAY.timestamp(), DAY.timestamp()))
    records.prune(DAY + timedelta(days=31), days=30)
    assert (records.of(KEY, 1), len(records.of(KEY, 2))) == ((), 1)


def test_a_full_day_keeps_no_more(tmp_path: Path) -> None:
    records = make(tmp_path, day_bytes=300)
    for _ in range(5):
        records.add_live(exchange())
    assert 1 <= len(records.live_between(DAY, DAY + timedelta(days=1))) < 5


def test_a_secret_that_two_chunks_share_is_found() -> None:
    chunks = [Chunk(data=b"my key is sk-12", after=0.1), Chunk(data=b"34 and", after=0.2), Chunk(data=b" more")]

    def redact(data: bytes) -> bytes:
        return re.sub(rb"sk-\d+", b"sk-[gone away]", data)

    kept = redact_chunks(chunks, redact)
    assert b"".join(each.data for each in kept) == b"my key is sk-[gone away] and more"
    assert [each.after for each in kept] == [0.1, 0.2, 0.0]


def test_records_hold_no_secret_of_request_answer_or_turn(tmp_path: Path) -> None:
    def redact(data: bytes) -> bytes:
        return data.replace(b"hunter2hunter2", b"[redacted_pw]")

    with (
        model_server(lambda reached, line: line.json(200, completion(f"you said {reached.last}"))) as model,
        gateway(tmp_path, redact=redact, upstreams=(Upstream(name="main", url=model.url),)) as running,
    ):
        trial = running.control.open(grant())
        live = running.control.open(grant("live", mode=GatewayMode.RECORD, seconds=None))
        for token in (trial, live):
            answer = running.ask(token, chat("hunter2hunter2"), **{"X-Moss-Turn": "hunter2hunter2#1"})
            assert answer.text == "you said hunter2hunter2"
        (kept,) = running.control.live_record(datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC))
        assert kept.turn == "[redacted_pw]#1"
        assert b"[redacted_pw]" in kept.request
    for path in (tmp_path / "gateway").rglob("*"):
        assert not path.is_file() or b"hunter2hunter2" not in path.read_bytes(), path


def test_a_redacted_recording_is_replayed_for_a_redacted_turn(tmp_path: Path) -> None:
    def redact(data: bytes) -> bytes:
        return data.replace(b"hunter2hunter2", b"[redacted_pw]")

    with (
        model_server() as model,
        gateway(tmp_path, redact=redact, upstreams=(Upstream(name="main", url=model.url),)) as running,
    ):
        running.ask(running.control.open(grant("rec", mode=GatewayMode.RECORD)), chat("pay with hunter2hunter2"))
        from moss.gateway.recording import dump

        recording = running.put(dump(running.control.record(Key("rec"))))
        token = running.control.open(grant(mode=GatewayMode.REPLAY, recording=recording))
        assert running.ask(token, chat("pay with [redacted_pw]")).text == "real: pay with [redacted_pw]"
        assert running.control.usage(grant().key).diverged_at is None
        assert len(model.reached) == 1


@pytest.mark.parametrize("turn", ["no-number", "s#0", "s#1x", "a b#1", "x" * 400 + "#1", "s#99999999"])
def test_a_turn_that_is_none_is_left_out(tmp_path: Path, scripted: Callable[..., Upstream], turn: str) -> None:
    with gateway(tmp_path, upstreams=(scripted({"text": "x"}),)) as running:
        token = running.control.open(grant("live", mode=GatewayMode.RECORD, seconds=None))
        assert running.ask(token, chat("x"), **{"X-Moss-Turn": turn}).status == 200
        (kept,) = running.control.live_record(datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC))
        assert kept.turn is None


def test_a_stream_is_replayed_chunk_by_chunk_with_its_cut(tmp_path: Path, scripted: Callable[..., Upstream]) -> None:
    from moss.gateway.recording import dump

    rule = {"text": "a stream that is cut in the middle", "fault": {"cut_after": 400}}
    with gateway(tmp_path, upstreams=(scripted(rule),)) as running:
        first = running.ask(running.control.open(grant("rec")), chat("x", stream=True))
        (recorded,) = running.control.record(Key("rec"))
        recording = running.put(dump([recorded]))
        token = running.control.open(grant(mode=GatewayMode.REPLAY, recording=recording))
        again = running.ask(token, chat("x", stream=True))
        assert (again.body, again.error, len(again.body)) == (first.body, "IncompleteRead", 400)
        (replayed,) = running.control.record(grant().key)
        assert [chunk.data for chunk in replayed.chunks] == [chunk.data for chunk in recorded.chunks]
        assert (replayed.cut, replayed.origin) == (True, "replay")


@pytest.mark.parametrize("wrong", [b"not a recording\n", None, b"changed"])
def test_a_recording_that_is_not_what_it_should_be_is_a_fault(
    tmp_path: Path, scripted: Callable[..., Upstream], wrong: bytes | None
) -> None:
    with gateway(tmp_path, upstreams=(scripted({"text": "x"}),)) as running:
        recording = running.put(b"" if wrong == b"changed" else wrong or b"")
        if wrong is None or wrong == b"changed":
            path = running.artifacts / recording[7:9] / recording[7:]
            path.unlink() if wrong is None else path.write_bytes(wrong)
        token = running.control.open(grant(mode=GatewayMode.REPLAY, recording=recording))
        answer = running.ask(token, chat("x"))
        assert (answer.status, answer.refusal["code"]) == (502, "artifact")
        assert running.control.usage(grant().key).faults == 1


def test_large_requests_are_parsed_and_kept_too(tmp_path: Path) -> None:
    with model_server() as model, gateway(tmp_path, upstreams=(Upstream(name="main", url=model.url),)) as running:
        text = "x" * 2_000_000
        assert running.ask(running.control.open(grant()), chat(text)).status == 200
        (kept,) = running.control.record(grant().key)
        assert json.loads(kept.request)["messages"][0]["content"] == text
