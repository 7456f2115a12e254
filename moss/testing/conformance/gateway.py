"""Owns the contract of `moss.ports.GatewayControl` as tests. Subclass `GatewayContract` and give it a `bench`.

Never looks inside an adapter: it has the controller's side and a box's side, and counts what the real model was asked.
"""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Protocol

import pytest

from moss.domain.case import OnDivergence
from moss.domain.ids import Digest, Key, RunId
from moss.gateway.recording import dump
from moss.ports import BoxRole, GatewayControl, GatewayMode, Grant
from moss.testing.gateways import BoxAnswer

SCRIPT = {
    "version": 1,
    "rules": [
        {"role": "user", "pattern": r"order (\d+)", "text": "order {1} is fine"},
        {"role": "user", "pattern": "break", "fault": {"status": 503}},
        {"role": "user", "pattern": "cut", "text": "never to its end", "fault": {"cut_after": 20}},
        {"role": "user", "pattern": "drops", "text": "all of it", "fault": {"ends_after": 1, "once": True}},
    ],
}
"""The upstream `main`. The upstream `real` says `real: ` and the last message, for 10 tokens and 5."""

OTHER = {"version": 1, "rules": [{"text": "from the script"}]}


class Bench(Protocol):
    """A gateway with the upstreams `main` (scripted) and `real` (counted)."""

    control: GatewayControl

    def put(self, data: bytes) -> Digest: ...

    def ask(self, token: str, body: bytes, upstream: str | None = None, turn: str | None = None) -> BoxAnswer: ...

    def paid(self) -> int:
        """Requests that reached `real`."""

    def now(self) -> datetime: ...

    def pass_time(self, by: timedelta) -> None: ...


def grant(key: str = "ev-01/t/1", mode: GatewayMode = GatewayMode.LIVE, **more: Any) -> Grant:
    more.setdefault("upstreams", ("main",))
    return Grant(Key(key), RunId("ev-01"), "trial", mode, **more)


def says(text: str, model: str = "m", **more: Any) -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": text}], **more}).encode()


def text_of(answer: BoxAnswer) -> str:
    assert answer.status == 200, answer.body
    return str(json.loads(answer.body)["choices"][0]["message"]["content"])


def code_of(answer: BoxAnswer) -> str:
    return str(json.loads(answer.body)["error"]["code"])


class GatewayContract:
    """What every gateway does."""

    @pytest.fixture
    def bench(self) -> Iterator[Bench]:
        raise NotImplementedError

    def recorded(self, bench: Bench, *texts: str) -> Digest:
        """A recording of the real model's answers to these messages."""
        token = bench.control.open(grant("ev-01/recorded", GatewayMode.RECORD, upstreams=("real",)))
        for text in texts:
            assert bench.ask(token, says(text)).status == 200
        return bench.put(dump(bench.control.record(Key("ev-01/recorded"))))

    # ---------------------------------------------------------------- grants and tokens

    def test_it_says_where_it_is(self, bench: Bench) -> None:
        assert bench.control.url(BoxRole.TRIAL).startswith("http://")

    def test_the_same_grant_gives_the_same_token_until_it_is_used(self, bench: Bench) -> None:
        assert bench.control.open(grant()) == bench.control.open(grant())

    def test_a_forged_token_opens_nothing(self, bench: Bench) -> None:
        token = bench.control.open(grant())
        head, _, tail = token.rpartition(".")
        for forged in (f"{head}.{tail[::-1]}", head, "", "moss1.e30.e30", token.replace("moss1.", "moss1.A", 1)):
            assert bench.ask(forged, says("order 1")).status == 401

    def test_a_token_expires(self, bench: Bench) -> None:
        token = bench.control.open(grant(seconds=60.0))
        assert bench.ask(token, says("order 1")).status == 200
        bench.pass_time(timedelta(seconds=62))
        assert bench.ask(token, says("order 1")).status == 401

    def test_a_closed_grant_is_refused_and_keeps_its_account(self, bench: Bench) -> None:
        token = bench.control.open(grant())
        bench.ask(token, says("order 1"))
        closed = bench.control.close(grant().key)
        assert closed.requests == 1
        assert bench.ask(token, says("order 1")).status == 401
        assert bench.control.close(grant().key) == closed
        assert bench.control.usage(grant().key) == closed
        assert len(bench.control.record(grant().key)) == 1

    def test_a_stream_that_ends_early_once_is_recorded_replayed_and_whole_when_asked_again(self, bench: Bench) -> None:
        asked = says("it drops", stream=True)
        token = bench.control.open(grant("ev-01/dropped", GatewayMode.RECORD))
        early, whole = bench.ask(token, asked), bench.ask(token, asked)
        assert (early.status, early.cut, b"[DONE]" in early.body) == (200, False, False)
        assert b"[DONE]" in whole.body
        assert bench.control.usage(Key("ev-01/dropped")).faults == 0
        recording = bench.put(dump(bench.control.record(Key("ev-01/dropped"))[:1]))
        again = bench.control.open(grant("ev-01/replay", GatewayMode.REPLAY, recording=recording))
        assert bench.ask(again, asked).body == early.body
        assert bench.ask(again, asked).body == whole.body

    def test_closing_what_was_never_opened_is_silent(self, bench: Bench) -> None:
        assert bench.control.close(Key("ev-09/none")).requests == 0
        assert bench.control.record(Key("ev-09/none")) == ()

    def test_a_closed_grant_can_be_opened_again(self, bench: Bench) -> None:
        bench.ask(bench.control.open(grant()), says("order 1"))
        bench.control.close(grant().key)
        assert text_of(bench.ask(bench.control.open(grant()), says("order 2"))) == "order 2 is fine"

    def test_only_granted_upstreams_and_models_answer(self, bench: Bench) -> None:
        token = bench.control.open(grant(models=("m",)))
        assert code_of(bench.ask(token, says("order 1"), upstream="real")) == "upstream_denied"
        assert code_of(bench.ask(token, says("order 1", model="other"))) == "model_denied"
        assert bench.paid() == 0
        assert bench.control.record(grant().key) == ()

    # ---------------------------------------------------------------- accounts and records

    def test_two_grants_have_two_accounts(self, bench: Bench) -> None:
        first, second = (bench.control.open(grant(f"ev-01/t/{each}")) for each in (1, 2))
        bench.ask(first, says("order 1"))
        bench.ask(first, says("order 2"))
        bench.ask(second, says("order 3"))
        assert [bench.control.usage(Key(f"ev-01/t/{each}")).requests for each in (1, 2)] == [2, 1]

    def test_the_record_holds_every_exchange_in_order(self, bench: Bench) -> None:
        token = bench.control.open(grant())
        for text in ("order 1", "break", "cut", "nothing fits"):
            bench.ask(token, says(text))
        record = bench.control.record(grant().key)
        assert [each.ordinal for each in record] == [1, 2, 3, 4]
        assert [each.status for each in record] == [200, 503, 200, 500]
        assert [each.cut for each in record] == [False, False, True, False]
        assert [each.origin for each in record] == ["script"] * 4
        assert record[0].request == says("order 1")
        assert len({each.canonical for each in record}) == 4

    def test_faults_of_an_upstream_are_counted(self, bench: Bench) -> None:
        token = bench.control.open(grant())
        for text in ("order 1", "break", "cut", "nothing fits"):
            bench.ask(token, says(text))
        usage = bench.control.usage(grant().key)
        assert (usage.requests, usage.faults, usage.live) == (4, 3, False)

    def test_a_real_model_makes_the_world_live(self, bench: Bench) -> None:
        token = bench.control.open(grant(upstreams=("real", "main")))
        assert text_of(bench.ask(token, says("hi"))) == "real: hi"
        usage = bench.control.usage(grant().key)
        assert (usage.live, usage.tokens_in > 0, usage.tokens_out > 0) == (True, True, True)
        assert bench.control.record(grant().key)[0].origin == "live"

    def test_a_box_may_choose_among_its_upstreams(self, bench: Bench) -> None:
        token = bench.control.open(grant(upstreams=("real", "main")))
        assert text_of(bench.ask(token, says("order 4"), upstream="main")) == "order 4 is fine"
        assert bench.control.record(grant().key)[0].upstream == "main"

    def test_a_spent_budget_ends_it(self, bench: Bench) -> None:
        token = bench.control.open(grant(upstreams=("real",), max_tokens=60))
        answers = [bench.ask(token, says("hi")) for _ in range(8)]
        assert answers[0].status == 200
        assert code_of(answers[-1]) == "budget"
        usage = bench.control.usage(grant().key)
        assert usage.exhausted
        assert usage.tokens_in + usage.tokens_out <= 60

    def test_the_live_agents_exchanges_carry_their_turn(self, bench: Bench) -> None:
        since = bench.now()
        token = bench.control.open(grant("live", GatewayMode.RECORD, seconds=None))
        for turn in ("s#1", "s#1", "s#2", None):
            bench.ask(token, says("order 1"), turn=turn)
        found = bench.control.live_record(since, bench.now() + timedelta(seconds=1))
        assert [(each.turn, each.ordinal) for each in found] == [("s#1", 1), ("s#1", 2), ("s#2", 1), (None, 1)]
        assert bench.control.live_record(since - timedelta(days=1), since) == ()

    def test_the_live_agents_token_stays_the_same(self, bench: Bench) -> None:
        live = grant("live", GatewayMode.RECORD, seconds=None)
        token = bench.control.open(live)
        bench.ask(token, says("order 1"))
        assert bench.control.open(live) == token

    def test_a_trials_box_names_no_turn(self, bench: Bench) -> None:
        bench.ask(bench.control.open(grant()), says("order 1"), turn="s#1")
        assert bench.control.record(grant().key)[0].turn is None

    # ---------------------------------------------------------------- replay

    def test_a_recording_is_replayed_and_costs_nothing(self, bench: Bench) -> None:
        recording = self.recorded(bench, "one", "two")
        token = bench.control.open(grant(mode=GatewayMode.REPLAY, recording=recording, upstreams=("real",)))
        assert [text_of(bench.ask(token, says(each))) for each in ("one", "two")] == ["real: one", "real: two"]
        usage = bench.control.usage(grant().key)
        assert (bench.paid(), usage.diverged_at, usage.live, usage.tokens_in) == (2, None, False, 0)
        assert [each.origin for each in bench.control.record(grant().key)] == ["replay"] * 2

    def test_from_the_first_difference_on_the_real_model_speaks(self, bench: Bench) -> None:
        recording = self.recorded(bench, "one", "two", "three")
        token = bench.control.open(grant(mode=GatewayMode.REPLAY, recording=recording, upstreams=("real",)))
        for each in ("one", "another", "three"):
            assert text_of(bench.ask(token, says(each))) == f"real: {each}"
        usage, record = bench.control.usage(grant().key), bench.control.record(grant().key)
        assert (usage.diverged_at, usage.live) == (2, True)
        assert [each.origin for each in record] == ["replay", "live", "live"]
        assert [each.divergent for each in record] == [False, True, False]

    def test_a_request_after_the_recordings_end_is_a_difference(self, bench: Bench) -> None:
        recording = self.recorded(bench, "one")
        token = bench.control.open(grant(mode=GatewayMode.REPLAY, recording=recording, upstreams=("real",)))
        bench.ask(token, says("one"))
        bench.ask(token, says("two"))
        assert bench.control.usage(grant().key).diverged_at == 2

    @pytest.mark.parametrize("then", [OnDivergence.SCRIPT, OnDivergence.FAIL, OnDivergence.EMPTY])
    def test_or_whatever_the_grant_says(self, bench: Bench, then: OnDivergence) -> None:
        recording, script = self.recorded(bench, "one"), bench.put(json.dumps(OTHER).encode())
        world = {"recording": recording, "script": script, "on_divergence": then}
        token = bench.control.open(grant(mode=GatewayMode.REPLAY, upstreams=("real",), **world))
        bench.ask(token, says("one"))
        answer = bench.ask(token, says("another"))
        match then:
            case OnDivergence.SCRIPT:
                assert text_of(answer) == "from the script"
            case OnDivergence.EMPTY:
                assert text_of(answer) == ""
            case _:
                assert (answer.status, code_of(answer)) == (502, "diverged")
        usage = bench.control.usage(grant().key)
        assert (usage.faults, usage.live, usage.diverged_at, bench.paid()) == (0, False, 2, 1)

    def test_a_replayed_fault_is_not_the_upstreams(self, bench: Bench) -> None:
        token = bench.control.open(grant("ev-01/bad"))
        first = [bench.ask(token, says(each)) for each in ("break", "cut")]
        recording = bench.put(dump(bench.control.record(Key("ev-01/bad"))))
        again = bench.control.open(grant(mode=GatewayMode.REPLAY, recording=recording))
        assert [bench.ask(again, says(each)) for each in ("break", "cut")] == first
        assert bench.control.usage(grant().key).faults == 0

    def test_a_script_speaks_for_a_whole_trial(self, bench: Bench) -> None:
        script = bench.put(json.dumps(OTHER).encode())
        token = bench.control.open(grant(mode=GatewayMode.SCRIPT, script=script, upstreams=()))
        assert text_of(bench.ask(token, says("anything"))) == "from the script"
        assert not bench.control.usage(grant().key).live

    # ---------------------------------------------------------------- killed and run again

    def test_what_an_earlier_attempt_paid_for_is_not_paid_twice(self, bench: Bench) -> None:
        same = grant(upstreams=("real",))
        first = bench.control.open(same)
        before = [bench.ask(first, says(each)) for each in ("one", "two")]
        used = bench.control.usage(same.key)
        second = bench.control.open(same)
        assert second != first
        assert [bench.ask(second, says(each)) for each in ("one", "two")] == before
        again = bench.control.usage(same.key)
        assert (bench.paid(), again.tokens_in, again.tokens_out) == (2, used.tokens_in, used.tokens_out)
        assert again.live
        bench.ask(second, says("three"))
        assert bench.paid() == 3
        assert [each.ordinal for each in bench.control.record(same.key)] == [1, 2, 3]

    def test_an_earlier_attempts_box_that_still_runs_goes_on(self, bench: Bench) -> None:
        same = grant(upstreams=("real",))
        first = bench.control.open(same)
        bench.ask(first, says("one"))
        bench.control.open(same)
        bench.ask(first, says("two"))
        assert [each.ordinal for each in bench.control.record(same.key)] == [1, 2]
        assert bench.control.usage(same.key).requests == 2

    def test_another_request_is_paid(self, bench: Bench) -> None:
        same = grant(upstreams=("real",))
        bench.ask(bench.control.open(same), says("one"))
        assert text_of(bench.ask(bench.control.open(same), says("another"))) == "real: another"
        assert bench.paid() == 2
