"""Owns the words of the moss.toml that `moss init` writes: every setting that a person has to see, with why.

What was found goes in as TOML strings, never as text; no secret is in it, only where one is found.
"""

import json

from moss.cli.guess import Found
from moss.cli.guess_container import Container

OPEN = 'kind = "process"              # plain processes: they isolate nothing'
ISOLATE = 'kind = "docker"               # containers without a network, hardened and bounded'

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

{run}
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
{boxes}
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

PROCESS = """\
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
"""

CONTAINER = """\
[build]
kind = "docker"               # an image of the Dockerfile in the source
dockerfile = "Dockerfile"
{smoke}

[live]
kind = "docker"
container = {container}       # its name; it keeps it
port = {port}                   # inside the container; users go on using the port of this host that it publishes
state = {state}               # the folder inside that a volume or a bind mount keeps
# {{port}} {{state}} {{gateway}} {{token}} are filled in, over the container's own variables. The model goes through the
# gateway: so every failing turn comes with a recording of what the model really said.
env = {{ OPENAI_BASE_URL = "{{gateway}}/v1", OPENAI_API_KEY = "{{token}}" }}
preflight_env = {{}}            # added in preflight and trials: switch outward effects off (mail, payments, posts)
grace_seconds = 10            # it gets SIGTERM and so long to end; its own --stop-timeout wins
start_seconds = 60            # it gets so long to be ready
"""


def fill(found: Found, container: Container | None = None) -> str:
    """The file for what was found."""
    return TEXT.format(
        name=_toml(found.name),
        source=_toml(found.source),
        editable=_toml(f"{found.module}/**" if found.module else "**"),
        tests=_toml(f"{found.tests or 'tests'}/**"),
        check=_check(found),
        run=_process(found) if container is None else _container(found, container),
        boxes=ISOLATE if container is not None else OPEN,
        health=_toml(found.health),
    )


def _process(found: Found) -> str:
    argv = ["python3", "-B", "-m", found.module or "agent", "--port", "{port}", "--state", "{state}"]
    return PROCESS.format(smoke=_smoke(found), argv=_list(argv), port=found.port)


def _container(found: Found, container: Container) -> str:
    return CONTAINER.format(
        smoke=_smoke(found),
        container=_toml(container.name),
        port=container.port or found.port,
        state=_toml(container.state or "/data"),
    )


def _smoke(found: Found) -> str:
    words = ["python3", "-B", "-c", f"import {found.module}"]
    return _line("smoke", words) if found.module else "# smoke = []"


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
