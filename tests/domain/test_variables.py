"""Which variables of a container no box may have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moss.domain.variables import is_secret


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OPENAI_API_KEY", "sk-proj-abcdefgh12345678"),
        ("DB_PASSWORD", "hunter"),
        ("TOKEN", "letmein"),
        ("aws_secret", "x"),
        ("DATABASE_URL", "postgres://clerk:s3cr3tword@db/shop"),
        ("WHATEVER", "ghp_0123456789abcdefABCDEF0123456789"),
        ("HEADER", "Bearer abc123def456"),
    ],
)
def test_a_secret_is_known_by_its_name_or_by_its_look(name: str, value: str) -> None:
    assert is_secret(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PATH", "/usr/local/bin:/usr/bin"),
        ("MAX_TOKENS", "4096"),
        ("TOKEN", ""),
        ("USE_TOKEN", "true"),
        ("DB_PASSWORD", "/run/secrets/db"),
        ("MODEL", "claude-sonnet-4-5"),
        ("ADMIN", "ada@shop.example"),
        ("KEYBOARD", "qwerty"),
        ("COMMIT", "9f2c1e7d3b5a4c6e8f0a1b2c3d4e5f6071829304"),
    ],
)
def test_settings_are_no_secrets(name: str, value: str) -> None:
    assert not is_secret(name, value)


@given(st.text(), st.text())
def test_any_variable_is_judged(name: str, value: str) -> None:
    assert is_secret(name, value) in (True, False)
