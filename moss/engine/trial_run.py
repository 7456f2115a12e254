"""Owns one trial: one case replayed on one image in one box, seen from outside. Never says what it proves.

Invariants: what MOSS's own side did wrong (a lost box, a gateway or model fault, a broken grader) makes the trial
invalid, never failed; a candidate that does not start, dies, says nothing or leaves a state that nobody can look at
has failed. Nothing of it is left.
"""

import contextlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from moss.domain.case import Case, FileOnVolume, Grader, Keypoint, Level, Rubric, World
from moss.domain.checks import mark, trial_passes
from moss.domain.detect import Detectors
from moss.domain.evidence import Exchange, Turn
from moss.domain.frozen import canonical
from moss.domain.ids import Key, RunId
from moss.domain.trial import Answer, Mark, Observation, Trial, WorldKind
from moss.engine.grader_box import bring_along, grader_box
from moss.engine.left_state import Unfit, copy_left
from moss.engine.offload import offload, to_its_end
from moss.engine.own_sessions import trial_session
from moss.engine.parts import Parts
from moss.engine.places import drop_tree, step_folder
from moss.engine.readiness import box_fault
from moss.engine.rubric import rubric_mark
from moss.engine.substrate_box import LINES_FILE, fresh_state, substrate_box
from moss.errors import BoxLost, GatewayError, GraderBroken, ModelDown, MossError, Then, UserError, policy_of
from moss.gateway.recording import dump, load
from moss.ports import (
    Box,
    BoxRole,
    GatewayMode,
    Grant,
    Image,
    MountName,
    Place,
    Store,
    Usage,
)

FILE_BYTES = 64 << 10
LINES_BYTES = 4 << 20
LOOK = 0.03
"""seconds between two looks at a box that starts"""


@dataclass(frozen=True, slots=True)
class Asked:
    """One trial to run: `version` is the image, `repeat` its number for this case and version.

    `live_from`: the recording ends before that request, and a real model answers from there on.
    """

    key: Key
    run: RunId
    case: Case
    image: Image
    repeat: int
    stage: str
    live_from: int | None = None
    changed: Mapping[str, Sequence[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the box showed while it lived."""

    answer: Answer
    turn: Turn | None
    exchanges: tuple[Exchange, ...]
    files: dict[str, str]
    changed_ran: bool | None


@dataclass(frozen=True, slots=True)
class _Graded:
    """Exit code of each grader by its keypoint; or why none could look at what the trial left."""

    codes: dict[str, int]
    unfit: str | None


class TrialRun:
    """Runs trials one at a time or side by side; holds nothing between them."""

    def __init__(self, parts: Parts, detectors: Detectors, *, look: float = LOOK) -> None:
        self._parts, self._detectors, self._look = parts, detectors, look

    async def run(self, asked: Asked) -> Trial:
        """The trial, valid or not. Idempotent by key: what an attempt before left is dropped first.

        Raises: StoreError (nothing can be kept), what the policy table does not call invalid, a defect of MOSS.
        """
        began = self._parts.clock.monotonic()
        try:
            trial = await self._valid(asked)
        except MossError as error:
            if policy_of(error).then is not Then.INVALID:
                raise
            trial = await self._invalid(asked, error)
        finally:
            await self._clean(asked)
        return trial.model_copy(update={"seconds": round(self._parts.clock.monotonic() - began, 3)})

    async def _invalid(self, asked: Asked, error: MossError) -> Trial:
        """What went wrong was not the candidate's doing; what it cost until then is spent all the same."""
        usage = Usage()
        with contextlib.suppress(GatewayError):
            usage = await offload(self._parts.gateway.close, asked.key)
        return Trial(
            key=asked.key,
            case=asked.case.id,
            version=asked.image.digest,
            repeat=asked.repeat,
            valid=False,
            world=_world(usage),
            diverged_at=usage.diverged_at,
            live_from=asked.live_from,
            invalid_because=f"{type(error).__name__}: {error}"[:1000],
            tokens=usage.tokens_in + usage.tokens_out,
            money_usd=usage.money_usd,
        )

    async def _valid(self, asked: Asked) -> Trial:
        settings, gateway = self._parts.settings, self._parts.gateway
        folder = step_folder(settings.home, asked.run, asked.key)
        await offload(self._parts.boxes.remove, asked.key)
        state = await to_its_end(fresh_state, settings, asked.case.world.seed, folder)
        world = await offload(opened_world, self._parts.store, asked.case.world, asked.live_from)
        token = await offload(gateway.open, _grant(asked, world, settings.gateway.upstream_names))
        url = await offload(gateway.url, BoxRole.TRIAL)
        own = await offload(self._parts.target.own_start)
        spec = substrate_box(settings, BoxRole.TRIAL, asked.image, asked.key, asked.run, state, url, token, own)
        box = await offload(self._parts.boxes.launch, spec)
        seen = await self._seen(asked, box, state)
        await offload(self._parts.boxes.stop, box, 0.0)
        usage = await offload(gateway.close, asked.key)
        if usage.faults:
            raise ModelDown(f"{usage.faults} model requests failed on the upstream's side")
        graded = await self._graded(asked, state, seen)
        return await self._judged(asked, seen, graded, usage)

    async def _seen(self, asked: Asked, box: Box, state: Path) -> _Seen:
        place = Place(*(await offload(self._parts.boxes.address, box)), box)
        session = trial_session(self._parts, asked.case, asked.run, asked.repeat)
        if (problem := await box_fault(self._parts, box, place, self._look)) is not None:
            return _Seen(Answer(error=problem), None, (), {}, None)
        for turn in asked.case.earlier:
            await self._send(box, place, session, turn.user)
        before = len(await offload(self._parts.gateway.record, asked.key))
        answer = await self._ended(box, await self._send(box, place, session, asked.case.turn.user))
        exchanges = tuple((await offload(self._parts.gateway.record, asked.key))[before:])
        seen: Turn | None = await offload(_last_turn, self._parts, state, session, len(asked.case.earlier) + 1)
        return _Seen(answer, seen, exchanges, await self._files(asked, box), await self._changed_ran(asked, box))

    async def _changed_ran(self, asked: Asked, box: Box) -> bool | None:
        """Whether a changed line ran, as far as the substrate tells (`MOSS_LINES`); for people, never for the proof."""
        if not asked.changed:
            return None
        data = await offload(self._parts.boxes.fetch, box, MountName.OUT, LINES_FILE, LINES_BYTES)
        return changed_lines_ran(asked.changed, data)

    async def _ended(self, box: Box, answer: Answer) -> Answer:
        """An answer that did not come, with how the agent ended. Raises: BoxLost.

        A kill counts as the agent's own end: else a candidate that is about to fail could make its trials invalid.
        """
        if answer.error is None or (ended := await offload(self._parts.boxes.wait, box, 0.5)) is None:
            return answer
        return answer.model_copy(update={"error": f"{answer.error}; the agent exited {ended.code} ({ended.reason})"})

    async def _send(self, box: Box, place: Place, session: str, message: str) -> Answer:
        """Raises: BoxLost; but a box that ended by itself is not lost, though nothing can be run in it any more."""
        try:
            return await offload(self._parts.turns.send, place, session, message, self._parts.settings.turn.seconds)
        except BoxLost:
            if await offload(self._parts.boxes.wait, box, 0.0) is None:
                raise
            return Answer(error="its box has ended")

    async def _files(self, asked: Asked, box: Box) -> dict[str, str]:
        named = {point.check.path for point in asked.case.keypoints if isinstance(point.check, FileOnVolume)}
        files: dict[str, str] = {}
        for path in sorted(named | set(self._parts.settings.trials.files)):
            data = await offload(self._parts.boxes.fetch, box, MountName.STATE, path, FILE_BYTES)
            if data is not None:
                files[path] = self._parts.redact(data.decode("utf-8", "replace"))
        return files

    # ------------------------------------------------------------------ judging

    async def _graded(self, asked: Asked, state: Path, seen: _Seen) -> _Graded:
        """Each grader in a box of its own that never holds candidate code, on a bounded copy of what was left."""
        graders = [(point.id, point.check) for point in asked.case.keypoints if isinstance(point.check, Grader)]
        if not graders:
            return _Graded({}, None)
        left = state.with_name(f"left-{state.name}")
        try:
            await to_its_end(copy_left, state, left, self._parts.settings.trials.state_bytes)
        except Unfit as error:
            return _Graded({}, str(error))
        return _Graded({point: await self._grade(asked, point, grader, left, seen) for point, grader in graders}, None)

    async def _grade(self, asked: Asked, point: str, grader: Grader, state: Path, seen: _Seen) -> int:
        settings, boxes = self._parts.settings, self._parts.boxes
        key = Key(f"{asked.key}/grade/{point}")
        program = state.with_name(f"grader-{secrets.token_hex(4)}")
        await to_its_end(bring_along, grader, settings.root, program)
        spec = grader_box(key, asked.run, grader, (program, state), seen.answer, settings.trials.memory_bytes)
        await offload(boxes.remove, key)
        try:
            box = await offload(boxes.launch, spec)
            ended = await offload(boxes.wait, box, 65.0)
            if ended is None or ended.code not in (0, 1, 10, 11):
                said = (await offload(boxes.errors, box)).decode("utf-8", "replace")[-300:]
                raise GraderBroken(f"grader {grader.name} broke: exit {ended.code if ended else 'none'}: {said}")
            return ended.code
        finally:
            await offload(boxes.remove, key)

    async def _judged(self, asked: Asked, seen: _Seen, graded: _Graded, usage: Usage) -> Trial:
        findings = tuple(self._detectors.findings(seen.turn)) if seen.turn else ()
        observation = Observation(
            answer=seen.answer,
            turn=seen.turn,
            exchanges=seen.exchanges,
            files=seen.files,
            graded=graded.codes,
            findings=findings,
        )
        marks = tuple([await self._mark(asked, point, observation, graded) for point in asked.case.keypoints])
        record = await offload(self._parts.store.put, canonical(observation), "trial", asked.run)
        return Trial(
            key=asked.key,
            case=asked.case.id,
            version=asked.image.digest,
            repeat=asked.repeat,
            valid=True,
            passed=trial_passes(asked.case, marks, findings),
            marks=marks,
            world=_world(usage),
            diverged_at=usage.diverged_at,
            live_from=asked.live_from,
            changed_lines_ran=seen.changed_ran,
            record=record,
            tokens=usage.tokens_in + usage.tokens_out,
            money_usd=usage.money_usd,
        )

    async def _mark(self, asked: Asked, point: Keypoint, observation: Observation, graded: _Graded) -> Mark:
        if graded.unfit is not None and isinstance(point.check, Grader):
            return Mark(keypoint=point.id, level=Level.MISSING, because=graded.unfit)
        if isinstance(point.check, Rubric):
            return await rubric_mark(self._parts, asked.key, point, observation)
        return mark(point, observation)

    async def _clean(self, asked: Asked) -> None:
        folder = step_folder(self._parts.settings.home, asked.run, asked.key)
        await offload(self._parts.boxes.remove, asked.key)
        await to_its_end(drop_tree, folder)


def changed_lines_ran(changed: Mapping[str, Sequence[int]], told: bytes | None) -> bool | None:
    """Whether a changed line is among those that a substrate says it ran; None when it says nothing usable."""
    try:
        ran = orjson.loads(told or b"")
    except orjson.JSONDecodeError:
        return None
    if not isinstance(ran, dict) or not all(isinstance(lines, list) for lines in ran.values()):
        return None
    return any(line in lines for path, lines in ran.items() for line in changed.get(path, ()))


def opened_world(store: Store, world: World, live_from: int | None) -> World:
    """The world, its recording cut off before the request `live_from`. Raises: StoreError, UserError."""
    if live_from is None or world.recording is None:
        return world
    kept = [each for each in load(store.get(world.recording) or b"") if each.ordinal < live_from]
    return world.model_copy(update={"recording": store.put(dump(kept), "recording") if kept else None})


def _world(usage: Usage) -> WorldKind:
    return WorldKind.LIVE if usage.live else WorldKind.REPLAYED


def _grant(asked: Asked, world: World, upstreams: tuple[str, ...]) -> Grant:
    return Grant(
        key=asked.key,
        run=asked.run,
        stage=asked.stage,
        mode=GatewayMode.REPLAY if world.recording else GatewayMode.SCRIPT if world.script else GatewayMode.LIVE,
        upstreams=upstreams,
        recording=world.recording,
        script=world.script,
        on_divergence=world.on_divergence,
    )


def _last_turn(parts: Parts, state: Path, session: str, ordinal: int) -> Turn | None:
    """The turn as the evidence source reads it from the box's state; None when the agent left none.

    A state that cannot be read is the agent's work, not ours: it left no turn.
    """
    try:
        turns = [turn for turn in parts.evidence.turns(state, session) if turn.ordinal == ordinal]
    except (UserError, OSError):
        return None
    return turns[-1] if turns else None
