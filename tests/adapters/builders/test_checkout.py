"""Images that are plain trees: steps in build boxes, tampering, kills, and what trees may hold."""

import os
import signal
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from moss import config
from moss.adapters.boxes.process import ProcessBoxes
from moss.adapters.builders.checkout import CheckoutBuilder, image_tree
from moss.adapters.builders.tree_digest import tree_digest
from moss.config import CheckoutBuild
from moss.domain.frozen import sha256
from moss.domain.ids import CommitId, Digest, Key
from moss.errors import BoxLost, BoxRefused, BuildBroken, BuildFailed, NoSpace
from moss.ports import BoxExit, BoxRole, ExitReason, MountName
from moss.testing.boxes import FakeBoxes, Running

COMMIT = CommitId("1" * 40)
KEY = Key("ev-01/1/build")


def make(box: Running) -> int:
    """A compile step that writes into the tree."""
    (box.places[MountName.WORK] / "made").write_text("made")
    box.say(b"making\n")
    return 0


def litter(box: Running) -> int:
    """A smoke test that leaves something behind."""
    (box.places[MountName.WORK] / "cache").write_text("x")
    box.complain(b"smoking\n")
    return 0


def shriek(box: Running) -> int:
    box.say(b"early\n" + b"x" * 10_000 + b"\x1b[2Jlate\n")
    return 3


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def boxes(tmp_path: Path) -> FakeBoxes:
    return FakeBoxes(tmp_path / "boxes", {"make": make, "litter": litter, "shriek": shriek})


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "tools.py").write_text("retries = 3\n")
    return tmp_path / "tree"


@pytest.fixture
def builder(home: Path, boxes: FakeBoxes) -> CheckoutBuilder:
    return CheckoutBuilder(home, CheckoutBuild(prepare=("make", "all"), smoke=("litter", "{image}")), boxes)


def test_steps_run_in_build_boxes_on_the_tree(
    builder: CheckoutBuilder, boxes: FakeBoxes, tree: Path, tmp_path: Path
) -> None:
    image = builder.build(tree, COMMIT, "clerk:1", KEY, tmp_path / "log")
    assert [(spec.role, spec.argv, spec.run) for spec in boxes.launched] == [
        (BoxRole.BUILD, ("make", "all"), "ev-01"),
        (BoxRole.BUILD, ("litter", "{work}"), "ev-01"),
    ]
    assert sorted(path.name for path in builder.tree(image.digest).iterdir()) == ["made", "tools.py"]
    assert not (tree / "made").exists()
    assert boxes.list() == []
    log = (tmp_path / "log").read_text()
    assert "making" in log
    assert "smoking" in log


def test_an_image_is_read_only(builder: CheckoutBuilder, tree: Path, tmp_path: Path) -> None:
    image = builder.build(tree, COMMIT, "clerk:1", KEY, tmp_path / "log")
    built = builder.tree(image.digest)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (built, built / "tools.py")] == [0o555, 0o444]


@pytest.mark.parametrize("tamper", [lambda t: (t / "tools.py").write_text("evil"), lambda t: (t / "x").write_text("")])
def test_an_image_that_was_tampered_with_is_no_image(
    builder: CheckoutBuilder, tree: Path, tmp_path: Path, tamper: Callable[[Path], object]
) -> None:
    image = builder.build(tree, COMMIT, "clerk:1", KEY, tmp_path / "log")
    built = builder.tree(image.digest)
    for path in (built, built / "tools.py"):
        path.chmod(0o755)
    tamper(built)
    assert builder.find(image.digest) is None
    again = builder.build(tree, COMMIT, "clerk:1", KEY, tmp_path / "log")
    assert again == image
    assert builder.find(image.digest) == image
    assert (builder.tree(image.digest) / "tools.py").read_text() == "retries = 3\n"


def test_caches_of_an_interpreter_are_no_part_of_an_image(builder: CheckoutBuilder, tree: Path, tmp_path: Path) -> None:
    def leave_cache(root: Path) -> None:
        (root / "__pycache__").mkdir()
        (root / "__pycache__" / "tools.cpython-311.pyc").write_bytes(b"poison")

    clean = builder.build(tree, COMMIT, "clerk:1", KEY, tmp_path / "log")
    leave_cache(tree)
    assert builder.build(tree, COMMIT, "clerk:1", Key("ev-02/1/build"), tmp_path / "log").digest == clean.digest
    built = builder.tree(clean.digest)
    built.chmod(0o755)
    leave_cache(built)
    assert builder.find(clean.digest) is not None
    assert not (built / "__pycache__").exists()


def test_a_failed_step_gives_the_end_of_its_log_harmlessly(
    home: Path, boxes: FakeBoxes, tree: Path, tmp_path: Path
) -> None:
    builder = CheckoutBuilder(home, CheckoutBuild(smoke=("shriek",)), boxes)
    with pytest.raises(BuildFailed, match="smoke ended with code 3") as failed:
        builder.build(tree, COMMIT, "clerk:1", KEY, tmp_path / "log")
    assert "late" in str(failed.value)
    assert "early" not in str(failed.value)
    assert "\x1b" not in str(failed.value)
    assert b"early" in (tmp_path / "log").read_bytes()
    assert sorted(path.name for path in (home / "images").iterdir()) == [".lock"]


@pytest.mark.parametrize("reason", [ExitReason.DEADLINE, ExitReason.MEMORY, ExitReason.DISK, ExitReason.OUTPUT])
def test_a_step_that_passes_a_bound_is_the_trees_fault(
    builder: CheckoutBuilder, boxes: FakeBoxes, tree: Path, tmp_path: Path, reason: ExitReason
) -> None:
    boxes.fail("*/prepare", BoxExit(137, reason, 1.0))
    with pytest.raises(BuildFailed, match=f"the bound of {reason.value}"):
        builder.build(tree, COMMIT, "clerk:1", KEY, tmp_path / "log")


@pytest.mark.parametrize("error", [BoxLost("evicted"), BoxRefused("no rights")])
def test_a_box_that_is_lost_or_refused_is_not_the_trees_fault(
    builder: CheckoutBuilder, boxes: FakeBoxes, tree: Path, tmp_path: Path, error: Exception
) -> None:
    boxes.fail("*/smoke", error)  # type: ignore[arg-type]
    with pytest.raises(BuildBroken, match=r"is gone|no rights"):
        builder.build(tree, COMMIT, "clerk:1", KEY, tmp_path / "log")
    assert builder.list() == []
    assert boxes.list() == []
    builder.build(tree, COMMIT, "clerk:1", KEY, tmp_path / "log")


def test_a_build_that_was_killed_is_done_again(home: Path, tree: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    script = 'if test -e "$1"; then echo x > half; kill -9 "$(cat "$1")"; sleep 600; fi; echo x > made'
    settings = CheckoutBuild(prepare=("sh", "-c", script, "sh", str(victim)))
    child = os.fork()
    if child == 0:
        victim.write_text(str(os.getpid()))
        processes(home, settings).build(tree, COMMIT, "clerk:1", KEY, tmp_path / "log")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    victim.unlink()
    assert list((home / "images").glob(".build-*")), "the kill came too late to test anything"
    builder = processes(home, settings)
    image = builder.build(tree, COMMIT, "clerk:1", KEY, tmp_path / "log")
    assert sorted(path.name for path in builder.tree(image.digest).iterdir()) == ["made", "tools.py"]
    assert builder.list() == [image]
    assert sorted(path.name for path in (home / "images").iterdir()) == [".lock", image.digest[7:]]
    assert [path.name for path in (home / "boxes").iterdir()] == [".locks"]


def processes(home: Path, settings: CheckoutBuild) -> CheckoutBuilder:
    """A builder whose steps are real processes."""
    return CheckoutBuilder(home, settings, ProcessBoxes(home, config.ProcessBoxes(), partial(image_tree, home)))


def test_a_folder_without_its_record_is_no_image_and_is_replaced(
    builder: CheckoutBuilder, home: Path, tree: Path, tmp_path: Path
) -> None:
    image = builder.build(tree, COMMIT, "clerk:1", KEY, tmp_path / "log")
    (home / "images" / image.digest[7:] / "image.json").unlink()
    assert builder.find(image.digest) is None
    assert builder.list() == []
    with pytest.raises(BoxRefused):
        image_tree(home, image.digest)
    assert builder.build(tree, COMMIT, "clerk:1", KEY, tmp_path / "log") == image


def test_a_repeated_build_runs_no_step_again(
    builder: CheckoutBuilder, boxes: FakeBoxes, tree: Path, tmp_path: Path
) -> None:
    builder.build(tree, COMMIT, "clerk:1", KEY, tmp_path / "log")
    builder.build(tree, COMMIT, "clerk:1", KEY, tmp_path / "log")
    assert len(boxes.launched) == 2


def test_too_little_space_is_said_before_anything_is_built(
    home: Path, boxes: FakeBoxes, tree: Path, tmp_path: Path
) -> None:
    builder = CheckoutBuilder(home, CheckoutBuild(), boxes, free_bytes=1 << 60)
    with pytest.raises(NoSpace, match="bytes are free"):
        builder.build(tree, COMMIT, "clerk:1", KEY, tmp_path / "log")
    assert not (home / "images").exists()


def test_links_out_of_the_tree_are_copied_as_links(builder: CheckoutBuilder, tree: Path, tmp_path: Path) -> None:
    (tree / "out").symlink_to("/etc")
    (tree / "gone").symlink_to("nowhere")
    os.mkfifo(tree / "fifo")
    image = builder.build(tree, COMMIT, "clerk:1", KEY, tmp_path / "log")
    built = builder.tree(image.digest)
    assert os.readlink(built / "out") == "/etc"
    assert os.readlink(built / "gone") == "nowhere"
    assert not (built / "fifo").exists()
    builder.remove(image.digest)
    assert Path("/etc/passwd").exists()


@pytest.mark.parametrize("digest", ["sha256:../../x", "../x", "sha256:" + "0" * 64])
def test_no_digest_leads_out_of_the_images(builder: CheckoutBuilder, tmp_path: Path, digest: str) -> None:
    (tmp_path / "x").mkdir(exist_ok=True)
    assert builder.find(Digest(digest)) is None
    builder.remove(Digest(digest))
    assert (tmp_path / "x").exists()


def test_names_with_newlines_do_not_make_two_trees_alike(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for root in (one, two):
        root.mkdir()
    (one / "a").write_text("")
    empty = sha256(b"").removeprefix("sha256:")
    (one / "b").write_text("")
    (two / f"a {empty}\nfile 1 b").write_text("")
    assert tree_digest(one) != tree_digest(two)


def test_empty_folders_and_bytes_that_are_no_text_count(tmp_path: Path) -> None:
    seen = {tree_digest(tmp_path)}
    (tmp_path / "empty").mkdir()
    seen.add(tree_digest(tmp_path))
    os.close(os.open(os.fsencode(tmp_path) + b"/\xff\n", os.O_CREAT))
    seen.add(tree_digest(tmp_path))
    assert len(seen) == 3
