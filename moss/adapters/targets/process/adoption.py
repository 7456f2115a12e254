"""Owns the one move of an agent that already runs and owns its port: from its starter to MOSS, and back.

The move costs one restart: messages between the old process's end and the proxy's first answer are refused, since
nobody else can listen on the port before it is free. Everything that can fail is tried before the old one is stopped.
Whoever started it (systemd, a shell loop) must not start it again: that is the operator's to switch off, before.

Invariant: how it ran is on the disk, closed to all but its owner, before it is touched; `undo` needs nothing else.
"""

import json
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
from pydantic import Field, ValidationError

from moss.adapters.targets.process import life
from moss.adapters.targets.process.target import ProcessTarget
from moss.daemon import durable
from moss.domain.frozen import Frozen
from moss.errors import MossError, TargetError, UserError
from moss.files import write_durably
from moss.ports import Image

ADOPT = "moss adopt"

# On stdin, since an environment holds secrets and every user of the machine can read an argv.
AGAIN = """
import json, os, sys
asked = json.load(sys.stdin)
os.chdir(asked["cwd"])
os.setsid()
pid = os.fork()
if pid:
    print(pid, flush=True)
    os._exit(0)
log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
for number, opened in ((0, os.open(os.devnull, os.O_RDONLY)), (1, log), (2, log)):
    os.dup2(opened, number)
os.closerange(3, 256)
os.execvpe(asked["argv"][0], asked["argv"], asked["env"])
"""


class Ran(Frozen):
    """How the agent ran before MOSS: enough to start it so again."""

    pid: int
    born: int
    argv: tuple[str, ...] = Field(min_length=1)
    env: dict[str, str]
    cwd: Path


def adopt_running(target: ProcessTarget, image: Image, pid: int) -> None:
    """Process `pid` is stopped by its own grace, and `image` (the same version, see `moss adopt`) serves instead:
    supervised, behind the proxy, on the same port and state. Repeated after a kill it goes on.

    Raises: UserError when `pid` is not the agent; whatever stops the move before the old one was touched, and
    TargetError when it failed later and the old one was started again.
    """
    ran = _remembered(target)
    if ran is None:
        ran = _look(target, pid)
        target.rehearse(image)
        write_durably(_file(target), ran.model_dump_json().encode())
    _stop(ran, target.grace_seconds)
    try:
        target.install(image)
    except MossError as error:
        undo_adoption(target)
        raise TargetError(f"the move did not work ({error}); the agent runs again as before") from error


def undo_adoption(target: ProcessTarget) -> int | None:
    """The agent runs as it did before MOSS, on its own port; its pid. None when nothing was ever moved.

    Raises: UserError when its program cannot be started any more.
    """
    ran = _remembered(target)
    if ran is None:
        return None
    target.shut_down()
    if life.born_at(ran.pid) != ran.born:
        ran = _start_again(target, ran)
    durable.remove(_file(target))
    return ran.pid


def _look(target: ProcessTarget, pid: int) -> Ran:
    """Raises: UserError when it is not there, not ours, or does not listen on the live port."""
    try:
        process = psutil.Process(pid)
        born = life.born_at(pid)
        # The very process: a parent whose child listens may be a shell with more in it than the agent.
        ports = {found.laddr.port for found in process.net_connections("tcp")}
        ran = Ran(
            pid=pid, born=born or 0, argv=tuple(process.cmdline()), env=process.environ(), cwd=Path(process.cwd())
        )
    except (psutil.Error, ValidationError) as error:
        raise UserError(f"process {pid} cannot be read ({type(error).__name__})", where=ADOPT) from error
    if target.options.port not in ports:
        raise UserError(
            f"process {pid} does not listen on port {target.options.port}",
            where="moss.toml live.port",
            mend=f"ss -ltnp shows who does; then {ADOPT} --pid PID",
        )
    return ran


def _stop(ran: Ran, grace: float) -> None:
    """The old process and its children. Gone already is silent."""
    if life.born_at(ran.pid) != ran.born:
        return
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(ran.pid)
        tree = [process, *process.children(True)]
        process.send_signal(signal.SIGTERM)
        with suppress(psutil.TimeoutExpired):
            process.wait(grace)
        _, alive = psutil.wait_procs(tree, timeout=0)
        for left in alive:
            left.kill()
        psutil.wait_procs(alive, timeout=life.KILL_SECONDS)


def _start_again(target: ProcessTarget, ran: Ran) -> Ran:
    log = target.home.folder / "adopted.log"
    asked = json.dumps({**ran.model_dump(mode="json"), "log": str(log)}).encode()
    done = subprocess.run([sys.executable, "-I", "-S", "-c", AGAIN], input=asked, capture_output=True, check=False)
    if done.returncode or not done.stdout.strip().isdigit():
        raise UserError(f"{ran.argv[0]} cannot be started again in {ran.cwd}; see {log}", where=f"{ADOPT} --undo")
    pid = int(done.stdout)
    return ran.model_copy(update={"pid": pid, "born": life.born_at(pid) or 0})


def _file(target: ProcessTarget) -> Path:
    return durable.private_folder(target.home.folder) / "adoption.json"


def _remembered(target: ProcessTarget) -> Ran | None:
    data = durable.read(_file(target))
    return None if data is None else Ran.model_validate_json(data)
