"""Owns what the clerk's tests share: a shop in a temporary folder, and a model that says what it is told to."""

import shutil
import tempfile
import unittest
from pathlib import Path

from clerk.db import Database
from clerk.loop import Agent
from clerk.model import Call, ModelError, Said
from clerk.payments import Provider
from clerk.sessions import Sessions
from clerk.tools import Tools


class ShopTest(unittest.TestCase):
    """A new shop for every test; `self.state` is its folder."""

    def setUp(self) -> None:
        self.state = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.state)
        self.database = Database(self.state / "clerk.db")
        self.addCleanup(self.database.close)
        self.provider = Provider(self.database)
        self.tools = self.tools_with(outward=True)
        self.sessions = Sessions(self.state / "sessions")

    def tools_with(self, outward: bool) -> Tools:
        return Tools(self.database, self.provider, self.state / "outbox.jsonl", outward)

    def agent(self, *says: Said | ModelError) -> Agent:
        return Agent(self.sessions, Told(*says), self.tools)

    def refunds(self, number: str) -> int:
        with self.database.transaction() as sql:
            rows = sql.execute("SELECT count(*) FROM ledger WHERE number = ? AND kind = 'refund'", (number,))
            return rows.fetchone()[0]


class Told:
    """A model that says one thing after the other, the last one for ever. `seen` holds what it was asked."""

    def __init__(self, *says: Said | ModelError) -> None:
        self.says, self.seen, self.turns = list(says), [], []

    def ask(self, messages, tools, turn, on_text) -> Said:
        self.seen.append([dict(message) for message in messages])
        self.turns.append(turn)
        said = self.says.pop(0) if len(self.says) > 1 else self.says[0]
        if isinstance(said, ModelError):
            raise said
        if said.text:
            on_text(said.text)
        return said


def words(text: str) -> Said:
    return Said(text=text, finish="stop")


def wants(tool: str, arguments: str) -> Said:
    return Said(calls=[Call("call_1", tool, arguments)], finish="tool_calls")
