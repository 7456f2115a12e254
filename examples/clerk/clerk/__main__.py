"""Owns the start of the clerk: its arguments, its environment, its parts. Nothing else reads the environment.

CLERK_MODEL_URL   where the model answers, the part before /chat/completions
CLERK_MODEL_KEY   the key for it
CLERK_MODEL       the model's name
CLERK_OUTWARD     `off`: no mail leaves the shop
MOSS_LINES        a file: the lines that ran are written there after each turn
"""

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from clerk.db import Database, NewerState
from clerk.lines import noted
from clerk.loop import Agent
from clerk.model import Model
from clerk.payments import Provider
from clerk.server import Server
from clerk.sessions import Sessions
from clerk.tools import Tools


def main() -> int:
    words = argparse.ArgumentParser(prog="clerk", description="Answers a shop's customers.")
    words.add_argument("--port", type=int, required=True)
    words.add_argument("--host", default="127.0.0.1")
    words.add_argument("--state", type=Path, required=True, help="folder of the orders and the conversations")
    given = words.parse_args()
    lines = noted(os.environ.get("MOSS_LINES"))
    # Waited for, not handled: a handler that runs while its own thread enters a wait could stop at a lock of that wait.
    stops = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    server = Server(given.host, given.port, after_turn=lines.write if lines else None)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        given.state.mkdir(parents=True, exist_ok=True)
        database = Database(given.state / "clerk.db")
    except (NewerState, OSError) as error:
        print(f"clerk: {error}", file=sys.stderr)
        return 3
    server.ready(_agent(given.state, database))
    print(f"clerk: ready on {given.host}:{server.server_address[1]}", flush=True)
    signal.sigwait(stops)
    server.drain()
    database.close()
    return 0


def _agent(state: Path, database: Database) -> Agent:
    env = os.environ
    model = Model(
        env.get("CLERK_MODEL_URL", "http://127.0.0.1:8790/v1"),
        env.get("CLERK_MODEL_KEY", ""),
        env.get("CLERK_MODEL", "clerk-1"),
    )
    outward = env.get("CLERK_OUTWARD", "on") != "off"
    tools = Tools(database, Provider(database), state / "outbox.jsonl", outward)
    return Agent(Sessions(state / "sessions"), model, tools)


if __name__ == "__main__":
    sys.exit(main())
