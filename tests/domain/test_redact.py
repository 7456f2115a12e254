"""Secrets are found and replaced, words are left alone, and redacting is stable, repeatable and of the same shape."""

import json
import time
import unicodedata
from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from moss.domain.evidence import Chunk, Exchange, ToolCall, Turn
from moss.domain.folding import maybe_odd, plain
from moss.domain.ids import Digest
from moss.domain.redact import Redactor
from moss.domain.secrets import card, luhn, random_word
from moss.testing.samples import NOON

REDACTOR = Redactor(b"salt of tests")

SECRETS = {
    "OpenAI": ("key is sk-proj-9aK2mQx7LpZt4VbNw8RcYd now", "sk-proj-9aK2mQx7LpZt4VbNw8RcYd"),
    "GitHub": ("ghp_9aK2mQx7LpZt4VbNw8RcYd1234", "9aK2mQx7LpZt4VbNw8RcYd1234"),
    "AWS": ("AKIA2E7XQ4M9ZK3PLW5T", "2E7XQ4M9ZK3PLW5T"),
    "bearer": ("Authorization: Bearer 9aK2mQx7LpZt", "9aK2mQx7LpZt"),
    "basic": ("authorization: basic dXNlcjpwYXNz1234", "dXNlcjpwYXNz1234"),
    "URL": ("postgres://app:tiger42x@db/shop", "tiger42x"),
    "password": ("password=tiger", "tiger"),
    "password in JSON": ('{"password": "open sesame77"}', "open"),
    "escaped JSON": (r"{\"api_key\": \"a1b2c3d4e5\"}", "a1b2c3d4e5"),
    "secret name": ("client_secret=abcd", "abcd"),
    "mail": ("write to anna.smith@example.org please", "anna.smith@example.org"),
    "short mail": ("a@b.io", "a@b.io"),
    "card": ("card 4111 1111 1111 1111 ok", "4111 1111 1111 1111"),
    "amex": ("378282246310005", "378282246310005"),
    "random word": ("the value q7Zt4VbNw8RcYd9aK2mQx7Lp was", "q7Zt4VbNw8RcYd9aK2mQx7Lp"),
    "AWS secret": ("kH7d/Qz3+LmP9xVbT2nRw8sYcA5fGjE1uKoWi4Zq", "kH7d/Qz3+LmP9xVbT2nRw8sYcA5fGjE1uKoWi4Zq"),
    "AWS secret without a plus": (
        "kH7d/Qz3aLmP9xVbT2nRw8sYcA5fGjE1uKoWi4Zq",
        "kH7d/Qz3aLmP9xVbT2nRw8sYcA5fGjE1uKoWi4Zq",
    ),
    "base64": ("cXdlcnR5dWlvcGFzZGZnaGprbHp4Y3Zibm0xMjM0NTY3ODk=", "cXdlcnR5dWlvcGFzZGZnaGprbHp4Y3Zibm0"),
    "random part of a path": ("/srv/q7Zt4VbNw8RcYd9aK2mQx7Lp/x", "q7Zt4VbNw8RcYd9aK2mQx7Lp"),
    "PEM": (
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7\n-----END RSA PRIVATE KEY-----",
        "MIIEpAIBAAKCAQEA7",
    ),
    "cut PEM": ("-----BEGIN PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7", "MIIEpAIBAAKCAQEA7"),
}


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_is_replaced_by_a_placeholder_of_its_shape(kind: str) -> None:
    text, secret = SECRETS[kind]
    clean, count = REDACTOR.redact(text)
    assert count >= 1
    assert secret not in clean
    assert REDACTOR.holds(text)
    assert not REDACTOR.holds(clean)
    assert kind == "short mail" or len(clean) == len(text)
    assert REDACTOR.redact(clean) == (clean, 0)
    assert REDACTOR.redact(text) == (clean, count)
    assert Redactor(b"another home").clean(text) != clean


@pytest.mark.parametrize(
    "text",
    [
        "",
        "an order 1007 of 3 kettles for 4512 cents",
        "commit 4b825dc642cb6eb9a060e54bf8d69288fbee4904",
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "550e8400-e29b-41d4-a716-446655440000",
        "/usr/lib/python3/dist-packages/some_module/file_name.py",
        "see https://example.org/a/b?page=2 for sk-learn-pipelines",
        "git@github.com:org/repo.git",
        "password: required",
        "token=12345",
        "the password is wrong: try again",
        "call_a8Kd93jX2Lm0Qw call-id",
        "1234567890123456",
        "4111 1111 1111 1112",
        "AuthenticationTokenExpiredException",
        "key: value, secret: none, auth=/etc/x",
        "-----BEGIN PRIVATE KEY-----(nothing)",
    ],
)
def test_words_that_are_no_secret_stay(text: str) -> None:
    assert REDACTOR.redact(text) == (text, 0)


def test_placeholders_stay_what_they_were() -> None:
    mail, digits = REDACTOR.clean("anna.smith@example.org"), REDACTOR.clean("4111 1111 1111 1111")
    assert mail.endswith("@redacted.invalid") or mail.endswith("@r.invalid")
    assert digits.startswith("0000 ")
    assert REDACTOR.clean("sk-proj-9aK2mQx7LpZt4VbNw8RcYd").startswith("sk-proj-REDACTED")
    assert REDACTOR.clean("ANNA.smith@example.org") == mail


def test_patterns_of_the_users_own_are_redacted_wherever_they_are() -> None:
    own = Redactor(b"x", [r"CUST-\d{6}", r"z*"])
    far = "a " * 70_000 + "CUST-123456"
    for text in ("CUST-123456", far):
        clean, count = own.redact(text)
        assert "123456" not in clean
        assert count == 1
        assert own.redact(clean) == (clean, 0)


def test_one_secret_inside_another_is_replaced_once_and_nothing_of_it_is_left() -> None:
    text = "password=anna.smith@example.org:9aK2mQx7LpZt4VbN, token=Bearer sk-proj-9aK2mQx7LpZt4VbNw8RcYd!"
    clean, count = REDACTOR.redact(text)
    assert count >= 3
    for part in ("anna", "9aK2mQx7", "4VbN"):
        assert part not in clean
    assert REDACTOR.redact(clean) == (clean, 0)


@pytest.mark.parametrize("text", ["password=tigertiger.{}", "password={}/tigertiger"])
def test_what_stands_beside_a_surer_secret_in_the_same_word_is_replaced_too(text: str) -> None:
    clean, _ = REDACTOR.redact(text.format("sk-proj-9aK2mQx7LpZt4VbNw8RcYd"))
    assert "tiger" not in clean
    assert "9aK2" not in clean
    assert REDACTOR.redact(clean) == (clean, 0)


def test_a_placeholder_behind_a_cut_key_does_not_save_the_key() -> None:
    clean, count = REDACTOR.redact("-----BEGIN PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7 REDACTED")
    assert count == 1
    assert "MIIE" not in clean
    assert REDACTOR.redact(clean) == (clean, 0)


@pytest.mark.parametrize(
    "around", ["order 12 {} 1007", "1234 {}", "{}-99", "1 2 3 4 5 6 7 8 9 10 {} 11 12 13 14 15 16"]
)
@pytest.mark.parametrize("number", ["4111 1111 1111 1111", "4111111111111111", "3782-822463-10005"])
def test_a_card_number_among_other_numbers_is_found(around: str, number: str) -> None:
    clean, count = REDACTOR.redact(around.format(number))
    assert count == 1
    assert clean == around.format(REDACTOR.clean(number))


@pytest.mark.timeout(10)
def test_a_long_table_of_numbers_stays_and_takes_no_time() -> None:
    table = " ".join(str(1000 + number % 3) for number in range(50_000))
    assert REDACTOR.redact(table) == (table, 0)


def test_bytes_that_are_no_text_keep_what_is_no_secret() -> None:
    clean, count = REDACTOR.redact_bytes(b"\xff\xfe password=tiger77 \xff")
    assert count == 1
    assert b"tiger77" not in clean
    assert clean.startswith(b"\xff\xfe password=")
    assert clean.endswith(b" \xff")
    assert REDACTOR.redact_bytes(b"\xff\xfe") == (b"\xff\xfe", 0)


def test_a_turn_is_redacted_in_each_of_its_texts() -> None:
    said = SECRETS["mail"][1]
    row = ToolCall(name="mail", arguments=said, result=said, error=said)
    turn = Turn(
        session=said, ordinal=1, at=NOON, user=said, reply=said, tools=(row,), finish=said, error=said, user_id=said
    )
    clean = REDACTOR.turn(turn)
    assert said not in clean.model_dump_json()
    assert clean.redacted == 9
    assert REDACTOR.turn(clean) == clean
    assert REDACTOR.turn_id(f"{said}#1") == clean.id
    plain = Turn(session="s", ordinal=1, at=NOON, user="hello", reply=None)
    assert REDACTOR.turn(plain) is plain
    near = plain.model_copy(update={"user": "the key question"})
    assert REDACTOR.turn(near) is near


def test_an_exchange_is_redacted_across_its_chunks_and_cut_where_it_was() -> None:
    data = b'data: {"key": "sk-proj-9aK2mQx7LpZt4VbNw8RcYd"}\n\n'
    chunks = (Chunk(data=data[:25], after=0.1), Chunk(data=data[25:30], after=0.2), Chunk(data=data[30:]))
    exchange = Exchange(
        ordinal=1,
        at=NOON + timedelta(seconds=1),
        upstream="main",
        path="/v1/chat",
        request=json.dumps({"password": "tiger77"}).encode(),
        canonical=Digest("sha256:" + "0" * 64),
        status=200,
        chunks=chunks,
        turn="anna.smith@example.org#3",
    )
    clean = REDACTOR.exchange(exchange)
    assert b"tiger77" not in clean.request
    assert b"9aK2" not in b"".join(chunk.data for chunk in clean.chunks)
    assert [len(chunk.data) for chunk in clean.chunks] == [25, 5, len(data) - 30]
    assert [chunk.after for chunk in clean.chunks] == [0.1, 0.2, 0.0]
    assert clean.turn is not None
    assert clean.turn.endswith("#3")
    plain = exchange.model_copy(update={"request": b"{}", "chunks": (), "turn": None})
    assert REDACTOR.exchange(plain) == plain


def test_escapes_of_json_hide_nothing() -> None:
    assert REDACTOR.suspects(rb'{"a": "anna\u0040example.org"}', json=True)
    assert REDACTOR.suspects(rb'{"a": "http:\/\/x"}', json=True)
    assert not REDACTOR.suspects(b'{"a": "hello"}', json=True)


@pytest.mark.parametrize(
    ("number", "valid"),
    [
        ("4111111111111111", True),
        ("5555555555554444", True),
        ("2223003122003222", True),
        ("6011111111111117", True),
        ("6445644564456445", True),
        ("3530111333300000", True),
        ("6200000000000005", True),
        ("378282246310005", True),
        ("30569309025904", True),
        ("36227206271667", True),
        ("4222222222222", True),
        ("4111111111111111110", luhn("4111111111111111110")),
        ("9111111111111111", False),
        ("3782822463100", False),
        ("123456789012345", False),
        ("12345678901234", False),
    ],
)
def test_card_numbers_are_known_by_issuer_and_checksum(number: str, valid: bool) -> None:
    assert card(number) is valid
    assert not card(number[:-1] + str((int(number[-1]) + 1) % 10))


@pytest.mark.parametrize("word", ["configuration_manager_of_things", "A" * 24, "short1A", "0123456789012345"])
def test_words_that_people_make_are_not_random(word: str) -> None:
    assert not random_word(word)


@given(st.text())
def test_any_text_is_redacted_once_for_all(text: str) -> None:
    clean, _ = REDACTOR.redact(text)
    assert REDACTOR.redact(clean) == (clean, 0)


CRUMBS = ["password=", "@", " ", "=", "REDACTED", "RDX", "\\"]
ODD = st.lists(st.sampled_from([*(text for text, _ in SECRETS.values()), *CRUMBS]))


@example(["password=", "postgres://app:tiger42x@db/shop"])
@given(ODD)
def test_secrets_in_any_company_leave_nothing_behind(parts: list[str]) -> None:
    clean, _ = REDACTOR.redact(" ".join(parts))
    assert REDACTOR.redact(clean) == (clean, 0)
    for _, secret in SECRETS.values():
        assert len(secret) < 10 or secret not in clean


# ------------------------------------------------------------------ what only looks redacted, and what hides


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("password=REDACTEDhunter2tiger", "hunter2tiger"),
        ("ghp_REDACTEDq7Zt4VbNw8RcYd9aK2mQx7", "q7Zt4VbNw8RcYd9aK2mQx7"),
        ("the value REDACTEDq7Zt4VbNw8RcYd9aK2mQx7Lp was", "q7Zt4VbNw8RcYd9aK2mQx7Lp"),
        ("q7Zt4VbNw8RcYd9aK2mQx7LpREDACTED", "q7Zt4VbNw8RcYd9aK2mQx7Lp"),
        ("Bearer REDACTED-9aK2mQx7LpZt4VbN", "9aK2mQx7LpZt4VbN"),
    ],
)
def test_that_a_word_says_redacted_does_not_make_it_so(text: str, secret: str) -> None:
    clean, count = REDACTOR.redact(text)
    assert count == 1
    assert secret not in clean
    assert REDACTOR.redact(clean) == (clean, 0)


def test_a_placeholder_of_another_home_is_no_proof_here() -> None:
    theirs = Redactor(b"another home").clean("the value q7Zt4VbNw8RcYd9aK2mQx7Lp was")
    assert REDACTOR.redact(theirs)[1] == 1


HIDDEN = {
    "zero width": "\u200b",
    "joiner": "\u2060",
    "soft hyphen": "\u00ad",
    "bom": "\ufeff",
    "direction": "\u202e",
    "tag": "\U000e0041",
    "variation": "\ufe0f",
}


@pytest.mark.parametrize("name", HIDDEN)
@pytest.mark.parametrize("kind", ["OpenAI", "GitHub", "mail", "card", "random word", "bearer", "password"])
def test_a_secret_with_hidden_letters_is_found(kind: str, name: str) -> None:
    text, secret = SECRETS[kind]
    hides = HIDDEN[name].join(secret)
    found = text.replace(secret, hides)
    clean, count = REDACTOR.redact(found)
    assert count >= 1
    bare = "".join(letter for letter in clean if letter not in HIDDEN.values())
    assert secret not in bare
    assert REDACTOR.holds(found)
    assert REDACTOR.redact(clean) == (clean, 0)


@pytest.mark.parametrize("kind", ["OpenAI", "AWS", "mail", "card", "random word", "password in JSON"])
def test_a_secret_in_full_width_letters_is_found(kind: str) -> None:
    text, secret = SECRETS[kind]
    wide = "".join(chr(ord(letter) + 0xFEE0) if "!" <= letter <= "~" else letter for letter in text)
    clean, count = REDACTOR.redact(wide)
    assert count >= 1
    assert secret not in unicodedata.normalize("NFKC", clean)
    assert REDACTOR.redact(clean) == (clean, 0)


def test_letters_of_other_forms_and_mixed_ones_are_found() -> None:
    for dressed in (
        "\U0001d429\U0001d41a\U0001d42c\U0001d42c\U0001d430\U0001d428\U0001d42b\U0001d41d=tiger",
        "\u24df\u24d0\u24e2\u24e2word=tiger",
    ):
        assert "tiger" not in REDACTOR.clean(dressed)
    assert "tiger42x" not in REDACTOR.clean("postgres\uff1a//app:tiger42x@db/shop")


@pytest.mark.parametrize(
    "text",
    [
        "Grüße aus Köln – „schön“ … 3 × 4",  # noqa: RUF001
        "漢字かな交じり文、注文１００７番",
        "👨\u200d👩\u200d👧 family",
        "می\u200cخواهم",  # noqa: RUF001
        "½ ㎏ ™",
    ],
)
def test_other_scripts_stay_as_they_are(text: str) -> None:
    assert REDACTOR.redact(text) == (text, 0)


@given(st.text(st.characters(), max_size=60), st.sampled_from(sorted(HIDDEN.values())), st.text(max_size=60))
def test_the_plain_form_knows_all_its_places(before: str, hidden: str, after: str) -> None:
    text = before + "sk" + hidden + "\uff0dA" + after
    folded = plain(text)
    assert folded is not None
    for at, letter in enumerate(folded.text):
        start, end = folded.span(at, at + 1)
        assert end == start + 1
        assert letter == text[start] or letter in unicodedata.normalize("NFKC", text[start])
    assert maybe_odd(text.encode("utf-8", "surrogatepass"))
    assert plain(folded.text) is None or unicodedata.normalize("NFKC", folded.text) != folded.text


def test_a_text_of_hidden_letters_takes_linear_time() -> None:
    began = time.process_time()
    REDACTOR.clean("\u200ba" * 200_000)
    REDACTOR.clean("REDACTED-a-" * 20_000)
    assert time.process_time() - began < 2
