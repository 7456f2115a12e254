"""A box does no harm to its machine: engine, files, processes, disk, log and clock are bounded, each control shown."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moss.domain.ids import RunId
from moss.ports import ExitReason, Limits
from tests.pace import at_most

from .conftest import IMAGE, Jail, docker

pytestmark = [pytest.mark.needs("docker"), pytest.mark.slow, pytest.mark.xdist_group("docker")]

ENGINE = """
found = []
for path in ("/var/run/docker.sock", "/run/docker.sock"):
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as peer:
        peer.connect(path)
        peer.sendall(b"GET /version HTTP/1.0\\r\\n\\r\\n")
        found.append(peer.recv(4096).decode().split()[1])
say(found)
"""


def test_the_engine_is_not_reached(jail: Jail) -> None:
    mount = ("-v", "/var/run/docker.sock:/var/run/docker.sock")
    assert "200" in jail.outside(ENGINE, docker_words=mount), "the probe itself does not work"
    assert jail.inside(ENGINE) == []


FIND = """
found = []
for folder, names, files in os.walk("/"):
    if folder == "/": names.remove("proc"); names.remove("sys")
    found += [os.path.join(folder, name) for name in files if name == "precious"]
say([found, "precious" in open("/proc/self/mountinfo").read()])
"""


def test_the_live_agents_volume_is_not_found(jail: Jail) -> None:
    volume = f"moss-test-precious-{os.getpid()}"
    docker("volume", "create", volume)
    try:
        mount = ("-v", f"{volume}:/state")
        docker("run", "--rm", *mount, IMAGE, "python3", "-c", "open('/state/precious', 'w').write('x')")
        assert jail.outside(FIND, docker_words=mount) == [["/state/precious"], True], "the probe itself does not work"
        assert jail.inside(FIND) == [[], False]
    finally:
        docker("volume", "rm", volume)


RIGHTS = """
def allowed(do):
    try: do(); return True
    except OSError: return False
say({
    "own root": allowed(lambda: os.listdir("/proc/self/root")), "its root": allowed(lambda: os.listdir("/proc/1/root")),
    "own environment": allowed(lambda: open("/proc/self/environ").read()),
    "its environment": allowed(lambda: open("/proc/1/environ").read()),
    "own end": allowed(lambda: os.kill(os.getpid(), 0)), "its end": allowed(lambda: os.kill(1, 0)),
    "become root": allowed(lambda: os.setuid(0)), "mount": allowed(lambda: os.chroot("/tmp")),
})
"""


def test_the_keeper_of_its_slot_is_out_of_its_hands(jail: Jail) -> None:
    said = jail.inside(RIGHTS)
    assert [name for name, may in said.items() if may] == ["own root", "own environment", "own end"]


FORKS = """
made = 0
while made < int(sys.argv[1]):
    try: pid = os.fork()
    except OSError: continue
    if pid == 0: import time; time.sleep(600)
    made += 1
say(made)
"""


def test_a_fork_bomb_ends_itself_alone(jail: Jail) -> None:
    assert jail.inside(FORKS, "100", limits=Limits(seconds=60, pids=128)) == 100, "the probe itself does not work"
    before = processes()
    end, out = jail.ends(FORKS, "100000", limits=Limits(seconds=60, pids=128, cpus=0.5))
    assert (end.code, end.reason, out) == (137, ExitReason.PIDS, b"")
    assert end.seconds < at_most(30)
    assert processes() < before + 100
    assert jail.inside("say('the next one is well')") == "the next one is well"


def test_a_bomb_that_is_faster_than_a_look_meets_the_kernels_bound(jail: Jail) -> None:
    bomb = "while True:\n  try: os.fork()\n  except OSError: pass"
    end, _ = jail.ends(bomb, limits=Limits(seconds=20, pids=32, cpus=0.5))
    assert end.reason in (ExitReason.PIDS, ExitReason.DEADLINE)
    assert jail.inside("say('the next one is well')") == "the next one is well"


FILL = """
wrote = {}
for folder in sys.argv[2:]:
    wrote[folder] = 0
    with contextlib.suppress(OSError), open(folder + "/x", "wb", buffering=0) as file:
        for _ in range(int(sys.argv[1])): wrote[folder] += file.write(b"x" * (1 << 20))
say(wrote)
"""
EVERYWHERE = ("/", "/tmp", "/dev/shm", "/var/tmp", "/moss/in", "/moss/out", "/moss/state", "/moss/work")


def test_a_full_disk_is_the_boxes_own(jail: Jail) -> None:
    roomy = Limits(seconds=60, disk_bytes=256 << 20, memory_bytes=512 << 20)
    wrote = jail.inside(FILL, "24", *EVERYWHERE, limits=roomy)
    full = 24 << 20
    assert {folder for folder, size in wrote.items() if size == full} == {
        "/tmp", "/dev/shm", "/moss/out", "/moss/state", "/moss/work"
    }, "the probe itself does not work"  # fmt: skip
    assert {folder for folder, size in wrote.items() if not size} == {"/", "/var/tmp", "/moss/in"}
    free = os.statvfs(jail.home.path).f_bavail * os.statvfs(jail.home.path).f_frsize
    slow = FILL.replace("wrote[folder] +=", "__import__('time').sleep(0.01); wrote[folder] +=")
    end, _ = jail.ends(slow, "4096", "/tmp", "/moss/out", "/moss/work", limits=Limits(seconds=60, disk_bytes=16 << 20))
    assert end.reason is ExitReason.DISK
    left = os.statvfs(jail.home.path).f_bavail * os.statvfs(jail.home.path).f_frsize
    assert free - left < 512 << 20


def test_one_file_meets_the_kernels_bound_however_fast(jail: Jail) -> None:
    grow = (
        "open('/moss/out/x', 'wb').close()\n"
        "try: os.truncate('/moss/out/x', int(sys.argv[1])); say('grown')\n"
        "except OSError as error: say(error.strerror)"
    )
    limits = Limits(seconds=60, disk_bytes=16 << 20)
    assert jail.inside(grow, str(16 << 20), limits=limits) == "grown", "the probe itself does not work"
    assert jail.inside(grow, str(1 << 40), limits=limits) == "File too large"


LAUNCH = """
import sys
from pathlib import Path
from moss import config
from moss.adapters.boxes.docker import DockerBoxes
from moss.domain.ids import Key, RunId
from moss.ports import BoxRole, BoxSpec, Limits
argv = ("python3", "-c", sys.argv[2])
limits = Limits(seconds=float(sys.argv[3]), output_bytes=1 << 20)
boxes = DockerBoxes(Path(sys.argv[1]), config.DockerBoxes(), 8790)
boxes.launch(BoxSpec(Key("ev-09/alone"), RunId("ev-09"), BoxRole.TRIAL, argv, limits=limits))
print("launched", flush=True)
__import__("os").kill(__import__("os").getpid(), 9)
"""


def launch_and_die(jail: Jail, program: str, seconds: float) -> None:
    """A controller launches a box and is killed."""
    argv = [sys.executable, "-c", LAUNCH, str(jail.home.path), program, str(seconds)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (-9, "launched\n"), done.stderr


def test_the_deadline_needs_no_controller(jail: Jail) -> None:
    program = "import signal, time; signal.signal(15, signal.SIG_IGN)\nwhile True: time.sleep(1)"
    launch_and_die(jail, program, 1.5)
    [box] = jail.boxes.list(RunId("ev-09"))
    ends = time.monotonic() + 30
    while jail.home.engine.api.inspect_container(container(jail))["State"]["Running"]:
        assert time.monotonic() < ends, "it runs beyond its deadline"
        time.sleep(0.02)
    end = jail.boxes.wait(box, 0.0)
    jail.boxes.remove(box.key)
    assert end is not None
    assert (end.code, end.reason) == (137, ExitReason.DEADLINE)
    assert 1.5 <= end.seconds < at_most(5)


def test_a_filled_log_is_bounded_by_the_engine_while_nobody_reads(jail: Jail) -> None:
    program = "while True: print('x' * 1000)"
    launch_and_die(jail, program, 2.0)
    found = jail.home.engine.api.inspect_container(container(jail))
    assert found["HostConfig"]["LogConfig"]["Config"] == {
        "max-size": str((4 << 20) + (1 << 20)), "max-file": "2", "compress": "false"
    }  # fmt: skip
    [box] = jail.boxes.list(RunId("ev-09"))
    ends = time.monotonic() + 30
    while jail.home.engine.api.inspect_container(found["Id"])["State"]["Running"]:
        assert time.monotonic() < ends
        time.sleep(0.02)
    logs = Path("/var/lib/docker/containers") / found["Id"]
    if logs.exists():
        kept = sum(path.stat().st_size for path in logs.rglob("*") if path.is_file())
        assert 1 << 20 < kept < 12 << 20, "it either filled nothing, or more than its bound"
    end = jail.boxes.wait(box, 30.0)
    out = jail.boxes.output(box, limit=4 << 20)
    jail.boxes.remove(box.key)
    assert end is not None
    assert end.reason is ExitReason.OUTPUT
    assert len(out) < (1 << 20) + 100


def test_who_ignores_sigterm_is_killed_after_the_grace(jail: Jail) -> None:
    program = "import signal, time\nsignal.signal(15, lambda *_: say('heard'))\nsay('up')\nwhile True: time.sleep(0.01)"
    box = jail.launch(program)
    while jail.boxes.output(box) != b'"up"\n':
        assert jail.boxes.wait(box, 0.01) is None
    began = time.monotonic()
    jail.boxes.stop(box, 0.5)
    took = time.monotonic() - began
    said, end = jail.boxes.output(box), jail.boxes.wait(box, 0.0)
    jail.boxes.remove(box.key)
    assert said == b'"up"\n"heard"\n', "the probe itself does not work"
    assert end is not None
    assert (end.code, end.reason) == (137, ExitReason.KILLED)
    assert 0.5 <= took < at_most(10)


def test_nothing_secret_is_seen_but_the_boxes_own_token(jail: Jail) -> None:
    box = jail.launch("say(1)", env={"TOKEN": "the-boxes-own"})
    jail.boxes.wait(box, 60)
    words = json.dumps(jail.home.engine.api.inspect_container(f"moss-{tag(jail)}-{box.id}"))
    jail.boxes.remove(box.key)
    assert "the-boxes-own" in words
    assert not [name for name, value in os.environ.items() if len(value) > 24 and value in words and name != "PWD"]


def container(jail: Jail) -> str:
    [box] = jail.boxes.list(RunId("ev-09"))
    return f"moss-{tag(jail)}-{box.id}"


def tag(jail: Jail) -> str:
    return (jail.home.path / "boxes" / ".tag").read_text()


def processes() -> int:
    return sum(name.isdigit() for name in os.listdir("/proc"))
