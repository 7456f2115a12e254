"""The HTTP face: what it answers, what it refuses, events as they come, figures, and bad input on every route."""

import json
from datetime import timedelta

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moss.api import asks
from moss.api.app import LARGEST_BODY
from moss.api.doors import BASE, HttpDoor, follow
from moss.api.metrics import Metrics
from moss.api.operations import APPROVE, LOG, OPERATIONS, REVIEW, SHOW, START, STATUS, STOP
from moss.domain.ids import RunId
from moss.domain.rights import Role
from moss.errors import Absent, Refused, UserError
from moss.testing.puppet import Attempt
from tests.api.conftest import Front

FIXED = Attempt(fixes=("case-1", "case-2", "case-3"))


@pytest.fixture
def waiting(front: Front) -> RunId:
    run = front.bench.attempts(FIXED).start()
    front.bench.go_on(run)
    return run


def test_the_same_question_has_the_same_answer_here_and_over_http(front: Front, waiting: RunId) -> None:
    with front.door(Role.VIEWER) as door:
        for operation, ask in (
            (STATUS, asks.Nothing()),
            (SHOW, asks.OneRun(run=waiting)),
            (REVIEW, asks.OneRun(run=waiting)),
            (LOG, asks.Log(run=waiting)),
        ):
            assert door.ask(operation, ask) == front.local.ask(operation, ask)


def test_an_error_is_the_same_here_and_over_http(front: Front, waiting: RunId) -> None:
    with (
        front.door(Role.OPERATOR) as door,
        pytest.raises(Absent, match=r"there is no run ev-11; did you mean `ev-01`\?"),
    ):
        door.ask(SHOW, asks.OneRun(run="ev-11"))
    with front.door(Role.OPERATOR) as door, pytest.raises(Refused, match="already in run ev-01"):
        door.ask(START, asks.Start(name="refuses"))


def test_a_consent_arrives_over_http_and_the_run_commits(front: Front, waiting: RunId) -> None:
    with front.door(Role.VIEWER) as door:
        said = door.ask(APPROVE, asks.Approve(run=waiting, consent=front.bench.consent(waiting)))
    assert said.says == "ev-01: preflight and swap begin"
    assert front.bench.go_on(waiting).outcome == "committed"


def test_a_wrong_signature_arrives_nowhere(front: Front, waiting: RunId) -> None:
    good = front.bench.consent(waiting)
    flipped = bytes([good.signature[0] ^ 1]) + good.signature[1:]
    forged = good.model_copy(update={"signature": flipped})
    with front.door(Role.APPROVER) as door, pytest.raises(Refused, match="the signature is not alice's"):
        door.ask(APPROVE, asks.Approve(run=waiting, consent=forged))
    assert front.bench.run(waiting).consents == ()


def test_a_server_that_is_not_there_is_one_sentence() -> None:
    with HttpDoor("http://127.0.0.1:9", "x") as door, pytest.raises(Refused, match="does not answer"):
        door.ask(STATUS, asks.Nothing())


@pytest.mark.parametrize("url", ["", "nonsense", "http://", "ftp://x", "http://[", "http://x:99999999"])
def test_an_address_that_is_none_is_one_sentence(url: str) -> None:
    with pytest.raises((UserError, Refused)), HttpDoor(url, "x") as door:
        door.ask(STATUS, asks.Nothing())


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"{", "no JSON"),
        (b"[]", "no JSON object"),
        (b'"x"', "no JSON object"),
        (b"\xff\xfe", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b'{"unknown": 1}', "extra inputs are not permitted"),
        (b'{"name": 7}', "name"),
        (b'{"name": "a\\u0000b"}', "NUL"),
        (b'{"budget": {"money_usd": -1}}', "budget.money_usd"),
        (b'{"budget": {"money_usd": NaN}}', "budget.money_usd"),
        (b'{"depth": "bottomless"}', "depth"),
        (b"x" * (LARGEST_BODY + 1), "larger than"),
    ],
)
def test_a_body_that_is_wrong_is_a_400_with_a_sentence(front: Front, body: bytes, sentence: str) -> None:
    answer = front.client.post(f"{BASE}/runs", content=body, headers=front.headers(Role.OPERATOR))
    assert answer.status_code == 400
    assert sentence in answer.json()["sentence"]


def test_a_body_of_100_mb_is_refused_before_it_is_read(front: Front) -> None:
    def endless() -> object:
        for _ in range(100):
            yield b"x" * (1 << 20)

    try:
        answer = front.client.post(f"{BASE}/runs", content=endless(), headers=front.headers(Role.OPERATOR))
    except (httpx.WriteError, httpx.ReadError):
        return  # it hung up in the middle: as good a refusal
    assert answer.status_code == 400


def test_what_the_path_names_cannot_be_named_again(front: Front, waiting: RunId) -> None:
    path = f"{BASE}/runs/{waiting}/stop"
    answer = front.client.post(path, json={"run": "ev-99"}, headers=front.headers(Role.OPERATOR))
    assert (answer.status_code, answer.json()["sentence"]) == (400, "run: named by the path already")
    assert front.bench.run(waiting).stop is None


def test_what_is_not_there_is_a_404_and_a_wrong_verb_a_405(front: Front) -> None:
    headers = front.headers(Role.OPERATOR)
    for verb, path, status in (("GET", "/nowhere", 404), ("DELETE", "/status", 405), ("GET", "/runs/ev-77", 404)):
        answer = front.client.request(verb, BASE + path, headers=headers)
        assert answer.status_code == status
        assert answer.json()["sentence"]


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    operation=st.sampled_from([one for one in OPERATIONS if one.path]),
    body=st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    ),
)
def test_whatever_comes_is_answered_with_a_sentence(front: Front, operation: object, body: object) -> None:
    assert hasattr(operation, "path")
    path = BASE + str(operation.path).format(run="ev-01", fingerprint="f", name="n")
    data = json.dumps(body).encode()
    answer = front.client.request(operation.verb, path, content=data, headers=front.headers(Role.OPERATOR))
    assert answer.status_code in (200, 400, 404, 409, 503)
    if answer.status_code != 200:
        assert set(answer.json()) == {"error", "sentence", "mend"}


# ------------------------------------------------------------------ events, figures, health


def test_events_come_from_where_one_left(front: Front, waiting: RunId) -> None:
    front.bench.approve(waiting)
    front.bench.go_on(waiting)
    headers = front.headers(Role.VIEWER)
    whole = front.client.get(f"{BASE}/runs/{waiting}/events", headers=headers).text
    last = front.bench.run(waiting).seq
    assert whole.count("event: entry") == last
    assert whole.endswith('event: end\ndata: {"outcome": "committed"}\n\n')
    rest = front.client.get(f"{BASE}/runs/{waiting}/events", headers={**headers, "Last-Event-ID": str(last - 2)}).text
    assert rest.count("event: entry") == 2
    assert f"id: {last - 1}\n" in rest


def test_events_come_while_the_run_goes_on(front: Front, waiting: RunId) -> None:
    path = f"{BASE}/runs/{waiting}/events"
    with front.client.stream("GET", path, headers=front.headers(Role.VIEWER)) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "id: 1"
        front.local.ask(STOP, asks.OneRun(run=waiting))
        assert any('"kind":"stop_asked"' in line for line in lines)


@pytest.mark.parametrize("after", ["-1", "x", "1e9", "9" * 40])
def test_events_after_nonsense_are_refused(front: Front, waiting: RunId, after: str) -> None:
    path = f"{BASE}/runs/{waiting}/events?after={after}"
    assert front.client.get(path, headers=front.headers(Role.VIEWER)).status_code == 400


def test_events_need_a_token(front: Front, waiting: RunId) -> None:
    assert front.client.get(f"{BASE}/runs/{waiting}/events").status_code == 401


def test_following_ends_where_a_person_is_needed(front: Front, waiting: RunId) -> None:
    pages = list(follow(front.local, waiting))
    assert pages[-1].waits
    assert not pages[-1].ended
    assert [line.seq for page in pages for line in page.lines] == list(range(1, front.bench.run(waiting).seq + 1))


def test_health_says_nothing_of_runs_and_needs_no_token(front: Front) -> None:
    assert front.client.get("/healthz").json() == {"status": "ok"}


def test_figures_need_a_token(front: Front) -> None:
    assert front.client.get("/metrics").status_code == 401
    assert "moss_runs_active 0.0" in front.client.get("/metrics", headers=front.headers(Role.VIEWER)).text


def test_figures_count_each_entry_once_however_often_they_are_asked(front: Front) -> None:
    figures = Metrics(front.bench.clock.now() - timedelta(seconds=1))
    run = front.bench.attempts(FIXED).start()
    front.bench.go_on(run)
    figures.scrape(front.bench.store)
    front.bench.approve(run)
    front.bench.go_on(run)
    said = [figures.scrape(front.bench.store).decode() for _ in range(3)][-1]
    trials = len(front.bench.run(run).trials)
    assert f'moss_trials_total{{result="passed"}} {sum(one.passed for one in front.bench.run(run).trials)}.0' in said
    assert trials > 0
    assert 'moss_runs_ended_total{outcome="committed"} 1.0' in said
    assert "moss_held_seconds_count 1.0" in said
    assert 'moss_spent_usd_total{stage="implement"} 0.01' in said


def test_figures_leave_out_what_was_before_the_process(front: Front) -> None:
    run = front.bench.attempts(FIXED).start()
    front.bench.go_on(run)
    figures = Metrics(front.bench.clock.now() + timedelta(days=1))
    assert "moss_trials_total{" not in figures.scrape(front.bench.store).decode()
