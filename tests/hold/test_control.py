"""The control socket: whatever is written to it, the proxy answers in one sentence and goes on."""

import asyncio
import json
import os
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moss.domain.ids import Key
from moss.errors import TargetDown, TargetError
from moss.hold.client import HoldClient
from moss.hold.memory import Kept, Memory
from moss.hold.words import AnsweredLine

from .conftest import Front


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"kind":"nothing"}',
        b"\xff\x00",
        b'{"kind":"hold","key":1}',
        b"{" * 5000,
        b'{"kind":',
    ],
)
async def test_a_request_that_cannot_be_read_is_answered_with_an_error(front: Front, line: bytes) -> None:
    def ask() -> bytes:
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(front.options.control))
            peer.sendall(line + b"\n")
            return peer.makefile("rb").readline()

    told = json.loads(await asyncio.to_thread(ask))
    assert told["error"] == "TargetError"
    assert (await front.ask(front.client.status)).pid == os.getpid()


async def test_a_hold_without_a_deadline_is_refused(front: Front) -> None:
    with pytest.raises((TargetError, ValueError)):
        await front.ask(front.client.hold, Key("k"), 1.0, 0.0, 1)
    assert (await front.ask(front.client.status)).held is None


def test_nobody_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(TargetDown, match="nobody answers"):
        HoldClient(tmp_path).status()


def test_a_log_line_cut_by_a_crash_is_dropped_and_the_others_stay(tmp_path: Path) -> None:
    memory = Memory(tmp_path)
    line = AnsweredLine.model_validate(
        {"id": "1", "at": "2026-01-01T00:00:00Z", "method": "POST", "path": "/", "status": 200, "body_sha": "sha256:0"}
    )
    memory.log(Key("k"), line)
    file = next((tmp_path / "answered").iterdir())
    with file.open("ab") as end:
        end.write(b'{"id": "2", "at":')
    assert Memory(tmp_path).answered(Key("k")) == (line,)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=40)
@given(data=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_any_state_file_opens(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "state.json").write_bytes(data)
    assert Memory(tmp_path).kept == Kept()
