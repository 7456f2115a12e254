"""A box token carries a grant, and nobody but the gateway's secret makes one."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moss.domain.case import OnDivergence
from moss.domain.ids import Digest
from moss.errors import TokenRefused
from moss.gateway.tokens import TOKEN_LIMIT, Opened, Pass, admin_token, sign, verify
from moss.ports import GatewayMode

from .conftest import grant

SECRET, OTHER = b"s" * 32, b"t" * 32
NOW = datetime(2026, 1, 1, tzinfo=UTC)
FULL = grant(
    mode=GatewayMode.REPLAY,
    models=("a", "b"),
    recording=Digest("sha256:1"),
    on_divergence=OnDivergence.FAIL,
    max_tokens=5,
    max_money_usd=0.5,
)


def test_what_was_granted_is_read_again() -> None:
    token = sign(SECRET, FULL, Opened(attempt=3, expires=int(NOW.timestamp()) + 9))
    assert verify(SECRET, token, NOW) == Pass(FULL, 3, int(NOW.timestamp()) + 9)
    assert len(token) < TOKEN_LIMIT


def test_it_ends_at_its_second() -> None:
    token = sign(SECRET, FULL, Opened(attempt=1, expires=int(NOW.timestamp()) + 9))
    verify(SECRET, token, NOW + timedelta(seconds=8.9))
    with pytest.raises(TokenRefused, match="expired"):
        verify(SECRET, token, NOW + timedelta(seconds=9))


def test_another_secret_makes_another_signature() -> None:
    with pytest.raises(TokenRefused, match="signature"):
        verify(OTHER, sign(SECRET, FULL, Opened(attempt=1)), NOW)


def test_the_controllers_token_is_no_box_token() -> None:
    with pytest.raises(TokenRefused):
        verify(SECRET, admin_token(SECRET), NOW)


@settings(deadline=None)
@given(st.data())
def test_no_changed_letter_passes(data: st.DataObject) -> None:
    token = sign(SECRET, FULL, Opened(attempt=1))
    at = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.characters(codec="ascii").filter(lambda each: each != token[at]))
    with pytest.raises(TokenRefused):
        verify(SECRET, token[:at] + letter + token[at + 1 :], NOW)


@settings(deadline=None)
@given(st.text(max_size=100) | st.text(max_size=50).map(lambda text: f"moss1.{text}"))
def test_no_other_text_passes(token: str) -> None:
    with pytest.raises(TokenRefused):
        verify(SECRET, token, NOW)


def test_a_signed_payload_of_another_kind_is_refused() -> None:
    # signed by us, but no grant: what a later MOSS with another form may leave behind
    from moss.gateway import tokens

    body = "moss1." + tokens._text(b'{"grant": {}, "attempt": 1, "expires": null}')
    token = f"{body}.{tokens._text(tokens._mac(SECRET, body))}"
    with pytest.raises(TokenRefused, match="another version"):
        verify(SECRET, token, NOW)
