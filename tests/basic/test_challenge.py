"""What is read of WWW-Authenticate."""

import operator
import re
import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cruds_auth_basic.challenge import parse_challenges

Found = list[tuple[str, dict[str, str]]]


def found(text: str) -> Found:
    """Returns scheme and parameters of each challenge."""
    return [(challenge.scheme, challenge.parameters) for challenge in parse_challenges(text)]


EXAMPLES: list[tuple[str, Found]] = [
    # RFC 9110, section 11.6.1
    (
        'Basic realm="simple", Newauth realm="apps", type=1, title="Login to \\"apps\\""',
        [
            ("basic", {"realm": "simple"}),
            ("newauth", {"realm": "apps", "type": "1", "title": 'Login to "apps"'}),
        ],
    ),
    # RFC 7235, section 4.1
    (
        'Newauth realm="apps", type=1, title="Login to \\"apps\\"", Basic realm="simple"',
        [
            ("newauth", {"realm": "apps", "type": "1", "title": 'Login to "apps"'}),
            ("basic", {"realm": "simple"}),
        ],
    ),
    # RFC 7617, section 2.1
    ('Basic realm="foo", charset="UTF-8"', [("basic", {"realm": "foo", "charset": "UTF-8"})]),
    # RFC 7616, section 3.9.1: two challenges of one scheme, here in one field
    (
        'Digest realm="a@b", qop="auth, auth-int", algorithm=SHA-256, Digest realm="a@b", algorithm=MD5',
        [
            ("digest", {"realm": "a@b", "qop": "auth, auth-int", "algorithm": "SHA-256"}),
            ("digest", {"realm": "a@b", "algorithm": "MD5"}),
        ],
    ),
    # RFC 6750, section 3
    (
        'Bearer realm="example", error="invalid_token", error_description="The access token expired"',
        [
            (
                "bearer",
                {
                    "realm": "example",
                    "error": "invalid_token",
                    "error_description": "The access token expired",
                },
            )
        ],
    ),
    # RFC 4559, section 5
    ("Negotiate a87421000492aa874209af8bc028", [("negotiate", {})]),
]


@pytest.mark.parametrize(("text", "expected"), EXAMPLES)
def test_examples_of_the_rfcs(text: str, expected: Found) -> None:
    """The challenges that RFCs print are read as they mean them."""
    assert found(text) == expected


GRAMMAR: dict[str, tuple[str, Found]] = {
    "nothing": ("", []),
    "empty elements alone": (" ,, \t,", []),
    "a scheme alone": ("Negotiate", [("negotiate", {})]),
    "schemes alone": ("Negotiate, NTLM", [("negotiate", {}), ("ntlm", {})]),
    "token68": ("X YII+/-._~==, Basic realm=x", [("x", {}), ("basic", {"realm": "x"})]),
    "token68 like a parameter": ("X a=, Basic realm=x", [("x", {}), ("basic", {"realm": "x"})]),
    "space after token68": ("X TlRM , Basic realm=x", [("x", {}), ("basic", {"realm": "x"})]),
    "empty elements": (', ,X ,a="x",,\t, b="y", ,', [("x", {"a": "x", "b": "y"})]),
    "space around =": ('X a \t=  "x" , b = y', [("x", {"a": "x", "b": "y"})]),
    "space after the scheme": ('X\t  a="x"', [("x", {"a": "x"})]),
    "case": ('bASIC rEALM="MiXed"', [("basic", {"realm": "MiXed"})]),
    "empty value": ('X a="", b=""', [("x", {"a": "", "b": ""})]),
    "comma in quotes": ('X a="1, Basic realm=2", b=3', [("x", {"a": "1, Basic realm=2", "b": "3"})]),
    "backslashes": (r'X a="\\", b="\"\,\a"', [("x", {"a": "\\", "b": '",a'})]),
    "octets beyond ASCII": ('X a="Ã¼"', [("x", {"a": "Ã¼"})]),
    "the first of two": ("X a=1, A=2", [("x", {"a": "1"})]),
    "extended value": ("X a*=UTF-8''%C3%BC", [("x", {"a*": "UTF-8''%C3%BC"})]),
    "no comma": ("X a=b c=d, Y", [("x", {})]),
    "text after the quotes": ('X a="b"c, Y', [("x", {})]),
    "value that is no token": ("X a=/b, Y", [("x", {})]),
    "no scheme": ('realm="x", Y', []),
    "quoted scheme": ('"X" a=b, Y', []),
    "unended quotes": ('X a="b", Y c="unended, Z', [("x", {"a": "b"}), ("y", {})]),
    "unended after a backslash": ('X a="b\\', [("x", {})]),
    "the last quote is quoted": ('X a="b\\"', [("x", {})]),
}


@pytest.mark.parametrize(("text", "expected"), GRAMMAR.values(), ids=GRAMMAR)
def test_grammar(text: str, expected: Found) -> None:
    """The grammar of RFC 9110, section 11.6.1 is kept, and nothing is guessed after what breaks it."""
    assert found(text) == expected


def test_folded_line() -> None:
    """A line break that an old server folded a long field with is a space (RFC 9112, section 5.2)."""
    text = 'Digest realm="a\r\n b",\r\n\tnonce="n",\r\n qop="auth"'
    (challenge,) = parse_challenges(text)
    assert (challenge.parameters["nonce"], challenge.parameters["qop"]) == ("n", "auth")
    assert "\n" not in challenge.parameters["realm"]


# Alphabets are written out: hypothesis would need seconds for a table of all that Unicode has.
LETTERS = string.ascii_letters + string.digits
OCTETS = "".join(map(chr, range(256)))  # all that http.client gives us
TOKENS = st.text("!#$%&'*+.^_`|~-" + LETTERS, min_size=1, max_size=8)
TOKEN68S = st.builds(operator.add, st.text("._~+/-" + LETTERS, min_size=1), st.sampled_from(["", "=", "=="]))
TEXTS = st.text([c for c in OCTETS if c == "\t" or (c >= " " and c != "\x7f")], max_size=12)
SPACES = st.sampled_from(["", " ", "\t", "  "])
COMMAS = st.sampled_from([",", ", ", " ,", ",,", " , \t, "])


@st.composite
def parameters(draw: st.DrawFn) -> tuple[str, str, str]:
    """Draws a parameter: its name, its value, and how both may be written."""
    name, space = draw(TOKENS), draw(SPACES)
    if draw(st.booleans()):
        value = draw(TOKENS)
        return name, value, f"{name}{space}={space}{value}"
    value = draw(TEXTS)
    quoted = "".join(f"\\{c}" if c in '"\\' or draw(st.booleans()) else c for c in value)
    return name, value, f'{name}{space}={space}"{quoted}"'


@st.composite
def challenges(draw: st.DrawFn) -> tuple[tuple[str, dict[str, str]], str]:
    """Draws a challenge: what it means, and how it may be written."""
    scheme = draw(TOKENS)
    if draw(st.booleans()):
        return (scheme.lower(), {}), f"{scheme} {draw(TOKEN68S)}"
    drawn = draw(st.lists(parameters(), max_size=4, unique_by=lambda parameter: parameter[0].lower()))
    meant = {name.lower(): value for name, value, _ in drawn}
    written = draw(COMMAS).join(text for _, _, text in drawn)
    return (scheme.lower(), meant), f"{scheme} {written}" if written else scheme


@given(st.lists(challenges(), max_size=4), st.lists(COMMAS, min_size=5, max_size=5))
def test_round_trip(drawn: list[tuple[tuple[str, dict[str, str]], str]], commas: list[str]) -> None:
    """Whatever challenges are written in whatever way the grammar allows are read back."""
    text = "".join(comma + written for comma, (_, written) in zip(commas, drawn, strict=False))
    assert found(text + commas[-1]) == [meant for meant, _ in drawn]


@pytest.mark.parametrize("octet", [*range(9), *range(10, 32), 127])
@pytest.mark.parametrize("quote", ["", "\\"], ids=["plain", "quoted"])
def test_control_characters(octet: int, quote: str) -> None:
    """A value with a control character other than a tab is none (RFC 9110, section 5.6.4)."""
    assert found(f'Digest a="b", realm="c{quote}{chr(octet)}d", nonce="e"')[:1] == [("digest", {"a": "b"})]


@given(st.one_of(st.text(OCTETS), st.text('Ab =",\\ \t\r\n\0ü')))
def test_any_text(text: str) -> None:
    """Any text at all is read without an error, and what is found in it has names that are tokens."""
    for scheme, read in found(text):
        assert all(re.fullmatch(r"[!#$%&'*+.^_`|~0-9a-z-]+", name) for name in (scheme, *read))


@pytest.mark.parametrize(
    "text",
    [
        "X " + "a" * 60_000 + '"',
        "X a" + " " * 60_000 + '"',
        "X a=" + "b" * 60_000 + ";",
        "X a=b" + " " * 60_000 + ";",
        'X a="' + "b" * 60_000,
        'X a="' + "\\" * 60_001,
        'X a="' + "\\b" * 30_000,
        "X " + "a=" * 30_000,
        "X " + "=" * 60_000 + ";",
        "a " * 30_000,
        "a," * 30_000,
        ", " * 30_000 + '"',
        "a b, " * 12_000 + '"',
        'a b="c", ' * 7_000 + '"',
        "=" * 60_000,
    ],
    ids=lambda text: f"{text[:8]}{text[-8:]}",
)
def test_no_text_takes_long(text: str) -> None:
    """A field as long as http.client takes is read in linear time, whatever makes a parser look twice."""
    start = time.process_time()
    parse_challenges(text)
    assert time.process_time() - start < 5


def test_many_lines_take_no_longer_than_one() -> None:
    """Of lines of 64 KiB, as many as http.client takes, the first one is read, and no time goes into more."""
    lines = ", ".join(['Digest realm="a"' + ", a" * 20_000] * 100)
    start = time.process_time()
    first, *_ = parse_challenges(lines)
    assert time.process_time() - start < 5
    assert (first.scheme, first.parameters) == ("digest", {"realm": "a"})
