"""Secrets in source code: found where they are held, not where they are fetched."""

import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moss.domain.source_secrets import source_secrets


def key(prefix: str, seed: int, size: int = 40) -> str:
    """A key that no one was given."""
    drawn = random.Random(seed)
    return prefix + "".join(drawn.choice(string.ascii_letters + string.digits) for _ in range(size))


@pytest.mark.parametrize(
    "line",
    [
        "secret = path.read_bytes().strip()",
        "secret = secret_of(home.secret)",
        "token = self._token(word, body)",
        "password = settings.password",
        "headers = {'Authorization': f'Bearer {token}'}",
        "mail = 'ada@example.org'",
        "root@localhost",
        "def refund(self, order: str, idempotency_key: str | None = None) -> dict:",
        "commit = '9f2c1e7d4b3a29f2c1e7d4b3a29f2c1e7d4b3a21'",
    ],
)
def test_code_that_only_speaks_of_secrets_holds_none(line: str) -> None:
    assert source_secrets(line) == []


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (f"key = '{key('sk-ant-', 1)}'", "token"),
        (f"KEY = {key('ghp_', 2, 36)}", "token"),
        (f"token = '{key('', 3)}'", "token"),
        (f"token = {key('', 4)}", "token"),
        ("password = 'hunter2x'", "token"),
        ("password: hunter-2-x", "token"),
        ("PASSWORD=hunter2x", "token"),
        ("url = 'postgres://app:s3cr3tpw@db/app'", "token"),
        ("mail = 'ada@lovelace.dev'", "mail"),
        ("card = '4111 1111 1111 1111'", "card"),
    ],
)
def test_a_secret_that_the_code_holds_is_found(line: str, kind: str) -> None:
    assert kind in source_secrets(line)


@given(st.integers(0, 1000))
def test_no_random_key_passes_for_a_name(seed: int) -> None:
    drawn = key("sk-proj-", seed)
    assert source_secrets(f"token = {drawn}")
    assert source_secrets(f"x = f('{drawn}')")


@given(st.text(max_size=200))
def test_what_is_found_is_never_repeated(text: str) -> None:
    assert set(source_secrets(text)) <= {"token", "mail", "card"}
