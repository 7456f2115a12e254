"""Owns how the `git` program is run: argv only, a fixed environment, no hook, filter, pager, prompt or network.

Never decides what to run. Invariant: nothing that a repository or a work tree says (configuration, attributes,
names, hooks) makes git start a program or touch a path outside of what it was told to.
"""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from moss.errors import NoSpace, UserError

SECONDS = 600.0
PATH = "/usr/local/bin:/usr/bin:/bin"
SAFE = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "core.quotePath=false",
    "core.autocrlf=false",
    "core.symlinks=true",
    "core.fileMode=true",
    "core.precomposeUnicode=false",
    "core.bigFileThreshold=2m",
    "safe.directory=*",
    "pack.compression=1",
    "gc.auto=0",
    "maintenance.auto=false",
    "protocol.allow=never",
    "protocol.file.allow=always",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "commit.gpgSign=false",
    "diff.noprefix=false",
    "diff.mnemonicPrefix=false",
    "diff.renames=false",
)
"""Settings of the command line win over those of any repository."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What a git command gave."""

    code: int
    out: bytes
    err: str


@dataclass(frozen=True, slots=True)
class Git:
    """git on one repository. `config` is a file of ours with what a server side of git must know, too."""

    repository: Path | None
    config: Path
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path = Path("/")

    def argv(self, words: Sequence[str]) -> list[str]:
        settings = [word for setting in SAFE for word in ("-c", setting)]
        return ["git", "--no-pager", "--no-replace-objects", *settings, *words]

    def environment(self) -> dict[str, str]:
        return {
            "PATH": PATH,
            "HOME": "/nonexistent",
            "LC_ALL": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(self.config),
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_NO_LAZY_FETCH": "1",
            **({"GIT_DIR": str(self.repository)} if self.repository else {}),
            **self.env,
        }

    def ask(self, *words: str, stdin: bytes = b"") -> Ran:
        """One command, whatever it ends with. Raises: UserError when git is missing or hangs."""
        try:
            ran = subprocess.run(
                self.argv(words),
                input=stdin,
                capture_output=True,
                env=self.environment(),
                cwd=self.cwd,
                timeout=SECONDS,
                check=False,
            )
        except FileNotFoundError:
            raise UserError("the program `git` is not installed", mend="install git 2.32 or newer") from None
        except subprocess.TimeoutExpired:
            raise UserError(f"git {words[0]} did not end within {SECONDS:g} s", where=str(self.repository)) from None
        return Ran(ran.returncode, ran.stdout, ran.stderr.decode(errors="backslashreplace").strip())

    def __call__(self, *words: str, stdin: bytes = b"") -> bytes:
        """One command that must work. Raises: NoSpace, UserError with git's own reason."""
        ran = self.ask(*words, stdin=stdin)
        if ran.code == 0:
            return ran.out
        if "No space left on device" in ran.err:
            raise NoSpace(f"{self.repository}: git {words[0]} found no space left")
        raise UserError(f"git {words[0]} failed: {ran.err[-500:]}", where=str(self.repository))

    def word(self, *words: str, stdin: bytes = b"") -> str:
        """The one word that a command prints."""
        return self(*words, stdin=stdin).decode().strip()

    def within(self, **env: str) -> "Git":
        """The same with more environment, e.g. an index of its own."""
        return replace(self, env={**self.env, **env})

    def at(self, folder: Path) -> "Git":
        """The same, run in another folder."""
        return replace(self, cwd=folder)
