"""Whether what runs is what a commit makes: file by file, of two images on a real engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from moss.adapters.targets.docker.same_files import differences
from tests.docker_home import DockerHome

pytestmark = [pytest.mark.needs("docker"), pytest.mark.slow, pytest.mark.xdist_group("docker")]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerHome]:
    home = DockerHome(tmp_path_factory.mktemp("home"))
    yield home
    home.clean()


def image(home: DockerHome, folder: Path, label: str, files: dict[str, str], executable: str = "") -> str:
    folder.mkdir()
    for name, text in files.items():
        path = folder / "app" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if name == executable else 0o644)
    (folder / "Dockerfile").write_text(f"FROM python:3.11-slim\nWORKDIR /srv\nCOPY app .\nLABEL x={label}\n")
    return home.build(folder)


FILES = {"agent.py": "print(1)\n", "lib/tools.py": "x = 1\n"}


def test_images_of_the_same_files_are_alike_whatever_else_they_are(home: DockerHome, tmp_path: Path) -> None:
    one = image(home, tmp_path / "1", "one", FILES)
    other = image(home, tmp_path / "2", "two", {**FILES, "lib/__pycache__/tools.cpython-311.pyc": "made anew"})
    assert one != other
    assert differences(home.engine, one, other, "/srv") == []
    assert differences(home.engine, one, one, "/srv") == []


def test_each_kind_of_difference_is_named(home: DockerHome, tmp_path: Path) -> None:
    one = image(home, tmp_path / "1", "one", FILES)
    for number, (files, executable, found) in enumerate(
        (
            ({**FILES, "agent.py": "print(2)\n"}, "", ["agent.py"]),
            ({"agent.py": "print(1)\n"}, "", ["lib/tools.py"]),
            ({**FILES, "more.py": ""}, "", ["more.py"]),
            (FILES, "agent.py", ["agent.py"]),
        )
    ):
        other = image(home, tmp_path / f"other-{number}", "other", files, executable)
        assert differences(home.engine, one, other, "/srv") == found


def test_a_folder_that_one_of_them_lacks_is_a_difference(home: DockerHome, tmp_path: Path) -> None:
    one = image(home, tmp_path / "1", "one", FILES)
    assert differences(home.engine, one, "python:3.11-slim", "/srv/lib") == ["/srv/lib", "tools.py"]
    assert home.containers() == []
