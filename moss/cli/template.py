"""Owns the words of the moss.toml that `moss init` writes: every setting that a person has to see, with why.

What was found goes in as TOML strings, never as text; no secret is in it, only where one is found.
"""

import json

from moss.cli.guess import Found

TEXT = """\
# How MOSS sees this agent. Paths are relative to this file. `moss doctor` checks each line of it.
# Secrets are never written here, only where they are found: {{ env = "NAME" }} or {{ file = "PATH" }}.

[substrate]
name = {name}
source = {source}
branch = "HEAD"
editable = [{editable}]          # what a change may touch
protected = ["moss.toml", "Dockerfile", ".github/**"]   # what it never may
tests = [{tests}]            # may be added to, never changed
{check}

[build]
kind = "checkout"             # an image is the plain tree of a commit
{smoke}

[live]
kind = "process"
# {{port}} {{state}} {{image}} {{gateway}} {{token}} are filled in. The model goes through the gateway: so every failing
# turn comes with a recording of what the model really said.
argv = {argv}
env = {{ PYTHONPATH = "{{image}}", OPENAI_BASE_URL = "{{gateway}}/v1", OPENAI_API_KEY = "{{token}}" }}
preflight_env = {{}}            # added in preflight and trials: switch outward effects off (mail, payments, posts)
port = {port}                   # where users talk to it: the hold proxy listens here
state = "state"               # the folder that the agent keeps its state in
grace_seconds = 10            # it gets SIGTERM and so long to end
start_seconds = 60            # it gets so long to be ready

[health]
path = {health}
ready_status = 200            # 503: still starting

[turn]                        # how a user's message is sent: openai, http or exec
kind = "openai"
path = "/v1/chat/completions"
session_header = "X-Session-Id"

[canary]                      # a message whose answer shows that the agent works
message = "ping"
contains = ""

[evidence]
source = {{ kind = "jsonl", glob = "sessions/*.jsonl" }}   # below `live.state`; docs/evidence.md says what a line is
group_by = "fingerprint"      # or "conversation"
seal_at = 8
# A detector of your own. A turn in whose tool results the pattern is found is a failure; its keypoints say what a good
# turn does.
# [[evidence.rules]]
# name = "refund-twice"
# where = "tool_results"
# pattern = 'order (\\\\w+) refunded \\\\d+ times'
# signal = "refunded"
# [[evidence.rules.keypoints]]
# id = "refunded-once"
# says = "refunded exactly once"
# check = {{ kind = "tool_called", tool = "refund", at_most = 1 }}

[boxes]
kind = "process"              # plain processes: they isolate nothing
parallel = 2

[gateway]                     # the only way to a model, and the meter
port = 8790
upstreams = [{{ name = "main", url = "https://api.openai.com/v1", key = {{ env = "MOSS_UPSTREAM_MAIN_KEY" }} }}]

[roles.default]               # who works in the stages with a mind
coder = "scripted"            # a stand-in for a first look; it follows a script:
# script = "script/coder.json"
seconds = 1800

[trials]
seconds = 120

[policy]
start = "by_hand"             # "auto": sealed batches start by themselves
depth = "standard"            # light, standard, deep
budget = {{ money_usd = 4.0 }}
proposer_may = ["flag"]       # what the live agent's own token may do: flag, start, stop

[swap]
watch_seconds = 10            # the new version is watched so long after its release
soak_hours = 24               # and so long on real traffic

[api]
port = 8791

# Who may say yes: `moss keys new NAME` adds an entry.
# [[consent.approvers]]
# name = "alice"
# public_key = "..."
"""


def fill(found: Found) -> str:
    """The file for what was found."""
    module = found.module or "agent"
    return TEXT.format(
        name=_toml(found.name),
        source=_toml(found.source),
        editable=_toml(f"{found.module}/**" if found.module else "**"),
        tests=_toml(f"{found.tests or 'tests'}/**"),
        check=_check(found),
        smoke=_line("smoke", ["python3", "-B", "-c", f"import {module}"]) if found.module else "# smoke = []",
        argv=_list(["python3", "-B", "-m", module, "--port", "{port}", "--state", "{state}"]),
        port=found.port,
        health=_toml(found.health),
    )


def _check(found: Found) -> str:
    """The agent's own tests, run in a box."""
    tests = f"{{image}}/{found.tests}"
    if found.runner == "pytest":
        return _line("check", ["python3", "-B", "-m", "pytest", "-q", tests]) + "  # its own tests"
    if found.runner == "unittest":
        words = ["python3", "-B", "-m", "unittest", "discover", "-s", tests, "-t", "{image}"]
        return _line("check", words) + "  # its own tests"
    return "# check = []                # argv of its own tests"


def _line(key: str, words: list[str]) -> str:
    return f"{key} = {_list(words)}"


def _list(words: list[str]) -> str:
    return "[" + ", ".join(_toml(word) for word in words) + "]"


def _toml(text: str) -> str:
    """A TOML basic string: JSON's is one, but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
