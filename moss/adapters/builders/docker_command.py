"""Owns the one program a build runs on the host: `docker build`, its argv, its environment, its bounds, its end.

Never a shell, nothing of this process's environment. What ended a build is read only from what the client itself says
(its own `ERROR:` lines), never from what a RUN step printed. Invariant: the client is gone when `run` returns.
"""

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from moss.config import DockerBuild
from moss.dockerd import plain
from moss.errors import BuildBroken, BuildError, BuildFailed, NoSpace

LOOK = 0.1
GRACE = 15.0
OWN_ERROR = re.compile(rb"^(?:ERROR|error): (.*)$", re.MULTILINE)
UNREACHABLE = re.compile(r"failed to resolve source metadata for (?:docker\.io/(?:library/)?)?([^\s:]+(?::[^\s:]+)?)")
UNREACHABLE_20_10 = re.compile(r"/v2/(?:library/)?([^\s:\"]+)/manifests/([^\s:\"]+)")
NO_SPACE = "no space left on device"
STEP_FAILED = ("did not complete successfully", "executor failed running [")
NO_BASE = ("failed to resolve source metadata", "failed to create llb definition", "pull access denied")
"""As the engine of today says it, and as Docker 20.10 does."""
FULL = 16 << 20
"""Bytes: with less free, a step that failed was not at fault."""


@dataclass(frozen=True, slots=True)
class Build:
    """One build. `secrets`: name -> file. `disk`: a folder on the engine's disk, None where it is not this host's."""

    settings: DockerBuild
    engine: str
    tree: Path
    iid: Path
    labels: Mapping[str, str]
    secrets: Mapping[str, Path]
    client: Path
    disk: Path | None

    def argv(self) -> list[str]:
        settings = self.settings
        words = ["docker", "build", "--progress=plain", f"--iidfile={self.iid}", f"--file={self.dockerfile}"]
        words += ["--network=default" if settings.network else "--network=none"]
        words += [f"--target={settings.target}"] if settings.target else []
        words += [f"--label={name}={value}" for name, value in sorted(self.labels.items())]
        words += [f"--build-arg={name}={value}" for name, value in sorted(settings.arguments.items())]
        words += [f"--secret=id={name},src={path}" for name, path in sorted(self.secrets.items())]
        return [*words, "--", str(self.tree)]

    def env(self) -> dict[str, str]:
        """`client` holds the client's configuration: a folder of the home's own, or the user's logins."""
        return {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.client),
            "DOCKER_CONFIG": str(self.client),
            "DOCKER_HOST": self.engine,
            "DOCKER_BUILDKIT": "1",
            # not by a flag: the client of Docker 20.10 knows none
            "BUILDX_NO_DEFAULT_ATTESTATIONS": "1",
            "LANG": "C.UTF-8",
        }

    @property
    def dockerfile(self) -> Path:
        return self.tree / self.settings.dockerfile

    def run(self, log: Path) -> str:
        """The id of the image. Raises: BuildFailed, BuildBroken, NoSpace."""
        start = log.stat().st_size
        with log.open("ab") as out:
            try:
                client = subprocess.Popen(
                    self.argv(),
                    env=self.env(),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,
                )
            except FileNotFoundError:
                raise BuildBroken("there is no program `docker` here (mend: install the Docker client)") from None
            because = self._watched(client)
        if because is not None:
            raise BuildFailed(because)
        if client.returncode == 0:
            return self.iid.read_text().strip()
        if self.disk is not None and self._free() < FULL:
            raise cause(f"ERROR: {NO_SPACE}".encode(), client.returncode)
        with log.open("rb") as said:
            said.seek(start)
            raise cause(said.read(), client.returncode)

    def _watched(self, client: "subprocess.Popen[bytes]") -> str | None:
        """Why it was ended by us, None when it ended by itself."""
        until, free = time.monotonic() + self.settings.seconds, self._free()
        try:
            while client.poll() is None:
                if time.monotonic() > until:
                    return f"the build did not end within {self.settings.seconds:g} s (build.seconds)"
                if free - self._free() > self.settings.disk_bytes:
                    return f"the build took more than {self.settings.disk_bytes} bytes of disk (build.disk_bytes)"
                with contextlib.suppress(subprocess.TimeoutExpired):
                    client.wait(LOOK)
            return None
        finally:
            _end(client)

    def _free(self) -> int:
        if self.disk is None:
            return 0
        space = os.statvfs(self.disk)
        return space.f_bfree * space.f_frsize


def _end(client: "subprocess.Popen[bytes]") -> None:
    """The client tells the engine to give the build up; what does not listen is killed."""
    if client.poll() is not None:
        return
    client.send_signal(signal.SIGTERM)
    try:
        client.wait(GRACE)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(client.pid, signal.SIGKILL)
        client.wait()


def cause(said: bytes, code: int) -> BuildError | NoSpace:
    """What the client says of a build that did not end well, told apart."""
    errors = [plain(line.decode(errors="replace")) for line in OWN_ERROR.findall(said)]
    words = errors[-1] if errors else f"docker build ended with code {code}"
    low = words.lower()
    if any(sign in low for sign in STEP_FAILED):
        # it quotes the step's own command, whose words decide nothing
        return BuildFailed(words)
    if NO_SPACE in low:
        return NoSpace("the engine has no space left for a build (mend: docker system df, docker builder prune)")
    if any(sign in low for sign in NO_BASE):
        named = UNREACHABLE.search(words) or UNREACHABLE_20_10.search(words)
        base = ":".join(named.groups()) if named else "its base image"
        return BuildBroken(f"the base image {base} is not there (mend: docker pull {base}, or correct FROM)")
    if "cannot connect to the docker daemon" in low or "permission denied while trying to connect" in low:
        return BuildBroken(f"the engine does not answer: {words}")
    if "unknown flag" in low or "is missing or broken" in low or "buildx" in low:
        return BuildBroken(f"the docker client cannot build ({words}) (mend: install docker-buildx)")
    return BuildFailed(words)
