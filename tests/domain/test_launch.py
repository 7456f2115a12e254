"""How a substrate process starts: placeholders are filled once, and nothing else gets in."""

from hypothesis import given
from hypothesis import strategies as st

from moss.domain.launch import Launch, fill, fill_all, launch


def test_known_placeholders_are_filled_and_others_stay() -> None:
    assert fill("--port={port} {other} {port}", {"port": "80"}) == "--port=80 {other} 80"
    assert fill_all(("{a}", "b"), {"a": "x y"}) == ("x y", "b")
    assert fill("", {"a": "x"}) == ""


@given(st.text("{}ab"), st.text("{}ab"), st.text("{}ab"))
def test_a_value_that_holds_braces_is_never_filled_again(before: str, value: str, after: str) -> None:
    filled = fill(f"x{{a}}y{{b}}{after}", {"a": "{b}" + value, "b": before})
    assert filled.startswith("x{b}" + value + "y" + before)


def test_extra_wins_over_the_users_environment_and_gateway_and_token_are_put_in() -> None:
    started = launch(
        ("agent", "--model", "{gateway}/v1", "{state}"),
        {"KEY": "{token}", "MAIL": "on"},
        {"MAIL": "off"},
        "http://gate",
        "t-1",
    )
    assert started == Launch(("agent", "--model", "http://gate/v1", "{state}"), {"KEY": "t-1", "MAIL": "off"})
