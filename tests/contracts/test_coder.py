"""The contract of coding agents, for each adapter that there is."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from moss.adapters.coders.scripted import ScriptedCoder
from moss.ports import CodingAgent
from moss.testing.conformance.coder import CoderContract

USAGE = b'{"kind": "usage", "tokens_in": 10, "tokens_out": 2, "money_usd": 0.01}\n'


class TestScriptedCoder(CoderContract):
    @pytest.fixture
    def agent(self, tmp_path_factory: pytest.TempPathFactory) -> CodingAgent:
        script: Path = tmp_path_factory.mktemp("coder") / "script.json"
        script.write_text('{"steps": []}')
        return ScriptedCoder(script)

    @pytest.fixture
    def streams(self) -> Mapping[str, bytes]:
        refused = b'{"kind": "error", "error": "CoderRefused", "text": "declined"}\n'
        return {"result": USAGE + b'{"kind": "result", "result": {"answer": 42}}\n', "CoderRefused": USAGE + refused}
