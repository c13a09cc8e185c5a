"""Refusals with every form of Retry-After, and redirects that lead nowhere or elsewhere."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from cruds_core import ClientError, RedirectError, ServerError

from .case import SECRET, Case, Data, json

TITLE = "Refusals and redirects"

_DATA = ("read", "create")
_NOW = datetime.now(UTC)


def _after(value: str, status: str = "503 X") -> bytes:
    """Returns a refusal with a Retry-After."""
    return json(b"{}", b"Retry-After: %b\r\n" % value.encode(), status.encode())


def _date(seconds: int) -> str:
    """Returns a date as HTTP writes it."""
    return format_datetime(_NOW + timedelta(seconds=seconds), usegmt=True)


def _to(location: str, status: str = "302 X") -> bytes:
    """Returns a redirect."""
    return json(b"", b"Location: %b\r\n" % location.encode("latin-1"), status.encode())


_GOOD = json(b"{}")
_FORMS = {
    "0": "0",
    "a date that has passed": _date(-60),
    "a date of RFC 850": (_NOW - timedelta(60)).strftime("%A, %d-%b-%y %H:%M:%S GMT"),
    "a date of asctime()": (_NOW - timedelta(60)).strftime("%a %b %e %H:%M:%S %Y"),
    "-5": "-5",
    "0.5": "0.5",
    "nothing": "",
    "words": "in a while",
    "5000 digits": "9" * 5000,
    "two values": "0, 1",
    "a date that there is not": "Mon, 32 Foo 2026 99:99:99 GMT",
    "an overlong year": "Mon, 01 Jan 99999 00:00:00 GMT",
    "the token": SECRET,
}

CASES = [
    *(
        Case(f"{status} with Retry-After: {form}", Data({}), [_after(value, f"{status} X"), _GOOD], _DATA)
        for status in (429, 503)
        for form, value in _FORMS.items()
    ),
    Case("429 with Retry-After: 1", Data({}), [_after("1", "429 X"), json(b"{}")], ("create",), seconds=9),
    Case("503 with Retry-After: 121", ServerError, [_after("121")], says="asks to wait 121 s"),
    Case(
        "429 with Retry-After: a date in an hour",
        ClientError,
        [_after(_date(3600), "429 X")],
        says="asks to wait",
    ),
    Case("503 with Retry-After: the year 9999", ServerError, [_after("Fri, 31 Dec 9999 23:59:59 GMT")]),
    Case(
        "503 with a Retry-After over total_timeout",
        ServerError,
        [_after("60")],
        options={"total_timeout": 5},
        says="asks to wait 60 s",
    ),
    Case("503 for ever", ServerError, [_after("0")], sent=2, says="(2 attempts)"),
    Case(
        "a redirect to itself",
        RedirectError,
        [_to("/items")],
        ("read", "delete", "download"),
        says="more than the 20",
    ),
    Case(
        "a POST that is redirected to itself", RedirectError, [_to("/items", "307 X")], ("create",), sent=21
    ),
    Case(
        "a redirect to another origin",
        Data({}),
        [_to("http://localhost:@PORT@/items"), json(b"{}")],
        ("read",),
    ),
    Case(
        "a redirect with content to another origin",
        RedirectError,
        [_to("http://localhost:@PORT@/items", "307 X")],
        ("create", "delete"),
        says="to another origin",
    ),
    Case(
        "a redirect to another origin that takes the token along",
        RedirectError,
        [_to(f"http://localhost:@PORT@/items?token={SECRET}")],
        ("read", "download"),
        says="takes the credentials to another origin",
    ),
    Case(
        "a redirect to a host that is called like the token",
        RedirectError,
        [_to(f"http://{SECRET}.localhost:@PORT@/", "307 X")],
        says="to another origin",
    ),
    Case(
        "a redirect to a path with the token",
        RedirectError,
        [_to(f"/items/{SECRET}")],
        ("read", "delete", "download"),
        says="shows the credentials",
    ),
    Case(
        "401 that asks for the token as a scheme",
        ClientError,
        [json(b"{}", b"WWW-Authenticate: %b realm=x\r\n" % SECRET.encode(), b"401 X")],
        says="asks for ***",
    ),
    Case(
        "a redirect from https to http",
        RedirectError,
        [_to("http://127.0.0.1:@PORT@/items")],
        ("read", "delete"),
        place="good",
        says="from https to http",
    ),
    *(
        Case(f"a redirect to `{where}`", RedirectError, [_to(location)], ("read", "delete", "download"))
        for where, location in {
            "file:///etc/passwd": "file:///etc/passwd",
            "ftp:": "ftp://127.0.0.1/items",
            "javascript:": "javascript:alert(1)",
            "data:": "data:,{}",
            "http:": "http:",
            "http://": "http://",
            "http://[": "http://[",
            "http://127.0.0.1:99999": "http://127.0.0.1:99999/",
            "": "",
        }.items()
    ),
    Case("a redirect to the token", RedirectError, [_to(f"{SECRET}:x")], ("read",)),
    Case(
        "a redirect without a Location",
        RedirectError,
        [json(b"", status=b"302 X")],
        ("read", "create", "delete"),
    ),
    Case("300 without a Location", Data(b""), [json(b"", status=b"300 X")], ("read",)),
]
