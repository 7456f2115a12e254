"""`moss doctor`: each check says ok, warn or FAIL with its mend; none of them hangs or breaks the rest."""

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from moss.api import checkup
from moss.api.checkup import CHECKS, Level, Look, bounded, lines, looks
from moss.config import ConsentSettings, ExecTurn, GatewaySettings, RoleSettings, Secret, Settings, Upstream
from moss.errors import MossError, UserError
from moss.ports import OwnStart, Probe, Readiness
from moss.testing.workbench import Workbench
from moss.wiring import Wiring
from tests.api.conftest import wired


def settled(bench: Workbench, change: Callable[[Settings], Settings] = lambda one: one) -> Wiring:
    """Wiring with the bench's settings changed."""
    wiring = wired(bench)
    object.__setattr__(wiring, "settings", change(bench.parts.settings))
    return wiring


def test_every_check_gives_a_line_even_where_nothing_is_set_up(bench: Workbench) -> None:
    found = list(looks(settled(bench)))
    assert [look.name for look in found] == [name for name, _ in CHECKS]
    told = {look.name: look for look in found}
    assert (told["hold proxy"].level, told["hold proxy"].mend) == (Level.FAIL, "moss adopt, then moss serve")
    assert told["adoption"].level is Level.FAIL


def test_a_check_that_hangs_is_a_fail_in_time(bench: Workbench) -> None:
    over = threading.Event()

    def hangs(wiring: Wiring) -> Look:
        over.wait(60)
        raise MossError("it was let go")

    look = bounded("slow", hangs, settled(bench), 0.05)
    over.set()
    assert (look.level, look.detail) == (Level.FAIL, "no answer within 0.05 s")


def test_a_check_that_breaks_is_a_fail_with_its_sentence_and_no_traceback(bench: Workbench) -> None:
    def breaks(wiring: Wiring) -> Look:
        raise RuntimeError("odd\x1b[2J")

    def refuses(wiring: Wiring) -> Look:
        raise UserError("no", where="moss.toml:3", mend="do this")

    assert bounded("x", breaks, settled(bench), 5).detail == "RuntimeError: odd\\x1b[2J"
    look = bounded("x", refuses, settled(bench), 5)
    assert lines(look) == ["FAIL  x            moss.toml:3: no", "                   mend: do this"]


def test_process_boxes_say_that_they_isolate_nothing(bench: Workbench) -> None:
    open_boxes = replace(bench.boxes.capabilities, isolates_files=False)
    wiring = settled(bench)
    wiring.__dict__["boxes"] = type("Open", (), {"capabilities": open_boxes, "probe": lambda self: []})()
    look = checkup.engine(wiring)
    assert (look.level, "they isolate nothing" in look.detail) == (Level.WARN, True)


@pytest.mark.parametrize(
    ("readiness", "level"),
    [(Readiness.READY, Level.OK), (Readiness.STARTING, Level.FAIL), (Readiness.FAILED, Level.FAIL)],
)
def test_health_has_three_values(bench: Workbench, readiness: Readiness, level: Level) -> None:
    wiring = settled(bench)
    probe = Probe(readiness, None, "/health answered 200")
    wiring.__dict__["turns"] = type("Turns", (), {"health": lambda self, place: probe})()
    look = checkup.health(wiring)
    assert look.level is level
    assert "ready / failed / starting" in look.detail


def test_a_key_that_is_only_named_is_looked_for_and_never_shown(bench: Workbench) -> None:
    upstream = Upstream(name="main", url="http://127.0.0.1:1", key=Secret(env="UPSTREAM_KEY"))
    gateway = GatewaySettings(upstreams=(upstream,))
    wiring = settled(bench, lambda one: one.model_copy(update={"gateway": gateway}))
    missing = bounded("gateway", checkup.gateway, wiring, 5)
    assert (missing.level, missing.mend) == (Level.FAIL, "export UPSTREAM_KEY=...")
    object.__setattr__(wiring, "env", {"UPSTREAM_KEY": "very-secret"})
    there = bounded("gateway", checkup.gateway, wiring, 5)
    assert "key from UPSTREAM_KEY" in there.detail
    assert "very-secret" not in there.model_dump_json()


def test_approvers_that_are_revoked_do_not_count(bench: Workbench) -> None:
    wiring = settled(bench)
    assert checkup.approvers(wiring).level is Level.OK
    from moss.api import acting, asks
    from moss.api.caller import OPERATOR

    acting.revoke(wiring, OPERATOR, asks.Named(name="alice"))
    assert checkup.approvers(wiring).detail == "no key yet"


def test_consent_that_is_automatic_is_a_warning(bench: Workbench) -> None:
    wiring = settled(bench, lambda one: one.model_copy(update={"consent": ConsentSettings(auto=True)}))
    assert checkup.approvers(wiring).level is Level.WARN


def test_a_store_whose_chain_is_broken_is_a_fail(bench: Workbench) -> None:
    wiring = settled(bench)
    assert checkup.store(wiring).level is Level.OK
    run = bench.start()
    entry = bench.store._entries[run][0]  # type: ignore[attr-defined]
    bench.store._entries[run][0] = entry.model_copy(update={"kind": "x", "event": {}})  # type: ignore[attr-defined]
    look = checkup.store(wiring)
    assert (look.level, look.mend) == (Level.FAIL, "moss store restore, from the last backup")


def test_little_room_is_a_fail_before_it_is_needed(bench: Workbench) -> None:
    kept = bench.parts.settings.retention.model_copy(update={"free_bytes": 1000})
    wiring = settled(bench, lambda one: one.model_copy(update={"retention": kept}))
    wiring.__dict__["parts"] = replace(bench.parts, free_bytes=lambda: 999)
    assert checkup.space(wiring).level is Level.FAIL


def test_a_coder_that_is_scripted_is_called_so(bench: Workbench) -> None:
    assert checkup.coder(settled(bench)).detail == "puppeteer (a scripted stand-in)"


def test_what_boxes_do_not_get_of_a_containers_environment_is_named(bench: Workbench) -> None:
    wiring = settled(bench)
    assert checkup.variables(wiring).level is Level.OK
    for left_out, level in (((), Level.OK), (("API_KEY", "DB"), Level.WARN)):
        own = OwnStart("/data", 8080, env={"MODE": "loud"}, left_out=left_out)
        wiring.__dict__["process_target"] = type("Container", (), {"own_start": lambda self, own=own: own})()
        look = checkup.variables(wiring)
        assert look.level is level
    assert look.detail == "boxes do not get what looks secret in the live container: API_KEY, DB"
    assert look.mend == "give trials values of their own: live.preflight_env"


def test_a_script_that_is_not_there_is_a_fail(bench: Workbench) -> None:
    roles = {"default": RoleSettings(coder="puppeteer", script="gone.json")}  # type: ignore[arg-type]
    wiring = settled(bench, lambda one: one.model_copy(update={"roles": roles}))
    look = bounded("coder", checkup.coder, wiring, 5)
    assert (look.level, look.detail) == (Level.FAIL, "gone.json: there is no such script")


def test_an_agent_that_no_canary_can_ask_is_told_before_any_run(bench: Workbench) -> None:
    wiring = settled(bench, lambda one: one.model_copy(update={"turn": ExecTurn(argv=("ask", "{message}"))}))
    look = checkup.turn(wiring)
    assert (look.level, look.mend) == (Level.FAIL, 'a [turn] of kind "http" or "openai" in moss.toml')
    assert look.detail.startswith("turn.kind = exec")
