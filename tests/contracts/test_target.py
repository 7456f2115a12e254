"""The contract of live targets, for each adapter that there is."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from moss.domain.frozen import sha256
from moss.domain.ids import Digest
from moss.ports import Image, LiveTarget
from moss.testing.conduct import Conduct, Sent
from moss.testing.conformance.target import TargetBench, TargetContract
from moss.testing.live_docker import LiveDocker, sweep, tiny_image
from moss.testing.live_process import Asked, LiveProcess
from moss.testing.targets import FakeTarget


class FakeBench:
    """The in-memory target, as the contract wants to see it."""

    def __init__(self) -> None:
        self.old, self.new, self.dying = (Image(Digest(sha256(name.encode())), name, None) for name in ("1", "2", "3"))
        self.target = FakeTarget([self.old, self.new, self.dying], self.old.digest)
        self.target.behave(self.dying.digest, Conduct(exits_after=0, exit_code=7))

    def reopened(self) -> LiveTarget:
        return self.target

    def send(self, text: str) -> Sent:
        return self.target.send(text)

    def answered(self, message: Sent) -> int:
        assert message.status is not None
        return message.status

    def waits(self, count: int) -> None:
        assert self.target.waiting == count

    def lapsed(self) -> None:
        self.target.lapse()

    def drop(self, image: Image) -> None:
        self.target.drop_image(image.digest)

    def kept(self) -> list[str]:
        return self.target.state.messages

    def two_writers(self) -> bool:
        return False


class ProcessBench(LiveProcess):
    """Real processes. Two writers are seen by the agents themselves, by a lock on their state."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.new = self.version("2")
        self.dying = self.version("3", exits_after=0)

    def answered(self, message: Asked) -> int:
        status = message.wait().status
        assert status is not None
        return status


class DockerBench(LiveDocker):
    """Real containers, behind the hold proxy in its own. Two writers are seen as with processes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.new = tiny_image("2")
        self.dying = tiny_image("3", exits_after=0)

    def answered(self, message: Asked) -> int:
        status = message.wait().status
        assert status is not None
        return status


class TestFakeTarget(TargetContract):
    @pytest.fixture
    def bench(self) -> TargetBench:
        return FakeBench()


@pytest.mark.slow
class TestProcessTarget(TargetContract):
    @pytest.fixture
    def bench(self, tmp_path: Path) -> Iterator[TargetBench]:
        bench = ProcessBench(tmp_path)
        try:
            bench.up()
            yield bench
        finally:
            bench.close()


@pytest.fixture(scope="module")
def tiny_images(request: pytest.FixtureRequest) -> Iterator[None]:
    """MOSS's own image is there, and none of the tiny agent's is left."""
    subprocess.run([str(Path(__file__).parents[2] / "scripts" / "images")], check=True, capture_output=True)
    yield
    sweep()


@pytest.mark.needs("docker")
@pytest.mark.slow
@pytest.mark.xdist_group("docker")
class TestDockerTarget(TargetContract):
    @pytest.fixture
    def bench(self, tmp_path: Path, tiny_images: None) -> Iterator[TargetBench]:
        bench = DockerBench(tmp_path)
        try:
            bench.up()
            yield bench
        finally:
            bench.close()
