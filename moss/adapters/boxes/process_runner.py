"""Owns one box while it lives: starts its program, bounds it, ends all of it, and writes how it ended.

A small process of its own per box, so that the box survives the controller. Standard library only, so that it starts
in the time of a bare interpreter. It reads `spec.json` of its folder and writes `runner.json`, `stdout`, `stderr`
and, last of all and once nothing of the box runs, `exit.json`. Orders come by the FIFO `orders`: `stop GRACE`,
`exec N`. While it lives it holds a lock on the file `alive`, which it was given by who started it.
"""

import ctypes
import json
import os
import resource
import select
import signal
import sys
import time
from typing import Any

from moss.adapters.boxes.process_tree import Tree, reap, send

TICK = 0.025
"""Seconds between two looks at the processes of the box."""
EXEC_BYTES = 1 << 20
FILE_SLACK = 64 << 20
"""The kernel's bound on one file is above ours by this: it holds what a fast writer does between two looks."""
ALIVE = 3
"""The descriptor under which the runner gets its lock."""
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


class Stream:
    """A pipe from a program to a file, of which the file keeps the first `bound` bytes."""

    def __init__(self, path: str, bound: int) -> None:
        self.read, self.write = os.pipe()
        os.set_blocking(self.read, False)
        self.cut = False
        self._bound, self._left = bound, bound
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def pump(self) -> bool:
        """Moves what is there; False at the end of the stream. What is beyond the bound is dropped with a mark."""
        try:
            data = os.read(self.read, 1 << 16)
        except BlockingIOError:
            return True
        if self._left < len(data) and not self.cut:
            self.cut = True
            data = data[: self._left] + f"\n[moss: output cut at {self._bound} bytes]\n".encode()
            self._put(data)
        elif not self.cut:
            self._put(data)
        return bool(data)

    def _put(self, data: bytes) -> None:
        self._left -= len(data)
        while data:
            data = data[os.write(self._file, data) :]

    def drain(self) -> None:
        """Takes what is left; the writers are gone or do not matter any more."""
        ready = select.poll()
        ready.register(self.read, select.POLLIN)
        while not self.cut and ready.poll(0) and self.pump():
            pass

    def close(self) -> None:
        os.close(self.read)
        os.close(self._file)


class Program:
    """One started command: the box's own or one of `exec`."""

    def __init__(self, argv: list[str], spec: dict[str, Any], folder: str, bound: int, seconds: float) -> None:
        self.folder, self.code, self.timed_out = folder, -1, False
        self.started = time.monotonic()
        self.deadline = self.started + seconds
        self.streams = [Stream(os.path.join(folder, name), bound) for name in ("stdout", "stderr")]
        self.open = list(self.streams)
        stdin = os.open(os.path.join(folder, "stdin"), os.O_RDONLY | os.O_CLOEXEC)
        self.pid = os.fork()
        if self.pid == 0:
            become(argv, spec, [stdin, *(stream.write for stream in self.streams)])
        os.close(stdin)
        for stream in self.streams:
            os.close(stream.write)

    def finish(self, code: int, reason: str) -> None:
        """Writes the end, durable and whole."""
        for stream in self.streams:
            stream.drain()
            stream.close()
        if reason == "exited" and any(stream.cut for stream in self.streams):
            reason = "output"
        seconds = time.monotonic() - self.started
        write(os.path.join(self.folder, "exit.json"), {"code": code, "reason": reason, "seconds": seconds})


def become(argv: list[str], spec: dict[str, Any], streams: list[int]) -> None:
    """The forked child's way to its program. Never returns: it exits 127 when there is none, 126 when it cannot run."""
    code = 126
    try:
        os.setsid()
        for number, fd in enumerate(streams):
            os.dup2(fd, number)
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        size = spec["limits"]["disk_bytes"] + FILE_SLACK
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.chdir(spec["cwd"])
        os.execvpe(argv[0], argv, spec["env"])  # noqa: S606
    except FileNotFoundError as error:
        code = 127
        complain(error, argv)
    except BaseException as error:
        complain(error, argv)
    os._exit(code)


def complain(error: BaseException, argv: list[str]) -> None:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    os.write(2, f"moss: cannot start {argv[0]!r}: {reason}\n".encode(errors="backslashreplace"))


def prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def write(path: str, value: dict[str, Any]) -> None:
    """By rename, flushed: whoever sees the file sees all of it."""
    fresh = path + ".new"
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(fd, json.dumps(value).encode())
    os.fsync(fd)
    os.close(fd)
    os.rename(fresh, path)


class Disk:
    """What the box wrote: all of its own places, and the growth of mounted ones."""

    def __init__(self, own: list[str], mounted: list[str]) -> None:
        self._own, self._mounted = own, mounted
        self._before = sum(size(path) for path in mounted)
        self._next = 0.0

    def over(self, limit: int) -> bool:
        """Whether the bound is passed; looks seldom where looking takes long."""
        began = time.monotonic()
        if began < self._next:
            return False
        used = sum(size(path) for path in self._own + self._mounted) - self._before
        now = time.monotonic()
        self._next = now + max(0.25, 20 * (now - began))
        return used > limit


def size(path: str) -> int:
    """Bytes on the disk below a folder; symlinks count as themselves."""
    total, todo = 0, [path]
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
        except OSError:
            # it went away while we looked
            continue
    return total


class Runner:
    """The loop of one box."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        with open(os.path.join(folder, "spec.json"), "rb") as file:
            self.spec: dict[str, Any] = json.load(file)["program"]
        self.limits = self.spec["limits"]
        self.tree = Tree(os.getpid())
        self.reason: str | None = None
        self.stop_at: float | None = None
        self.execs: dict[int, Program] = {}
        self.orders = os.open(os.path.join(folder, "orders"), os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self.woken, self.wake = os.pipe()
        for fd in (self.woken, self.wake):
            os.set_blocking(fd, False)
        self.poll = select.poll()
        self.poll.register(self.orders, select.POLLIN)
        self.poll.register(self.woken, select.POLLIN)

    def run(self) -> None:
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.wake, warn_on_full_buffer=False)
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        limits, spec = self.limits, self.spec
        self.main = Program(spec["argv"], spec, self.folder, limits["output_bytes"], limits["seconds"])
        self._listen(self.main)
        self.disk = Disk(spec["own"], spec["mounted"])
        while self.reason is None:
            self._turn()
        self._end()

    def _listen(self, program: Program) -> None:
        for stream in program.streams:
            self.poll.register(stream.read, select.POLLIN | select.POLLHUP)

    def _turn(self) -> None:
        ready = {fd for fd, _ in self.poll.poll(TICK * 1000)}
        self._pump(ready)
        if self.woken in ready:
            os.read(self.woken, 4096)
        if self.orders in ready:
            self._obey(os.read(self.orders, 4096).decode())
        self._reap()
        self.reason = self.reason or self._look()

    def _pump(self, ready: set[int]) -> None:
        for program in (self.main, *self.execs.values()):
            for stream in [stream for stream in program.open if stream.read in ready]:
                if not stream.pump():
                    self._close(program, stream)
        if any(stream.cut for stream in self.main.streams):
            self.reason = "output"

    def _close(self, program: Program, stream: Stream) -> None:
        self.poll.unregister(stream.read)
        program.open.remove(stream)

    def _obey(self, orders: str) -> None:
        for order in orders.splitlines():
            word, _, value = order.partition(" ")
            if word == "exec":
                self._exec(os.path.join(self.folder, "exec", value))
            elif self.stop_at is None:
                self.stop_at = time.monotonic() + float(value)
                for pid in self.tree.rescan():
                    send(pid, signal.SIGTERM)

    def _exec(self, folder: str) -> None:
        with open(os.path.join(folder, "command.json"), "rb") as file:
            command = json.load(file)
        program = Program(command["argv"], self.spec, folder, EXEC_BYTES, command["seconds"])
        self.execs[program.pid] = program
        self._listen(program)

    def _reap(self) -> None:
        for pid, code in reap().items():
            if pid == self.main.pid:
                self.main.code = code
                own = "disk" if code == 128 + signal.SIGXFSZ else "exited"
                self.reason = self.reason or (own if self.stop_at is None else "killed")
            elif pid in self.execs:
                program = self.execs.pop(pid)
                for stream in list(program.open):
                    self._close(program, stream)
                program.finish(code, "deadline" if program.timed_out else "exited")

    def _look(self) -> str | None:
        """The bound that is passed, if any."""
        now = time.monotonic()
        for program in self.execs.values():
            if now > program.deadline:
                program.timed_out = True
                kill_group(program.pid)
        if self.stop_at is not None and now > self.stop_at:
            return "killed"
        if now > self.main.deadline:
            return "deadline"
        if len(self.tree.refresh()) > self.limits["pids"]:
            return "pids"
        if self.tree.memory(self.limits["memory_bytes"]) > self.limits["memory_bytes"]:
            return "memory"
        return "disk" if self.disk.over(self.limits["disk_bytes"]) else None

    def _end(self) -> None:
        if self.main.code < 0:
            kill_group(self.main.pid)
        self.tree.kill_all(self._reap)
        for program in self.execs.values():
            program.finish(137, "killed")
        self.main.finish(self.main.code if self.main.code >= 0 else 137, self.reason or "exited")


def kill_group(pid: int) -> None:
    """The whole group at once: a forker in it cannot slip through."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def run(folder: str) -> None:
    """The life of the box in `folder`."""
    os.set_inheritable(ALIVE, False)
    # whatever else the controller's process had open and inheritable
    os.closerange(ALIVE + 1, 1 << 16)
    write(os.path.join(folder, "runner.json"), {"pid": os.getpid()})
    Runner(folder).run()


if __name__ == "__main__":
    run(sys.argv[1])
