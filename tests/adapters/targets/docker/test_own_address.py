"""Users' messages go to the agent and to nobody who happens to get its address when it has ended."""

import subprocess

import pytest

from moss.dockerd import home_tag
from moss.testing.live_docker import LiveDocker, docker

pytestmark = [pytest.mark.needs("docker"), pytest.mark.slow, pytest.mark.xdist_group("docker")]

STRANGER = "import http.server as h; h.HTTPServer(('', 8080), h.SimpleHTTPRequestHandler).serve_forever()"


def test_who_gets_the_address_of_an_agent_that_ended_gets_no_message(tiny: LiveDocker) -> None:
    tiny.run()  # nobody starts it again
    tiny.adopt()
    own = tiny.inspect()["NetworkSettings"]["Networks"][f"moss-{home_tag(tiny.settings.home)}"]  # type: ignore[index]
    front = tiny.target._around.front
    assert front is not None
    backend = front.client.status().backend
    assert backend is not None
    assert backend.host == own["IPAddress"], "the address on MOSS's own network, where nobody else is"
    address = tiny.inspect()["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]  # type: ignore[index]
    docker("kill", tiny.name)
    strangers: list[str] = []
    try:
        for _ in range(3):
            one = docker(
                "run", "-d", "--label", "moss.dev/test=stranger", "python:3.11-slim", "python3", "-c", STRANGER
            )
            strangers.append(one)
        asked = tiny.send("hello")
        tiny._threads[-1].join(30)
        assert asked.status == 502, f"{address} may be a stranger's now, and it was not asked"
    finally:
        for one in strangers:
            subprocess.run(["docker", "rm", "-f", one], capture_output=True, check=False)
