"""Owns the preflight: the candidate on a copy of the live state, in a box, before any downtime.

Touches nothing live. Invariant: nothing of it is left, however it ends.
"""

import secrets
from dataclasses import replace

from moss.domain.budget import Spend
from moss.domain.events import PreflightResult
from moss.domain.machine import Do, Done
from moss.domain.run import Run
from moss.engine.consents import refusal
from moss.engine.offload import offload, to_its_end
from moss.engine.own_sessions import canary_session
from moss.engine.parts import Parts
from moss.engine.pins import settings_changed
from moss.engine.places import drop_tree, step_folder
from moss.engine.readiness import box_fault, canary_fault, fault_within, last_line
from moss.engine.substrate_box import image_of, substrate_box
from moss.errors import NotExpected
from moss.ports import Box, BoxRole, GatewayMode, Grant, Place

LOOK = 0.03
"""seconds between two looks at a box that starts"""
WATCH_LOOK = 0.2
"""seconds between two looks at a candidate that is ready"""


class Preflight:
    """Runs the preflight of a candidate. `look`: seconds between two looks at it."""

    def __init__(self, parts: Parts, *, look: float = LOOK) -> None:
        self._parts, self._look = parts, look

    async def perform(self, run: Run, do: Do) -> Done:
        """What it showed, and what its canary cost.

        Raises: BoxLost, BoxRefused, GatewayDown, NoSpace, NotExpected (the settings are not those of the consent).
        """
        parts = self._parts
        if (changed := settings_changed(parts.settings, run)) is not None:
            raise NotExpected(f"{changed}: start a new run")
        live = (await offload(parts.target.current)).image.digest
        no = await offload(refusal, parts, run)
        if live != run.started.base.image or no is not None:
            return Done(PreflightResult(ok=False, live=live, refusal=no))
        if not parts.settings.swap.preflight:
            return Done(PreflightResult(ok=True, skipped=True, live=live))
        began = parts.clock.monotonic()
        try:
            because, ready, said = await self._tried(run, do)
        finally:
            usage = await offload(parts.gateway.close, do.key)
            await self._clean(run, do)
        seconds = (ready or parts.clock.monotonic()) - began
        spent = Spend(money_usd=usage.money_usd, tokens=usage.tokens_in + usage.tokens_out)
        ready_seconds = round(seconds, 3)
        ok, why = because is None, because or ""
        return Done(PreflightResult(ok=ok, live=live, because=why, said=said, ready_seconds=ready_seconds), spent)

    async def _tried(self, run: Run, do: Do) -> tuple[str | None, float | None, str]:
        """Why it is unfit, None when it is fit; the monotonic time when it was ready; an unfit one's last line."""
        parts = self._parts
        assert run.statement is not None
        image = await image_of(parts, run.statement.candidate)
        await self._clean(run, do)
        # a name of its own: a copy that a cancelled attempt began ends elsewhere
        state = step_folder(parts.settings.home, run.id, do.key) / f"state-{secrets.token_hex(4)}"
        state.parent.mkdir(parents=True, exist_ok=True)
        await to_its_end(parts.target.state_copy, state)
        token = await offload(parts.gateway.open, self._grant(run, do))
        url = await offload(parts.gateway.url, BoxRole.PREFLIGHT)
        own = await offload(parts.target.own_start)
        spec = substrate_box(parts.settings, BoxRole.PREFLIGHT, image, do.key, run.id, state, url, token, own)
        watched = replace(spec.limits, seconds=spec.limits.seconds + parts.settings.swap.preflight_watch_seconds)
        box = await offload(parts.boxes.launch, replace(spec, limits=watched))
        place = Place(*(await offload(parts.boxes.address, box)), box)
        ready: float | None = None
        if (fault := await box_fault(parts, box, place, self._look)) is None:
            ready = parts.clock.monotonic()
            session = await offload(canary_session, parts, run, do.key, on_live_state=False)
            fault = await self._canary(box, place, session)
        if fault is None:
            fault = await fault_within(parts, box, place, parts.settings.swap.preflight_watch_seconds, WATCH_LOOK)
        if fault is None:
            return None, ready, ""
        errors = await offload(parts.boxes.errors, box)
        return f"on a copy of the state {fault}", ready, last_line(parts.redact, errors.decode("utf-8", "replace"))

    def _grant(self, run: Run, do: Do) -> Grant:
        upstreams = self._parts.settings.gateway.upstream_names
        return Grant(key=do.key, run=run.id, stage="preflight", mode=GatewayMode.LIVE, upstreams=upstreams)

    async def _canary(self, box: Box, place: Place, session: str) -> str | None:
        """None when it answered, else what came instead. Raises: BoxLost."""
        canary = self._parts.settings.canary
        answer = await offload(self._parts.turns.send, place, session, canary.message, canary.seconds)
        if answer.error is not None:
            await offload(self._parts.boxes.wait, box, 0.0)  # a box that was lost says nothing of the candidate
        return canary_fault(canary, answer)

    async def _clean(self, run: Run, do: Do) -> None:
        parts = self._parts
        await offload(parts.boxes.remove, do.key)
        await to_its_end(drop_tree, step_folder(parts.settings.home, run.id, do.key))
