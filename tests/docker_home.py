"""A home on a real engine: builds images for tests, and leaves no container, image or network of it behind."""

import subprocess
from pathlib import Path

from moss.dockerd import Engine, home_tag, labels_filter
from moss.errors import BoxRefused

LABEL = "moss.dev/test"


class DockerHome:
    """One home. `clean` removes all that carries its label."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.engine = Engine(None, BoxRefused)
        self.images: list[str] = []

    @property
    def tag(self) -> str:
        return home_tag(self.path)

    def build(self, tree: Path) -> str:
        """The id of the image that the tree's Dockerfile makes."""
        argv = ["docker", "build", "-q", "--network", "none", "--label", f"{LABEL}={self.path.name}", str(tree)]
        done = subprocess.run(argv, check=True, capture_output=True, text=True)
        self.images.append(done.stdout.strip())
        return self.images[-1]

    def containers(self) -> list[str]:
        """Names of all containers of this home."""
        found = self.engine.api.containers(all=True, filters=labels_filter({"moss.dev/home": self.tag}))
        return [container["Names"][0].lstrip("/") for container in found]

    def clean(self) -> None:
        for name in self.containers():
            self.engine.api.remove_container(name, force=True, v=True)
        ours = self.engine.api.images(filters=labels_filter({"moss.dev/home": self.tag}), quiet=True)
        for image in {*self.images, *ours}:
            subprocess.run(["docker", "image", "rm", "-f", image], check=False, capture_output=True)
        self.engine.close()
