"""The clerk in containers is the same clerk: only where things run is told otherwise."""

import tomllib
from pathlib import Path

from examples.clerk.workshop import HERE, in_containers, lay_out
from moss.config import DockerBoxes, DockerBuild, DockerLive
from moss.settings import load


def test_only_the_tables_of_docker_toml_differ() -> None:
    plain, told = tomllib.loads((HERE / "moss.toml").read_text()), tomllib.loads(in_containers(8790, 8791, "clerk-1"))
    others = tomllib.loads((HERE / "docker.toml").read_text())
    assert set(others) == {"build", "boxes", "live"}
    assert told["live"] == {**others["live"], "container": "clerk-1"}
    same = {name: table for name, table in told.items() if name not in {*others, "api", "substrate"}}
    assert same == {name: plain[name] for name in same}
    assert same.keys() >= {"turn", "canary", "evidence", "trials", "swap", "roles"}


def test_a_workshop_in_containers_has_settings_that_moss_reads(tmp_path: Path) -> None:
    shop = lay_out(tmp_path / "shop", container="clerk-1")
    settings = load(shop.toml, {})
    assert isinstance(settings.build, DockerBuild)
    assert isinstance(settings.boxes, DockerBoxes)
    assert isinstance(settings.live, DockerLive)
    assert settings.live.container == "clerk-1"
    assert settings.state is None, "where it is on this host is the container's to tell"
    assert (shop.source / settings.build.dockerfile).is_file()
    assert "python3" in settings.substrate.check, "the interpreter is the image's"
