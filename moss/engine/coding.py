"""Owns one call of a coding agent from prompt to checked result: what all programs share.

Never knows a program (adapters give argv and parse lines), never takes its word for its edits (the caller diffs the
tree), never trusts an exit code. Invariants: a box per key, so a controller that was killed finds the box and reads
its output from the start, and nothing is paid twice; what was spent is in the outcome of a failed call, too.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from jsonschema import Draft202012Validator

from moss.config import RoleSettings
from moss.domain.budget import Spend
from moss.domain.ids import Digest, Key, RunId
from moss.engine.coder_stream import Line, Lines, Said, ending, shown
from moss.engine.offload import offload
from moss.errors import (
    BoxLost,
    CoderBudget,
    CoderFailed,
    CoderHung,
    CoderInvalid,
    GatewayDown,
    MossError,
    Refused,
)
from moss.files import remove_tree
from moss.ports import (
    Box,
    Boxes,
    BoxExit,
    BoxRole,
    BoxSpec,
    Clock,
    CoderEvent,
    CoderRole,
    CoderTask,
    CodingAgent,
    EventKind,
    GatewayControl,
    GatewayMode,
    Grant,
    Limits,
    Mount,
    MountName,
    Store,
    Usage,
)
from moss.prompts import FOLDER, load


@dataclass(frozen=True, slots=True)
class Bounds:
    """What no call may exceed, whatever the role's settings say: seconds, counts, bytes."""

    idle_seconds: float = 300.0
    grace_seconds: float = 5.0
    poll_seconds: float = 0.25
    events: int = 5000
    line_bytes: int = 1 << 20
    memory_bytes: int = 4 << 30
    output_bytes: int = 32 << 20
    transcript_bytes: int = 8 << 20


@dataclass(frozen=True, slots=True)
class CoderOutcome:
    """How a call ended. Exactly one of `result` (valid by the task's schema) and `error` (a CoderError or ModelError)
    is set: an error has a price and a transcript, too. `transcript` is an artifact, redacted."""

    result: Mapping[str, object] | None
    error: MossError | None
    spent: Spend
    transcript: Digest
    events: int
    session: str | None

    def checked(self) -> Mapping[str, object]:
        """The result. Raises: `error`."""
        if self.result is None:
            raise self.error or CoderFailed("no result")
        return self.result


@dataclass(frozen=True, slots=True)
class _Job:
    """All that is fixed for the boxes of one call."""

    agent: CodingAgent
    role: RoleSettings
    run: RunId
    tree: Path
    token: str


@dataclass(slots=True)
class _Call:
    """One box of a call: the first or its corrective retry. `kept` are lines for the transcript."""

    task: CoderTask
    said: Said = field(default_factory=Said)
    kept: list[bytes] = field(default_factory=list)
    bytes: int = 0
    seconds: float = 0.0
    error: MossError | None = None


class CodingRunner:
    """Runs coding agents in boxes. Stateless between calls: everything is found again by the task's key.
    `upstreams` are what a role may use that names none. `redact` is what evidence goes through as well."""

    def __init__(
        self,
        boxes: Boxes,
        gateway: GatewayControl,
        store: Store,
        clock: Clock,
        redact: Callable[[str], str],
        upstreams: tuple[str, ...] = (),
        bounds: Bounds = Bounds(),
    ) -> None:
        self._boxes, self._gateway, self._store, self._clock = boxes, gateway, store, clock
        self._redact, self._upstreams, self._bounds = redact, upstreams, bounds

    async def started(self, key: Key, run: RunId) -> bool:
        """Whether the box of `key` was launched: then its work tree must not be exported again."""
        return await self._find(key, run) is not None

    async def run(
        self,
        task: CoderTask,
        agent: CodingAgent,
        tree: Path,
        role: RoleSettings,
        run: RunId,
        evidence: Mapping[str, bytes] | None = None,
    ) -> CoderOutcome:
        """One call, at most one corrective retry, and what it cost. An editor works in `tree` itself; what a reviewer
        or planner writes never reaches it (a mount that is not writable, see `ports.Mount`). `evidence` lies in the
        tree (below `prompts.FOLDER`) while the agent works.

        Idempotent by `task.key`; cancelled, it leaves the box running for the next to ask.
        Raises: BoxRefused, GatewayDown, NoSpace, StoreError, Refused: before anything was spent."""
        begun = await self.started(task.key, run)
        token = await self._open(_grant(task, role, run, self._upstreams), begun)
        if not begun:
            await offload(_lay_out, tree, evidence or {})
        job = _Job(agent, role, run, tree, token)
        calls = [await self._call(task, job)]
        if isinstance(calls[0].error, CoderInvalid):
            calls.append(await self._call(_fix(task, calls[0].error), job))
        outcome = await self._outcome(calls, await self._close(task.key), job)
        await offload(_clear, tree)
        return outcome

    async def forget(self, key: Key) -> None:
        """Removes the boxes of a call. Only after its outcome is on record: until then they are the record."""
        for each in (key, fix_key(key)):
            await offload(self._boxes.remove, each)

    # -------------------------------------------------------------- the gateway

    async def _open(self, grant: Grant, begun: bool) -> str:
        """The box's token. A box that runs has its own already: then a gateway that is down stops nothing."""
        try:
            return await offload(self._gateway.open, grant)
        except GatewayDown:
            if not begun:
                raise
            return ""

    async def _close(self, key: Key) -> Usage | None:
        """What the gateway counted; None when it cannot be asked now. Its token then ends by its own expiry: raising
        here would make the caller pay for the same work again."""
        try:
            return await offload(self._gateway.close, key)
        except GatewayDown:
            return None

    # -------------------------------------------------------------- one box

    async def _find(self, key: Key, run: RunId) -> Box | None:
        return next((box for box in await offload(self._boxes.list, run) if box.key == key), None)

    async def _call(self, task: CoderTask, job: _Job) -> _Call:
        """One box from launch to ending. A lost box is an ending, too: it has spent money."""
        call = _Call(task)
        box = await self._find(task.key, job.run)
        if box is None:
            url = await offload(self._gateway.url, BoxRole.CODER)
            box = await offload(self._boxes.launch, self._spec(task, job, url))
        try:
            exit = await self._follow(box, job, call)
            tail = (await offload(self._boxes.errors, box)).decode(errors="replace")
        except BoxLost as lost:
            call.error = lost
            return call
        call.kept.append(_note(moss="end", code=exit.code, reason=exit.reason, stderr=tail))
        call.seconds = exit.seconds
        if call.said.result is None:
            call.error = call.error or ending(call.said, exit, tail)
        else:
            fault = fault_of(call.said.result, task.schema)
            call.error = CoderInvalid(f"its result does not fit the schema: {fault}") if fault else None
        return call

    def _spec(self, task: CoderTask, job: _Job, url: str) -> BoxSpec:
        command = job.agent.command(task, url, job.token)
        return BoxSpec(
            key=task.key,
            run=job.run,
            role=BoxRole.CODER,
            argv=command.argv,
            env=command.env,
            mounts=(Mount(MountName.WORK, job.tree, writable=task.role is CoderRole.EDITOR),),
            files=command.files,
            stdin=command.stdin,
            limits=Limits(
                seconds=job.role.seconds,
                memory_bytes=self._bounds.memory_bytes,
                output_bytes=self._bounds.output_bytes,
            ),
        )

    async def _follow(self, box: Box, job: _Job, call: _Call) -> BoxExit:
        """Reads the box's output to its end, and stops the box when a bound is crossed."""
        lines, read, heard = Lines(self._bounds.line_bytes), 0, self._clock.monotonic()
        while True:
            exit = await offload(self._boxes.wait, box, self._bounds.poll_seconds)
            while data := await offload(self._boxes.output, box, read):
                read, heard = read + len(data), self._clock.monotonic()
                for line in lines.feed(data):
                    self._hear(line, job, call)
                if call.error is not None:
                    break
            if exit is not None:
                break
            if call.error is None and self._clock.monotonic() - heard > self._bounds.idle_seconds:
                call.error = CoderHung(f"the coding agent said nothing for {self._bounds.idle_seconds:g} s")
            if call.error is not None:
                await offload(self._boxes.stop, box, self._bounds.grace_seconds)
        for line in lines.end():
            self._hear(line, job, call)
        return exit

    def _hear(self, line: Line, job: _Job, call: _Call) -> None:
        """Takes one line. After a bound was crossed nothing more counts, so a second reading ends the same."""
        if call.error is not None:
            return
        call.bytes += len(line.text)
        if call.bytes <= self._bounds.transcript_bytes:
            call.kept.append(line.shown)
        if line.cut:
            length = len(line.text) + line.cut
            call.said.take(CoderEvent(EventKind.TEXT, text=f"[a line of {length} bytes was cut]"))
            return
        for event in job.agent.parse(line.text):
            call.said.take(event)
        if call.said.count > self._bounds.events:
            call.error = CoderFailed(f"the coding agent made more than {self._bounds.events} events")
        elif call.said.money_usd > job.role.money_usd or call.said.tokens > job.role.tokens:
            call.error = CoderBudget(f"the coding agent spent more than was reserved: {_reserved(job.role)}")

    # -------------------------------------------------------------- the end

    async def _outcome(self, calls: list[_Call], usage: Usage | None, job: _Job) -> CoderOutcome:
        last = calls[-1]
        error = last.error
        if error is not None and usage is not None and usage.exhausted:
            error = CoderBudget(f"the gateway stopped the coding agent at what was reserved: {_reserved(job.role)}")
        return CoderOutcome(
            result=last.said.result if error is None else None,
            error=error,
            spent=_spent(calls, usage, job.role),
            transcript=await offload(self._transcript, calls, job),
            events=sum(call.said.count for call in calls),
            session=last.said.session,
        )

    def _transcript(self, calls: list[_Call], job: _Job) -> Digest:
        """Stores prompts and output, redacted; the box's own token is taken out by its value."""
        lines: list[bytes] = []
        for call in calls:
            task, beyond = call.task, call.bytes - self._bounds.transcript_bytes
            lines += [_note(moss="call", key=task.key, role=task.role, prompt=task.prompt), *call.kept]
            lines += [_note(moss="left_out", bytes=beyond)] if beyond > 0 else []
        text = b"\n".join(lines).decode(errors="replace")
        clean = self._redact(text.replace(job.token, "[box token]") if job.token else text)
        return self._store.put(clean.encode(errors="replace"), "transcript", job.run)


def fix_key(key: Key) -> Key:
    """The key of a call's corrective retry."""
    return Key(f"{key}/fix")


def fault_of(result: Mapping[str, object], schema: Mapping[str, object]) -> str | None:
    """The first place where `result` breaks `schema` or could not be stored, as one sentence; None when it fits."""
    try:
        stored = json.dumps(result, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        return f"it is no plain JSON: {shown(str(error), 200)}"
    if rb"\u0000" in stored.replace(rb"\\", b""):
        return "it holds a NUL character"
    found = sorted(Draft202012Validator(schema).iter_errors(result), key=lambda fault: list(map(str, fault.path)))
    if not found:
        return None
    place = ".".join(map(str, found[0].path)) or "the result"
    return f"{place}: {shown(found[0].message, 300)}"


def _fix(task: CoderTask, error: MossError) -> CoderTask:
    """The corrective retry: the same task, with what was wrong as marked data at its end."""
    correction = load("correction").text.replace("{error}", shown(str(error), 400))
    return replace(task, key=fix_key(task.key), prompt=f"{task.prompt}\n\n{correction}")


def _grant(task: CoderTask, role: RoleSettings, run: RunId, upstreams: tuple[str, ...]) -> Grant:
    return Grant(
        key=task.key,
        run=run,
        stage=task.stage,
        mode=GatewayMode.LIVE,
        upstreams=(role.upstream,) if role.upstream else upstreams,
        models=(role.model,) if role.model else (),
        max_tokens=role.tokens,
        max_money_usd=role.money_usd,
        seconds=2 * role.seconds + 60,
    )


def _spent(calls: list[_Call], usage: Usage | None, role: RoleSettings) -> Spend:
    """The gateway's figure is the truth; where no request reached it, the program's own; when neither says anything
    the whole reservation is gone."""
    seconds = sum(call.seconds for call in calls)
    if usage is not None and usage.requests:
        return Spend(money_usd=usage.money_usd, tokens=usage.tokens_in + usage.tokens_out, seconds=seconds)
    if usage is not None and all(call.said.metered for call in calls):
        money, tokens = sum(call.said.money_usd for call in calls), sum(call.said.tokens for call in calls)
        return Spend(money_usd=money, tokens=tokens, seconds=seconds)
    return Spend(money_usd=role.money_usd, tokens=role.tokens, seconds=seconds)


def _reserved(role: RoleSettings) -> str:
    return f"{role.money_usd:g} USD, {role.tokens} tokens"


def _note(**said: object) -> bytes:
    """A line of the runner's own in a transcript."""
    return json.dumps(said).encode()


def _lay_out(tree: Path, evidence: Mapping[str, bytes]) -> None:
    """Writes the evidence into the work tree. A link in its place would lead out of the tree: refused."""
    if (place := (tree / FOLDER).parent).is_symlink():
        raise Refused(f"`{place.name}` of the work tree is a link; MOSS keeps its evidence there")
    _clear(tree)
    for path, data in evidence.items():
        target = tree / FOLDER / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def _clear(tree: Path) -> None:
    """Takes the evidence out of the tree again. Idempotent. A link that an agent put in the place of our folder
    stays: the policy refuses it."""
    place = tree / FOLDER
    if place.parent.is_symlink():
        return
    remove_tree(place)
    if place.parent.is_dir() and not any(place.parent.iterdir()):
        place.parent.rmdir()
