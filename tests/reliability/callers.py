"""What a caller may pass that would change the request into another one: nothing of it is sent."""

import io
from collections.abc import Callable

from cruds_core import AuthABC, BearerToken, Client, ContentError, Request
from cruds_core.exceptions import AuthError

from .case import Case, Data, json

TITLE = "Callers"

_AS_NAMES = Data({}, "data; sent as %0D and %0A")
_BREAKS = {"CR": "\r", "LF": "\n", "CR LF": "\r\n", "NUL": "\0"}


class _Says(AuthABC):
    """A scheme that adds whatever it was given."""

    def __init__(self, value: str) -> None:
        self.value = value

    def authenticate(self, request: Request) -> None:
        """Add it."""
        request.headers["X-Key"] = self.value


def _with(auth: Callable[[], AuthABC]) -> Callable[[Client], object]:
    """Returns a call of a Client that has another scheme."""
    return lambda client: Client(client.host, auth=auth()).read("items")


def _case(
    where: str, name: str, gives: type[Exception] | Data, verb: str, call: Callable[[Client], object]
) -> Case:
    """Returns a case of one verb."""
    which = (
        "CR, LF, CR LF or NUL"
        if gives not in (_AS_NAMES, ContentError) or "type" in where
        else ("NUL" if name == "NUL" else "CR, LF or CR LF")
    )
    return Case(f"{which} in {where}", gives, [json(b"{}")], (verb,), call, variant=f": {name}")


def _injections(name: str, text: str) -> list[Case]:
    """Returns a case for each place that the text may come to."""
    bad = f"a{text}X-Injected: b"
    in_names = ContentError if text == "\0" else _AS_NAMES
    escaped = Data({}, "data; sent percent-encoded")
    return [
        _case("a uri", name, escaped, "read", lambda c: c.read(f"items/{bad}")),
        _case("the query of a uri", name, escaped, "read", lambda c: c.read(f"items?{bad}")),
        _case("params", name, escaped, "read", lambda c: c.read("items", {"a": bad})),
        _case("a name in params", name, escaped, "read", lambda c: c.read("items", {bad: "b"})),
        _case("a header", name, ValueError, "read", lambda c: c.read("items", headers={"X-A": bad})),
        _case(
            "the name of a header", name, ValueError, "read", lambda c: c.read("items", headers={bad: "b"})
        ),
        _case("a method", name, ValueError, "request", lambda c: c.request(f"GET{text}", "items")),
        _case("a token", name, ValueError, "read", _with(lambda: BearerToken(bad))),
        _case(
            "a token that a callable returns",
            name,
            AuthError,
            "read",
            _with(lambda: BearerToken(lambda: bad)),
        ),
        _case("what a scheme adds", name, ValueError, "read", _with(lambda: _Says(bad))),
        _case("a host", name, ValueError, "read", lambda _: Client(f"http://127.0.0.1{text}/")),
        _case(
            "the name of a file",
            name,
            in_names,
            "create",
            lambda c: c.create("items", None, files={"f": (bad, b"x")}),
        ),
        _case(
            "the name of a field",
            name,
            in_names,
            "create",
            lambda c: c.create("items", None, files={bad: "x"}),
        ),
        _case(
            "the type of a file",
            name,
            ContentError,
            "create",
            lambda c: c.create("items", None, files={"f": ("f.txt", io.BytesIO(b"x"), bad)}),
        ),
    ]


CASES = [case for name, text in _BREAKS.items() for case in _injections(name, text)]
