"""Checks that no secret is to be seen where anybody looks, whatever goes wrong."""

from __future__ import annotations

import contextlib
import io
import logging
import pickle
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

from ..exceptions import CrudsError
from .leaks import SHORTEST, Leaks
from .loopback import Received
from .server import Reply
from .subject import CHALLENGE, Subject, client_of, ends

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..client import Client
    from .loopback import Answer, Loopback


class Secrecy(Subject):
    """The checks."""

    def test_its_secrets_can_be_told_from_words(self) -> None:
        """The options that are declared to be secrets are there, and too long to stand anywhere by chance."""
        with self._serve() as server:
            self._build(server)
            options = self.options(server.url)
        for name in self.secrets:
            if name not in options:
                self._fail(
                    f'secrets names "{name}", which options() does not have: {", ".join(options) or "none"}.'
                )
            if options[name] is not None and not Leaks().know(options[name]):
                self._fail(
                    f'the option "{name}", which secrets names, must be a text of {SHORTEST} characters or '
                    "more, or a callable that returns one.\n"
                    "A shorter one may stand anywhere by chance, and what an object holds is not known."
                )

    def test_its_repr_hides_secrets(self) -> None:
        """Neither repr nor str of the scheme, or of a Client that uses it, shows a secret."""
        with self._serve() as server:
            auth = self._build(server)
            with client_of(server, auth) as client:
                client.read("thing")
                leaks = self._know(server)
                for one in (auth, client):
                    if leaks.are_in(f"{one!r} {one!s} {one}"):
                        self._fail(
                            f"the repr or str of {type(one).__name__} shows a secret.\n"
                            "A dataclass shows its fields: give it a __repr__ of its own, or hold secrets in "
                            "a cruds_core.Secret, which shows ***."
                        )

    def test_nothing_that_is_printed_shows_secrets(self) -> None:
        """Nothing that is logged, warned of or printed shows a secret, at any level."""
        shown, logged = io.StringIO(), list[logging.LogRecord]()
        root, make = logging.getLogger(), logging.getLogRecordFactory()
        level = root.level
        root.setLevel(logging.DEBUG)

        def record(*args: Any, **options: Any) -> logging.LogRecord:
            logged.append(make(*args, **options))
            return logged[-1]

        # Wherever it goes: a logger may have handlers of its own, and tell its parents nothing.
        logging.setLogRecordFactory(record)
        try:
            with self._serve() as server, warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
                    client = client_of(server, self._build(server))
                    client.create("thing", {"n": 1})
                    server.api = self._refuse
                    ends(lambda: client.read("thing"))
                    client.close()
                leaks = self._know(server)
        finally:
            logging.setLogRecordFactory(make)
            root.setLevel(level)
        told = [shown.getvalue(), *(str(one.message) for one in warned), *map(_formatted, logged)]
        if leaks.are_in("\n".join(told)):
            self._fail(
                "what is logged, warned of or printed shows a secret.\n"
                "Log what is done, never with what: no headers, no options, no content of a token's answer."
            )

    def test_failures_are_errors_of_cruds(self) -> None:
        """Whatever a server answers, the caller sees a CrudsError, and no KeyError of a parser."""
        for what, error, _ in self._failures():
            if error is not None and not isinstance(error, CrudsError):
                self._fail(
                    f"{what} raises {type(error).__name__}: {error}\n"
                    "Raise an AuthError that says what happened and what to do, from the other as its cause."
                )

    def test_errors_hide_secrets(self) -> None:
        """No exception shows a secret: not in its message, its causes or its traceback with locals."""
        for what, error, server in self._failures():
            leaks = self._know(server)
            if error is not None and (places := list(leaks.in_error(error))):
                self._fail(
                    f"after {what}, a secret stands in {places[0]}.\n"
                    "Keep what servers answer out of messages, and secrets in a cruds_core.Secret, which "
                    "says nothing in a traceback."
                )

    def test_its_pickle_hides_secrets(self) -> None:
        """A pickle of the scheme is refused, or holds no secret."""
        with self._serve() as server:
            auth = self._build(server)
            with client_of(server, auth) as client:
                client.read("thing")
            leaks = self._know(server)
            try:
                content = pickle.dumps(auth).decode("latin-1")
            except Exception as error:
                content = str(error)
            if leaks.are_in(content):
                self._fail(
                    "a pickle of it holds a secret, which then lies in a queue or on a disk.\n"
                    "Hold secrets in a cruds_core.Secret, which refuses to pickle a plain text and takes a "
                    "callable in its place; leave tokens out of __getstate__()."
                )

    def _failures(self) -> Iterator[tuple[str, Exception | None, Loopback]]:
        """What goes wrong with an API, and with the server of the scheme: with the error of each."""
        challenge = self.challenge()
        refusals: dict[str, Answer] = {
            f"a {status} of the API that repeats what was sent": partial(
                _echo, status=status, challenge=challenge
            )
            for status in (401, 403, 500)
        }
        refusals |= {f'the challenge "{text}"': partial(_ask, challenge=text) for text in _garbled(challenge)}
        with self._serve() as server:
            api, service = server.api, server.service
            for what, refusal in refusals.items():
                with client_of(server, self._build(server)) as client:
                    ends(partial(client.read, "thing"))
                    server.api = refusal
                    yield what, _attempt(client), server
                server.api = api
            for what, answer in _BROKEN.items() if self.needs_server else ():
                with client_of(server, self._build(server)) as client:
                    server.service = answer
                    yield f"its server answering with {what}", _attempt(client), server
                server.service = service
        if not self.needs_server:
            return
        with self._serve() as server:
            auth = self._build(server)
        with self._serve() as other, client_of(other, auth) as client:
            yield "its server being unreachable", _attempt(client), other


def _formatted(record: logging.LogRecord) -> str:
    try:
        return logging.Formatter().format(record)
    except Exception:  # its arguments do not fit: logging prints them as they are
        return f"{record.msg} {record.args}"


def _attempt(client: Client) -> Exception | None:
    return ends(lambda: client.create("thing", {"n": 1}))


def _echo(request: Received, status: int = 400, challenge: str = CHALLENGE) -> Reply:
    """Repeat all that a request told."""
    lines = [request.url, *(f"{name}: {value}" for name, value in request.headers.items())]
    lines.append(request.content.decode("latin-1"))
    return Reply.json(
        {"error": "invalid_request", "detail": "\n".join(lines)}, status, **{"WWW-Authenticate": challenge}
    )


def _ask(_: Received, challenge: str) -> Reply:
    return Reply(401, b"", {"WWW-Authenticate": challenge})


def _garbled(challenge: str) -> Iterator[str]:
    """Challenges that cannot be read."""
    scheme = challenge.partition(" ")[0]
    yield from (
        "",
        scheme,
        f"{scheme} ,,=",
        f'{scheme} realm="',
        challenge[: len(challenge) // 2],
        "Other a=b",
    )


#: Answers of a scheme's server that give it nothing to work with.
_BROKEN: dict[str, Answer] = {
    "a 400 that repeats what was sent": _echo,
    "a 500 that repeats what was sent": lambda request: _echo(request, 500),
    "an empty 200": lambda _: Reply(200),
    "an empty object": lambda _: Reply.json({}),
    "a list": lambda _: Reply.json([]),
    "HTML": lambda _: Reply(200, b"<html>", {"Content-Type": "text/html"}),
    "JSON that is cut": lambda _: Reply(200, b'{"access_token": "', {"Content-Type": "application/json"}),
}
