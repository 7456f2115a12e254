"""Owns small git repositories for tests: made, committed to and looked at with the plain `git` program."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from moss.domain.ids import CommitId

ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_AUTHOR_DATE": "2026-01-02T03:04:05Z",
    "GIT_COMMITTER_DATE": "2026-01-02T03:04:05Z",
}


@dataclass(frozen=True, slots=True)
class Repository:
    """A user's repository with a work tree at `path`."""

    path: Path

    @classmethod
    def new(cls, path: Path) -> "Repository":
        path.mkdir(parents=True)
        made = cls(path)
        made.git("init", "--quiet", "--initial-branch=main")
        return made

    def git(self, *words: str, stdin: bytes = b"") -> str:
        """What the command prints, stripped. Fails the test when it fails."""
        ran = subprocess.run(
            ["git", *words], cwd=self.path, env=ENVIRONMENT, input=stdin, capture_output=True, check=False
        )
        assert ran.returncode == 0, ran.stderr.decode(errors="replace")
        return ran.stdout.decode(errors="surrogateescape").strip()

    def write(self, path: str, text: str | bytes) -> Path:
        target = self.path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode() if isinstance(text, str) else text)
        return target

    def commit(self, message: str = "a commit") -> CommitId:
        """All of the work tree."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)
        return CommitId(self.git("rev-parse", "HEAD"))

    def state(self) -> tuple[str, str, str]:
        """What the user sees: branch, status, index."""
        return self.git("symbolic-ref", "HEAD"), self.git("status", "--porcelain"), self.git("ls-files", "--stage")
