"""The pages: what they show, that nothing from outside is markup in them, that they only show."""

import base64
from html.parser import HTMLParser

import pytest

from moss.api import asks
from moss.api.operations import SHOW
from moss.api.page import HEADERS, steps_of
from moss.domain.evidence import Failure, Finding
from moss.domain.ids import Fingerprint, RunId
from moss.domain.rights import Role
from moss.testing import samples
from moss.testing.puppet import Attempt
from tests.api.conftest import Front

FIXED = Attempt(fixes=("case-1", "case-2", "case-3"))
EVIL = '<script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}\x1b[2J" onload="x'


class Seen(HTMLParser):
    """Tags and attributes of a page, and whether its tags are closed in order."""

    VOID = {"meta", "link", "line", "rect", "br", "img", "input", "hr"}

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def seen(front: Front, path: str) -> Seen:
    """A page as a browser with a viewer's token gets it."""
    word = base64.b64encode(f"any:{front.tokens[Role.VIEWER]}".encode()).decode()
    answer = front.client.get(path, headers={"Authorization": f"Basic {word}"})
    assert answer.status_code == 200
    for name, value in HEADERS.items():
        assert answer.headers[name] == value
    return Seen(answer.text)


@pytest.fixture
def waiting(front: Front) -> RunId:
    run = front.bench.attempts(FIXED).start()
    front.bench.go_on(run)
    return run


def test_the_runs_and_what_is_live_are_on_the_first_page(front: Front, waiting: RunId) -> None:
    page = seen(front, "/")
    assert "ev-01" in page.text
    assert "waits for consent" in page.text


def test_a_run_that_waits_shows_the_command_and_no_button_that_signs(front: Front, waiting: RunId) -> None:
    page = seen(front, f"/runs/{waiting}")
    assert "moss approve ev-01 --as NAME" in page.text
    assert not {"button", "form", "input", "script", "iframe", "object"} & set(page.tags)
    assert not [name for name in page.attributes if name.startswith("on") or name == "style"]


def test_a_run_shows_proof_change_and_levels_in_words(front: Front, waiting: RunId) -> None:
    page = seen(front, f"/runs/{waiting}")
    for words in ("3 of 3 fixed", "+++ b/puppet.json", "missing", "strong", "it does it", "Scripted stand-ins made"):
        assert words in page.text


def test_a_swap_is_a_picture_with_its_words(front: Front, waiting: RunId) -> None:
    front.bench.approve(waiting)
    front.bench.go_on(waiting)
    page = seen(front, f"/runs/{waiting}")
    assert page.tags.count("svg") == 1
    for words in ("Swap: the candidate goes live", "held", "released", "watched", "settled"):
        assert words in page.text


def test_text_from_outside_is_never_markup(front: Front, waiting: RunId) -> None:
    turn = samples.turn("evil").model_copy(update={"user": EVIL})
    finding = Finding(detector="d", fingerprint=Fingerprint("evil"), quote=EVIL)
    failure = Failure(id=turn.id, fingerprint=Fingerprint("evil"), turn=turn, findings=(finding,))
    front.bench.store.save_scan("puppet", [failure], (), (), (), front.bench.clock.now())
    front.bench.desk.reject(waiting, EVIL, EVIL)
    for path in ("/failures", f"/runs/{waiting}"):
        page = seen(front, path)
        assert not {"script", "img"} & set(page.tags)
        assert not {"onerror", "onload"} & set(page.attributes)
        assert "<script>alert(1)</script>" in page.text
        assert "{{ 7*7 }}" in page.text
        assert "\x1b" not in page.text


def test_a_page_asks_for_a_token_and_tells_how_to_get_one(front: Front) -> None:
    answer = front.client.get("/")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic ")
    assert "moss token new NAME --role viewer" in Seen(answer.text).text


@pytest.mark.parametrize("word", ["", "!", "x", "bm8gY29sb24=", "/zr/"])
def test_a_password_that_is_none_is_a_401(front: Front, word: str) -> None:
    assert front.client.get("/", headers={"Authorization": f"Basic {word}".strip()}).status_code == 401


@pytest.mark.parametrize("run", ["ev-99", "%3Cscript%3E", "..%2f..%2fetc", "%00", "x" * 3000, "%ff"])
def test_a_run_that_is_none_is_a_page_with_a_sentence(front: Front, run: str) -> None:
    word = base64.b64encode(f"any:{front.tokens[Role.VIEWER]}".encode()).decode()
    answer = front.client.get(f"/runs/{run}", headers={"Authorization": f"Basic {word}"})
    assert answer.status_code == 404
    assert "script" not in Seen(answer.text).tags if answer.headers["content-type"].startswith("text/html") else True


def test_the_style_comes_from_here_and_loads_nothing(front: Front) -> None:
    sheet = front.client.get("/static/moss.css")
    assert sheet.status_code == 200
    assert "url(" not in sheet.text
    assert "@import" not in sheet.text


def test_progress_shows_what_was_turned_down(front: Front) -> None:
    rejected = Attempt(fixes=("case-1",), codes_rejected=5)
    run = front.bench.attempts(rejected, rejected, rejected).start()
    front.bench.go_on(run)
    told = dict(steps_of(front.local.ask(SHOW, asks.OneRun(run=run))))
    assert {name for name, state in told.items() if state == "bad"} >= {"code review"}
    assert (told["baseline"], told["swap"]) == ("done", "ahead")
