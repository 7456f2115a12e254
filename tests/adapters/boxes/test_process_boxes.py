"""Boxes as plain processes: what hostile programs and kills at bad moments leave behind."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from moss import config
from moss.adapters.boxes.process import ProcessBoxes
from moss.adapters.boxes.process_folder import Folder, safe_name
from moss.domain.ids import Digest, Key, RunId
from moss.errors import BoxLost, BoxRefused, NoSpace
from moss.ports import Box, BoxRole, BoxSpec, ExitReason, Limits, Mount, MountName
from moss.testing.conformance.boxes import SECONDS, until

KEY = Key("ev-01/1/trial/1")


def no_image(digest: Digest) -> Path:
    raise BoxRefused(f"{digest} is gone")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def boxes(home: Path) -> Iterator[ProcessBoxes]:
    boxes = ProcessBoxes(home, config.ProcessBoxes(), no_image)
    yield boxes
    for box in boxes.list():
        boxes.remove(box.key)
    until(lambda: left(home) == [])


def left(home: Path) -> list[int]:
    """Processes that stem from a box of this home: they carry its mark, or name its folder."""
    found = []
    for process in psutil.process_iter():
        try:
            said = [*process.cmdline(), *(f"{k}={v}" for k, v in process.environ().items())]
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        if any(str(home / "boxes") in word for word in said):
            found.append(process.pid)
    return found


def python(source: str, *words: str) -> tuple[str, ...]:
    return (sys.executable, "-c", source, *words)


def spec(argv: tuple[str, ...], **more: object) -> BoxSpec:
    return BoxSpec(KEY, RunId("ev-01"), BoxRole.TRIAL, argv, **more)  # type: ignore[arg-type]


def runner_of(home: Path, box: Box) -> psutil.Process:
    path = home / "boxes" / box.id / "runner.json"
    until(path.exists)
    return psutil.Process(json.loads(path.read_text())["pid"])


# Each leaves a process that would sleep on: in its own session, as a daemon, as a daemon without an environment.
ESCAPES = {
    "background": "import subprocess; subprocess.Popen(['sleep', '600'])",
    "setsid": "import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True)",
    "daemon": (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "  os.setsid()\n"
        "  if os.fork() == 0:\n"
        "    os.closerange(0, 100); time.sleep(600)\n"
        "  os._exit(0)\n"
        "os.wait()"
    ),
    "no environment": "import subprocess; subprocess.Popen(['sleep', '600'], env={}, start_new_session=True)",
    "deaf": (
        "import subprocess, sys; subprocess.Popen([sys.executable, '-c',"
        "'import signal, time; [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 15)]; time.sleep(600)'])"
    ),
}


@pytest.mark.parametrize("name", ESCAPES)
def test_no_process_outlives_the_box(boxes: ProcessBoxes, home: Path, name: str) -> None:
    before = set(psutil.pids())
    box = boxes.launch(spec(python(ESCAPES[name])))
    end = boxes.wait(box, SECONDS)
    assert end is not None
    assert end.code == 0
    until(lambda: not sleepers(before))
    until(lambda: left(home) == [])


def sleepers(before: set[int]) -> list[int]:
    """New processes that sleep for as long as those of `ESCAPES`."""
    found = []
    for pid in set(psutil.pids()) - before:
        try:
            words = psutil.Process(pid).cmdline()
        except psutil.Error:
            continue
        if words == ["sleep", "600"] or any("time.sleep(600)" in word for word in words):
            found.append(pid)
    return found


@pytest.mark.parametrize("session", ["", "os.setsid()"])
def test_a_fork_bomb_is_ended_before_it_is_large(boxes: ProcessBoxes, home: Path, session: str) -> None:
    # bounded by itself at 2**8 processes, should the box fail to hold it
    fork = f"if os.fork() == 0: {session or 'pass'}"
    bomb = f"import os, time\nfor _ in range(8):\n  {fork}\n  time.sleep(0.03)\ntime.sleep(20)"
    box = boxes.launch(spec(python(bomb), limits=Limits(seconds=15, pids=12)))
    end = boxes.wait(box, SECONDS)
    assert end is not None
    assert (end.code, end.reason) == (137, ExitReason.PIDS)
    until(lambda: left(home) == [])


def test_memory_is_that_of_the_whole_tree(boxes: ProcessBoxes) -> None:
    source = (
        "import os, time\n"
        "for _ in range(4):\n"
        "  if os.fork() == 0:\n"
        "    x = bytearray(b'x') * (60 << 20); time.sleep(600)\n"
        "time.sleep(600)"
    )
    box = boxes.launch(spec(python(source), limits=Limits(seconds=20, memory_bytes=150 << 20)))
    end = boxes.wait(box, SECONDS)
    assert end is not None
    assert end.reason is ExitReason.MEMORY


def test_memory_that_forked_processes_share_counts_once(boxes: ProcessBoxes) -> None:
    source = (
        "import os, time\n"
        "x = bytearray(b'x') * (60 << 20)\n"
        "children = [os.fork() or (time.sleep(0.4), os._exit(0)) for _ in range(4)]\n"
        "for _ in children: os.wait()"
    )
    box = boxes.launch(spec(python(source), limits=Limits(seconds=20, memory_bytes=150 << 20)))
    end = boxes.wait(box, SECONDS)
    assert end is not None
    assert (end.code, end.reason) == (0, ExitReason.EXITED)


def test_a_closed_stdout_and_a_program_that_goes_on_are_no_end(boxes: ProcessBoxes) -> None:
    source = "import os, sys, time\nos.close(1); os.close(2); time.sleep(0.2); open(sys.argv[1], 'w').write('x')"
    box = boxes.launch(spec(python(source, "{out}/done")))
    end = boxes.wait(box, SECONDS)
    assert end is not None
    assert end.code == 0
    assert boxes.fetch(box, MountName.OUT, "done", 10) == b"x"


def test_much_output_arrives_whole_in_both_streams(boxes: ProcessBoxes) -> None:
    source = "import sys\nfor i in range(3000): sys.stdout.write('o' * 500); sys.stderr.write('e' * 500)"
    box = boxes.launch(spec(python(source)))
    assert boxes.wait(box, SECONDS) is not None
    assert boxes.output(box, limit=1 << 24) == b"o" * 1_500_000
    assert boxes.errors(box) == b"e" * (64 << 10)


def test_a_mounted_folder_counts_by_its_growth(boxes: ProcessBoxes, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "old").write_bytes(os.urandom(4 << 20))
    mounts = (Mount(MountName.STATE, state, writable=True),)
    box = boxes.launch(spec(("sleep", "0.5"), mounts=mounts, limits=Limits(disk_bytes=1 << 20)))
    end = boxes.wait(box, SECONDS)
    assert end is not None
    assert end.reason is ExitReason.EXITED
    boxes.remove(KEY)
    source = (
        "import sys, time\nfor i in range(40): open(f'{sys.argv[1]}/{i}', 'wb').write(b'x' * 100_000)\ntime.sleep(600)"
    )
    again = boxes.launch(spec(python(source, "{state}"), mounts=mounts, limits=Limits(seconds=20, disk_bytes=1 << 20)))
    end = boxes.wait(again, SECONDS)
    assert end is not None
    assert end.reason is ExitReason.DISK


@pytest.mark.parametrize("name", ["background", "setsid", "daemon"])
def test_a_box_whose_runner_was_killed_is_lost_and_leaves_nothing(boxes: ProcessBoxes, home: Path, name: str) -> None:
    box = boxes.launch(spec(python(ESCAPES[name] + "\nimport time; print('up', flush=True); time.sleep(600)")))
    until(lambda: boxes.output(box) == b"up\n")
    runner_of(home, box).kill()
    with pytest.raises(BoxLost):
        boxes.wait(box, SECONDS)
    until(lambda: left(home) == [])
    assert boxes.launch(spec(("true",))) == box, "a lost box stays lost until it is removed"
    with pytest.raises(BoxLost):
        boxes.exec(box, ("true",), b"", 1.0)
    boxes.remove(KEY)
    assert boxes.launch(spec(("true",))).boot != box.boot


def test_a_box_whose_folder_vanished_is_lost(boxes: ProcessBoxes, home: Path) -> None:
    box = boxes.launch(spec(("true",)))
    assert boxes.wait(box, SECONDS) is not None
    subprocess.run(["rm", "-rf", str(home / "boxes" / box.id)], check=True)
    with pytest.raises(BoxLost):
        boxes.wait(box, 1.0)
    assert boxes.list() == []


def test_a_box_survives_the_controller(boxes: ProcessBoxes, home: Path) -> None:
    controller = (
        "import sys, os, signal; from pathlib import Path; from moss import config\n"
        "from moss.adapters.boxes.process import ProcessBoxes; from moss.ports import BoxRole, BoxSpec\n"
        "boxes = ProcessBoxes(Path(sys.argv[1]), config.ProcessBoxes(), None)\n"
        "boxes.launch(BoxSpec(sys.argv[2], 'ev-01', BoxRole.TRIAL, ('sh', '-c', 'read x; echo $x'), stdin=b'alive'))\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    died = subprocess.run([sys.executable, "-c", controller, str(home), KEY], check=False)
    assert died.returncode == -signal.SIGKILL
    (box,) = boxes.list()
    end = boxes.wait(box, SECONDS)
    assert end is not None
    assert boxes.output(box) == b"alive\n"
    assert boxes.launch(spec(("false",))) == box


def cut_before_start(folder: Path) -> None:
    """As a controller leaves it that is killed between the folder and the runner."""
    (folder / "runner.json").unlink()
    (folder / "exit.json").unlink()


def cut_while_made(folder: Path) -> None:
    """As a controller leaves it that is killed while it makes the folder."""
    (folder / "spec.json").unlink()
    folder.rename(folder.with_name(f".new-{folder.name}"))


@pytest.mark.parametrize("cut", [cut_before_start, cut_while_made])
def test_a_half_made_box_is_made_again(boxes: ProcessBoxes, home: Path, cut: Callable[[Path], None]) -> None:
    first = boxes.launch(spec(("true",)))
    assert boxes.wait(first, SECONDS) is not None
    until(lambda: not Folder(home / "boxes" / first.id).alive())
    cut(home / "boxes" / first.id)
    again = boxes.launch(spec(("echo", "made")))
    end = boxes.wait(again, SECONDS)
    assert end is not None
    assert boxes.output(again) == b"made\n"
    boxes.remove(KEY)
    assert sorted(path.name for path in (home / "boxes").iterdir()) == [".locks"]


def test_remove_leaves_nothing_whatever_the_box_left(boxes: ProcessBoxes, home: Path) -> None:
    source = (
        "import os, sys\n"
        "os.chdir(sys.argv[1]); os.mkdir('shut'); open('shut/x', 'w').close(); os.chmod('shut', 0)\n"
        "os.symlink('/etc', 'link'); os.mkfifo('fifo'); open(b'\\xff\\n', 'w').close()\n"
        "for _ in range(1500): os.mkdir('d'); os.chdir('d')"
    )
    box = boxes.launch(spec(python(source, "{out}")))
    end = boxes.wait(box, SECONDS)
    assert end is not None
    assert end.code == 0
    boxes.remove(KEY)
    assert sorted(path.name for path in (home / "boxes").iterdir()) == [".locks"]
    assert Path("/etc/passwd").exists()


def test_a_fifo_in_the_place_of_a_file_is_not_fetched(boxes: ProcessBoxes) -> None:
    box = boxes.launch(spec(("mkfifo", "{out}/report")))
    assert boxes.wait(box, SECONDS) is not None
    assert boxes.fetch(box, MountName.OUT, "report", 10) is None


def test_secrets_of_a_box_are_for_its_owner_alone(boxes: ProcessBoxes, home: Path) -> None:
    box = boxes.launch(spec(("true",), env={"TOKEN": "t0ken"}, files={"key": b"t0ken"}, stdin=b"t0ken"))
    assert boxes.wait(box, SECONDS) is not None
    folder = home / "boxes" / box.id
    for path in folder.rglob("*"):
        if path.is_file() and b"t0ken" in path.read_bytes():
            assert path.stat().st_mode & 0o077 == 0, path
    assert folder.stat().st_mode & 0o077 == 0


def test_a_box_has_no_descriptor_of_ours(boxes: ProcessBoxes) -> None:
    with open(os.devnull) as ours:
        os.set_inheritable(ours.fileno(), True)
        box = boxes.launch(spec(("ls", "/proc/self/fd")))
        assert boxes.wait(box, SECONDS) is not None
    # the fourth is that of `ls` for the listing itself
    assert boxes.output(box).split() == [b"0", b"1", b"2", b"3"]


def test_labels_are_written_down(boxes: ProcessBoxes, home: Path) -> None:
    box = boxes.launch(spec(("true",)))
    assert boxes.wait(box, SECONDS) is not None
    labels = Folder(home / "boxes" / box.id).spec().labels
    assert labels == {"moss.dev/run": "ev-01", "moss.dev/key": KEY, "moss.dev/role": "trial"}


def test_too_little_space_is_said_before_anything_starts(home: Path) -> None:
    boxes = ProcessBoxes(home, config.ProcessBoxes(), no_image, free_bytes=1 << 60)
    with pytest.raises(NoSpace):
        boxes.launch(spec(("true",)))
    assert boxes.list() == []


def test_a_mount_that_is_not_there_is_refused(boxes: ProcessBoxes, tmp_path: Path) -> None:
    for writable in (True, False):
        with pytest.raises(BoxRefused):
            boxes.launch(spec(("true",), mounts=(Mount(MountName.WORK, tmp_path / "none", writable),)))
    assert boxes.list() == []


def test_a_runtime_is_refused(boxes: ProcessBoxes) -> None:
    with pytest.raises(BoxRefused, match="runsc"):
        boxes.launch(spec(("true",), runtime="runsc"))


@pytest.mark.parametrize("key", ["", "/", "../../x", "a/../../b", "\0", "\n", "." * 5, "ü" * 500, "-rf"])
def test_any_key_is_one_plain_file_name(key: str) -> None:
    name = safe_name(Key(key))
    assert 0 < len(name.encode()) < 100
    assert not set(name) & set("/\0\n ")
    assert not name.startswith((".", "-"))


@pytest.mark.slow
def test_the_probe_proves_every_bound(boxes: ProcessBoxes) -> None:
    found = {line.name: line for line in boxes.probe()}
    assert {name for name, line in found.items() if not line.ok} == set()
    assert set(found) == {"isolation", "environment", "time", "memory", "processes", "output"}
    assert "none" in found["isolation"].detail
    assert boxes.list() == []
