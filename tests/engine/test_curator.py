"""The way from evidence to sealed batches: scans, flags, recordings, guards, batches and what is told of them."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from moss.adapters.evidence.jsonl import JsonlSource
from moss.adapters.evidence.line import write_line
from moss.adapters.stores.sql import SqlStore
from moss.config import EvidenceSettings, JsonlEvidence, Rule
from moss.domain.batch import BatchState, GroupBy
from moss.domain.case import Contains, FileOnVolume
from moss.domain.detect import BUILTIN, Detectors
from moss.domain.evidence import Finding, ToolCall, Turn
from moss.domain.ids import BatchId, FailureId, Fingerprint, Key, RunId
from moss.domain.redact import Redactor
from moss.engine.curator import Curator
from moss.engine.desk import Wish
from moss.errors import GatewayDown, Refused, UserError
from moss.gateway.script import Script, ScriptRule
from moss.ports import GatewayMode, Grant
from moss.prompts.evidence import evidence_files
from moss.testing.evidence import MemorySource
from moss.testing.gateways import MemoryGateway
from moss.testing.stores import MemoryStore
from moss.testing.workbench import Workbench

REFUND = Fingerprint("tool-error-refund-timeout-after-ms")
LIVE = Grant(Key("live"), RunId("live"), "live", GatewayMode.RECORD, ("main",), seconds=None)


class Shop:
    """A curator over an empty store, with an agent whose turns a test writes."""

    def __init__(self, bench: Workbench) -> None:
        self.clock = bench.clock
        self.source = MemorySource()
        self.gateway = MemoryGateway({"main": Script(rules=(ScriptRule(text="ok"),))}, bench.clock.now)
        self.redact = Redactor(b"tests").clean
        self.bench = bench.with_parts(
            store=MemoryStore(bench.clock), evidence=self.source, gateway=self.gateway, redact=self.redact
        )

    @property
    def store(self) -> MemoryStore:
        assert isinstance(self.bench.parts.store, MemoryStore)
        return self.bench.parts.store

    def curator(self, detectors: Detectors | None = None, **evidence: object) -> Curator:
        told = EvidenceSettings().model_copy(update=evidence)
        settings = self.bench.parts.settings.model_copy(update={"evidence": told})
        return Curator(replace(self.bench.parts, settings=settings), detectors or Detectors(BUILTIN))

    def turn(
        self, session: str, ordinal: int, *, error: str | None = None, tool: str = "refund", **more: object
    ) -> Turn:
        self.clock.tick(1)
        row = ToolCall(name=tool, arguments="{}", result="" if error else "ok", error=error)
        plain = Turn(
            session=session,
            ordinal=ordinal,
            at=self.clock.now(),
            user=f"{session} asks {ordinal}",
            reply="done",
            tools=(row,),
            status=200,
            finish="stop",
        )
        return plain.model_copy(update=more)

    def served(self, *turns: Turn) -> None:
        self.source.add(*turns)

    def well(self, count: int = 4) -> None:
        self.served(*(self.turn(f"well-{number}", 1, tool=f"tool-{number}") for number in range(count)))

    def fails(self, *sessions: str) -> None:
        self.served(*(self.turn(session, 1, error="timeout after 30 ms") for session in sessions))


@pytest.fixture
def shop(bench: Workbench) -> Iterator[Shop]:
    made = Shop(bench)
    yield made
    made.gateway.shut()


# ------------------------------------------------------------------ scanning


def test_a_scan_sorts_turns_into_failures_and_guards_and_counts_all(shop: Shop) -> None:
    shop.well(3)
    shop.fails("a", "b")
    did = shop.curator().scan()
    assert (did.sessions, did.turns, did.failures, did.new, did.rejected) == (5, 5, 2, 2, 0)
    assert shop.bench.store.counts()["sessions"] == did.sessions, "moss status and moss scan count the same"
    assert [row.fingerprint for row in shop.store.fingerprints()] == [REFUND]
    assert len(shop.store.guards()) == 3
    again = shop.curator().scan()
    assert (again.sessions, again.turns, again.failures, again.new) == (5, 5, 2, 0)


def test_a_failure_comes_with_the_turns_before_it(shop: Shop) -> None:
    shop.served(*(shop.turn("a", ordinal) for ordinal in range(1, 16)), shop.turn("a", 16, error="boom"))
    shop.curator().scan()
    found = shop.store.failures()[0]
    assert [turn.ordinal for turn in found.earlier] == list(range(4, 16))


def test_what_cannot_be_read_stays_listed_until_it_is_read(shop: Shop) -> None:
    shop.fails("a")
    shop.served(shop.turn("a", 2, error="boom"))
    shop.source.spoil("a", 2)
    curator = shop.curator()
    assert curator.scan().rejected == 1
    assert curator.scan().rejected == 1
    shop.source.spoil("a", 2, spoiled=False)
    did = curator.scan()
    assert (did.rejected, did.new, did.failures) == (0, 1, 2)
    assert shop.store.rejected("puppet:jsonl") == []


def test_an_unreadable_source_raises_and_forgets_nothing(shop: Shop) -> None:
    shop.fails("a")
    shop.source.spoil("a", 1)
    curator = shop.curator()
    curator.scan()
    shop.source.readable = False
    with pytest.raises(UserError):
        curator.scan()
    assert len(shop.store.rejected("puppet:jsonl")) == 1


class Faulty:
    """A detector that breaks until it is repaired."""

    name, signals = "faulty", (b"",)
    broken = True

    def findings(self, turn: Turn) -> Iterator[Finding]:
        if self.broken and turn.session == "a":
            raise ValueError("a bug of the detector")
        if turn.session == "a":
            yield Finding(detector=self.name, fingerprint=Fingerprint("seen-late"), quote="late")


def test_a_turn_that_a_detector_broke_on_is_looked_at_again(shop: Shop) -> None:
    shop.served(shop.turn("a", 1), shop.turn("b", 1))
    faulty, detectors = Faulty(), Detectors(BUILTIN)
    detectors._all = (*detectors._all, faulty)
    curator = shop.curator(detectors)
    assert curator.scan().rejected == 1
    assert [guard.id for guard in shop.store.guards()] == ["b#1"]
    assert curator.scan().rejected == 1
    faulty.broken = False
    did = curator.scan()
    assert (did.rejected, did.new) == (0, 1)
    assert shop.store.failures()[0].fingerprint == "seen-late"


def test_a_broken_turn_that_is_gone_stays_listed(shop: Shop) -> None:
    shop.served(shop.turn("a", 1))
    detectors = Detectors(BUILTIN)
    detectors._all = (*detectors._all, Faulty())
    curator = shop.curator(detectors)
    curator.scan()
    shop.source.spoil("a", 1)
    assert curator.scan().rejected == 1


def test_a_turn_that_ended_badly_is_no_guard_though_nothing_found_it(shop: Shop) -> None:
    shop.served(shop.turn("a", 1, finish="length"), shop.turn("b", 1, reply=" "))
    shop.curator(Detectors(())).scan()
    assert shop.store.guards() == []


# ------------------------------------------------------------------ recordings


def asks(turn: Turn, *before: Turn, step: int = 1) -> bytes:
    said = [{"role": "user", "content": one.user} for one in (*before, turn)]
    return json.dumps({"model": "m", "messages": said, "temperature": step}).encode()


def recorded(shop: Shop, *turns: Turn) -> None:
    """What the live agent asked in each of its turns: two requests a turn, all turns before in each."""
    token = shop.gateway.open(LIVE)
    for place, turn in enumerate(turns):
        for step in (1, 2):
            answer = shop.gateway.ask(token, asks(turn, *turns[:place], step=step), turn=turn.id)
            assert answer.status == 200
    shop.served(*turns)


def test_a_sealed_case_replays_its_turn_and_those_before_without_a_divergence(shop: Shop) -> None:
    turns = [shop.turn("a", 1), shop.turn("a", 2), shop.turn("a", 3, error="timeout after 30 ms")]
    recorded(shop, *turns)
    shop.well()
    curator = shop.curator()
    curator.scan()
    case = curator.seal(REFUND).cases[0]
    assert case.world.recording is not None
    data = shop.store.get(case.world.recording)
    assert data is not None
    key = Key("ev-01/trial")
    grant = Grant(key, RunId("ev-01"), "trial", GatewayMode.REPLAY, ("main",), recording=shop.gateway.put(data))
    token = shop.gateway.open(grant)
    for place, turn in enumerate((*case.earlier, case.turn)):
        for step in (1, 2):
            assert shop.gateway.ask(token, asks(turn, *turns[:place], step=step)).status == 200
    assert shop.gateway.usage(key).diverged_at is None
    assert {each.origin for each in shop.gateway.record(key)} == {"replay"}


def test_guards_have_their_recordings_too(shop: Shop) -> None:
    recorded(shop, *(shop.turn("g", ordinal, tool=f"t{ordinal}") for ordinal in (1, 2, 3)))
    shop.fails("a")
    curator = shop.curator()
    curator.scan()
    batch = curator.seal(REFUND)
    assert len(batch.guards) == 3
    assert all(guard.world.recording for guard in batch.guards)
    assert batch.cases[0].world.recording is None


class DownGateway(MemoryGateway):
    asked = 0

    def live_record(self, since: object, until: object) -> tuple[()]:
        self.asked += 1
        raise GatewayDown("it is not there")


def test_a_gateway_that_is_down_costs_one_question_and_no_failure(shop: Shop) -> None:
    shop.well()
    shop.fails("a", "b", "c")
    down = DownGateway()
    shop.bench = shop.bench.with_parts(gateway=down)
    assert shop.curator().scan().new == 3
    assert down.asked == 1
    down.shut()


def test_a_first_scan_of_many_failures_asks_the_gateway_a_bounded_number_of_times(shop: Shop) -> None:
    asked: list[object] = []

    class Counting(MemoryGateway):
        def live_record(self, since: object, until: object) -> tuple[()]:
            asked.append(since)
            return ()

    gateway = Counting()
    shop.bench = shop.bench.with_parts(gateway=gateway)
    shop.fails(*(f"s{number}" for number in range(300)))
    assert shop.curator().scan().new == 300
    assert len(asked) == 200
    gateway.shut()


# ------------------------------------------------------------------ by hand


def test_a_flag_makes_a_failure_with_the_persons_expectation(shop: Shop) -> None:
    shop.well()
    curator = shop.curator()
    curator.scan()
    made = curator.flag("well-1", 1, "promised the file, never wrote it", ["file:/data/report.md"], "alice")
    assert made.fingerprint == "flagged-promised-the-file-never-wrote-it"
    assert (made.flagged_by, made.because) == ("alice", "promised the file, never wrote it")
    assert "well-1#1" not in [guard.id for guard in shop.store.guards()]
    case = curator.seal(made.fingerprint).cases[0]
    assert case.keypoints[0].check == FileOnVolume(path="data/report.md")


def test_a_flag_on_a_failure_that_is_known_adds_to_it(shop: Shop) -> None:
    shop.well()
    shop.fails("a")
    curator = shop.curator()
    curator.scan()
    made = curator.flag("a", 1, "not refunded", ["contains:refunded"], "alice")
    curator.flag("a", 1, "still not", ["contains:refunded", "tool:refund"], "bob")
    assert made.fingerprint == REFUND
    assert shop.store.counts()["failures"] == 1
    case = curator.seal(REFUND).cases[0]
    assert case.findings
    assert [point.id for point in case.keypoints][:3] == ["expect-1", "expect-2", "silent-tool-error"]
    assert case.keypoints[0].check == Contains(text="refunded")


def test_a_flag_before_the_scan_is_one_failure_with_what_the_scan_would_find(shop: Shop) -> None:
    shop.fails("a")
    curator = shop.curator()
    made = curator.flag("a", 1, "not refunded", ["contains:refunded"], "alice")
    assert made.fingerprint == REFUND
    assert curator.scan().new == 0
    assert shop.store.failures() == [made]


def test_a_flag_on_a_failure_in_a_batch_is_another_failure(shop: Shop) -> None:
    shop.well()
    shop.fails("a")
    curator = shop.curator()
    curator.scan()
    curator.seal(REFUND)
    made = curator.flag("a", 1, "again", ["contains:refunded"], "alice")
    assert made.id == "a#1+2"
    assert curator.flag("a", 1, "again", ["contains:sorry"], "alice").expect == ("contains:refunded", "contains:sorry")
    assert shop.store.counts()["failures"] == 2


@pytest.mark.parametrize(
    ("session", "ordinal", "expect"),
    [
        ("a", 9, []),
        ("nobody", 1, []),
        ("a", 1, ["file:../x"]),
        ("a", 1, [f"contains:{number}" for number in range(6)]),
    ],
)
def test_a_flag_that_cannot_be_kept_is_refused_and_changes_nothing(
    shop: Shop, session: str, ordinal: int, expect: list[str]
) -> None:
    shop.fails("a")
    with pytest.raises(UserError):
        shop.curator().flag(session, ordinal, "because", expect, "alice")
    assert shop.store.failures() == []


# ------------------------------------------------------------------ batches


def test_a_batch_holds_its_cases_enough_guards_and_a_notice(shop: Shop) -> None:
    shop.well(12)
    shop.fails("a", "b", "c")
    curator = shop.curator()
    curator.scan()
    batch = curator.seal(REFUND)
    assert (batch.group_by, batch.label, len(batch.cases), len(batch.guards)) == (GroupBy.FINGERPRINT, REFUND, 3, 6)
    assert shop.store.batch(batch.id) == batch
    assert shop.store.failures(unbatched=True) == []
    told = shop.store.due(shop.clock.now())
    assert [out.notice.kind for out in told] == ["batch_sealed"]
    assert told[0].notice.body["cases"] == 3


def test_a_batch_that_waits_is_given_as_it_is(shop: Shop) -> None:
    shop.well()
    shop.fails("a")
    curator = shop.curator()
    curator.scan()
    batch = curator.seal(REFUND)
    shop.fails("b")
    curator.scan()
    assert curator.seal(REFUND) == curator.seal(batch.id) == batch
    oldest = curator.oldest_sealed()
    assert oldest is not None
    assert oldest.id == batch.id


def test_a_batch_of_a_conversation_holds_its_failures_of_all_kinds(shop: Shop) -> None:
    shop.well()
    shop.served(shop.turn("a", 1, error="boom"), shop.turn("a", 2, tool="find", error="not there"))
    curator = shop.curator()
    curator.scan()
    batch = curator.seal("a")
    assert batch.group_by is GroupBy.CONVERSATION
    assert len(batch.fingerprints) == 2


def test_too_few_guards_refuse_the_batch_with_the_mend(shop: Shop) -> None:
    shop.well(2)
    shop.fails("a")
    curator = shop.curator()
    curator.scan()
    with pytest.raises(Refused, match="only 2 turns that went well") as caught:
        curator.seal(REFUND)
    assert caught.value.mend is not None
    assert shop.store.batches() == []
    assert len(shop.store.failures(unbatched=True)) == 1
    assert curator.seal_ripe() == ()


def test_failures_for_which_no_guard_is_left_wait_in_the_pool(shop: Shop) -> None:
    shop.well(4)
    shop.fails(*"abcdefg")
    curator = shop.curator()
    curator.scan()
    batch = curator.seal(REFUND)
    assert (len(batch.cases), len(batch.guards)) == (4, 4)
    assert len(shop.store.failures(unbatched=True)) == 3


def test_many_failures_of_one_user_leave_room_for_the_others(shop: Shop) -> None:
    shop.well(30)
    shop.served(*(shop.turn(f"bot-{number}", 1, error="boom", user_id="bot") for number in range(40)))
    shop.served(shop.turn("ada", 1, error="boom", user_id="ada"), shop.turn("ada", 2, error="boom", user_id="ada"))
    curator = shop.curator()
    curator.scan()
    cases = curator.seal(shop.store.fingerprints()[0].fingerprint).cases
    assert len(cases) == 20
    assert {case.turn.user_id for case in cases} == {"bot", "ada"}


def test_an_unknown_label_is_refused(shop: Shop) -> None:
    with pytest.raises(Refused, match="no open failure"):
        shop.curator().seal("nonsense")


@pytest.mark.parametrize("by", list(GroupBy))
def test_a_ripe_group_is_sealed_by_itself_once(shop: Shop, by: GroupBy) -> None:
    shop.well(10)
    shop.served(*(shop.turn("a", ordinal, error="boom") for ordinal in range(1, 9)))
    shop.served(shop.turn("b", 1, tool="find", error="gone"))
    curator = shop.curator(group_by=by)
    curator.scan()
    sealed = curator.seal_ripe()
    assert [len(batch.cases) for batch in sealed] == [8]
    assert sealed[0].group_by is by
    shop.served(*(shop.turn("a", ordinal, error="boom") for ordinal in range(9, 17)))
    curator.scan()
    assert curator.seal_ripe() == ()


def test_a_fingerprint_that_a_run_works_on_is_refused_in_one_sentence(shop: Shop) -> None:
    shop.well()
    shop.fails("a")
    curator = shop.curator()
    curator.scan()
    batch = curator.seal("a")
    run = shop.bench.desk.start(batch.id, Wish(by="alice"))
    shop.fails("b")
    curator.scan()
    shop.clock.tick(7300)
    for label, kind in ((REFUND, "fingerprint"), ("a", "session")):
        with pytest.raises(Refused) as caught:
            curator.seal(label)
        assert str(caught.value) == f"{kind} {label} is already in run {run.id}, which is at baseline since 2 h."
        assert caught.value.mend == f"see it: moss review {run.id} · stop it: moss stop {run.id}"
    assert len(shop.store.failures(unbatched=True)) == 1


def test_the_pool_of_a_finished_run_is_sealed_again(shop: Shop) -> None:
    shop.well()
    shop.fails("a")
    curator = shop.curator()
    curator.scan()
    batch = curator.seal(REFUND)
    shop.store.set_batch(batch.id, BatchState.DONE, RunId("ev-01"))
    shop.fails("b")
    curator.scan()
    assert shop.store.fingerprints()[0].state == "reopened"
    again = curator.seal(REFUND)
    assert [case.source for case in again.cases] == ["b#1"]


def test_a_dismissed_fingerprint_comes_back_with_a_new_failure(shop: Shop) -> None:
    shop.well()
    shop.fails("a", "b")
    curator = shop.curator()
    curator.scan()
    assert curator.dismiss(REFUND, "known, harmless") == 2
    with pytest.raises(Refused):
        curator.seal(REFUND)
    shop.fails("c")
    curator.scan()
    assert shop.store.fingerprints()[0].state == "reopened"
    assert [case.source for case in curator.seal(REFUND).cases] == ["c#1"]


def test_a_notice_that_a_kill_swallowed_is_made_good_at_the_next_scan(shop: Shop) -> None:
    shop.well()
    shop.fails("a")
    curator = shop.curator()
    curator.scan()
    batch = curator.seal(REFUND)
    fresh = MemoryStore(shop.clock)
    fresh.save_scan("x", shop.store.failures(), (), (), (), shop.clock.now())
    fresh.seal(batch)
    shop.bench = shop.bench.with_parts(store=fresh)
    shop.curator().scan()
    shop.curator().scan()
    assert [out.notice.id for out in fresh.due(shop.clock.now())] == [f"batch_sealed/{batch.id}"]


def test_a_batch_id_that_does_not_wait_is_no_label(shop: Shop) -> None:
    with pytest.raises(Refused):
        shop.curator().seal(BatchId("b-77"))


# ------------------------------------------------------------------ secrets

KEY = "sk-live-51H8sKqzTn2WvXc9RfGbYhUjMkLpQaZ"
MAIL = "grace.hopper@navy.example.org"
CARD = "4111 1111 1111 1111"
PASSWORD = "hunter2butlonger"
SECRETS = (KEY, MAIL, CARD, PASSWORD)


def leaky(shop: Shop, ordinal: int, error: str | None) -> Turn:
    said = f"I am {MAIL}, card {CARD}, password={PASSWORD}, key {KEY}"
    row = ToolCall(name="pay", arguments=json.dumps({"key": KEY}), result=f"{said} paid", error=error)
    return shop.turn(MAIL, ordinal, user=f"{ordinal}: {said}", reply=said, tools=(row,), user_id=MAIL)


def test_planted_secrets_are_found_nowhere(shop: Shop, tmp_path: Path) -> None:
    redactor, state, home = Redactor(b"tests"), tmp_path / "bench" / "live", tmp_path / "home"
    turns = [leaky(shop, 1, None), leaky(shop, 2, f"denied for {KEY} of {MAIL}")]
    recorded(shop, *turns)
    (state / "sessions").mkdir(parents=True, exist_ok=True)
    (state / "sessions" / "all.jsonl").write_bytes(
        b"".join(map(write_line, [*turns, *(shop.turn(f"w{n}", 1, tool=f"t{n}") for n in range(4))]))
    )
    source = JsonlSource(JsonlEvidence(), redactor)
    with SqlStore.open(home, shop.clock) as store:
        shop.bench = shop.bench.with_parts(store=store, evidence=source)
        rule = Rule(name="paid", pattern="denied for (.+)")
        curator = shop.curator(Detectors(BUILTIN, [rule]))
        assert curator.scan().new == 1
        found = store.failures()[0]
        curator.flag(found.turn.session, 2, f"{KEY} was refused", [f"contains:{MAIL}"], "alice")
        batch = curator.seal("paid")
        curator.dismiss(Fingerprint("paid"), f"because {KEY}")
        assert batch.cases[0].redacted
        assert batch.cases[0].world.recording is not None
        assert store.due(shop.clock.now())[0].notice.body["redacted"] == 1
        prompts = b"".join(evidence_files(batch).values())
        assert b"denied for" in prompts
    kept = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    assert any(b"denied for" in data for data in kept.values())
    assert any(b"chat/completions" in data for data in kept.values())
    for secret in map(str.encode, SECRETS):
        assert secret not in prompts
        assert [path for path, data in kept.items() if secret in data] == []


def test_a_crash_between_two_pieces_loses_and_doubles_nothing(shop: Shop) -> None:
    shop.fails(*(f"s{number}" for number in range(5)))
    save: Callable[..., int] = shop.store.save_scan
    calls = 0

    class Killed(BaseException):
        pass

    class Dying(MemoryStore):
        def save_scan(self, *args: object, **kwargs: object) -> int:
            nonlocal calls
            calls += 1
            if calls == 3:
                raise Killed
            return save(*args, **kwargs)

    dying = Dying(shop.clock)
    alive = shop.bench
    shop.bench = alive.with_parts(store=dying)
    with pytest.raises(Killed):
        shop.curator().scan()
    shop.bench = alive
    did = shop.curator().scan()
    assert (did.failures, did.turns) == (5, 5)
    assert {one.id for one in shop.store.failures()} == {FailureId(f"s{number}#1") for number in range(5)}


def test_a_turn_long_ago_looks_for_its_recording_at_its_own_time(shop: Shop) -> None:
    turn = shop.turn("a", 1, error="timeout after 30 ms", seconds=5.0)
    recorded(shop, turn)
    shop.clock.tick(timedelta(days=3).total_seconds())
    shop.curator().scan()
    assert shop.store.failures()[0].turn.recording is not None
