"""What the gateway is told, and where its keys come from."""

from pathlib import Path
from typing import Any

import pytest

from moss.config import Secret, Upstream
from moss.errors import UserError
from moss.gateway.config import CONFIG_LIMIT, GatewayConfig, load_config, resolve_key, save_config
from moss.gateway.home import salt_of, secret_of

MAIN = {"name": "main", "url": "http://h/v1"}


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    config = GatewayConfig(artifacts=tmp_path, upstreams=(Upstream(name="main", url="http://h"),), volatile=("^x",))
    save_config(tmp_path / "config.json", config)
    assert load_config(tmp_path / "config.json") == config
    assert (tmp_path / "config.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"artifacts": "here"}, "not an absolute path"),
        ({"artifacts": "/a", "upstreams": [MAIN, MAIN]}, "same name"),
        ({"artifacts": "/a", "upstreams": [{"name": "main"}]}, "either `url` or `script`"),
        ({"artifacts": "/a", "upstreams": [{**MAIN, "key": {"file": "key"}}]}, "not an absolute path"),
        ({"artifacts": "/a", "volatile": ["("]}, "not a regular expression"),
        ({"artifacts": "/a", "port": 70000}, "port"),
        ({"artifacts": "/a", "odd": 1}, "odd"),
        ({}, "artifacts"),
    ],
)
def test_one_that_is_wrong_is_refused_with_its_place(tmp_path: Path, told: dict[str, Any], says: str) -> None:
    import json

    path = tmp_path / "config.json"
    path.write_text(json.dumps(told))
    with pytest.raises(UserError, match=rf"config\.json: .*{says}"):
        load_config(path)


def test_a_file_that_is_too_large_or_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with pytest.raises(UserError, match="cannot be read"):
        load_config(path)
    with path.open("wb") as file:
        file.truncate(CONFIG_LIMIT + 1)
    with pytest.raises(UserError, match="larger than"):
        load_config(path)


def test_a_key_comes_from_the_environment_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("sk-1\n")
    assert resolve_key(Secret(env="K"), {"K": "sk-2"}) == "sk-2"
    assert resolve_key(Secret(file=file), {}) == "sk-1"
    file.write_text("sk-rotated")
    assert resolve_key(Secret(file=file), {}) == "sk-rotated"


@pytest.mark.parametrize("value", ["", "sk-1\nX-Evil: 1", "sk 1", "schlüssel", "sk\x00"])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(value: str) -> None:
    with pytest.raises(UserError, match="environment variable K") as refused:
        resolve_key(Secret(env="K"), {"K": value})
    assert not value or value not in str(refused.value)


def test_a_key_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"file .*none is not set"):
        resolve_key(Secret(file=tmp_path / "none"), {})


def test_the_secret_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    first = secret_of(path)
    assert (len(first), secret_of(path)) == (64, first)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["secret"]
    path.write_bytes(b"short\n")
    with pytest.raises(UserError, match="shorter than 32 bytes"):
        secret_of(path)
    assert salt_of(tmp_path / "home") == salt_of(tmp_path / "home")
