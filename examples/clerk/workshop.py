"""Owns a clerk to try things on: a folder with the agent's source as a git repository, a `moss.toml`, ports of its own.

    python -m examples.clerk.workshop FOLDER

Used by the quickstart, the demo, the end-to-end tests and the benchmarks. Never touches anything outside the folder
it is given.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
TREE = ("clerk", "tests")
BESIDE = ("graders", "script")
READY = "ready"


@dataclass(frozen=True, slots=True)
class Workshop:
    """A laid-out folder. `port` is where customers talk to the clerk."""

    root: Path
    port: int

    @property
    def toml(self) -> Path:
        return self.root / "moss.toml"

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def source(self) -> Path:
        return self.root / "source"

    def coder(self, script: str) -> None:
        """From now on the scripted coder follows `script/NAME`."""
        path = self.toml
        lines = [f'script = "script/{script}"' if line.startswith("script = ") else line for line in _lines(path)]
        half = path.with_suffix(".half")
        half.write_text("\n".join(lines) + "\n")
        half.replace(path)


def lay_out(root: Path, *, approvers: str = "", python: str = sys.executable, more: Sequence[str] = ()) -> Workshop:
    """The workshop in `root`, made anew unless it was made to its end before. `approvers`: TOML of `[consent]`,
    `more`: (old line, new line) pairs as `old -> new` for the tests' own settings."""
    root = root.resolve()
    if (root / READY).exists():
        return Workshop(root, int((root / READY).read_text()))
    shutil.rmtree(root, ignore_errors=True)
    (root / "source").mkdir(parents=True)
    for name in TREE:
        shutil.copytree(HERE / name, root / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in BESIDE:
        shutil.copytree(HERE / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    _repository(root / "source")
    port, gateway, api = free_ports(3)
    shop = Workshop(root, port)
    text = settings(port, gateway, api, python)
    for pair in more:
        old, new = pair.split(" -> ", 1)
        if old not in text:
            raise ValueError(f"no such line: {old}")
        text = text.replace(old, new)
    shop.toml.write_text(text + approvers)
    (root / READY).write_text(str(port))
    return shop


def settings(port: int, gateway: int, api: int, python: str) -> str:
    """The clerk's own `moss.toml`, with ports, interpreter and places of the workshop."""
    text = (HERE / "moss.toml").read_text()
    for old, new in (
        ('source = "."', 'source = "source"'),
        ('"python3"', f'"{python}"'),
        ("port = 8080", f"port = {port}"),
        ("port = 8790", f"port = {gateway}"),
    ):
        if old not in text:
            raise ValueError(f"moss.toml has no {old}")
        text = text.replace(old, new)
    return text + f"\n[api]\nport = {api}\n"


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now. All are held at once, so they differ."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


def _repository(folder: Path) -> None:
    """A git repository with one commit, independent of the user's git settings."""
    env = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
    }
    who = ("-c", "user.name=clerk", "-c", "user.email=clerk@example.invalid", "-c", "init.defaultBranch=main")
    for words in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", "clerk 1.0")):
        subprocess.run(["git", *who, *words], cwd=folder, env=env, check=True, capture_output=True)


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="workshop", description="A clerk of your own to try MOSS on.")
    parser.add_argument("folder", type=Path)
    shop = lay_out(parser.parse_args(words).folder)
    shutil.copy(HERE / "traffic.py", shop.root)
    print(f"the clerk's shop is in {shop.root}; its customers will use port {shop.port} (it is in the file {READY})")
    print(f"next: cd {shop.root} && moss doctor")
    return 0


if __name__ == "__main__":
    sys.exit(main())
