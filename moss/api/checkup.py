"""Owns what `moss doctor` looks at: one check a line, each with its mend, each bounded in time.

Changes nothing but what a look itself does: one canary turn in a session of its own, boxes that are removed again.
Invariant: a check that breaks or hangs is a FAIL with its sentence, never a traceback and never a doctor that hangs.
"""

import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from moss.api.around import gateway_runs, live_line, proxy_runs, uncommitted
from moss.api.checkup_docker import CHECKS as IN_CONTAINERS
from moss.api.look import Level as Level
from moss.api.look import Look as Look
from moss.api.plain import count, plain, size
from moss.config import NO_CANARY, NO_CANARY_MEND, ExecTurn
from moss.domain.events import MIND_STAGES
from moss.domain.frozen import Frozen
from moss.engine.own_sessions import DOCTOR_SESSION
from moss.errors import MossError, UserError
from moss.ports import Place, Readiness

if TYPE_CHECKING:
    from moss.wiring import Wiring

SECONDS = 45.0


class Checkup(Frozen):
    """All lines; `ok` unless one is FAIL."""

    ok: bool
    looks: tuple[Look, ...]


Check = Callable[["Wiring"], Look]


def looks(wiring: "Wiring", seconds: float = SECONDS) -> Iterator[Look]:
    """One after the other, as they end."""
    for name, check in (*CHECKS, *(IN_CONTAINERS if wiring.settings.live.kind == "docker" else ())):
        yield bounded(name, check, wiring, seconds)


def bounded(name: str, check: Check, wiring: "Wiring", seconds: float) -> Look:
    """The check's look; FAIL where it raises or takes longer than `seconds`."""
    got: list[Look] = []

    def look() -> None:
        try:
            got.append(check(wiring))
        except MossError as error:
            got.append(Look(name=name, level=Level.FAIL, detail=plain(error, 300), mend=getattr(error, "mend", None)))
        except Exception as error:
            # a check that breaks is a finding, too
            got.append(Look(name=name, level=Level.FAIL, detail=f"{type(error).__name__}: {plain(error, 300)}"))

    thread = threading.Thread(target=look, name=f"doctor-{name}", daemon=True)
    thread.start()
    thread.join(seconds)
    return got[0] if got else Look(name=name, level=Level.FAIL, detail=f"no answer within {seconds:g} s")


def lines(look: Look) -> list[str]:
    """A look as the tour shows it."""
    said = f"{look.level:<5} {look.name:<12} {plain(look.detail, 300)}"
    return [said, *([f"{'':<18} mend: {plain(look.mend, 300)}"] if look.mend and look.level is not Level.OK else [])]


# ------------------------------------------------------------------ the checks


def engine(wiring: "Wiring") -> Look:
    probed = wiring.boxes.probe()
    bad = [one for one in probed if not one.ok]
    if bad:
        return Look(name="engine", level=Level.FAIL, detail=f"{bad[0].name}: {bad[0].detail}", mend=bad[0].mend)
    kind = wiring.settings.boxes.kind
    held = ", ".join(one.name for one in probed if one.name != "isolation")
    if not wiring.boxes.capabilities.isolates_files:
        return Look(
            name="engine",
            level=Level.WARN,
            detail=f"boxes are plain processes: they isolate nothing (bounds that hold: {held})",
            mend="use containers for an agent or a coder that you do not trust",
        )
    return Look(name="engine", level=Level.OK, detail=f"{kind}: {held}")


def store(wiring: "Wiring") -> Look:
    broken = wiring.store.verify()
    if broken is not None:
        said = f"the journal of {broken.run} is broken at entry {broken.seq}: {broken.because}"
        return Look(name="store", level=Level.FAIL, detail=said, mend="moss store restore, from the last backup")
    counts = wiring.store.counts()
    return Look(name="store", level=Level.OK, detail=f"its chain holds; {count(counts.get('turns', 0), 'turn')} seen")


def source(wiring: "Wiring") -> Look:
    settings = wiring.settings
    folder = settings.path(settings.substrate.source)
    commit = wiring.source.resolve(settings.substrate.branch)
    changed = uncommitted(wiring, commit)
    where = f"{folder} at {commit[:7]}"
    if changed:
        said = f"{where}, {count(len(changed), 'file')} not committed ({plain(changed[0], 80)})"
        return Look(name="source", level=Level.WARN, detail=said, mend="commit them: MOSS works on commits only")
    return Look(name="source", level=Level.OK, detail=f"{where}, clean")


def adoption(wiring: "Wiring") -> Look:
    live, name = live_line(wiring), "adoption"
    if not live.known:
        short = wiring.source.resolve(wiring.settings.substrate.branch)[:7]
        said = "the live agent does not run under MOSS; no commit is known for it"
        return Look(name=name, level=Level.FAIL, detail=said, mend=f"moss adopt --commit {short}")
    if live.commit is None:
        return Look(name=name, level=Level.FAIL, detail=f"no commit is known for {live.name}", mend="moss adopt")
    if not live.running:
        said = f"{live.name} (commit {live.commit[:7]}) does not run"
        container = getattr(wiring.settings.live, "container", None)
        log = f"docker logs {container}" if container else f"see {wiring.home / 'live' / 'agent.log'}"
        return Look(name=name, level=Level.FAIL, detail=said, mend=f"{log}; then moss adopt")
    return Look(name=name, level=Level.OK, detail=f"{live.name} is commit {live.commit[:7]}")


def health(wiring: "Wiring") -> Look:
    began = time.monotonic()
    probe = wiring.turns.health(_front(wiring))
    took = f"{1000 * (time.monotonic() - began):.0f} ms"
    if probe.readiness is not Readiness.READY:
        said = f"{probe.detail} in {took}: {probe.readiness} (of ready / failed / starting)"
        return Look(name="health", level=Level.FAIL, detail=said, mend="see [health] path and [live] port")
    said = f"GET {probe.detail} in {took}, three values: ready / failed / starting"
    return Look(name="health", level=Level.OK, detail=said)


def turn(wiring: "Wiring") -> Look:
    if isinstance(wiring.settings.turn, ExecTurn):
        return Look(name="turn", level=Level.FAIL, detail=NO_CANARY, mend=NO_CANARY_MEND)
    canary = wiring.settings.canary
    answer = wiring.turns.send(_front(wiring), DOCTOR_SESSION, canary.message, canary.seconds)
    if answer.error is not None:
        return Look(name="turn", level=Level.FAIL, detail=f"no answer to the canary: {answer.error}", mend="see [turn]")
    if answer.status not in (200, None) or canary.contains not in answer.text:
        said = f"the canary was answered with status {answer.status}: {plain(answer.text, 80)}"
        return Look(name="turn", level=Level.FAIL, detail=said, mend="see [turn] and [canary] in moss.toml")
    return Look(name="turn", level=Level.OK, detail=f"canary answered in {answer.seconds:.1f} s")


def _front(wiring: "Wiring") -> Place:
    """Where users talk to the agent."""
    host, port = wiring.target.front()
    return Place("127.0.0.1" if host in ("", "0.0.0.0", "::") else host, port)  # noqa: S104


def evidence(wiring: "Wiring") -> Look:
    probed = wiring.evidence.check(wiring.state)
    level = Level.OK if probed.ok else Level.FAIL
    return Look(name="evidence", level=level, detail=probed.detail, mend=probed.mend)


def gateway(wiring: "Wiring") -> Look:
    from moss.settings import resolve

    settings, name = wiring.settings.gateway, "gateway"
    if not settings.upstreams:
        return Look(name=name, level=Level.FAIL, detail="no upstream is named", mend="[gateway] upstreams in moss.toml")
    told = []
    for one in settings.upstreams:
        if one.key is not None:
            resolve(one.key, wiring.env)
        where = f"key from {one.key.env or one.key.file}" if one.key else "no key"
        told.append(f"`{one.name}` (scripted)" if one.script else f"`{one.name}`, {where}")
    said = f"http://{settings.host}:{settings.port} -> {'; '.join(told)}"
    if not gateway_runs(wiring.home):
        return Look(name=name, level=Level.WARN, detail=f"{said}; does not run", mend="moss serve starts it")
    return Look(name=name, level=Level.OK, detail=said)


def hold(wiring: "Wiring") -> Look:
    name = "hold proxy"
    if wiring.settings.live.drain == "drain":
        return Look(name=name, level=Level.OK, detail="not used: this agent polls, so it is drained and not held")
    if not proxy_runs(wiring.settings):
        place = _front(wiring)
        said = f"nothing of MOSS listens on {place.host}:{place.port}"
        return Look(name=name, level=Level.FAIL, detail=said, mend="moss adopt, then moss serve")
    host, port = wiring.target.front()
    return Look(name=name, level=Level.OK, detail=f"{host}:{port}")


def approvers(wiring: "Wiring") -> Look:
    from moss.api.acting import approvers as listed
    from moss.api.asks import Nothing
    from moss.api.caller import OPERATOR

    if wiring.settings.consent.auto:
        said = "none needed: consent.auto lets every proven candidate go live"
        return Look(name="approvers", level=Level.WARN, detail=said, mend="consent.auto = false")
    names = {one.name for one in listed(wiring, OPERATOR, Nothing()).approvers if not one.revoked}
    needed = wiring.settings.consent.needed
    if len(names) < needed:
        said = "no key yet" if not names else f"{len(names)} of the {needed} that are needed"
        return Look(name="approvers", level=Level.WARN, detail=said, mend="moss keys new NAME")
    return Look(name="approvers", level=Level.OK, detail=f"{', '.join(sorted(names))}; {needed} needed")


def space(wiring: "Wiring") -> Look:
    free, wanted = wiring.parts.free_bytes(), wiring.settings.retention.free_bytes
    said = f"{size(free)} free at {wiring.home}, {size(wanted)} kept free"
    if free < wanted:
        return Look(name="free space", level=Level.FAIL, detail=said, mend="make room, or lower retention.free_bytes")
    return Look(name="free space", level=Level.OK, detail=said)


def coder(wiring: "Wiring") -> Look:
    programs = {}
    for stage in MIND_STAGES:
        role = wiring.settings.role(stage)
        agent = wiring.coder(role)
        if role.script is not None and not wiring.settings.path(role.script).is_file():
            raise UserError("there is no such script", where=str(role.script), mend="[roles] script in moss.toml")
        programs[agent.name] = " (a scripted stand-in)" if agent.scripted else ""
    return Look(name="coder", level=Level.OK, detail=", ".join(name + more for name, more in programs.items()))


def variables(wiring: "Wiring") -> Look:
    """What a trial does not get of the live agent's environment: it may be why it behaves otherwise."""
    own, name = wiring.target.own_start(), "variables"
    if own is None:
        return Look(name=name, level=Level.OK, detail="boxes get those of live.env and live.preflight_env")
    if own.left_out:
        shown = ", ".join(plain(one, 60) for one in own.left_out[:8]) + (", ..." if len(own.left_out) > 8 else "")
        said = f"boxes do not get what looks secret in the live container: {shown}"
        mend = "give trials values of their own: live.preflight_env"
        return Look(name=name, level=Level.WARN, detail=said, mend=mend)
    return Look(name=name, level=Level.OK, detail=f"boxes get the live container's own, {len(own.env)} of them")


CHECKS: tuple[tuple[str, Check], ...] = (
    ("engine", engine),
    ("store", store),
    ("source", source),
    ("adoption", adoption),
    ("health", health),
    ("turn", turn),
    ("evidence", evidence),
    ("gateway", gateway),
    ("hold proxy", hold),
    ("approvers", approvers),
    ("free space", space),
    ("coder", coder),
    ("variables", variables),
)
