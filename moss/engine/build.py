"""Owns the build and check stages: a candidate's image, and the substrate's own tests on an image."""

import re
from pathlib import Path

from moss.domain.events import BuildResult, CheckResult, Version
from moss.domain.ids import Digest, Key
from moss.domain.machine import Do
from moss.domain.run import Run
from moss.engine.offload import offload, to_its_end
from moss.engine.parts import Parts
from moss.engine.places import drop_tree, step_folder
from moss.engine.substrate_box import check_box, image_of
from moss.errors import BoxLost, BuildFailed
from moss.ports import Box, BoxExit, ExitReason

TAIL = 4000
"""characters of a log that go into the journal"""

_PASSED = re.compile(r"(\d+) passed")
_FAILED = re.compile(r"(\d+) (?:failed|error)")
_UNITTEST_RAN = re.compile(r"^Ran (\d+) tests?", re.MULTILINE)
_UNITTEST_BAD = re.compile(r"(?:failures|errors)=(\d+)")


class Building:
    """Builds and checks candidates."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def build(self, run: Run, do: Do) -> BuildResult:
        """The image of the iteration's commit. Raises: BuildBroken, NoSpace, StoreError."""
        parts, commit = self._parts, run.iterations[-1].work
        assert commit is not None
        await offload(parts.require_space, "a build")
        folder = step_folder(parts.settings.home, run.id, do.key)
        tree, log = folder / "tree", folder / "build.log"
        await to_its_end(parts.source.export, commit, tree)
        name = f"{run.started.substrate}:{commit[:7]}"
        try:
            image = await offload(parts.builder.build, tree, commit, name, do.key, log)
            version = Version(commit=commit, image=image.digest, name=image.name, registry=image.registry)
            tail = ""
        except BuildFailed as error:
            version, tail = None, f"{error}\n{_tail(log)}"
        kept = await offload(parts.store.put, await offload(_read, log), "build-log", run.id)
        await to_its_end(drop_tree, tree)
        return BuildResult(version=version, log=kept, tail=parts.redact(tail)[-TAIL:])

    async def check(self, run: Run, do: Do) -> CheckResult:
        """The candidate's own tests."""
        built = run.iterations[-1].build
        assert built is not None
        assert built.version is not None
        return await self.check_of(run, do.key, built.version.image)

    async def check_of(self, run: Run, key: Key, digest: Digest) -> CheckResult:
        """The substrate's own tests on an image, in a box. Raises: BoxLost, BoxRefused."""
        parts = self._parts
        if not parts.settings.substrate.check:
            return CheckResult(ok=True, ran=False)
        image = await image_of(parts, digest)
        box_key = Key(f"{key}/check")
        spec = check_box(parts.settings, image, box_key, run.id, parts.settings.build.seconds)
        box = await offload(parts.boxes.launch, spec)
        ended = await self._ended(box, parts.settings.build.seconds + 10)
        said = (await offload(parts.boxes.output, box)) + b"\n" + (await offload(parts.boxes.errors, box))
        await offload(parts.boxes.remove, box_key)
        return read_check(ended, parts.redact(said.decode("utf-8", "replace")))

    async def _ended(self, box: Box, seconds: float) -> BoxExit:
        clock = self._parts.clock
        until = clock.monotonic() + seconds
        while clock.monotonic() < until:
            if (ended := await offload(self._parts.boxes.wait, box, 1.0)) is not None:
                return ended
        raise BoxLost("the check's box did not end at its deadline")


def read_check(ended: BoxExit, said: str) -> CheckResult:
    """The result by the exit code; counts of pytest or unittest where the output has them (for people only)."""
    ok = ended.code == 0 and ended.reason is ExitReason.EXITED
    passed, failed = _counts(said)
    why = "" if ended.reason is ExitReason.EXITED else f"\nthe box ended it: {ended.reason}"
    return CheckResult(ok=ok, passed=passed, failed=failed, tail="" if ok else (said + why)[-TAIL:])


def _counts(said: str) -> tuple[int | None, int | None]:
    if ran := _UNITTEST_RAN.search(said):
        bad = sum(int(count) for count in _UNITTEST_BAD.findall(said))
        return int(ran.group(1)) - bad, bad
    if passed := _PASSED.search(said):
        failed = _FAILED.search(said)
        return int(passed.group(1)), int(failed.group(1)) if failed else 0
    return None, None


def _read(log: Path) -> bytes:
    return log.read_bytes()[-(1 << 20) :] if log.exists() else b""


def _tail(log: Path) -> str:
    return _read(log)[-TAIL:].decode("utf-8", "replace")
