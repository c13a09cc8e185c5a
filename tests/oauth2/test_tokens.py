"""Tokens: what an answer of the token endpoint is read as, and what is refused."""

import json
import logging
import math
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from servers.fault import Fault, reply

from cruds_auth_oauth2 import OAuth2, OAuthAccessTokenError, Token

ACCESS = "access-0123456789"
REFRESH = "refresh-0123456789"
ASKED = "read write"
CENTURY = timedelta(days=100 * 365)


def shown(value: object) -> str:
    """Returns the beginning of a parameter's repr: its id where values of several types look the same."""
    return repr(value)[:20]


def asked(server: Fault, **options: Any) -> OAuth2:
    """Returns a client that has got its first token from a server."""
    oauth2 = OAuth2(f"{server.url}/token", "id", "secret-0123", options.pop("scope", ASKED), **options)
    oauth2.access_token()
    return oauth2


def token(members: dict[str, Any] | None = None, **options: Any) -> Token:
    """Returns the token that an answer of these members brings, with an access token unless they have one."""
    with Fault(reply(200, json.dumps({"access_token": ACCESS} | (members or {})).encode())) as server:
        held = asked(server, **options).token
    assert held is not None
    return held


def fault(**members: Any) -> str:
    """Returns what the error says of an answer of these members, which cannot be used."""
    content = json.dumps({"access_token": ACCESS} | members).encode()
    with Fault(reply(200, content)) as server:
        oauth2 = OAuth2(f"{server.url}/token", "id", "secret-0123", ASKED)
        with pytest.raises(OAuthAccessTokenError) as caught:
            oauth2.access_token()
    assert oauth2.token is None
    assert not oauth2.is_valid()
    start = f"the client_credentials grant: POST {server.url}/token: the answer cannot be used: "
    assert str(caught.value).startswith(start)
    return str(caught.value).removeprefix(start)


# The type


@pytest.mark.parametrize("written", ["Bearer", "bearer", "BEARER", "bEaReR", "BearerToken", "", None])
def test_type(written: str | None) -> None:
    """A token of the type bearer, in any case, as Apigee writes it or unnamed, is one, and written Bearer."""
    assert token({"token_type": written}).token_type == "Bearer"


def test_type_that_is_left_out() -> None:
    """A token whose answer has no token_type at all is a bearer token."""
    assert token().token_type == "Bearer"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("mac", "mac"),
        ("DPoP", "DPoP"),
        ("N_A", "N_A"),
        ("bearer,mac", ""),
        (5, ""),
        (0, ""),
        (True, ""),
        (False, ""),
        (["bearer"], ""),
        ([], ""),
        ({}, ""),
    ],
)
def test_other_type(written: Any, said: str) -> None:
    """A token of another type is not used (RFC 6749, section 7.1), and the type is named if it is a name."""
    message = fault(token_type=written)
    assert message.startswith("its token_type is ")
    assert "not Bearer, the one that can be used" in message
    assert said in message


# The lifetime


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (3600, 3600),
        (3600.5, 3600.5),
        ("3600", 3600),
        ("3600.0", 3600),
        (" 60 ", 60),
        ("+60", 60),
        (1, 1),
        (0, 0),
        ("0", 0),
        (-1, 0),
        ("-60", 0),
        (-(10**400), 0),
        (1e300, CENTURY.total_seconds()),
        (10**18, CENTURY.total_seconds()),
        (10**400, CENTURY.total_seconds()),
        ("9" * 5000, CENTURY.total_seconds()),
        (math.inf, CENTURY.total_seconds()),
        (-math.inf, 0),
    ],
    ids=shown,
)
def test_lifetime(written: float | str, seconds: float) -> None:
    """Seconds, as a number or in a string, count from the request; what is negative has expired already."""
    before = time.time()
    held = token({"expires_in": written})
    after = time.time()
    assert held.expires_at is not None
    assert held.expires_at.utcoffset() == timedelta(0)
    expires = held.expires_at.timestamp()
    assert before - 0.001 <= expires - seconds <= after + 0.001
    assert held.is_valid(expires - 0.01)
    assert not held.is_valid(expires + 0.01)


@pytest.mark.parametrize("members", [{}, {"expires_in": None}, {"expires_in": ""}])
def test_lifetime_that_is_not_said(members: dict[str, Any]) -> None:
    """A token whose lifetime the server does not say has no end that we know, and is not renewed."""
    held = token(members)
    assert held.expires_at is None
    assert held.is_valid(time.time() + 10**9)
    assert held.is_fresh(time.time() + 10**9)


@pytest.mark.parametrize(
    "written", ["abc", "3600s", "0x10", "1e5", "inf", "٣٦٠٠", True, False, [], {}, math.nan]
)
def test_lifetime_that_is_no_number(written: Any) -> None:
    """A lifetime that is no number is neither taken for none nor for ever."""
    assert fault(expires_in=written) == "its expires_in is not a number of seconds"


def test_lifetime_begins_with_the_request() -> None:
    """The time that an answer takes on its way is no part of the lifetime."""
    answer = reply(200, json.dumps({"access_token": ACCESS, "expires_in": 60}).encode())
    with Fault([0.2, answer]) as server:
        held = asked(server).token
    assert held is not None
    assert held.expires_at is not None
    assert held.expires_at < datetime.now(UTC) + timedelta(seconds=59.85)


@pytest.mark.parametrize("seconds", [0, -5])
def test_token_that_is_born_expired(seconds: int) -> None:
    """A token without a lifetime is good for the call that got it, and the next call asks for another."""
    content = b'{"access_token": "%d", "expires_in": %d}'
    with Fault(*(reply(200, content % (number, seconds)) for number in (1, 2))) as server:
        oauth2 = OAuth2(f"{server.url}/token", "id", "secret-0123", ASKED)
        assert oauth2.access_token() == "1"
        assert not oauth2.is_valid()
        assert oauth2.access_token() == "2"


@pytest.mark.parametrize(
    ("lifetime", "leeway", "ahead"),
    [(3600, 30.0, 30), (3600, 0.0, 0), (3600, 5.0, 5), (100, 30.0, 10), (100, 3600.0, 10), (1, 30.0, 0.1)],
)
def test_leeway(lifetime: int, leeway: float, ahead: float) -> None:
    """A token is renewed as long before its end as the leeway says, and at most a tenth of its lifetime."""
    held = token({"expires_in": lifetime}, leeway=leeway)
    assert held.expires_at is not None
    renews = held.expires_at.timestamp() - ahead
    assert held.is_fresh(renews - 0.01)
    assert not held.is_fresh(renews + 0.01)


# The tokens themselves


@pytest.mark.parametrize("access", [ACCESS, "x", "a.b-c_d~e+f/g==", "{}|\\^`<>\"'", "null", "x" * 100_000])
def test_access_token(access: str) -> None:
    """Any text that one word of a header can carry is an access token, and comes back as it was sent."""
    held = token({"access_token": access})
    assert held.access_token == access
    assert str(held.access_token) == access


@pytest.mark.parametrize("access", [None, ""])
def test_access_token_that_is_missing(access: Any) -> None:
    """Nothing is not taken for an access token."""
    assert fault(access_token=access) == "its access_token is missing"


@pytest.mark.parametrize("access", [5, True, False, ["a"], {"a": "b"}])
def test_access_token_that_is_no_text(access: Any) -> None:
    """What is not a string is not made one."""
    assert fault(access_token=access) == "its access_token is not a string"


@pytest.mark.parametrize(
    "access", ["a b", " a", "a\r\nX-Evil: 1", "a\tb", "a\0", "\x7f", "tökén", "\ud800", " "]
)
def test_access_token_that_no_header_can_carry(access: str) -> None:
    """An access token that would break out of its header is refused when it comes, not when it is sent."""
    assert fault(access_token=access) == "its access_token is nothing that a header can carry"


@pytest.mark.parametrize("refresh", [REFRESH, "a b & c=d", "ü"])
def test_refresh_token(refresh: str) -> None:
    """Any text that a form can carry is a refresh token."""
    held = token({"refresh_token": refresh})
    assert held.refreshes
    assert held.refresh_token == refresh


@pytest.mark.parametrize("refresh", [None, ""])
def test_refresh_token_that_is_missing(refresh: Any) -> None:
    """Nothing is not taken for a refresh token."""
    held = token({"refresh_token": refresh})
    assert not held.refreshes
    assert held.refresh_token is None


@pytest.mark.parametrize("refresh", [5, True, ["a"], {}])
def test_refresh_token_that_is_no_text(refresh: Any) -> None:
    """An answer whose refresh token is not a string is not understood."""
    assert fault(refresh_token=refresh) == "its refresh_token is not a string"


@pytest.mark.parametrize("refresh", ["a\nb", "a\r", "\0", "\ud800"])
def test_refresh_token_that_cannot_be_sent(refresh: str) -> None:
    """A refresh token that cannot be sent is refused when it comes."""
    assert fault(refresh_token=refresh) == "its refresh_token holds characters that cannot be sent"


@pytest.mark.parametrize("name", ["access_token", "refresh_token", "token_type", "scope", "expires_in"])
def test_refused_value_is_not_shown(name: str) -> None:
    """The error about a member does not quote it: it may be a token in the wrong place."""
    assert ACCESS not in fault(**{name: [ACCESS]} if name != "scope" else {name: {ACCESS: ACCESS}})


# The scope


@pytest.mark.parametrize(
    ("members", "granted"),
    [
        ({}, ASKED),
        ({"scope": None}, ASKED),
        ({"scope": ""}, ASKED),
        ({"scope": []}, ASKED),
        ({"scope": "read write"}, "read write"),
        ({"scope": "write read"}, "write read"),
        ({"scope": ["read", "write"]}, "read write"),
    ],
)
def test_scope_as_asked(members: dict[str, Any], granted: str, caplog: pytest.LogCaptureFixture) -> None:
    """A server that grants what was asked may say so in any order or not at all (RFC 6749, section 5.1)."""
    assert token(members).scope == granted
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("written", "granted"),
    [
        ("read", "read"),
        ("read write admin", "read write admin"),
        ("other", "other"),
        (["read"], "read"),
        ("read 'quoted'", "read 'quoted'"),
    ],
)
def test_scope_other_than_asked(written: Any, granted: str, caplog: pytest.LogCaptureFixture) -> None:
    """A scope other than the asked one is recorded and logged once, and is no error."""
    assert token({"scope": written}).scope == granted
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    said = f'the client_credentials grant: the server grants the scope "{granted}", not "{ASKED}"'
    assert record.getMessage() == said


def test_scope_that_nobody_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    """Where no scope is asked for, what the server grants is recorded, and is no surprise."""
    assert token({"scope": "read"}, scope=None).scope == "read"
    assert token({}, scope=None).scope is None
    assert not caplog.records


@pytest.mark.parametrize("written", ["a\r\nERROR forged", "a\x1b[2Jb", "a\ud800b", "x" * 100_000])
def test_scope_of_any_characters(written: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever stands in a granted scope, what is logged of it is one line that is not long."""
    assert token({"scope": written}).scope == written
    (record,) = caplog.records
    assert record.getMessage().isprintable()
    assert len(record.getMessage().encode()) < 1500


@pytest.mark.parametrize("written", [5, True, {"read": 1}])
def test_scope_that_is_no_text(written: Any) -> None:
    """An answer whose scope is neither a string nor a list is not understood."""
    assert fault(scope=written) == "its scope is not a string"


# The details (RFC 9396) and all else


@pytest.mark.parametrize(
    ("written", "details"),
    [
        ([{"type": "payment", "amount": "5"}], [{"type": "payment", "amount": "5"}]),
        ('[{"type": "payment"}]', [{"type": "payment"}]),
        ([], []),
        (None, None),
    ],
)
def test_details(written: Any, details: list[dict[str, Any]] | None) -> None:
    """What is granted in detail is read from JSON, or from JSON in a string, as a form has it."""
    assert token({"authorization_details": written}).authorization_details == details


@pytest.mark.parametrize("written", [5, True, {"type": "x"}, "x", "{}", [1], ["x"], "[" * 100_000])
def test_details_that_are_no_list(written: Any) -> None:
    """Details that are no list of objects are not understood (RFC 9396, section 7)."""
    assert fault(authorization_details=written).startswith("its authorization_details are not a list")


def test_other_members() -> None:
    """What else the answer holds is in parameters, and the tokens are not."""
    more = {"id_token": "a.b.c", "refresh_expires_in": 5, "account": {"name": "ü", "ids": [1, None]}}
    known: dict[str, Any] = {
        "token_type": "Bearer",
        "expires_in": 60,
        "scope": "read",
        "authorization_details": [],
    }
    assert token({"refresh_token": REFRESH} | known | more).parameters == more


def deepest() -> int:
    """Returns how many levels of JSON can be read from here: fewer than that where the stack is deeper."""
    least, most = 10, 1_000_000
    while least + 1 < most:
        depth = (least + most) // 2
        try:
            json.loads("[" * depth + "]" * depth)
        except RecursionError:
            most = depth
        else:
            least = depth
    return least


@pytest.mark.parametrize(
    "member", [b'"x": %b', b'"scope": ["y", %b]', b'"authorization_details": [{"type": %b}]']
)
def test_nested_members(member: bytes) -> None:
    """Members that nest as deep as JSON can be read are no obstacle, and deeper ones an error."""
    outcomes: set[str] = set()
    bottom = deepest()
    with Fault(b"") as server:
        for depth in (10, 400, *range(bottom - 40, bottom, 4), bottom, bottom + 1, 2 * bottom):
            nested = b"[" * depth + b"]" * depth
            server.scripts[:] = [reply(200, b'{"access_token": "a", %b}' % (member % nested))]
            oauth2 = OAuth2(f"{server.url}/token", "id", "secret-0123", ASKED)
            try:
                assert oauth2.access_token() == "a"
            except OAuthAccessTokenError:
                outcomes.add("error")
            else:
                outcomes.add("token")
    assert outcomes == {"error", "token"}


# What stays of the token that was refreshed


@pytest.mark.parametrize(
    "members", [{}, {"refresh_token": None, "scope": None, "authorization_details": None}]
)
def test_refreshed_token_keeps_what_is_left_out(members: dict[str, Any]) -> None:
    """What the answer to a refresh leaves out stays as it was: refresh token, scope and details."""
    details = [{"type": "payment"}]
    first: dict[str, Any] = {"access_token": "1", "expires_in": 0, "refresh_token": REFRESH, "scope": "read"}
    answers = [first | {"authorization_details": details}, {"access_token": "2", "expires_in": 60} | members]
    with Fault(*(reply(200, json.dumps(answer).encode()) for answer in answers)) as server:
        oauth2 = asked(server, username="ada", password="pw-0123456")
        assert oauth2.access_token() == "2"
    held = oauth2.token
    assert held is not None
    assert (held.refresh_token, held.scope) == (REFRESH, "read")
    assert held.authorization_details == details
    assert held.expires_at is not None


def test_refreshed_token_takes_what_is_new() -> None:
    """What the answer to a refresh says is new; a lifetime that it leaves out is not the old one."""
    first: dict[str, Any] = {"access_token": "1", "expires_in": 0, "refresh_token": REFRESH, "scope": "read"}
    second: dict[str, Any] = {
        "access_token": "2",
        "refresh_token": "rotated",
        "scope": "write",
        "authorization_details": [],
    }
    with Fault(*(reply(200, json.dumps(answer).encode()) for answer in (first, second))) as server:
        oauth2 = asked(server, username="ada", password="pw-0123456")
        assert oauth2.access_token() == "2"
    held = oauth2.token
    assert held is not None
    assert (held.refresh_token, held.scope) == ("rotated", "write")
    assert (held.authorization_details, held.expires_at) == ([], None)


# The object


def test_repr() -> None:
    """The repr of a token says scope, expiry and type, and nothing else of it."""
    members: dict[str, Any] = {
        "refresh_token": REFRESH,
        "id_token": "a.b.c",
        "authorization_details": [{"type": "t", "x": "pii"}],
    }
    held = token(members | {"expires_in": 60})
    assert repr(held) == f"Token(scope='read write', expires_at={held.expires_at!r}, token_type='Bearer')"


@pytest.mark.parametrize("name", ["scope", "expires_at", "token_type", "authorization_details", "_access"])
def test_token_is_never_changed(name: str) -> None:
    """No attribute of a token can be set."""
    with pytest.raises((AttributeError, TypeError)):
        setattr(token(), name, None)


def test_what_a_token_hands_out_is_a_copy() -> None:
    """A program that changes the details or parameters that it was given does not change the token."""
    held = token({"authorization_details": [{"type": "payment"}], "more": {"a": 1}})
    details = held.authorization_details
    assert details is not None
    details[0]["type"] = "other"
    details.append({})
    held.parameters["more"]["a"] = 2
    assert held.authorization_details == [{"type": "payment"}]
    assert held.parameters == {"more": {"a": 1}}
