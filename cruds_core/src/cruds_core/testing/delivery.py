"""Checks that credentials arrive, with every request and every attempt, and nowhere else."""

from __future__ import annotations

import io
import tempfile
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

from ..exceptions import ClientError, CrudsError
from .loopback import Received
from .server import Reply
from .subject import Subject, client_of, ends, needs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..client import Client

#: A path and a query that are written with percent-encoding.
PLACE, QUERY = "things/ä b", {"q": "1+1=2 & more", "empty": ""}

#: What is sent: its name, and how to send it with a method.
CONTENTS: dict[str, Callable[[Client, str, str], object]] = {
    "no content": lambda client, method, place: client.request(method, place, params=QUERY),
    "JSON": lambda client, method, place: client.request(method, place, {"name": "ä", "n": [1]}, QUERY),
    "bytes": lambda client, method, place: client.request(method, place, b"\x00\xff" * 500, QUERY),
    "a form with a file": lambda client, method, place: client.request(
        method, place, params=QUERY, files={"field": "ä", "file": ("a.bin", io.BytesIO(b"\x00\xff" * 500))}
    ),
    "a streamed file": lambda client, method, place: _raw(
        client, method, place, io.BytesIO(b"\x00\xff" * 500)
    ),
}


class Delivery(Subject):
    """The checks."""

    def test_verify_refuses_a_request_without_credentials(self) -> None:
        """What is sent without the scheme does not pass `verify`: else no other check means anything."""
        with self._serve(lambda _: Reply.json({})) as server, client_of(server, None) as client:
            _raw(client, "POST", PLACE, b"content")
            if self._is_verified(server.calls[0]):
                self._fail(
                    "verify() accepts a request without credentials.\n"
                    "Let it assert that they are there, and that they are right."
                )

    def test_credentials_arrive_with_every_verb_and_content(self) -> None:
        """Every verb is sent with credentials, whatever its content."""
        with self._serve() as server, client_of(server, self._build(server)) as client:
            for what, send in _calls(client):
                self._answered(what, send)
                self._check(server.calls[-1], what)
            if self.sends_header:
                ends(partial(client.read, PLACE, headers={self.sends_header: "of=the-caller"}))
                if len(server.calls[-1].headers.getlist(self.sends_header)) > 1:
                    self._fail(
                        f'beside the "{self.sends_header}" of a caller, another one was sent.\n'
                        "Set request.headers[...], which replaces it, rather than add to it."
                    )

    def test_what_the_caller_sends_arrives(self) -> None:
        """A scheme adds to a request, and takes nothing of the caller's away."""
        own = {"X-Of-The-Caller": "own"}
        with (
            self._serve() as server,
            self._serve(lambda _: Reply.json({})) as plain,
            client_of(server, self._build(server)) as client,
            client_of(plain, None) as bare,
        ):
            client.request_headers = bare.request_headers = own
            for (what, send), (_, send_bare) in zip(_calls(client), _calls(bare), strict=True):
                ends(send)
                send_bare()
                if server.calls and (lost := _lost(plain.calls[-1], server.calls[-1])):
                    self._fail(
                        f"of {what}, the {lost} did not arrive as the caller sent it.\n"
                        "authenticate() adds to a request: what is signed or read stays as it is."
                    )

    def test_every_attempt_has_credentials_of_its_own(self) -> None:
        """A request that is sent again, for a 503 or a redirect within the origin, is authenticated anew."""
        with self._serve() as server:
            planned: list[Reply] = []

            def api(request: Received) -> Reply:
                reply = self._protected(request)
                return planned.pop(0) if planned and reply.status == 200 else reply

            server.api = api
            with client_of(server, self._build(server), retries=2, backoff_factor=0) as client:
                for content in ("JSON", "a streamed file"):
                    planned += [
                        Reply.json({}, 503),
                        Reply.json({}, 307, Location="/api/moved?to=here"),
                        Reply.json({}),
                    ]
                    start = len(server.calls)
                    self._answered(f"PUT with {content}", partial(CONTENTS[content], client, "PUT", PLACE))
                    sent = [
                        one
                        for one in server.calls[start:]
                        if not self.answers_challenge or self._is_verified(one)
                    ]
                    for number, request in enumerate(sent, 1):
                        self._check(request, f"attempt {number} of a PUT with {content}")
                    if len(sent) != 3:
                        self._fail(
                            f"of a PUT with {content}, {len(sent)} of 3 attempts arrived with credentials."
                        )
                    proofs = {one.headers.get(self.sends_header or "Authorization") for one in sent}
                    if self.single_use and len(proofs) < len(sent):
                        self._fail(
                            f'two attempts of a PUT with {content} had the same "{self.sends_header}".\n'
                            "It is declared to be good for one: make it anew in each authenticate()."
                        )

    def test_a_refusal_ends(self) -> None:
        """A server that answers 401 to all is asked twice at most, and not the same way twice."""
        with self._serve(self._refuse) as server:
            client = client_of(server, self._build(server))
            self._within(
                "a request that is refused with 401 each time", lambda: ends(lambda: client.create(PLACE, {}))
            )
            client.close()
            if len(server.calls) > 2:
                self._fail(
                    f"a request that is refused with 401 each time was sent {len(server.calls)} times.\n"
                    "handle_challenge() returns True to have it sent once more; it sends nothing itself."
                )
            if len(server.calls) == 2 and _same(*server.calls):
                self._fail(
                    "after a 401 the same request was sent again with the same credentials.\n"
                    "That cannot help, and may lock an account: let handle_challenge() return True only "
                    "where something has changed, such as a new token or an answer to the challenge."
                )

    def test_nothing_goes_to_another_origin(self) -> None:
        """A redirect to another origin takes no credentials there."""
        with self._serve() as server, self._serve(self._refuse) as elsewhere:

            def api(request: Received) -> Reply:
                reply = self._protected(request)
                return reply if reply.status == 401 else Reply.json({}, 302, Location=f"{elsewhere.url}/api/")

            server.api = api
            with client_of(server, self._build(server)) as client, client_of(server, None) as bare:
                if ends(lambda: client.read(PLACE)) is not None and not server.calls:
                    return  # what it raises without a request is for another check
                arrived = elsewhere.calls + elsewhere.others
                leaks = self._know(server)
                ends(lambda: bare.read(PLACE))
                plain = server.calls[-1].headers
                added = [name for name in server.calls[-2].headers if name not in plain]
            for request in arrived:
                lines = "\n".join(value for _, value in request.headers.items())
                found = [name for name in added if name in request.headers]
                if found or leaks.are_in(f"{request.url}\n{lines}") or len(arrived) > 1:
                    what = f'the header "{found[0]}"' if found else "more than one request"
                    self._fail(
                        f"a redirect to another origin took {what} there.\n"
                        "The transport sends no credentials to another origin: a scheme must not do it "
                        "itself, in handle_response() or anywhere else."
                    )

    @needs("signs_content")
    def test_the_signature_covers_the_content(self) -> None:
        """A request whose content was changed on the way does not pass `verify`."""
        with self._serve() as server, client_of(server, self._build(server)) as client:
            for name, send in CONTENTS.items():
                self._answered(f"POST with {name}", partial(send, client, "POST", PLACE))
                request = server.calls[-1]
                # As long as before, for a signature of the length; and no longer, for JSON with a space more.
                if self._is_verified(replace(request, content=request.content[::-1] or b" ")):
                    self._fail(
                        f"POST with {name} passes verify() with another content, too.\n"
                        "Sign request.content, as request.chunks() gives it for every kind of content."
                    )

    @needs("signs_content")
    def test_a_stream_that_cannot_be_read_twice_is_signed_or_refused(self) -> None:
        """What cannot be read to sign it and again to send it is not sent with a signature that is wrong."""
        with self._serve() as server:
            with client_of(server, self._build(server)) as client:
                try:
                    _raw(client, "POST", PLACE, _Stream(b"\x00\xff" * 500))
                except CrudsError:
                    return
                except Exception as error:
                    fault = f"raises {type(error).__name__}: {error}"
                else:
                    fault = self._fault(server.calls[-1]) or ""
                    fault = fault and f"arrived without the right credentials: {fault}"
            if fault:
                self._fail(
                    f"POST with a stream that cannot be read twice {fault}\n"
                    "Read it by request.chunks(), which raises an AuthError where request.is_repeatable is "
                    "False: what was read to be signed cannot be sent any more. Or declare in the signature "
                    "that it does not cover the content."
                )

    def _answered(self, what: str, send: Callable[[], object]) -> None:
        """Send a request which the API accepts."""
        try:
            self._within(what, send)
        except ClientError as error:
            hint = "verify() refused each attempt"
            if self.answers_challenge:
                hint += (
                    ", also the one after the challenge: handle_challenge() must return True to have it sent"
                )
            self._fail(f"{what} was refused with {error.status}: {hint}.")


class _Stream(io.BytesIO):
    """A file that is read once, as a pipe is."""

    def seekable(self) -> bool:
        return False

    def seek(self, offset: int, whence: int = 0, /) -> int:
        raise io.UnsupportedOperation("seek")


def _calls(client: Client) -> Iterator[tuple[str, Callable[[], object]]]:
    """Every verb, and every content that it may have."""
    for method in ("POST", "PATCH", "PUT"):
        for name, send in CONTENTS.items():
            yield f"{method} with {name}", partial(send, client, method, PLACE)
    for method in ("GET", "HEAD", "OPTIONS", "DELETE"):
        yield method, partial(client.request, method, PLACE, params=QUERY)
    yield "a download", partial(_download, client)


def _lost(sent: Received, arrived: Received) -> str | None:
    """What of a request as it was sent has not arrived."""
    before, after = urlsplit(sent.url), urlsplit(arrived.url)
    pairs = parse_qsl(after.query, keep_blank_values=True)
    is_form = sent.headers.get("Content-Type", "").startswith("multipart/")
    if sent.method != arrived.method:
        return "method"
    if unquote(before.path) != unquote(after.path):
        return "path"
    if any(pair not in pairs for pair in parse_qsl(before.query, keep_blank_values=True)):
        return "query"
    if any(name not in arrived.headers for name in sent.headers):
        return f'header "{next(name for name in sent.headers if name not in arrived.headers)}"'
    # The boundary of a form is another one each time.
    same = len(sent.content) == len(arrived.content) if is_form else sent.content == arrived.content
    return None if same else "content"


def _download(client: Client) -> None:
    with tempfile.TemporaryDirectory() as folder:
        client.download(PLACE, folder, params=QUERY)


def _raw(client: Client, method: str, place: str, content: object) -> object:
    """Send content as it is."""
    client.serialize = False
    try:
        return client.request(method, place, content, QUERY)
    finally:
        client.serialize = True


def _same(first: Received, second: Received) -> bool:
    return (first.url, list(first.headers.items())) == (second.url, list(second.headers.items()))
