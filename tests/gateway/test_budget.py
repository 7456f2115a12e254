"""Many boxes' calls at once never spend more than was granted."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from moss.config import Upstream
from moss.testing.models import Line, Reached, completion, model_server

from .conftest import Running, chat, gateway, grant

PRICES = "dated = 2026-01-01\n[models]\nm = { input = 1.0, output = 10.0 }\n"


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    path = tmp_path / "prices.toml"
    path.write_text(PRICES)
    return path


def obedient(reached: Reached, line: Line) -> None:
    """An answer of forty tokens, or as long as it may be."""
    line.json(200, completion("x", 20, min(40, reached.json.get("max_completion_tokens", 40))))


def many(running: Running, token: str, count: int, **more: object) -> list[int]:
    def ask(number: int) -> int:
        return running.ask(token, chat(f"number {number}", **more)).status

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(ask, range(count)))


def test_fifty_calls_at_once_stay_below_a_token_limit(tmp_path: Path) -> None:
    with (
        model_server(obedient) as model,
        gateway(tmp_path, upstreams=(Upstream(name="main", url=model.url),)) as running,
    ):
        token = running.control.open(grant(max_tokens=1000))
        statuses = many(running, token, 50)
        usage = running.control.close(grant().key)
        assert usage.tokens_in + usage.tokens_out <= 1000
        # what was reserved too much came back: nearly all of the limit was of use
        assert statuses.count(200) == len(model.reached) >= 15
        assert statuses.count(402) == 50 - statuses.count(200)
        assert usage.exhausted


def test_fifty_calls_at_once_stay_below_a_money_limit(tmp_path: Path, prices: Path) -> None:
    with (
        model_server(obedient) as model,
        gateway(tmp_path, upstreams=(Upstream(name="main", url=model.url),), prices=prices) as running,
    ):
        token = running.control.open(grant(max_money_usd=0.005))
        statuses = many(running, token, 50, max_completion_tokens=40)
        usage = running.control.close(grant().key)
        assert usage.money_usd <= 0.005
        assert statuses.count(200) == len(model.reached) >= 10
        assert usage.money_usd == pytest.approx((usage.tokens_in + 10 * usage.tokens_out) / 1e6)


def test_a_model_without_a_price_needs_a_token_limit(tmp_path: Path) -> None:
    with model_server() as model, gateway(tmp_path, upstreams=(Upstream(name="main", url=model.url),)) as running:
        money = running.control.open(grant("money", max_money_usd=1.0))
        answer = running.ask(money, chat("x"))
        assert (answer.status, answer.refusal["code"]) == (402, "unknown_price")
        assert model.reached == []
        both = running.control.open(grant("both", max_money_usd=1.0, max_tokens=10_000))
        assert running.ask(both, chat("x")).status == 200
        assert running.control.usage(grant("both").key).money_usd == 0


def test_a_stream_that_would_overrun_is_cut_with_the_apis_own_stop(tmp_path: Path) -> None:
    pause = threading.Event()

    def act(reached: Reached, line: Line) -> None:
        line.head(200, Content_Type="text/event-stream", Transfer_Encoding="chunked")
        piece = {"choices": [{"index": 0, "delta": {"content": "forty letters, which makes ten tokens ..."}}]}
        while True:
            pause.wait(0.002)
            line.chunk(b"data: " + json.dumps(piece).encode() + b"\n\n")

    with model_server(act) as model, gateway(tmp_path, upstreams=(Upstream(name="main", url=model.url),)) as running:
        token = running.control.open(grant(max_tokens=100))
        answer = running.ask(token, chat("x", stream=True))
        events = [line[6:] for line in answer.body.decode().splitlines() if line.startswith("data: ")]
        assert (answer.error, events[-1]) == (None, "[DONE]")
        assert json.loads(events[-2])["choices"][0]["finish_reason"] == "length"
        usage = running.control.close(grant().key)
        assert usage.exhausted
        assert usage.tokens_out <= 110


def test_a_replay_of_what_was_paid_is_free(tmp_path: Path, prices: Path) -> None:
    with (
        model_server() as model,
        gateway(tmp_path, upstreams=(Upstream(name="main", url=model.url),), prices=prices) as running,
    ):
        for _ in range(3):
            token = running.control.open(grant())
            assert running.ask(token, chat("x")).text == "real: x"
        assert len(model.reached) == 1
        assert running.control.usage(grant().key).money_usd == pytest.approx((10 + 50) / 1e6)
