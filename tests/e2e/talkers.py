"""Owns clients that never let go: streams of events one after the other, and WebSockets that are asked without pause.

The clerk speaks no WebSocket and answers at once, so a version of it that talks is made by `TALKS`. Invariant: each
stream is counted once, as whole, cut, told (502) or refused; each close of a socket with its code.
"""

import asyncio
import contextlib
import threading
from collections import Counter
from dataclasses import dataclass, field

import aiohttp
from aiohttp import WSMsgType

PIECES = 20
WAIT_SECONDS = 60.0
TALKS: dict[str, str | tuple[str, str]] = {
    "clerk/talks.py": f'''"""Slow streams of events, and a WebSocket by hand. Each piece says who speaks."""

import base64
import hashlib
import time

ACCEPTS = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def talked(door):
    """Whether the request was one of these, and is answered."""
    ways = {{"/stream": stream, "/socket": socket}}
    if door.path not in ways or door.server.agent is None:
        return False
    ways[door.path](door)
    return True


def stream(door):
    door.begin(200, "text/event-stream", None, None)
    for _ in range({PIECES}):
        door.wfile.write(f"data: {{door.server.boot}}\\n\\n".encode())
        time.sleep(0.02)
    door.wfile.write(b"data: [DONE]\\n\\n")


def socket(door):
    accept = base64.b64encode(hashlib.sha1(door.headers["Sec-WebSocket-Key"].encode() + ACCEPTS).digest()).decode()
    door.send_response(101)
    for name, value in (("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept)):
        door.send_header(name, value)
    door.end_headers()
    door.close_connection = True
    while (head := door.rfile.read(2)) and len(head) == 2:
        kind, mask = head[0] & 15, door.rfile.read(4)
        said = bytes(byte ^ mask[place % 4] for place, byte in enumerate(door.rfile.read(head[1] & 127)))
        back = said if kind == 8 else door.server.boot.encode() + b" " + said
        door.wfile.write(bytes((128 | kind, len(back))) + back)
        if kind == 8:
            break
''',
    "clerk/server.py": (
        "    def do_GET(self) -> None:\n",
        "    def do_GET(self) -> None:\n        from clerk.talks import talked\n\n"
        "        if talked(self):\n            return\n",
    ),
}
"""edits that make a clerk with `/stream` and `/socket`"""


@dataclass
class Heard:
    """`whole` streams; `cut` ones lack their end; `told`: 502; `refused`: anything else, also of a handshake.

    `boots` in the order in which they first spoke, `closes` the codes that clients saw, `echoes` answers on sockets.
    """

    whole: int = 0
    cut: int = 0
    told: int = 0
    refused: list[str] = field(default_factory=list)
    boots: list[str] = field(default_factory=list)
    opened: int = 0
    echoes: int = 0
    closes: Counter[int | None] = field(default_factory=Counter)
    longest_wait: float = 0.0

    def spoke(self, boot: str) -> None:
        if boot not in self.boots:
            self.boots.append(boot)


class Talkers:
    """`streams` and `sockets` clients in a thread of their own; at the end of the block what was begun is finished."""

    def __init__(self, port: int, streams: int = 3, sockets: int = 3) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._streams, self._sockets = streams, sockets
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()))
        self._failed: BaseException | None = None
        self.heard = Heard()

    def __enter__(self) -> "Talkers":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if self._failed is not None:
            raise self._failed

    async def _all(self) -> None:
        try:
            timeout = aiohttp.ClientTimeout(total=WAIT_SECONDS)
            async with aiohttp.ClientSession(timeout=timeout) as http, asyncio.TaskGroup() as group:
                for _ in range(self._streams):
                    group.create_task(self._streaming(http))
                for _ in range(self._sockets):
                    group.create_task(self._asking(http))
        except BaseException as error:
            self._failed = error

    async def _streaming(self, http: aiohttp.ClientSession) -> None:
        while not self._over.is_set():
            began = asyncio.get_running_loop().time()
            try:
                async with http.get(self._url + "/stream") as answer:
                    waited = asyncio.get_running_loop().time() - began
                    self.heard.longest_wait = max(self.heard.longest_wait, waited)
                    await self._streamed(answer)
            except aiohttp.ClientPayloadError:
                self.heard.cut += 1
            except aiohttp.ClientError as error:
                self.heard.refused.append(repr(error))

    async def _streamed(self, answer: aiohttp.ClientResponse) -> None:
        text = await answer.text()
        if answer.status == 502:
            self.heard.told += 1
        elif answer.status != 200:
            self.heard.refused.append(f"{answer.status} {text[:200]}")
        else:
            *boots, last = [event.removeprefix("data: ") for event in text.split("\n\n") if event]
            assert len(set(boots)) == 1, f"one stream of several: {boots}"
            self.heard.spoke(boots[0])
            whole = last == "[DONE]" and len(boots) == PIECES
            self.heard.whole += whole
            self.heard.cut += not whole

    async def _asking(self, http: aiohttp.ClientSession) -> None:
        while not self._over.is_set():
            try:
                async with http.ws_connect(self._url + "/socket") as socket:
                    self.heard.opened += 1
                    await self._asked(socket)
            except aiohttp.WSServerHandshakeError as error:
                self.heard.told += error.status == 502
                if error.status != 502:
                    self.heard.refused.append(repr(error))
            except aiohttp.ClientError as error:
                self.heard.refused.append(repr(error))

    async def _asked(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        number = 0
        while not self._over.is_set():
            number += 1
            with contextlib.suppress(aiohttp.ClientConnectionResetError):  # it is closing: its code comes next
                await socket.send_str(str(number))
            message = await socket.receive()
            if message.type is not WSMsgType.TEXT:
                self.heard.closes[socket.close_code] += 1
                return
            boot, echoed = message.data.split()
            assert echoed == str(number), f"{echoed} came for {number}"
            self.heard.spoke(boot)
            self.heard.echoes += 1
