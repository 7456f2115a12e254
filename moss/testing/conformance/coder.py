"""Owns the contract of `moss.ports.CodingAgent` as tests. Subclass `CoderContract`; give it `agent` and `streams`.

Never runs a program: an adapter is argv, environment, files and a parser, and that is what is held here. How a program
behaves in a box is `engine.coding`'s, tested with the real program where it is installed.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moss import errors
from moss.domain.ids import Key
from moss.engine.coder_stream import Said
from moss.errors import CoderError, ModelError
from moss.ports import CoderCommand, CoderRole, CoderTask, CodingAgent, EventKind

URL, TOKEN = "http://127.0.0.1:8790", "token-of-this-box"
ARGUMENT_BYTES = 128 << 10
"""Linux takes no longer single argument."""

PLACES = re.compile(r"\{(work|state|in|out|image|port)\}")
TASK = CoderTask(Key("ev-01/1/plan/1"), CoderRole.PLANNER, "plan", 1, 1, "do it", {"type": "object"})
KINDS = st.sampled_from(
    ["type", "kind", "result", "error", "usage", "message", "item", "subtype", "session_id", "text"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KINDS, inner, max_size=4),
    max_leaves=8,
)


class CoderContract:
    """What every adapter of a coding agent keeps."""

    @pytest.fixture
    def agent(self) -> CodingAgent:
        raise NotImplementedError

    @pytest.fixture
    def streams(self) -> Mapping[str, bytes]:
        """Whole outputs of the program: `result` ends well with `{"answer": 42}`; every other name is a class of
        CoderError or ModelError that the stream ends in."""
        raise NotImplementedError

    def test_it_has_a_name_that_moss_toml_can_hold(self, agent: CodingAgent) -> None:
        assert re.fullmatch(r"[a-z0-9][a-z0-9-]{0,39}", agent.name)
        assert isinstance(agent.scripted, bool)

    @pytest.mark.parametrize("role", list(CoderRole))
    def test_its_command_is_data_and_always_the_same(self, agent: CodingAgent, role: CoderRole) -> None:
        command = agent.command(replace(TASK, role=role), URL, TOKEN)
        assert command == agent.command(replace(TASK, role=role), URL, TOKEN)
        words = (*command.argv, *command.env, *command.env.values())
        assert command.argv
        assert all(isinstance(word, str) and "\0" not in word for word in words)
        assert all(not path.startswith("/") and ".." not in path.split("/") for path in command.files)

    def test_every_brace_word_is_a_place_of_the_box(self, agent: CodingAgent) -> None:
        command = agent.command(TASK, URL, TOKEN)
        for word in (*command.argv, *command.env.values()):
            assert not re.search(r"\{[a-z]+\}", PLACES.sub("", word)), f"{word} names no place"

    @pytest.mark.parametrize(
        "prompt", ["-rf --help", "x" * 360_000, "a\nb\n$(touch x) `id` 'q\" {work}", "\udcff\u202e"]
    )
    def test_the_prompt_is_never_an_argument(self, agent: CodingAgent, prompt: str) -> None:
        command = agent.command(replace(TASK, prompt=prompt), URL, TOKEN)
        assert prompt not in command.argv
        assert all(len(word.encode(errors="replace")) < ARGUMENT_BYTES for word in command.argv)
        assert prompt.encode(errors="replace") in self._delivered(command)

    def test_the_boxs_token_is_not_in_the_arguments(self, agent: CodingAgent) -> None:
        assert not any(TOKEN in word for word in agent.command(TASK, URL, TOKEN).argv)

    def test_a_stream_that_ends_well_gives_its_result_and_its_usage(
        self, agent: CodingAgent, streams: Mapping[str, bytes]
    ) -> None:
        said = self._said(agent, streams["result"])
        assert said.result == {"answer": 42}
        assert said.metered
        assert said.tokens > 0

    def test_a_stream_that_ends_in_an_error_names_its_class(
        self, agent: CodingAgent, streams: Mapping[str, bytes]
    ) -> None:
        for name, stream in streams.items():
            if name == "result":
                continue
            said = self._said(agent, stream)
            assert said.result is None
            assert said.end is not None, name
            assert said.end.error == name
            assert issubclass(getattr(errors, name), CoderError | ModelError)

    def test_what_it_cannot_read_is_text(self, agent: CodingAgent) -> None:
        for line in (b"plain words", b"{not json", b"[1, 2]", b'"text"', b"\xff\xfe\x1b[2J", b"[" * 5000):
            assert {event.kind for event in agent.parse(line)} <= {EventKind.TEXT}

    @pytest.mark.parametrize("line", [b"", b"   ", b"\r"])
    def test_an_empty_line_is_nothing(self, agent: CodingAgent, line: bytes) -> None:
        assert list(agent.parse(line)) == []

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors])
    @given(line=st.binary(max_size=200) | st.dictionaries(KINDS, VALUES).map(lambda said: json.dumps(said).encode()))
    def test_no_line_breaks_the_parser(self, agent: CodingAgent, line: bytes) -> None:
        for event in agent.parse(line):
            assert event.tokens_in >= 0
            assert event.tokens_out >= 0
            assert 0 <= event.money_usd < float("inf")
            assert event.result is None or isinstance(event.result, dict)

    @staticmethod
    def _said(agent: CodingAgent, stream: bytes) -> Said:
        said = Said()
        for line in stream.splitlines():
            for event in agent.parse(line):
                said.take(event)
        return said

    @staticmethod
    def _delivered(command: CoderCommand) -> bytes:
        return b"\n".join([command.stdin, *command.files.values()])
