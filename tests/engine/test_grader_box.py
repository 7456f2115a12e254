"""A grader takes its program along, whatever box it runs in, and nothing else of this host."""

from pathlib import Path

import pytest

from moss.domain.case import Grader
from moss.domain.ids import Key, RunId
from moss.domain.trial import Answer
from moss.engine.grader_box import BYTES, bring_along, grader_box
from moss.errors import GraderBroken
from moss.ports import MountName


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path in ("graders/once.py", "graders/lib/ledger.py", "top.py", ".moss/store.db", "moss.toml"):
        file = tmp_path / "root" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(path)
    (tmp_path / "root" / "graders" / "once.py").chmod(0o755)
    return tmp_path / "root"


def brought(root: Path, *argv: str) -> list[str]:
    into = root.parent / "into"
    bring_along(Grader(name="g", argv=argv), root, into)
    return sorted(str(path.relative_to(into)) for path in into.rglob("*") if path.is_file())


def test_the_folder_of_its_program_comes_along_and_runs(root: Path) -> None:
    assert brought(root, "python3", "{root}/graders/once.py", "{state}") == ["graders/lib/ledger.py", "graders/once.py"]
    assert (root.parent / "into/graders/once.py").stat().st_mode & 0o111, "a program stays one"


def test_a_program_beside_moss_toml_comes_alone(root: Path) -> None:
    assert brought(root, "{root}/top.py", "--with={root}/graders/lib") == ["graders/lib/ledger.py", "top.py"]


def test_an_inner_folder_beside_its_outer_one_is_copied_once(root: Path) -> None:
    assert brought(root, "{root}/graders/lib/ledger.py", "{root}/graders/once.py") == [
        "graders/lib/ledger.py",
        "graders/once.py",
    ]


def test_a_grader_that_names_nothing_brings_nothing(root: Path) -> None:
    assert brought(root, "true") == []


@pytest.mark.parametrize("word", ["{root}", "{root}/", "{root}/..", "{root}/../elsewhere", "{root}/none.py"])
def test_what_is_not_below_the_root_or_not_there_breaks_the_grader(root: Path, word: str) -> None:
    (root.parent / "elsewhere").mkdir()
    with pytest.raises(GraderBroken, match="grader g"):
        brought(root, "python3", word)


def test_a_link_that_leads_out_is_not_followed(root: Path) -> None:
    (root / "graders" / "out.py").symlink_to("/etc/passwd")
    with pytest.raises(GraderBroken, match="no file or folder below"):
        brought(root, "{root}/graders/out.py")


def test_a_folder_that_is_no_program_is_refused(root: Path) -> None:
    with open(root / "graders" / "huge", "wb") as file:
        file.truncate(BYTES + 1)
    with pytest.raises(GraderBroken, match="a folder of its own"):
        brought(root, "{root}/graders/once.py")


def test_its_box_holds_its_program_and_the_state_read_only_and_no_image(tmp_path: Path) -> None:
    grader = Grader(name="g", argv=("python3", "{root}/graders/once.py", "{state}"), arguments=("{root}", "1017"))
    spec = grader_box(
        Key("ev-01/g"), RunId("ev-01"), grader, (tmp_path / "p", tmp_path / "s"), Answer(text="ok"), 1 << 28
    )
    assert spec.argv == ("python3", "{work}/graders/once.py", "{state}", "{root}", "1017"), "a case's words stay words"
    assert {mount.name: mount.writable for mount in spec.mounts} == {MountName.WORK: False, MountName.STATE: False}
    assert spec.image is None
    assert b'"ok"' in spec.files["answer.json"]
