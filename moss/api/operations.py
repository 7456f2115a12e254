"""Owns the one table of operations: what each is called, who may do it, where it is over HTTP, what does it.

CLI and HTTP routes both go through `Office.ask`; nothing else calls the functions. Invariant: rights come first, for
every operation and every caller, and there is no way around this table.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from moss.api import acting, asks, notices, reading, says
from moss.api.caller import Caller
from moss.api.notices import LostNotices
from moss.domain.frozen import Frozen
from moss.domain.rights import Action

if TYPE_CHECKING:
    from moss.wiring import Wiring

A = TypeVar("A", bound=Frozen)
S = TypeVar("S", bound=Frozen)

Verb = Literal["GET", "POST", "DELETE"]


@dataclass(frozen=True, slots=True)
class Operation(Generic[A, S]):
    """One thing that may be asked. `path` None: only on the machine itself. `{names}` of the path are fields of
    the ask; the others come from the query (GET, DELETE) or the body (POST)."""

    name: str
    action: Action
    ask: type[A]
    says: type[S]
    do: "Callable[[Wiring, Caller, A], S]"
    verb: Verb = "GET"
    path: str | None = None


def _look(do: "Callable[[Wiring, A], S]") -> "Callable[[Wiring, Caller, A], S]":
    """A reading operation does not need to know who asks."""
    return lambda wiring, caller, ask: do(wiring, ask)


READ, CONFIGURE = Action.READ, Action.CONFIGURE

STATUS = Operation("status", READ, asks.Nothing, says.Status, _look(reading.status), "GET", "/status")
RUNS = Operation("runs", READ, asks.Page, says.Runs, _look(reading.runs), "GET", "/runs")
FAILURES = Operation("failures", READ, asks.Page, says.Failures, _look(reading.failures), "GET", "/failures")
BATCHES = Operation("batches", READ, asks.Listed, says.Batches, _look(reading.batches), "GET", "/batches")
SHOW = Operation("show", READ, asks.OneRun, says.Show, _look(reading.show), "GET", "/runs/{run}")
REVIEW = Operation("review", READ, asks.OneRun, says.Review, _look(reading.review), "GET", "/runs/{run}/review")
DIFF = Operation("diff", READ, asks.OneRun, says.Diff, _look(reading.diff), "GET", "/runs/{run}/diff")
MATRIX = Operation("matrix", READ, asks.OneRun, says.Matrix, _look(reading.matrix), "GET", "/runs/{run}/matrix")
LOG = Operation("log", READ, asks.Log, says.LogLines, _look(reading.log), "GET", "/runs/{run}/log")
VERIFY = Operation("verify", READ, asks.Verify, says.Verified, _look(reading.verify), "GET", "/verify")
APPROVERS = Operation("approvers", READ, asks.Nothing, says.Approvers, acting.approvers, "GET", "/approvers")
NOTICES = Operation("notices", READ, asks.Nothing, LostNotices, _look(notices.notices), "GET", "/notices")
USAGE = Operation("usage", READ, asks.Nothing, says.GatewayUsage, acting.gateway_usage, "GET", "/gateway/usage")

SCAN = Operation("scan", Action.START, asks.Nothing, says.Scanned, acting.scan, "POST", "/scan")
FLAG = Operation("flag", Action.FLAG, asks.Flag, says.Flagged, acting.flag, "POST", "/flags")
DISMISS = Operation(
    "dismiss", Action.DISMISS, asks.Dismiss, says.Dismissed, acting.dismiss, "POST", "/failures/{fingerprint}/dismiss"
)
START = Operation("start", Action.START, asks.Start, says.RunStarted, acting.start, "POST", "/runs")
STOP = Operation("stop", Action.STOP, asks.OneRun, says.Done, acting.stop, "POST", "/runs/{run}/stop")
RESUME = Operation("resume", Action.RESUME, asks.Resume, says.Done, acting.resume, "POST", "/runs/{run}/resume")
REWIND = Operation("rewind", Action.REWIND, asks.Rewind, says.Done, acting.rewind, "POST", "/runs/{run}/rewind")
REJECT = Operation("reject", Action.REJECT, asks.Because, says.Done, acting.reject, "POST", "/runs/{run}/reject")
APPROVE = Operation("approve", Action.APPROVE, asks.Approve, says.Done, acting.approve, "POST", "/runs/{run}/approve")
ROLLBACK = Operation("rollback", Action.ROLLBACK, asks.Rollback, says.Done, acting.rollback, "POST", "/rollback")
PAUSE = Operation("pause", Action.PAUSE, asks.Nothing, says.Done, acting.pause, "POST", "/pause")
UNPAUSE = Operation("unpause", Action.PAUSE, asks.Nothing, says.Done, acting.unpause, "POST", "/unpause")

REVOKE = Operation("revoke", CONFIGURE, asks.Named, says.Done, acting.revoke, "POST", "/approvers/{name}/revoke")
TOKENS = Operation("tokens", CONFIGURE, asks.Nothing, says.Tokens, acting.token_list, "GET", "/tokens")
TOKEN_NEW = Operation("token_new", CONFIGURE, asks.NewToken, says.TokenMade, acting.token_new, "POST", "/tokens")
TOKEN_REVOKE = Operation(
    "token_revoke", CONFIGURE, asks.Named, says.Done, acting.token_revoke, "DELETE", "/tokens/{name}"
)
NOTICES_RETRY = Operation("notices_retry", CONFIGURE, asks.Nothing, says.Done, notices.retry, "POST", "/notices/retry")
BACKUP = Operation("backup", CONFIGURE, asks.Folder, says.BackedUp, acting.backup)
RESTORE = Operation("restore", CONFIGURE, asks.Folder, says.BackedUp, acting.restore)

OPERATIONS: tuple[Operation[Any, Any], ...] = (
    STATUS, RUNS, FAILURES, BATCHES, SHOW, REVIEW, DIFF, MATRIX, LOG, VERIFY, APPROVERS, NOTICES, USAGE,
    SCAN, FLAG, DISMISS, START, STOP, RESUME, REWIND, REJECT, APPROVE, ROLLBACK, PAUSE, UNPAUSE,
    REVOKE, TOKENS, TOKEN_NEW, TOKEN_REVOKE, NOTICES_RETRY, BACKUP, RESTORE,
)  # fmt: skip


@dataclass(frozen=True)
class Office:
    """Where operations are asked for in-process. `wiring` is made anew when the settings change."""

    wiring: "Wiring"

    def ask(self, caller: Caller, operation: Operation[A, S], ask: A) -> S:
        """Raises: Forbidden before anything else; what the operation raises."""
        return operation.do(self.wiring, self.admitted(caller, operation), ask)

    def admitted(self, caller: Caller, operation: Operation[A, S]) -> Caller:
        """Who the caller is for this operation. Raises: Forbidden."""
        acting_as = caller.handing_in() if operation.action is Action.APPROVE else caller
        acting_as.may(operation.action, self.wiring.settings.policy.proposer_may)
        return acting_as
