"""Owns the pages: runs, one run, failures. Server-made, without scripts, assets from here alone. They only show.

A browser asks for the token as a password (HTTP Basic), so there is no cookie and nothing that another site could
ride on. Invariant: everything is escaped by the template, after `plain`; a page never signs and never changes a thing.
"""

import base64
import binascii
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.concurrency import run_in_threadpool

from moss.api import asks, lines, screens
from moss.api.caller import Caller, caller_of
from moss.api.doors import LocalDoor
from moss.api.operations import DIFF, FAILURES, LOG, REVIEW, RUNS, SHOW, STATUS, Office
from moss.api.plain import ago, block, count, date, plain
from moss.api.says import Show
from moss.api.timeline import picture
from moss.domain.events import SHOWN_STAGES
from moss.errors import Absent, MossError, NotKnown

if TYPE_CHECKING:
    from moss.wiring import Wiring

HERE = Path(__file__).parent
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; "
        "form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
STEPS = tuple((stage.value, stage.value.replace("_", " ")) for stage in SHOWN_STAGES)
LAST_LINES = 200
DIFF_LINES = 600


class Pages:
    """The routes of the pages."""

    def __init__(self, wiring: "Callable[[], Wiring]") -> None:
        self._wiring = wiring
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=select_autoescape(default=True, default_for_string=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {"plain": plain, "date": date, "ago": lambda at: ago(at, datetime.now(UTC))}
        self._templates.globals |= {"count": count, "run_state": lines.run_state, "screens": screens}

    def add(self, app: FastAPI) -> None:
        for path, page in (("/", self._home), ("/failures", self._failures), ("/runs/{run}", self._run)):
            app.add_api_route(path, self._route(page), methods=["GET"], include_in_schema=False)
        app.add_api_route("/static/moss.css", style, methods=["GET"], include_in_schema=False)

    def _route(self, page: "Callable[[LocalDoor, dict[str, str]], str]") -> Any:
        async def route(request: Request) -> Response:
            try:
                html = await run_in_threadpool(self._made, page, request)
            except NotKnown:
                headers = HEADERS | {"WWW-Authenticate": 'Basic realm="MOSS: any name, a token as password"'}
                return HTMLResponse(self._error("Show a token", "moss token new NAME --role viewer"), 401, headers)
            except MossError as error:
                status = 404 if isinstance(error, Absent) else 400
                return HTMLResponse(self._error(plain(error, 300), getattr(error, "mend", "") or ""), status, HEADERS)
            return HTMLResponse(html, headers=HEADERS)

        return route

    def _made(self, page: "Callable[[LocalDoor, dict[str, str]], str]", request: Request) -> str:
        office = Office(self._wiring())
        door = LocalDoor(office, caller_in(request, office))
        return page(door, {name: str(value) for name, value in request.path_params.items()})

    def _error(self, sentence: str, mend: str) -> str:
        return self._fill("error.html", sentence=sentence, mend=mend, refresh=None)

    def _fill(self, name: str, **values: object) -> str:
        return self._templates.get_template(name).render(**values)

    # ------------------------------------------------------------------ pages

    def _home(self, door: LocalDoor, path: dict[str, str]) -> str:
        status = door.ask(STATUS, asks.Nothing())
        runs = door.ask(RUNS, asks.Page(limit=100)).runs
        return self._fill("home.html", status=status, runs=runs, refresh=5 if status.active else None)

    def _failures(self, door: LocalDoor, path: dict[str, str]) -> str:
        rows = door.ask(FAILURES, asks.Page(limit=200)).fingerprints
        return self._fill("failures.html", rows=rows, refresh=None)

    def _run(self, door: LocalDoor, path: dict[str, str]) -> str:
        run = path["run"][:200].replace("\0", "?") or "?"
        shown = door.ask(SHOW, asks.OneRun(run=run))
        return self._fill(
            "run.html",
            run=shown,
            review=screens.review_rows(door.ask(REVIEW, asks.OneRun(run=run))),
            steps=steps_of(shown),
            pictures=[one for one in (picture(swap, _title(swap.undo)) for swap in shown.swaps) if one is not None],
            diff=_diff(door, run),
            log=[line for line in door.ask(LOG, asks.Log(run=run)).lines if not line.quiet][-LAST_LINES:],
            refresh=None if shown.outcome or shown.stage == "consent" else 3,
        )


def _title(undo: bool) -> str:
    return "Undo: the old version comes back" if undo else "Swap: the candidate goes live"


def _diff(door: LocalDoor, run: str) -> list[tuple[str, str]]:
    """(kind, line) of the change; none where there is none."""
    try:
        text = door.ask(DIFF, asks.OneRun(run=run)).text
    except Absent:
        return []
    return [(_kind(line), line) for line in block(text.rstrip("\n"), DIFF_LINES, 240)]


def _kind(line: str) -> str:
    if line.startswith(("diff ", "index ", "--- ", "+++ ", "new file", "deleted file")):
        return "head"
    return {"+": "added", "-": "removed", "@": "hunk"}.get(line[:1], "same")


def steps_of(shown: Show) -> list[tuple[str, str]]:
    """(name, done / now / bad / ahead) of each stage, for the progress of the newest iteration."""
    newest = max((line.iteration for line in shown.lines), default=0)
    last = {line.stage: line for line in shown.lines if line.iteration in (0, newest)}
    order = [stage for stage, _ in STEPS]
    here = order.index(shown.stage) if shown.stage in order else len(order)
    reached = max((order.index(stage) for stage in last if stage in order), default=-1)
    found = []
    for at, (stage, name) in enumerate(STEPS):
        line = last.get(stage)
        # these two have no line of their own: a person acts, and a swap is many phases
        swapped = (stage == "swap" and bool(shown.swaps)) or (stage == "consent" and at < reached)
        if shown.outcome is None and at == here:
            state = "now"
        elif (line is not None and at < here) or swapped:
            state = "done" if line is None or line.ok else "bad"
        else:
            state = "ahead"
        found.append((name, state))
    return found


async def style() -> Response:
    """The one style sheet."""
    return FileResponse(HERE / "static" / "moss.css", media_type="text/css", headers={"Cache-Control": "max-age=300"})


def caller_in(request: Request, office: Office) -> Caller:
    """Who asks for a page: Bearer, or Basic with the token as password. Raises: NotKnown."""
    kind, _, word = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "basic":
        try:
            word = base64.b64decode(word, validate=True).decode().partition(":")[2]
        except (binascii.Error, ValueError):
            word = ""
    return caller_of(office.wiring.store, word.strip() or None)
