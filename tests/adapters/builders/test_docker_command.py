"""The command of a build as data, and the causes of its end, read only from what the client itself says."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moss.adapters.builders.docker_command import Build, cause
from moss.config import DockerBuild
from moss.dockerd.found import Found, reference, repository
from moss.errors import BuildBroken, BuildFailed, NoSpace


def build(**more: object) -> Build:
    return Build(
        settings=DockerBuild(**more),  # type: ignore[arg-type]
        engine="unix:///e",
        tree=Path("/t"),
        iid=Path("/i"),
        labels={"b": "2", "a": "$(id)"},
        secrets={"token": Path("/s/token")},
        client=Path("/c"),
        disk=None,
    )


def test_the_command_is_words_without_a_network() -> None:
    assert build(target="agent", arguments={"A": "; rm -rf /"}).argv() == [
        "docker", "build", "--progress=plain", "--iidfile=/i", "--file=/t/Dockerfile", "--network=none",
        "--target=agent", "--label=a=$(id)", "--label=b=2", "--build-arg=A=; rm -rf /",
        "--secret=id=token,src=/s/token", "--", "/t",
    ]  # fmt: skip
    assert "--network=default" in build(network=True).argv()


def test_its_environment_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://elsewhere")
    monkeypatch.setenv("TOKEN", "planted")
    env = build().env()
    assert env["DOCKER_HOST"] == "unix:///e"
    assert env["HOME"] == env["DOCKER_CONFIG"] == "/c"
    assert "planted" not in env.values()


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        (b"ERROR: failed to build: failed to solve: a:1: failed to resolve source metadata for docker.io/library/a:1: "
         b"no", BuildBroken, "docker pull a:1"),
        (b"ERROR: failed to solve: x.io/y/z:2: failed to resolve source metadata for x.io/y/z:2: no", BuildBroken,
         "docker pull x.io/y/z:2"),
        (b"ERROR: failed to solve: write /var/lib: no space left on device", NoSpace, "docker system df"),
        (b'ERROR: failed to solve: process "/bin/sh -c echo no space left on device" did not complete successfully: '
         b"exit code: 1", BuildFailed, "exit code: 1"),
        (b"#7 0.1 ERROR: no space left on device\nERROR: failed to solve: parse error on line 3", BuildFailed,
         "parse error on line 3"),
        (b"ERROR: BuildKit is enabled but the buildx component is missing or broken.", BuildBroken, "docker-buildx"),
        (b"ERROR: Cannot connect to the Docker daemon at unix:///e.", BuildBroken, "does not answer"),
        (b"", BuildFailed, "ended with code 7"),
        (b"ERROR: \x1b[2Jodd", BuildFailed, "?[2Jodd"),
    ],
)  # fmt: skip
def test_causes_are_told_apart(said: bytes, kind: type[Exception], words: str) -> None:
    found = cause(said, 7)
    assert type(found) is kind
    assert words in str(found)


@given(st.binary(max_size=300))
def test_any_words_have_a_cause(said: bytes) -> None:
    assert str(cause(said, 1)).isprintable()


def test_an_image_counts_when_it_is_this_homes_and_tagged() -> None:
    labels = {"moss.dev/home": "h", "moss.dev/name": "clerk:1", "moss.dev/commit": "c", "moss.dev/source": "s"}
    whole = Found.of("sha256:1", [f"{repository('h')}/clerk:1-abc"], None, labels)
    assert whole.whole("h")
    assert not whole.whole("other")
    assert not Found.of("sha256:1", ["clerk:1"], None, labels).whole("h")
    assert not Found.of("sha256:1", ["<none>:<none>"], None, labels).whole("h")
    assert not Found.of("sha256:1", whole.tags, None, None).whole("h")
    assert whole.image().registry is None
    assert Found.of("sha256:1", whole.tags, ["r.io/clerk@sha256:2"], labels).image().registry == "r.io/clerk@sha256:2"


@given(st.text())
def test_any_name_is_a_reference(word: str) -> None:
    said = reference(word)
    assert said
    assert set(said) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-")
    assert said[0].isalnum()
