"""Owns what `make demo-hermes` stands on: a release of Hermes Agent as a git repository, and its two base images.

    python -m examples.hermes.prepare [--version 0.19.0] [--folder .hermes]

The source comes from the package index by pip and stays in the folder: none of it is part of MOSS. Needs the network
once; does nothing that is already done. Invariant: a source that is there is whole, its first commit the release.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
FOLDER = HERE.parents[1] / ".hermes"
NEWEST = "0.19.0"
BUNDLES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
"""variables that name a host's own CA bundle"""
GIT = ("git", "-c", "user.name=hermes", "-c", "user.email=hermes@example.invalid", "-c", "init.defaultBranch=main")


class Unprepared(Exception):
    """What is missing, with the mend: one sentence."""


def prepare(folder: Path = FOLDER, version: str = NEWEST) -> Path:
    """The release's source, a git repository; its base images are on the engine. Raises: Unprepared."""
    source = folder.resolve() / version
    if not source.is_dir():
        _unpack(source, version)
    _images(source, version)
    return source


def _unpack(source: Path, version: str) -> None:
    source.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=source.parent) as work:
        say(f"hermes: fetching the source of hermes-agent {version}")
        words = ("download", "-q", "--no-binary", ":all:", "--no-deps", "-d", work, f"hermes-agent=={version}")
        run(sys.executable, "-m", "pip", *words)
        (archive,) = Path(work).glob("*.tar.gz")
        with tarfile.open(archive) as packed:
            packed.extractall(work, filter="data")
        (tree,) = (path for path in Path(work).iterdir() if path.is_dir())
        dockerfile = (HERE / "image" / "Dockerfile").read_text().replace(NEWEST, version)
        (tree / "Dockerfile").write_text(dockerfile)
        commit(tree, f"hermes-agent {version}")
        tree.rename(source)


def _images(source: Path, version: str) -> None:
    if not has_image(f"hermes-base:{version}"):
        say(f"hermes: making hermes-base:{version}, once: packages of Debian and of the package index, a minute or two")
        with tempfile.TemporaryDirectory() as empty:
            told = ("--network", "host", *_secrets(Path(empty)))
            _build("base.Dockerfile", f"hermes-base:{version}", Path(empty), version, *told)
    if not has_image(f"hermes-release:{version}"):
        _build("release.Dockerfile", f"hermes-release:{version}", source, version, "--network", "none")


def _build(dockerfile: str, tag: str, context: Path, version: str, *more: str) -> None:
    file = HERE / "image" / dockerfile
    run("docker", "build", "-q", "-f", str(file), "-t", tag, "--build-arg", f"HERMES={version}", *more, str(context))


def _secrets(work: Path) -> Sequence[str]:
    """The host's CA bundle and package index for the step that needs them: mounted, kept in no image."""
    bundle = next((os.environ[name] for name in BUNDLES if Path(os.environ.get(name, "")).is_file()), None)
    index = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True, check=False
    )
    words = ["--secret", f"id=ca,src={bundle}"] if bundle else []
    if index.returncode == 0:
        pip = work / "pip.conf"
        pip.write_text(f"[global]\nindex-url = {index.stdout.strip()}\n")
        words += ["--secret", f"id=pip,src={pip}"]
    return words


def has_image(name: str) -> bool:
    try:
        seen = subprocess.run(["docker", "image", "inspect", name], capture_output=True, check=False)
    except FileNotFoundError:
        raise Unprepared("there is no `docker` client on this machine (mend: docs/docker.md)") from None
    return seen.returncode == 0


def commit(tree: Path, message: str) -> None:
    """All of `tree` as a commit, its first or one more, whatever the user's git says."""
    env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(tree), "GIT_CONFIG_GLOBAL": os.devnull}
    first = [] if (tree / ".git").exists() else [("init", "-q")]
    # a published archive holds files that its own .gitignore names
    for words in (*first, ("add", "-A", "-f"), ("commit", "-q", "-m", message)):
        run(*GIT, *words, cwd=tree, env=env)


def run(*words: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Raises: Unprepared with the end of what it said."""
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unprepared(f"{' '.join(words[:3])} failed: {' '.join((done.stderr or done.stdout).split())[-400:]}")
    return done.stdout


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def clone(source: Path, into: Path) -> None:
    """A repository of its own with the same commits."""
    shutil.copytree(source, into, symlinks=True)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="prepare", description="Hermes Agent's source and base images.")
    parser.add_argument("--version", default=NEWEST)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    given = parser.parse_args(words)
    try:
        print(prepare(given.folder, given.version))
    except Unprepared as error:
        print(f"hermes: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
