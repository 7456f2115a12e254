"""What a user writes in `moss.toml` and `MOSS_*`: read right, or refused in one sentence with its place and mend."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moss.config import Secret, Settings
from moss.errors import UserError
from moss.settings import LARGEST, load, resolve

GOOD = """\
# the clerk
[substrate]
name = "clerk"

[live]
argv = ["python", "-m", "clerk"]
port = 47311
state = "state"
"""


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "moss.toml"


def read(toml: Path, text: str | bytes, env: dict[str, str] | None = None, **overrides: object) -> Settings:
    toml.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load(toml, env or {}, {key.replace("__", "."): value for key, value in overrides.items()})


def mistake(toml: Path, text: str | bytes, env: dict[str, str] | None = None) -> UserError:
    with pytest.raises(UserError) as caught:
        read(toml, text, env)
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_plain_file_is_read_with_its_folder_as_root(toml: Path) -> None:
    read_ = read(toml, GOOD)
    assert (read_.root, read_.home, read_.live.port) == (toml.parent, toml.parent / ".moss", 47311)
    assert read_.path(read_.live.state) == toml.parent / "state"


def test_a_relative_path_to_the_file_gives_an_absolute_root(toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toml.write_text(GOOD)
    monkeypatch.chdir(toml.parent)
    assert load(Path("moss.toml"), {}).root == toml.parent


def test_a_byte_order_mark_and_windows_lines_do_no_harm(toml: Path) -> None:
    assert read(toml, b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode()).live.port == 47311


MISTAKES = [
    ("[live2]\nx = 1", "moss.toml:9 live2: no setting is called `live2`; did you mean `live`?"),
    ("[gateway]\n\nprot = 1", "moss.toml:11 gateway.prot: no setting is called `prot`; did you mean `port`?"),
    ("[zzz]", "moss.toml:9 zzz: no setting is called `zzz`"),
    ('["\\u001b[2J"]', "moss.toml:9 ?[2J: no setting is called `...`"),
    ('[gateway]\nport = "8790"', "moss.toml:10 gateway.port: should be a whole number"),
    ("[gateway]\nport = true", "moss.toml:10 gateway.port: should be a whole number"),
    ("[gateway]\nport = 70000", "moss.toml:10 gateway.port: should be less than or equal to 65535"),
    ("[api]\nhost = 3", "moss.toml:10 api.host: should be a string"),
    ('[consent]\nauto = "yes"', "moss.toml:10 consent.auto: should be true or false"),
    ("[[api]]\nport = 1", "moss.toml:9 api: should be a table"),
    ("[notify]\na = 1", "moss.toml:9 notify: should be a list"),
    (
        '[policy]\ndepth = "depe"',
        "policy.depth: cannot be `depe`: it is one of light, standard, deep; did you mean `deep`?",
    ),
    ('[turn]\nkind = "opnai"', "turn.kind: cannot be `opnai`: it is one of openai, http, exec; did you mean `openai`?"),
    ('[turn]\npath = "/x"', "moss.toml:9 turn.kind: `kind` is missing"),
    ('[turn]\nkind = "http"\npath = "/x"', "moss.toml:9 turn.body: `body` is missing"),
    (
        '[turn]\nkind = "openai"\nmodle = "x"',
        "moss.toml:11 turn.modle: no setting is called `modle`; did you mean `model`?",
    ),
    ('[roles.loacte]\ncoder = "x"', "roles.loacte: cannot be `loacte`: it is one of"),
    (
        '[roles.plan]\ncoderr = "x"',
        "moss.toml:10 roles.plan.coderr: no setting is called `coderr`; did you mean `coder`?",
    ),
    ('[[gateway.upstreams]]\nname = "a"', "moss.toml:9 gateway.upstreams[0]: name either `url` or `script`"),
    (
        '[evidence]\n[[evidence.rules]]\nname = "r"\npattern = "("',
        "moss.toml:12 evidence.rules[0].pattern: not a regular",
    ),
    (
        '[evidence]\n[[evidence.rules]]\nname = "r"\n[[evidence.rules]]\nname = "R"',
        "moss.toml:13 evidence.rules[1].name: ",
    ),
    (
        '[[evidence.rules]]\nname = "r"\n[[evidence.rules.keypoints]]\nid = "k"\nsays = "x"\n'
        'check = { kind = "contains", text = "a", abscent = true }',
        "moss.toml:14 evidence.rules[0].keypoints[0].check.abscent: no setting is called `abscent`; did you mean `abs",
    ),
    (
        '[consent]\napprovers = [\n  { name = "a", public_key = "zz" },\n]',
        "consent.approvers[0].public_key: not an Ed25519",
    ),
    ("x = [", "moss.toml:9: is no TOML: invalid value"),
    ("x = 1\nx = 2", "moss.toml:10: is no TOML: cannot overwrite a value"),
    ("x = " + "9" * 5000, "moss.toml: is no TOML: a number is too long"),
    ("x = 0x" + "f" * 9000, "a number of the settings is too long"),
    ("x = " + "[" * 5000, "moss.toml: is no TOML: "),
]


@pytest.mark.parametrize(("more", "sentence"), MISTAKES)
def test_a_mistake_is_one_sentence_with_its_line(toml: Path, more: str, sentence: str) -> None:
    assert str(mistake(toml, GOOD + more)).startswith(sentence) or sentence in str(mistake(toml, GOOD + more))


def test_several_mistakes_are_counted_and_a_wrong_name_explains_the_missing_one(toml: Path) -> None:
    said = mistake(toml, GOOD.replace("port =", "prot ="))
    assert str(said) == "moss.toml:7 live.prot: no setting is called `prot`; did you mean `port`? (and 1 more)"


def test_a_missing_table_is_told_at_the_top(toml: Path) -> None:
    assert str(mistake(toml, "")) == "moss.toml:1 substrate: `substrate` is missing (and 1 more)"


def test_the_root_cannot_be_set(toml: Path) -> None:
    said = mistake(toml, 'root = "/"\n' + GOOD)
    assert (said.where, said.mend) == ("moss.toml:1 root", "remove it")


def test_a_secret_that_is_written_down_is_refused_and_never_shown(toml: Path) -> None:
    said = mistake(toml, GOOD + '[turn]\nkind = "openai"\nkey = "sk-very-secret"')
    assert str(said) == "moss.toml:11 turn.key: a secret is never written here, only where it is found"
    assert said.mend == 'key = { env = "NAME" }'


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"a = 1\nb = '\xff'", "moss.toml:2: is not UTF-8 text"),
        (b"a = 1\n\nb\0", "moss.toml:3: holds a NUL character"),
        (b"#" * (LARGEST + 1), "is larger than 1024 KiB"),
    ],
)
def test_a_file_that_is_no_text_is_refused(toml: Path, data: bytes, sentence: str) -> None:
    assert sentence in str(mistake(toml, data))


def test_a_file_that_is_not_there_or_no_file_is_refused(toml: Path) -> None:
    with pytest.raises(UserError, match="there is no such file") as caught:
        load(toml, {})
    assert caught.value.mend == "moss init writes one"
    with pytest.raises(UserError, match="not a regular file"):
        load(toml.parent, {})
    os.mkfifo(toml)
    with pytest.raises(UserError, match="not a regular file"):
        load(toml, {})


def test_a_dangling_link_is_no_file(toml: Path) -> None:
    toml.symlink_to(toml.parent / "nowhere")
    with pytest.raises(UserError, match="no such file"):
        load(toml, {})


# ------------------------------------------------------------------ environment and command line


def test_the_environment_wins_over_the_file_and_the_command_line_over_both(toml: Path) -> None:
    env = {
        "MOSS_LIVE__PORT": "5000",
        "MOSS_HOME": "elsewhere",
        "MOSS_SUBSTRATE__NAME": "123",
        "MOSS_SWAP__PREFLIGHT": "false",
    }
    read_ = read(toml, GOOD, env, home=".demo")
    assert (read_.live.port, read_.substrate.name, read_.swap.preflight) == (5000, "123", False)
    assert read_.home == toml.parent / ".demo"
    assert read(toml, GOOD, env).home == toml.parent / "elsewhere"


def test_a_list_in_the_environment_is_toml(toml: Path) -> None:
    assert read(toml, GOOD, {"MOSS_SUBSTRATE__EDITABLE": '["src/**"]'}).substrate.editable == ("src/**",)


def test_other_variables_with_the_prefix_are_not_settings(toml: Path) -> None:
    env = {"MOSS_REQUIRE": "docker", "MOSS_UPSTREAM_MAIN_KEY": "k", "MOSS_": "", "MOSS_LIVE__": "1", "MOSS_ROOT": "/"}
    assert read(toml, GOOD, env) == read(toml, GOOD)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("MOSS_LIVE__PORT", "many", "MOSS_LIVE__PORT: should be a whole number"),
        ("MOSS_LIVE__PORT", "1\n2", "MOSS_LIVE__PORT: should be a whole number"),
        ("MOSS_LIVE__PROT", "1", "MOSS_LIVE__PROT: no setting is called `prot`; did you mean `port`?"),
        ("MOSS_LIVE", "x", "MOSS_LIVE: "),
        ("MOSS_SUBSTRATE__NAME__X", "x", "`name` is no table"),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(toml: Path, name: str, value: str, sentence: str) -> None:
    assert sentence in str(mistake(toml, GOOD, {name: value}))


# ------------------------------------------------------------------ secrets


def test_a_secret_file_is_found_by_the_folder_of_the_settings(toml: Path) -> None:
    (toml.parent / "key").write_text("sk-1\n")
    read_ = read(toml, GOOD + '[[notify]]\nurl = "http://x"\nsecret = { file = "key" }')
    assert resolve(read_.notify[0].secret, {}) == "sk-1"


def test_a_secret_of_the_environment_is_as_it_is() -> None:
    assert resolve(Secret(env="K"), {"K": "sk-1"}) == "sk-1"


@pytest.mark.parametrize("value", ["", " ", "two\nlines", "ends\n", "a\rb", "\x1b[2J", "nul\0", " blank-key"])
def test_a_secret_that_cannot_be_one_is_refused_without_showing_it(value: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        resolve(Secret(env="MY_KEY"), {"MY_KEY": value})
    assert "MY_KEY" in str(caught.value)
    assert len(value.strip()) < 3 or value.strip() not in str(caught.value).replace("holds blanks", "")


def test_a_secret_that_is_not_there_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="MY_KEY is not set"):
        resolve(Secret(env="MY_KEY"), {})
    with pytest.raises(UserError, match=r"nope: there is no such file"):
        resolve(Secret(file=tmp_path / "nope"), {})
    with pytest.raises(UserError, match="not a regular file"):
        resolve(Secret(file=tmp_path), {})
    (tmp_path / "a").write_bytes(b"\xff")
    with pytest.raises(UserError, match="not UTF-8"):
        resolve(Secret(file=tmp_path / "a"), {})
    with pytest.raises(UserError, match="cannot be read"):
        resolve(Secret(file=Path("a" * 5000)), {})


# ------------------------------------------------------------------ whatever anybody writes

KEYS = st.sampled_from(
    [
        "substrate",
        "live",
        "name",
        "port",
        "kind",
        "turn",
        "rules",
        "evidence",
        "gateway",
        "upstreams",
        "x",
        "'y z'",
        '"\\u0000"',
    ]
)
VALUES = st.sampled_from(
    ["1", "true", '"a"', "'''b\n[c]'''", "[1, 2]", "{ a = 1 }", "inf", "nan", "1979-05-27", "[[", '"""', "0x1"]
)
LINES = st.one_of(
    st.tuples(KEYS, VALUES).map(" = ".join),
    st.lists(KEYS, min_size=1, max_size=3).map(lambda keys: f"[{'.'.join(keys)}]"),
    st.lists(KEYS, min_size=1, max_size=3).map(lambda keys: f"[[{'.'.join(keys)}]]"),
    st.text(max_size=10),
)


@pytest.mark.slow
@given(st.lists(LINES, max_size=8).map("\n".join) | st.binary(max_size=40), st.booleans())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_garbage_is_settings_or_one_sentence(toml: Path, more: str | bytes, good: bool) -> None:
    data = more if isinstance(more, bytes) else more.encode("utf-8", "surrogatepass")
    result = outcome(toml, (GOOD.encode() if good else b"") + data)
    assert isinstance(result, Settings) or str(result).isprintable()


def outcome(toml: Path, text: str | bytes, env: dict[str, str] | None = None) -> Settings | UserError:
    try:
        return read(toml, text, env)
    except UserError as error:
        return error


ENV = st.dictionaries(
    st.sampled_from(
        ["MOSS_LIVE__PORT", "MOSS_TURN__KIND", "MOSS_TURN", "MOSS_NOTIFY", "MOSS_HOME", "MOSS_EVIDENCE__RULES"]
    ),
    st.text(st.characters(exclude_characters="\0"), max_size=10)
    | st.sampled_from(["[1]", "{}", "[{}]", "\udcff", "{a={b=1}}"]),
)


@pytest.mark.slow
@given(ENV)
@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_a_garbage_environment_is_settings_or_one_sentence(toml: Path, env: dict[str, str]) -> None:
    result = outcome(toml, GOOD, env)
    assert isinstance(result, Settings) or str(result).isprintable()


def test_consent_by_itself_is_refused_where_the_agent_could_reach_a_key(toml: Path) -> None:
    told = mistake(toml, GOOD + "\n[consent]\nauto = true\n")
    assert "auto is refused" in str(told)
    assert "moss.toml:" in str(told)
    assert read(toml, GOOD + "\n[consent]\nauto = false\n").consent.auto is False
