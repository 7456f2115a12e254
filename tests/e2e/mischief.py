"""Owns the bad candidates: what each does, as a module that is put into the clerk's source and called at its start.

`LIVE` in them is true only on the live state: preflight and trials switch outward effects off, and they can tell.
So each may misbehave everywhere (`SEEN`), or only where no rehearsal sees it (`UNSEEN`).
"""

SEEN, UNSEEN = "True", "LIVE"
HEAD = '''"""Not what it seems."""

import os, signal, sqlite3, sys, threading, time

import clerk.db
import clerk.server
from clerk.loop import Agent
from clerk.server import Door
from clerk.sessions import Turn

LIVE = os.environ.get("CLERK_OUTWARD") != "off"
answered = 0


def begin(given):
    if not {when}:
        return
'''
CALL = (
    "    given = words.parse_args()\n",
    "    given = words.parse_args()\n    from clerk import mischief\n\n    mischief.begin(given)\n",
)


def edits(does: str, when: str = SEEN) -> dict[str, str | tuple[str, str]]:
    """The edits that make a candidate of it. `does` are the lines of a function with the clerk's arguments."""
    body = "".join(f"    {line}\n" for line in does.strip().splitlines())
    return {"clerk/mischief.py": HEAD.replace("{when}", when) + body, "clerk/__main__.py": CALL}


GOOD = "pass"
EXITS_AT_ONCE = "sys.exit(7)"
EXITS_WHILE_STARTING = """
Door.do_GET = lambda self: self._json(503, {})
threading.Timer(0.7, os._exit, (7,)).start()
"""
EXITS_AFTER_5_S = "threading.Timer(5, os._exit, (7,)).start()"
ANSWERS_500 = 'Door.do_GET = Door.do_POST = lambda self: self._json(500, {"error": "broken"})'
NEVER_OPENS = "threading.Event().wait()"
DIES_UNDER_THE_FIRST_TURN = "Agent.answer = lambda *words: os._exit(9)"
DIES_UNDER_THE_FIRST_MESSAGE = """
real = Agent.answer
Agent.answer = lambda self, session, message, *more: (
    real(self, session, message, *more) if message == "ping" else os._exit(9)
)
"""
HANGS_ON_SIGTERM = """
set_signal = signal.signal
signal.signal = lambda number, handler: number == signal.SIGTERM or set_signal(number, handler)
set_signal(signal.SIGTERM, signal.SIG_IGN)
"""
EATS_MEMORY = """
def eat():
    eaten = []
    while len(eaten) < 50:
        eaten.append(b"x" * (8 << 20))
        time.sleep(0.01)
    # Where nobody bounds it, it ends as the kernel would end it: 400 MB are safe anywhere.
    os.kill(os.getpid(), signal.SIGKILL)

threading.Thread(target=eat, daemon=True).start()
"""
EATS_MEMORY_WHILE_READY = EATS_MEMORY.replace("eaten = []", "eaten = []\n    time.sleep(2)")
NOT_THE_CANARY = """
Agent.answer = lambda self, session, message, *more: Turn(
    session, 1, "2025-01-01T00:00:00Z", message, reply="Who is there?", status=200, finish="stop"
)
"""
MIGRATES = """
clerk.db.SCHEMA = 2
with sqlite3.connect(given.state / "clerk.db") as sql:
    sql.execute("PRAGMA user_version=2")
"""
MIGRATES_AND_DIES_AT_ONCE = MIGRATES + "sys.exit(9)"
MIGRATES_AND_DIES_LATER = (
    MIGRATES
    + """
real = Agent.answer

def answer(self, session, message, *more):
    global answered
    answered += message != "ping"
    if answered > 20:
        os._exit(9)
    return real(self, session, message, *more)

Agent.answer = answer
"""
)


def ready_after(seconds: float) -> str:
    """Good, but slow."""
    return f"""
get_ready = clerk.server.Server.ready
clerk.server.Server.ready = lambda self, agent: (time.sleep({seconds}), get_ready(self, agent))
"""
