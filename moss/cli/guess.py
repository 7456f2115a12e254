"""Owns what can be told of an agent by looking at its folder. Reads a few small files, runs nothing, follows no link.

What it finds was written by others: names and numbers are checked by pattern before they are used.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

LARGEST = 256 << 10
MOST = 2000
PORTS = (
    re.compile(r"--port[\"',\s=]+(?:type=int,\s*)?default=(\d{2,5})"),
    re.compile(r"^\s*EXPOSE\s+(\d{2,5})", re.MULTILINE),
    re.compile(r"(?i)\bport\b[\"']?\s*(?:=|:|,)\s*(?:int\()?[\"']?(\d{2,5})"),
    re.compile(r"--port[ =](\d{2,5})"),
)
NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
SKIPPED = {"tests", "test", "docs", "examples", "scripts", "build", "dist", "venv", "node_modules"}


@dataclass(frozen=True, slots=True)
class Found:
    """What a folder tells. `source`: of moss.toml, relative to it. `notes`: what a person has to look at."""

    name: str
    source: str
    source_folder: Path
    module: str | None = None
    port: int = 8080
    health: str = "/health"
    tests: str | None = None
    runner: str | None = None
    notes: tuple[str, ...] = field(default=())


def look(folder: Path, beside: Path) -> Found:
    """`folder` holds the source, `beside` is where moss.toml goes. Never raises for what it finds."""
    module = _module(folder)
    texts = _texts(folder, module)
    port, health, tests = _port(texts), _health(texts), _tests(folder)
    notes = []
    if not _has(folder / ".git") and not any(_has(parent / ".git") for parent in folder.parents):
        notes.append("the folder is in no git repository: git init, add, commit")
    if module is None:
        notes.append("live.argv: no package with a __main__.py was found")
    if port is None:
        notes.append("live.port: no port was found, 8080 is a guess")
    notes.append("evidence.source, health, turn and canary: how the agent is asked, and where its sessions are")
    return Found(
        name=_slug(folder.name),
        source=_relative(folder, beside),
        source_folder=folder,
        module=module,
        port=port or 8080,
        health=health,
        tests=tests,
        runner=_runner(folder, texts),
        notes=tuple(notes),
    )


def _has(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-") or "agent"


def _relative(folder: Path, beside: Path) -> str:
    return str(folder.relative_to(beside)) if folder.is_relative_to(beside) else str(folder)


def _module(folder: Path) -> str | None:
    """The package with a __main__.py, at the top or below src/."""
    for root in (folder, folder / "src"):
        for path in _entries(root):
            if path.name not in SKIPPED and NAME.match(path.name) and _has(path / "__main__.py"):
                return path.name
    return None


def _entries(root: Path) -> list[Path]:
    try:
        return [path for path in sorted(root.iterdir())[:MOST] if path.is_dir() and not path.is_symlink()]
    except OSError:
        return []


def _texts(folder: Path, module: str | None) -> list[str]:
    """Small files that may tell a port, the likeliest first."""
    paths = [folder / "Dockerfile", folder / "README.md", folder / "pyproject.toml"]
    if module is not None:
        package = folder / module if _has(folder / module) else folder / "src" / module
        paths = [package / "__main__.py", *sorted(package.glob("*.py"))[:20], *paths]
    return [text for path in paths if (text := _text(path))]


def _text(path: Path) -> str:
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST:
            return ""
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _port(texts: list[str]) -> int | None:
    for pattern in PORTS:
        for text in texts:
            for match in pattern.finditer(text):
                if 1 <= int(match[1]) <= 65535:
                    return int(match[1])
    return None


def _health(texts: list[str]) -> str:
    for route in ("/health", "/healthz", "/readyz", "/ready", "/status"):
        if any(f'"{route}"' in text or f"'{route}'" in text for text in texts):
            return route
    return "/health"


def _tests(folder: Path) -> str | None:
    return next((name for name in ("tests", "test") if _has(folder / name)), None)


def _runner(folder: Path, texts: list[str]) -> str | None:
    """How its own tests are run: pytest where it is named, else unittest where there are tests."""
    if _tests(folder) is None:
        return None
    return "pytest" if any("pytest" in text for text in texts) or _has(folder / "conftest.py") else "unittest"
