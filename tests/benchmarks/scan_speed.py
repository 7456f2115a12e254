"""How fast new evidence is found: the `jsonl` source against `json.loads` line by line, on the same file.

    python -m tests.benchmarks.scan_speed [MEGABYTES] [PAIRS]

The file: sessions of 1 to 30 turns of a tool-using agent, 2 % of them failed, with some mail addresses and keys in
them. Each scan is a process of its own that reads the file from its beginning, decodes, redacts and gives out every
failing turn; its peak memory is the process's own and that of the helper that it starts, added up. The pairs are
interleaved and the ratio is the median of theirs.
"""

import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

TEXT = (
    "the order was shipped to your address please check refund status amount customer item number delivery today "
    "thank you for waiting problem account we found payment method card changed tomorrow and it will arrive"
)
WORDS = TEXT.split()
FAILED = 0.02
MOST_MEMORY = 100.0
LEAST_RATIO = 8.0


@dataclass(frozen=True)
class Figures:
    """`ratio`: times as fast as json.loads; `megabytes`: peak memory of the scanning process."""

    ratio: float
    megabytes: float
    turns: int
    sessions: int
    failed: int


def measure(megabytes: int = 1000, pairs: int = 7) -> Figures:
    """Makes the file, runs the pairs, checks the counts."""
    with tempfile.TemporaryDirectory(prefix="moss-scan-") as folder:
        path = Path(folder) / "turns.jsonl"
        turns, sessions, failed = write(path, megabytes << 20)
        _parse(path)
        ratios, memory = [], 0.0
        for _ in range(pairs):
            slow, _ = _run("parse", path)
            fast, seen = _run("scan", path)
            assert (seen["turns"], seen["sessions"], seen["failed"]) == (turns, sessions, failed), seen
            ratios.append(slow / fast)
            memory = max(memory, float(seen["megabytes"]))
        return Figures(statistics.median(ratios), memory, turns, sessions, failed)


def write(path: Path, size: int) -> tuple[int, int, int]:
    """A file of at least `size` bytes: turns, sessions and failed turns in it."""
    draw, written, turns, sessions, failed = random.Random(7), 0, 0, 0, 0
    with path.open("wb") as out:
        while written < size:
            sessions += 1
            for ordinal in range(1, draw.randint(1, 30) + 1):
                bad = draw.random() < FAILED
                turn = _turn(draw, f"s-{sessions:06d}", ordinal, bad)
                line = json.dumps(turn, separators=(",", ":")).encode() + b"\n"
                written += out.write(line)
                turns, failed = turns + 1, failed + bad
    return turns, sessions, failed


def _turn(draw: random.Random, session: str, ordinal: int, bad: bool) -> dict[str, object]:
    tools: list[dict[str, object]] = [_tool(draw) for _ in range(draw.choice((0, 1, 1, 2, 3)))]
    if bad:
        broken = {"name": "refund", "arguments": '{"order": "1019"}', "result": ""}
        tools.append({**broken, "error": f"timeout after {draw.randint(1, 999)} ms"})
    mail = " mail me at anna.smith@example.org" if draw.random() < 0.05 else ""
    return {
        "v": 1,
        "session": session,
        "ordinal": ordinal,
        "at": f"2026-11-02T10:{ordinal % 60:02d}:{draw.randint(0, 59):02d}Z",
        "user": _say(draw, 5, 40) + mail,
        "reply": _say(draw, 20, 120),
        "tools": tools,
        "status": 200,
        "finish": "stop",
        "seconds": 1.25,
        "user_id": f"u-{draw.randint(1, 500)}",
    }


def _tool(draw: random.Random) -> dict[str, object]:
    """What a look-up gives (JSON) or what a command prints (lines)."""
    if draw.random() < 0.4:
        printed = "".join(f'{draw.randint(1, 999)}: print("{_say(draw, 1, 6)}")\n' for _ in range(draw.randint(3, 60)))
        return {"name": "terminal", "arguments": json.dumps({"command": "cat notes.py"}), "result": printed}
    rows = [
        {
            "id": draw.randint(1, 10**6),
            "sku": f"A-{draw.randint(1, 999)}",
            "qty": draw.randint(1, 5),
            "cents": draw.randint(99, 99999),
            "paid": draw.random() < 0.5,
            "state": draw.choice(("packed", "shipped", "delivered")),
            "note": _say(draw, 0, 8),
        }
        for _ in range(draw.randint(1, 12))
    ]
    arguments = {"order": draw.randint(1, 99999), "note": _say(draw, 3, 8)}
    name = draw.choice(("lookup_order", "refund", "search"))
    return {"name": name, "arguments": json.dumps(arguments), "result": json.dumps({"ok": True, "rows": rows})}


def _say(draw: random.Random, least: int, most: int) -> str:
    return " ".join(draw.choices(WORDS, k=draw.randint(least, most)))


def _run(what: str, path: Path) -> tuple[float, dict[str, float]]:
    argv = [sys.executable, "-m", "tests.benchmarks.scan_speed", what, str(path)]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(argv, check=True, capture_output=True, cwd=root)
    told: dict[str, float] = json.loads(done.stdout)
    return told["seconds"], told


def _parse(path: Path) -> dict[str, float]:
    began, turns = time.perf_counter(), 0
    with path.open("rb") as file:
        for line in file:
            json.loads(line)
            turns += 1
    return {"seconds": time.perf_counter() - began, "turns": turns}


def _scan(path: Path) -> dict[str, float]:
    from moss.adapters.evidence.jsonl import JsonlSource
    from moss.config import EvidenceSettings, JsonlEvidence
    from moss.domain.detect import Detectors
    from moss.domain.redact import Redactor

    source = JsonlSource(JsonlEvidence(glob=path.name), Redactor(b"benchmark"))
    detectors = Detectors(EvidenceSettings().builtin)
    turns = sessions = failed = 0
    began, aside = time.perf_counter(), 0.0
    for piece in source.scan(path.parent, {}, detectors.signals):
        turns, sessions = turns + piece.counted, sessions + piece.sessions
        paused = time.perf_counter()
        failed += sum(bool(detectors.findings(turn)) for turn in piece.turns)
        aside += time.perf_counter() - paused
    seconds = time.perf_counter() - began - aside
    # Of this process itself `getrusage` would say the memory of the one that forked it; of its helper it may, too.
    own = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
    peak = (own + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024
    return {"seconds": seconds, "turns": turns, "sessions": sessions, "failed": failed, "megabytes": peak}


def main(words: list[str]) -> None:
    if words[:1] == ["parse"]:
        print(json.dumps(_parse(Path(words[1]))))
    elif words[:1] == ["scan"]:
        print(json.dumps(_scan(Path(words[1]))))
    else:
        print(measure(*(int(word) for word in words)))


if __name__ == "__main__":
    main(sys.argv[1:])
