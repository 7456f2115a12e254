"""A scripted model speaks the API: whole, streamed, with tools, with faults."""

import json
from collections.abc import Callable
from pathlib import Path

from moss.config import Upstream
from moss.ports import GatewayMode

from .conftest import chat, gateway, grant, script

Scripted = Callable[..., Upstream]


def test_an_answer_is_filled_from_the_message(tmp_path: Path, scripted: Scripted) -> None:
    upstream = scripted({"role": "user", "pattern": r"order (\d+)", "text": "looking at {1}"})
    with gateway(tmp_path, upstreams=(upstream,)) as running:
        token = running.control.open(grant())
        answer = running.ask(token, chat("where is order 42?"))
        assert (answer.status, answer.text) == (200, "looking at 42")
        assert answer.json["usage"]["completion_tokens"] == 4
        usage = running.control.usage(grant().key)
        assert (usage.requests, usage.tokens_out, usage.faults, usage.live) == (1, 4, 0, False)


def test_a_stream_comes_in_pieces_and_ends(tmp_path: Path, scripted: Scripted) -> None:
    rule = {"pattern": "refund (\\w+)", "tool_calls": [{"name": "refund", "arguments": {"order": "{1}"}}]}
    with gateway(tmp_path, upstreams=(scripted(rule),)) as running:
        token = running.control.open(grant())
        answer = running.ask(token, chat("refund A7", stream=True))
        events = [line[6:] for line in answer.body.decode().splitlines() if line.startswith("data: ")]
        assert events[-1] == "[DONE]"
        deltas = [json.loads(event)["choices"][0]["delta"] for event in events[:-1]]
        calls = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
        assert calls[0]["function"]["name"] == "refund"
        assert json.loads("".join(call["function"]["arguments"] for call in calls)) == {"order": "A7"}
        (exchange,) = running.control.record(grant().key)
        assert b"".join(chunk.data for chunk in exchange.chunks) == answer.body
        assert len(exchange.chunks) > 3
        assert exchange.origin == "script"


def test_the_same_request_gets_the_same_bytes(tmp_path: Path, scripted: Scripted) -> None:
    rule = {"tool_calls": [{"name": "look", "arguments": {}}], "text": "wait"}
    with gateway(tmp_path, upstreams=(scripted(rule),)) as running:
        token = running.control.open(grant())
        first, second = (running.ask(token, chat("hi")) for _ in range(2))
        assert first.body == second.body


def test_a_tool_result_is_answered_by_a_tool_rule(tmp_path: Path, scripted: Scripted) -> None:
    rules = ({"role": "tool", "pattern": "shipped", "text": "It is on its way."}, {"role": "user", "text": "no"})
    with gateway(tmp_path, upstreams=(scripted(*rules),)) as running:
        token = running.control.open(grant())
        body = chat("x")
        body["messages"].append({"role": "tool", "tool_call_id": "c", "content": "SHIPPED on Monday"})
        assert running.ask(token, body).text == "It is on its way."


def test_without_a_rule_it_is_a_fault_that_says_so(tmp_path: Path, scripted: Scripted) -> None:
    with gateway(tmp_path, upstreams=(scripted({"pattern": "never"}),)) as running:
        token = running.control.open(grant())
        answer = running.ask(token, chat("hello"))
        assert answer.status == 500
        assert "no rule" in answer.refusal["message"]
        assert "'hello'" in answer.refusal["message"]
        assert running.control.usage(grant().key).faults == 1


def test_a_scripted_status_and_a_scripted_cut_reach_the_client(tmp_path: Path, scripted: Scripted) -> None:
    rules = (
        {"pattern": "fail", "fault": {"status": 503}},
        {"pattern": "cut", "text": "a long answer that is cut", "fault": {"cut_after": 120}},
    )
    with gateway(tmp_path, upstreams=(scripted(*rules),)) as running:
        token = running.control.open(grant())
        assert running.ask(token, chat("fail")).status == 503
        answer = running.ask(token, chat("cut", stream=True))
        assert (answer.error, len(answer.body)) == ("IncompleteRead", 120)
        assert [each.cut for each in running.control.record(grant().key)] == [False, True]
        assert running.control.usage(grant().key).faults == 2


def test_faults_that_a_trial_script_asks_for_are_its_world(tmp_path: Path) -> None:
    with gateway(tmp_path) as running:
        digest = running.put(script({"fault": {"status": 500}}))
        token = running.control.open(grant(mode=GatewayMode.SCRIPT, script=digest, upstreams=()))
        assert running.ask(token, chat("x")).status == 500
        assert running.control.usage(grant().key).faults == 0


def test_a_stream_that_ends_in_good_order_without_its_end_is_no_fault_of_the_world(
    tmp_path: Path, scripted: Scripted
) -> None:
    rule = {"tool_calls": [{"name": "write", "arguments": {"path": "a"}}], "fault": {"ends_after": 2}}
    with gateway(tmp_path, upstreams=(scripted(rule),)) as running:
        token = running.control.open(grant())
        answer = running.ask(token, chat("write it", stream=True))
        events = [json.loads(line[6:]) for line in answer.body.decode().splitlines() if line.startswith("data: ")]
        (call,) = events[-1]["choices"][0]["delta"]["tool_calls"]
        assert (answer.error, len(events)) == (None, 2)
        assert (call["function"]["name"], call["function"]["arguments"]) == ("write", "")
        assert running.control.usage(grant().key).faults == 0


def test_a_fault_that_comes_once_spares_the_same_request_of_the_same_box_only(
    tmp_path: Path, scripted: Scripted
) -> None:
    rule = {"text": "all of it", "fault": {"status": 503, "once": True}}
    with gateway(tmp_path, upstreams=(scripted(rule),)) as running:
        token, other = running.control.open(grant()), running.control.open(grant("ev-01/trial/2"))
        asked = [(token, "a"), (token, "b"), (token, "a"), (other, "a"), (other, "a")]
        assert [running.ask(who, chat(what)).status for who, what in asked] == [503, 503, 200, 503, 200]


def test_pieces_of_arguments_are_the_events_of_the_stream(tmp_path: Path, scripted: Scripted) -> None:
    growing = ['{"a"', '{"a": 1', '{"a": 1}']
    with gateway(tmp_path, upstreams=(scripted({"tool_calls": [{"name": "w", "arguments": growing}]}),)) as running:
        answer = running.ask(running.control.open(grant()), chat("go", stream=True))
        lines = [line[6:] for line in answer.body.decode().splitlines() if line.startswith('data: {"')]
        deltas = [json.loads(line)["choices"][0]["delta"] for line in lines]
        said = [each["tool_calls"][0]["function"]["arguments"] for each in deltas if "tool_calls" in each]
        assert said == ["", *growing]
