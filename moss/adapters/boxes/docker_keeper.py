"""Owns one slot from the inside: the first process of the namespaces that a box joins. Runs in a container of its own.

It is why a box needs no controller: it ends the box at its deadline or bound, kills what is left, and is the box's
only way out (to the gateway) and in (turns), over Unix sockets, since the slot has no network but its loopback.
Never reads what passes through. Standard library only: it is shipped as `python3 -c SOURCE PORT`.
Invariant: nothing of a box outlives `clear`; a box cannot end the keeper (it is process 1, of another user).

`/slot/control.sock` takes one JSON object a connection and answers one: see `Keeper.obey`. `/slot/turns.sock` is the
box's port; 127.0.0.1:PORT inside is `/door/gateway.sock` outside.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from typing import Any

TICK = 0.04
BOX_PORT = 20080
CONTROL, TURNS, DOOR, NOTES = "/slot/control.sock", "/slot/turns.sock", "/door/gateway.sock", "/slot"
PIECE = 1 << 16


class Keeper:
    """One slot. `idle` seconds without a word from outside and without a box end it."""

    def __init__(self, port: int, idle: float) -> None:
        self.port, self.idle, self.heard = port, idle, time.monotonic()
        self.watch: dict[str, Any] | None = None
        self.inside = BOX_PORT
        self.next_disk = 0.0

    async def run(self) -> None:
        await asyncio.start_server(self.outward, "127.0.0.1", self.port)
        for path, serve in ((TURNS, self.inward), (CONTROL, self.control)):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            await asyncio.start_unix_server(serve, path)
            # the folder is private to the controller's user; that user is not ours
            os.chmod(path, 0o666)  # noqa: S103
        while time.monotonic() - self.heard < self.idle or others():
            if self.watch is not None:
                self.look(self.watch)
            await asyncio.sleep(TICK if self.watch else 1.0)

    async def control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heard = time.monotonic()
        answer = await self.obey(json.loads(await reader.readline()))
        writer.write(json.dumps(answer).encode() + b"\n")
        writer.close()

    async def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        match order["do"]:
            case "watch":
                # box, seconds, pids, disk, base, places, port
                self.inside = order["port"]
                self.watch = {**order, "until": time.monotonic() + order["seconds"]}
            case "until":
                if self.watch is not None and self.watch["box"] == order["box"]:
                    self.watch["until"] = time.monotonic() + order["seconds"]
            case "clear":
                self.watch = None
                end = time.monotonic() + 5
                while others() and time.monotonic() < end:
                    kill_all(signal.SIGKILL)
                    await asyncio.sleep(0.002)
                return {"left": len(others())}
            case "signal":
                kill_all(order["number"])
            case "kill":
                kill_marked(order["mark"].encode())
            case "open":
                return {"open": await is_open(self.inside)}
        return {"ok": True}

    def look(self, watch: dict[str, Any]) -> None:
        """Ends the box at a bound that it passed, the reason written first."""
        pids = others()
        reason = None
        if time.monotonic() > watch["until"]:
            reason = "deadline"
        elif threads(pids) > watch["pids"]:
            reason = "pids"
        elif pids and time.monotonic() > self.next_disk:
            began = time.monotonic()
            used = sum(size(f"/proc/{pids[0]}/root{place}") for place in watch["places"])
            self.next_disk = time.monotonic() + max(0.2, 20 * (time.monotonic() - began))
            if used - watch["base"] > watch["disk"]:
                reason = "disk"
        if reason and pids:
            note(watch["box"], reason)
            kill_all(signal.SIGKILL)

    async def outward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await join(reader, writer, asyncio.open_unix_connection(DOOR))

    async def inward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await join(reader, writer, asyncio.open_connection("127.0.0.1", self.inside))


async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, far: Any) -> None:
    """Passes bytes both ways until both sides are done; a far side that is not there ends the near one."""
    try:
        far_reader, far_writer = await far
    except OSError:
        writer.transport.abort()
        return
    try:
        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))
    except OSError:
        writer.transport.abort()
        far_writer.transport.abort()
    finally:
        writer.close()
        far_writer.close()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(PIECE):
        writer.write(piece)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def is_open(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def others() -> list[int]:
    """All processes of the slot but this one; zombies are nobody."""
    return [pid for name in os.listdir("/proc") if name.isdigit() and (pid := int(name)) > 1 and alive(pid)]


def fields(pid: int) -> list[str]:
    """`/proc/PID/stat` from its third field on; empty when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().decode(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def alive(pid: int) -> bool:
    return (found := fields(pid)) != [] and found[0] not in "ZX"


def threads(pids: list[int]) -> int:
    return sum(int(found[17]) for pid in pids if (found := fields(pid)))


def kill_all(number: int) -> None:
    """All processes of the slot at once, so that no forker slips through."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, number)


def kill_marked(mark: bytes) -> None:
    """What a command of `exec` started: it and its children carry its mark in their environment."""
    for _ in range(3):
        for pid in others():
            with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
                if mark in file.read().split(b"\0"):
                    os.kill(pid, signal.SIGKILL)


def size(path: str) -> int:
    """Bytes on the disk below a folder, a little for each name; symlinks count as themselves."""
    total, todo = 0, [path]
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    total += entry.stat(follow_symlinks=False).st_blocks * 512 + 256
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
        except OSError:
            # it went away while we looked
            continue
    return total


def note(box: str, reason: str) -> None:
    """Why a box ends, for whoever asks later. The first reason counts."""
    with contextlib.suppress(FileExistsError), open(f"{NOTES}/why.{box}", "x") as file:
        file.write(reason)
        file.flush()
        os.chmod(file.name, 0o644)


if __name__ == "__main__":
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # orphans of the box are ours to reap
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    asyncio.run(Keeper(int(sys.argv[1]), float(sys.argv[2])).run())
