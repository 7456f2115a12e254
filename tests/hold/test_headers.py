"""Headers: end-to-end ones pass, those of one connection never, whatever the client wrote."""

from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from moss.hold import headers

WORDS = st.sampled_from(
    ["Host", "Connection", "X-A", "x-a", "Keep-Alive", "TE", "Transfer-Encoding", "Content-Length", "Upgrade", "Cookie"]
)
VALUES = st.sampled_from(["1", "close", "X-A, keep-alive", "chunked", "gzip, chunked", "websocket", "", "  ,, "])


@given(st.lists(st.tuples(WORDS, VALUES), max_size=12))
def test_no_hop_by_hop_header_and_never_two_framings(pairs: list[tuple[str, str]]) -> None:
    sent = CIMultiDict(pairs)
    kept = headers.to_agent(sent, "10.0.0.1")
    assert not headers.HOP_BY_HOP & {name.lower() for name in kept}
    if any("chunked" in value for name, value in pairs if name == "Transfer-Encoding"):
        assert "Content-Length" not in kept
    listed = {word.strip().lower() for value in sent.getall("Connection", []) for word in value.split(",")}
    assert not listed & {name.lower() for name in kept}
    assert kept["X-Forwarded-For"] == "10.0.0.1"


def test_the_client_is_added_to_those_before_it() -> None:
    sent = CIMultiDict([("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-For", "2.2.2.2")])
    assert headers.to_agent(sent, "3.3.3.3").getall("X-Forwarded-For") == ["1.1.1.1, 2.2.2.2, 3.3.3.3"]


def test_a_handshake_is_made_anew_but_cookies_and_origin_pass() -> None:
    sent = CIMultiDict(
        [("Upgrade", "WebSocket"), ("Sec-WebSocket-Key", "k"), ("Cookie", "a=b"), ("Origin", "http://o")]
    )
    assert headers.is_websocket(sent)
    assert set(headers.to_socket(sent, None)) == {"Cookie", "Origin"}
