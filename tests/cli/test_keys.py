"""A yes: keys made here, consents signed here, and every reason why one is not taken."""

import json
import stat
from pathlib import Path

import pytest

from moss.domain.ids import RunId
from moss.errors import MossError
from moss.testing.workbench import Workbench
from tests.cli.conftest import Moss


def test_a_new_key_is_private_and_its_public_half_becomes_an_approver(moss: Moss, place: Path, tmp_path: Path) -> None:
    before = (place / "moss.toml").read_text()
    said = moss("keys", "new", "bob", "--json")
    made = json.loads(said.out)
    key = Path(made["private_key"])
    assert key == tmp_path / "keys" / "bob.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert made["added"]
    after = (place / "moss.toml").read_text()
    assert after.startswith(before.rstrip("\n"))
    assert made["public_key"] in after
    assert "PRIVATE" not in after
    assert made["fingerprint"] in moss("keys", "list").out


def test_where_approvers_are_one_list_the_entry_is_told_and_the_file_left_as_it_was(moss: Moss, place: Path) -> None:
    file = place / "moss.toml"
    text = file.read_text()
    begin = text.index("[[consent.approvers]]")
    key = text.split('public_key = "')[1].split('"')[0]
    one = text[:begin] + f'[consent]\napprovers = [{{ name = "alice", public_key = "{key}" }}]\n'
    file.write_text(one)
    said = moss("keys", "new", "bob")
    assert said.code == 0
    assert "add this to moss.toml:\n\n[[consent.approvers]]\n" in said.out
    assert file.read_text() == one


@pytest.mark.parametrize("name", ["../evil", "Bob", "", "a b", "x" * 41, "é", "-x", "a\x1b[2J"])
def test_a_name_that_is_none_makes_no_key(moss: Moss, place: Path, tmp_path: Path, name: str) -> None:
    assert moss("keys", "new", "--", name).code == 2
    assert not list(tmp_path.rglob("*.pem"))


@pytest.mark.parametrize("folder", [".moss/keys", "state", "sub"])
def test_a_key_where_the_agent_could_read_it_is_refused(moss: Moss, place: Path, folder: str) -> None:
    said = moss("keys", "new", "bob", "--keys", folder)
    assert said.code == 2
    assert "could be read by the agent" in said.err
    assert not list(place.rglob("*.pem"))


def test_mallory_is_not_an_approver(moss: Moss, waiting: RunId) -> None:
    said = moss("approve", waiting, "--as", "mallory")
    assert said.code == 1
    assert said.err == "moss: mallory is not an approver of `puppet` (approvers: alice). Nothing was changed.\n"


def test_nobody_is_asked_where_nobody_can_answer(moss: Moss, waiting: RunId) -> None:
    said = moss("approve", waiting, "--as", "alice")
    assert said.code == 2
    assert "moss review ev-01 first, then add --yes" in said.err


def test_a_key_that_is_not_there_names_its_place(moss: Moss, waiting: RunId, tmp_path: Path) -> None:
    said = moss("approve", waiting, "--as", "alice", "--yes")
    assert said.code == 2
    assert f"{tmp_path / 'keys' / 'alice.pem'}: there is no key of alice" in said.err


def test_a_run_that_waits_for_nothing_cannot_be_approved(moss: Moss, committed: RunId) -> None:
    said = moss("approve", committed, "--as", "alice", "--yes")
    assert said.code == 1
    assert "ev-01 does not wait for consent: it ended committed. Nothing was changed." in said.err


def test_a_revoked_key_counts_nowhere_from_that_moment_on(moss: Moss, waiting: RunId, bench: Workbench) -> None:
    consent = bench.consent(waiting)
    assert moss("keys", "revoke", "alice").code == 0
    assert "revoked" in moss("keys", "list").out
    with pytest.raises(MossError, match="of alice is revoked"):
        bench.desk.approve(consent)
    assert moss("keys", "revoke", "alice").code == 2


def test_a_key_that_is_revoked_after_the_yes_keeps_the_candidate_from_going_live(
    moss: Moss, waiting: RunId, bench: Workbench
) -> None:
    bench.approve(waiting)
    moss("keys", "revoke", "alice")
    assert bench.go_on(waiting).outcome == "expired"


def test_a_token_is_shown_once_and_kept_as_a_hash(moss: Moss, place: Path) -> None:
    token = moss("token", "new", "web", "--role", "viewer", "--quiet").out.strip()
    assert moss("token", "new", "web", "--role", "viewer").code == 1
    assert token not in moss("token", "list", "--json").out
    for path in place.rglob("*"):
        assert not path.is_file() or token.encode() not in path.read_bytes()
    assert moss("token", "revoke", "web").code == 0
    assert moss("token", "revoke", "web").code == 2


@pytest.mark.parametrize("role", ["root", "controller", "", "Operator"])
def test_no_token_has_a_role_that_is_none(moss: Moss, place: Path, role: str) -> None:
    assert moss("token", "new", "x", "--role", role).code == 2
    assert moss("token", "list").out.startswith("no tokens")
