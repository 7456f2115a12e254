import time

import pytest

from moss.adapters.turns.health import look
from moss.config import HealthSettings
from moss.ports import Place, Readiness
from tests.pace import at_most

from .conftest import Act, Agent, drip, drip_head, flood, raw, says, silence

SETTINGS = HealthSettings()


@pytest.mark.parametrize(
    ("body", "boot"),
    [
        (b'{"status": "ready", "boot": "b-1"}', "b-1"),
        (b'{"boot": 17}', "17"),
        (b'{"boot": null}', None),
        (b'{"boot": ["x"]}', None),
        (b"ok", None),
        (b"\xff\0", None),
        (b"[" * 100_000, None),
    ],
)
def test_200_is_ready_with_its_boot_where_it_says_one(agent: Agent, body: bytes, boot: str | None) -> None:
    agent.act = says(200, body)
    seen = look(SETTINGS, agent.place)
    assert (seen.readiness, seen.boot) == (Readiness.READY, boot)
    assert agent.head[0] == "GET /health HTTP/1.1"


@pytest.mark.parametrize(
    ("act", "readiness"),
    [
        (says(503, b'{"status": "starting"}'), Readiness.STARTING),
        (silence, Readiness.STARTING),
        (drip_head, Readiness.STARTING),
        (says(500, b""), Readiness.FAILED),
        (says(404, b""), Readiness.FAILED),
        (says(302, b""), Readiness.FAILED),
        (says(204, b""), Readiness.FAILED),
        (raw(b""), Readiness.FAILED),
        (raw(b"hello"), Readiness.FAILED),
        (drip, Readiness.READY),
        (flood, Readiness.READY),
    ],
)
def test_three_values_within_a_second(agent: Agent, act: Act, readiness: Readiness) -> None:
    agent.act = act
    began = time.monotonic()
    assert look(SETTINGS, agent.place).readiness is readiness
    assert time.monotonic() - began < at_most(1.2)


def test_nobody_listening_is_starting(nobody: Place) -> None:
    seen = look(SETTINGS, nobody)
    assert (seen.readiness, seen.detail) == (Readiness.STARTING, "connection refused")


def test_route_and_status_are_the_user_s(agent: Agent) -> None:
    agent.act = says(204, b"")
    assert look(HealthSettings(path="/up", ready_status=204), agent.place).readiness is Readiness.READY
    assert agent.head[0] == "GET /up HTTP/1.1"
