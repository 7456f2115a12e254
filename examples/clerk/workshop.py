"""Owns a clerk to try things on: a folder with the agent's source as a git repository, a `moss.toml`, ports of its own.

    python -m examples.clerk.workshop FOLDER [--docker NAME]

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
TREE = ("clerk", "tests", "Dockerfile")
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


def lay_out(
    root: Path,
    *,
    approvers: str = "",
    python: str = sys.executable,
    more: Sequence[str] = (),
    container: str | None = None,
) -> Workshop:
    """The workshop in `root`, made anew unless it was made to its end before. `approvers`: TOML of `[consent]`,
    `more`: (old line, new line) pairs as `old -> new` for the tests' own settings. `container`: the name of the live
    agent's, for a clerk whose boxes are containers, too."""
    root = root.resolve()
    if (root / READY).exists():
        return Workshop(root, int((root / READY).read_text()))
    shutil.rmtree(root, ignore_errors=True)
    (root / "source").mkdir(parents=True)
    for name in TREE:
        _copy(HERE / name, root / "source" / name)
    for name in BESIDE:
        _copy(HERE / name, root / name)
    _repository(root / "source")
    port, gateway, api = free_ports(3)
    shop = Workshop(root, port)
    text = settings(port, gateway, api, python) if container is None else in_containers(gateway, api, container)
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


def in_containers(gateway: int, api: int, container: str) -> str:
    """The same with the tables of `docker.toml` and the names of a container's own: port, interpreter and state are
    what they are inside."""
    text = settings(8080, gateway, api, "python3")
    others = _tables((HERE / "docker.toml").read_text())
    others["[live]"] = others["[live]"].replace('container = "clerk"', f'container = "{container}"')
    tables = {**_tables(text), **{name: body for name, body in others.items() if name}}
    return "\n\n".join((name + body).strip() for name, body in tables.items()) + "\n"


def _tables(text: str) -> dict[str, str]:
    """A TOML file by its tables, in order: heading -> all up to the next one. Arrays of tables stay with what is
    before them."""
    found, heading = {"": ""}, ""
    for line in text.splitlines(keepends=True):
        if line.startswith("[") and not line.startswith("[["):
            heading = line.split("]")[0] + "]"
            found[heading] = line.removeprefix(heading)
        else:
            found[heading] += line
    return found


def _copy(source: Path, into: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, into, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, into)


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
    parser.add_argument("--docker", metavar="NAME", help="boxes, images and the live agent are containers, it of NAME")
    given = parser.parse_args(words)
    shop = lay_out(given.folder, container=given.docker)
    shutil.copy(HERE / "traffic.py", shop.root)
    print(f"the clerk's shop is in {shop.root}; its customers will use port {shop.port} (it is in the file {READY})")
    print(f"next: cd {shop.root} && moss doctor")
    return 0


if __name__ == "__main__":
    sys.exit(main())
