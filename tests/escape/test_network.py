"""Nothing is reached from a box but its own loopback, each way out shown to be open to others at the same moment."""

import contextlib
import socket
import struct
import threading
import uuid
from collections.abc import Iterator

import pytest

from moss.adapters.boxes.docker_probe import host_addresses

from .conftest import IMAGE, Jail, docker

pytestmark = [pytest.mark.needs("docker"), pytest.mark.slow, pytest.mark.xdist_group("docker")]

CONNECT = "say(connects(*sys.argv[1:]))"
RESOLVE = "say(resolves(sys.argv[1]))"
SERVE = (
    "import socket, sys\nwith socket.create_server(('0.0.0.0', int(sys.argv[1]))) as s:\n"
    "  while True:\n    c, _ = s.accept()\n    c.sendall(b'a secret of somebody else'); c.close()"
)


@contextlib.contextmanager
def listener() -> Iterator[int]:
    """A service of this host on 0.0.0.0, as a database or a cluster's API is."""
    with socket.create_server(("0.0.0.0", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    peer, _ = server.accept()
                    with peer:
                        peer.sendall(b"a secret of the host")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@contextlib.contextmanager
def network(*words: str) -> Iterator[str]:
    name = f"moss-test-{uuid.uuid4().hex[:8]}"
    docker("network", "create", *words, name)
    try:
        yield name
    finally:
        docker("network", "rm", name)


@contextlib.contextmanager
def service(jail: Jail, net: str, *words: str) -> Iterator[str]:
    """A container on a network that answers at port 80; its address."""
    label = ("--label", f"moss.dev/test={jail.home.path.name}")
    name = docker("run", "-d", "--network", net, *label, *words, IMAGE, "python3", "-c", SERVE, "80")
    try:
        yield docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", name)
    finally:
        docker("rm", "-f", "-v", name)


def test_the_host_is_not_reached_by_any_of_its_addresses(jail: Jail) -> None:
    with listener() as port:
        reached = [jail.outside(CONNECT, host, str(port)) for host in ("172.17.0.1",)]
        assert reached == ["a secret of the host"], "the probe itself does not work"
        for host in [*host_addresses(jail.home.engine), "127.0.0.1", "host.docker.internal", "0.0.0.0"]:
            assert jail.inside(CONNECT, host, str(port)) is None, host


def test_a_plain_internal_network_would_have_leaked(jail: Jail) -> None:
    """Why boxes are on no network at all: on 28.5 a bridge that says `--internal` lets them at the host."""
    with listener() as port, network("--internal") as net:
        gateway = docker("network", "inspect", "-f", "{{range .IPAM.Config}}{{.Gateway}}{{end}}", net)
        assert jail.outside(CONNECT, gateway, str(port), docker_words=("--network", net)) == "a secret of the host"
        assert jail.inside(CONNECT, gateway, str(port)) is None


def test_other_boxes_are_not_reached(jail: Jail) -> None:
    box = jail.launch(SERVE, "20080", port=True)
    near = CONNECT.replace("say(", "import time\nend = time.monotonic() + 20\nwhile (found := ").replace(
        "sys.argv[1:]))", "sys.argv[1:])) is None and time.monotonic() < end: time.sleep(0.01)\nsay(found)"
    )
    code, out, err = jail.boxes.exec(box, ("python3", "-c", head() + near, "127.0.0.1", "20080"), b"", 30)
    assert (code, out.strip(), err) == (0, b'"a secret of somebody else"', b""), "the probe itself does not work"
    assert jail.inside(CONNECT, "127.0.0.1", "20080", port=True) is None
    jail.boxes.remove(box.key)


def test_sockets_without_a_file_are_a_boxes_own(jail: Jail) -> None:
    """Abstract Unix sockets belong to a network namespace, not to the file system."""
    listen = (
        "s = socket.socket(socket.AF_UNIX); s.bind('\\0moss'); s.listen(); print('up', flush=True)\n"
        "while True: s.accept()"
    )
    ask = "s = socket.socket(socket.AF_UNIX)\ntry: s.connect('\\0moss'); say(True)\nexcept OSError: say(False)"
    box = jail.launch(listen)
    while jail.boxes.output(box) != b"up\n":
        assert jail.boxes.wait(box, 0.01) is None
    assert jail.inside(ask) is False
    assert jail.boxes.exec(box, ("python3", "-c", head() + ask), b"", 30)[1].strip() == b"true"
    jail.boxes.remove(box.key)


def test_metadata_addresses_are_not_reached(jail: Jail) -> None:
    with (
        network("--subnet", "169.254.169.0/24") as net,
        service(jail, net, "--ip", "169.254.169.254") as address,
    ):
        assert address == "169.254.169.254"
        found = jail.outside(CONNECT, address, "80", docker_words=("--network", net))
        assert found == "a secret of somebody else", "the probe itself does not work"
        assert jail.inside(CONNECT, address, "80") is None


def test_the_live_agents_network_is_not_reached(jail: Jail) -> None:
    with network() as net, service(jail, net, "--network-alias", "clerk") as address:
        for host in (address, "clerk"):
            found = jail.outside(CONNECT, host, "80", docker_words=("--network", net))
            assert found == "a secret of somebody else", "the probe itself does not work"
            assert jail.inside(CONNECT, host, "80") is None


def test_no_name_is_resolved_outside(jail: Jail) -> None:
    """A name server of our own, on the bridge: it sees what leaks, whatever the answer."""
    with name_server("172.17.0.1") as asked:
        assert jail.outside(RESOLVE, "leak-1.example", docker_words=("--dns", "172.17.0.1")) == "10.9.8.7"
        assert "leak-1" in str(asked), "the probe itself does not work"
        assert jail.inside(RESOLVE, "leak-2.example") is None
        send = "s = socket.socket(type=socket.SOCK_DGRAM)\ntry: say(s.sendto(b'leak-3', ('172.17.0.1', 53)))\n"
        assert jail.inside(send + "except OSError as error: say(error.strerror)") == "Network is unreachable"
        assert "leak-2" not in str(asked)
        assert "leak-3" not in str(asked)


@contextlib.contextmanager
def name_server(host: str) -> Iterator[list[bytes]]:
    """Answers every question with 10.9.8.7 and keeps it."""
    asked: list[bytes] = []
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        try:
            server.bind((host, 53))
        except PermissionError:
            pytest.skip("needs root: a name server on port 53")
        server.settimeout(0.1)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    data, peer = server.recvfrom(4096)
                    asked.append(data)
                    end = data.index(b"\0", 12) + 5
                    answer = b"\xc0\x0c" + struct.pack(">HHIH4s", 1, 1, 60, 4, bytes([10, 9, 8, 7]))
                    head = data[:2] + struct.pack(">HHHHH", 0x8180, 1, 1, 0, 0)
                    server.sendto(head + data[12:end] + answer, peer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield asked
        over.set()
        thread.join()


def head() -> str:
    from .conftest import HEAD

    return HEAD
