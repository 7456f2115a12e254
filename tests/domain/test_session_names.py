"""Names of MOSS's own conversations: like the agent's, drawn, and never one of its own."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moss.domain.session_names import UUID_LIKE, session_like


@pytest.mark.parametrize(
    ("shape", "like"),
    [
        ("s-4411", r"s-[0-9]{4}"),
        ("chat_20251125_101530_ab12cd", r"chat_20251125_[0-9]{6}_[0-9a-f]{6}"),
        ("web:1732527296123", r"web:1732[0-9]{9}"),
        ("9F2C1E7A", r"[0-9A-F]{8}"),
        ("4e1b9f0c-11d2-4c3f-9a77-0123456789ab", r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-9[0-9a-f]{3}-[0-9a-f]{12}"),
        ("alice", r"[a-z]{5}"),
        ("", r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
        ("x7k2@redacted.invalid", r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
        ("two words", r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    ],
)
def test_a_name_has_the_shape_of_a_real_session_and_is_another_one(shape: str, like: str) -> None:
    names = {session_like(shape, bytes([seed])) for seed in range(20)}
    assert all(re.fullmatch(like, name) for name in names)
    assert len(names) > 15
    assert shape not in names


def test_nothing_of_moss_is_in_a_name() -> None:
    assert not any("moss" in session_like(shape, b"x") for shape in ("s-1", "", UUID_LIKE, "user/9"))


def test_a_canarys_name_has_enough_chance_to_meet_no_user() -> None:
    names = {session_like("s-1", seed.to_bytes(4), 40) for seed in range(2000)}
    assert len(names) == 2000
    assert all(re.fullmatch(r"s-[0-9]{12,13}", name) for name in names)


@given(st.text(max_size=200), st.binary(max_size=40), st.integers(0, 64))
def test_any_shape_gives_one_plain_bounded_name(shape: str, seed: bytes, bits: int) -> None:
    name = session_like(shape, seed, bits)
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.:@+-]{0,159}", name)
    assert ".." not in name
    assert name == session_like(shape, seed, bits)
