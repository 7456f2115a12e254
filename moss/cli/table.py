"""Owns the static table of commands: what each is called, where its function is, what help says in one line.

Never imports a command's module, so `moss --help` costs nothing. Invariant: every command is in here once; the test
of this table imports them all.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """`place`: module and function. `group`: where help lists it."""

    place: str
    help: str
    group: str


_BEGIN, _SEE, _DO, _YES, _KEEP = "Set up", "Look", "Evolve", "Say yes, or take it back", "Keep"

COMMANDS: dict[str, Command] = {
    "init": Command("init:init", "look at the folder and write moss.toml", _BEGIN),
    "doctor": Command("doctor:doctor", "check everything; each failure with its mend", _BEGIN),
    "adopt": Command("adopt:adopt", "tie the live agent to its commit and run it under MOSS", _BEGIN),
    "serve": Command("serve:serve", "controller, API and page; keeps gateway and hold proxy running", _BEGIN),
    "down": Command("serve:down", "stop the gateway, the hold proxy and the live agent", _BEGIN),
    "status": Command("status:status", "where everything is", _SEE),
    "failures": Command("evidence:failures", "fingerprints of failed turns, most seen first", _SEE),
    "batches": Command("evidence:batches", "sealed batches, oldest first", _SEE),
    "runs": Command("runs:runs", "all runs, newest first", _SEE),
    "show": Command("runs:show", "one run on one screen", _SEE),
    "matrix": Command("runs:matrix", "the keypoint matrix of a run", _SEE),
    "diff": Command("runs:diff", "the change that a run offers", _SEE),
    "log": Command("log:log", "the journal of a run; --follow, --verify", _SEE),
    "watch": Command("watch:watch", "a run, live; leave and come back", _SEE),
    "notices": Command("notices:notices", "what no receiver took; --retry sends it again", _SEE),
    "gateway usage": Command("keep:gateway_usage", "what models were used, by run and stage", _SEE),
    "scan": Command("evidence:scan", "read new turns from the evidence", _DO),
    "flag": Command("evidence:flag", "add a failure that you saw", _DO),
    "dismiss": Command("evidence:dismiss", "close a fingerprint; it re-opens when it comes back", _DO),
    "start": Command("start:start", "start a run; without a name: the oldest sealed batch", _DO),
    "run": Command("drive:run", "drive a run in the foreground, without serve", _DO),
    "stop": Command("runs:stop", "stop a run at its next safe point", _DO),
    "resume": Command("runs:resume", "go on with a run; --all: take off the brake", _DO),
    "rewind": Command("runs:rewind", "start again from an earlier stage", _DO),
    "pause": Command("runs:pause", "--all: the emergency brake", _DO),
    "review": Command("review:review", "what a run changes, proves and costs", _YES),
    "approve": Command("review:approve", "say yes with your key", _YES),
    "reject": Command("review:reject", "say no", _YES),
    "rollback": Command("review:rollback", "bring back what was live before", _YES),
    "keys new": Command("keys:new", "make an approver's key on this machine", _KEEP),
    "keys list": Command("keys:list_", "who may say yes", _KEEP),
    "keys revoke": Command("keys:revoke", "an approver's signatures no longer count", _KEEP),
    "token new": Command("tokens:new", "a token for the HTTP API, shown once", _KEEP),
    "token list": Command("tokens:list_", "tokens by name", _KEEP),
    "token revoke": Command("tokens:revoke", "a token opens nothing any more", _KEEP),
    "store backup": Command("keep:backup", "copy the store while it is in use", _KEEP),
    "store restore": Command("keep:restore", "a backup becomes this home's store", _KEEP),
}

GLOBALS = (
    ("--home DIR", "the folder with moss.toml, or where MOSS keeps its things (MOSS_HOME)"),
    ("--config FILE", "another moss.toml"),
    ("--server URL", "a moss serve elsewhere (MOSS_SERVER); its token is read from MOSS_TOKEN"),
    ("--json", "one document; one JSON line an event for watch and log --follow"),
    ("--quiet", "say only what was asked for"),
    ("--version", "the version"),
)


def overview(noun: str = "") -> str:
    """The help of `moss`, or of one noun (`moss keys`)."""
    wanted = {name: one for name, one in COMMANDS.items() if not noun or name.split(" ")[0] == noun}
    width = max(len(name) for name in wanted) + 2
    lines = [f"Usage: moss {noun + ' ' if noun else ''}[OPTIONS] COMMAND ..."]
    if not noun:
        lines += ["", "Lets a production agent repair itself at source level, safely."]
    for group in dict.fromkeys(one.group for one in wanted.values()):
        lines += ["", f"{group}:"]
        lines += [f"  {name:<{width}}{one.help}" for name, one in wanted.items() if one.group == group]
    lines += ["", "Options of every command:"]
    width = max(width, *(len(name) + 2 for name, _ in GLOBALS))
    lines += [f"  {name:<{width}}{words}" for name, words in GLOBALS]
    lines += ["", "Exit codes: 0 done, 1 refused or failed, 2 wrong use, 3 waits for a person, 130 interrupted."]
    return "\n".join(lines)
