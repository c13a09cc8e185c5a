"""What auth= stands for, and what a scheme may not do to a request."""

import dataclasses
import os
import pickle
import threading
from traceback import TracebackException
from typing import Any

import pytest
import urllib3
from servers.fault import Fault, reply

from cruds_core import AuthABC, AuthError, BearerToken, Client, PluginError, Request
from cruds_core.lock import ForkSafeLock


class Mover(AuthABC):
    """Sends requests to another place than their own."""

    def __init__(self, url: str) -> None:
        self.url = url

    def authenticate(self, request: Request) -> None:
        """Move the request."""
        request.url = self.url


class Asker(AuthABC):
    """Asks another server while it learns from an answer, and gets no answer there."""

    def authenticate(self, request: Request) -> None:
        """Add nothing."""

    def handle_response(self, request: Request, response: urllib3.BaseHTTPResponse) -> None:
        """Fail as urllib3 does."""
        raise urllib3.exceptions.ReadTimeoutError(urllib3.HTTPConnectionPool("elsewhere"), None, "its own")


class Selfish(AuthABC):
    """Gets its token with the Client that needs it."""

    client: Client

    def access_token(self) -> str:
        """Ask for it."""
        return str(self.client.read("token"))

    def is_valid(self) -> bool:
        """It never is."""
        return False


@dataclasses.dataclass(frozen=True)
class Frozen(AuthABC):
    """A scheme whose attributes cannot be set."""

    name: str

    def access_token(self) -> str:
        """A token."""
        return f"token-of-{self.name}"

    def is_valid(self) -> bool:
        """It always is."""
        return True


class Slotted(AuthABC):
    """A scheme with slots beside the attributes of its base."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def authenticate(self, request: Request) -> None:
        """Say the name."""
        request.headers["X-Name"] = self.name


def test_a_scheme_cannot_move_a_request() -> None:
    """A scheme that changes where a request goes is stopped before anything is sent."""
    with Fault(reply(200)) as server, Fault(reply(200)) as other:
        with (
            Client(server.url, Mover(f"{other.url}/x")) as client,
            pytest.raises(AuthError, match="elsewhere"),
        ):
            client.read("x")
        assert (server.received, other.received) == ([], [])


def test_the_trouble_of_a_scheme_is_its_own() -> None:
    """What a scheme raises while it learns from an answer is not taken for a failure of the request."""
    with Fault(reply(200)) as server, Client(server.url, Asker(), backoff_factor=0) as client:
        with pytest.raises(urllib3.exceptions.ReadTimeoutError, match="its own"):
            client.read("x")
        assert len(server.received) == 1


def test_a_scheme_that_needs_its_own_token() -> None:
    """A scheme that asks for its token with the Client that needs it gets an error, and does not hang."""
    scheme = Selfish()
    with Fault(reply(200)) as server, Client(server.url, scheme) as client:
        scheme.client = client
        raised: list[BaseException] = []

        def read() -> None:
            try:
                client.read("x")
            except AuthError as error:
                raised.append(error)

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        thread.join(10)
    assert [str(error) for error in raised] == [
        "Selfish needs its own token to get one; let it use a Client of its own"
    ]


def test_a_frozen_scheme_works() -> None:
    """A scheme may be a frozen dataclass."""
    with Fault(reply(200)) as server, Client(server.url, Frozen("ada")) as client:
        client.read("x")
        assert server.received[0].headers["Authorization"] == "Bearer token-of-ada"


@pytest.mark.parametrize("scheme", [Slotted("ada"), Frozen("ada")], ids=["slots", "frozen"])
def test_what_a_scheme_holds_is_pickled(scheme: Any) -> None:
    """A pickled scheme has its attributes and slots, and can be used."""
    copy = pickle.loads(pickle.dumps(scheme))  # noqa: S301 - our own
    assert copy.name == "ada"
    with Fault(reply(200)) as server, Client(server.url, copy) as client:
        client.read("x")


@pytest.mark.parametrize(
    ("auth", "said"),
    [
        (("a", "b", "c"), "got tuple of 3"),
        (BearerToken, "got a class: make an instance"),
        (lambda: "token", r"goes into BearerToken\(\.\.\.\)"),
        ("Bearer abc", '"Bearer", which is added'),
    ],
    ids=["three", "class", "callable", "word"],
)
def test_auth_that_is_nearly_right(auth: Any, said: str) -> None:
    """What was probably meant is in the message of what is refused."""
    with pytest.raises((TypeError, ValueError), match=said):
        Client("127.0.0.1", auth)


@pytest.mark.parametrize(
    ("auth", "options"),
    [
        ("hunter2hunter2", {"timeout": -1}),
        (("ada", "hunter2hunter2"), {"timeout": -1}),
        ({"scheme": "basic", "username": "ada", "password": "hunter2hunter2", "realm": "x"}, {}),
        ({"scheme": "nothing", "token": "hunter2hunter2"}, {}),
        ({"scheme": "bearer", "token": b"hunter2hunter2"}, {}),
    ],
)
def test_no_secret_stands_in_a_traceback(auth: Any, options: dict[str, Any]) -> None:
    """Whatever is wrong with a Client's arguments, its traceback with local variables shows no secret."""
    with pytest.raises((TypeError, ValueError, PluginError)) as caught:
        Client("127.0.0.1", auth, **options)
    error: BaseException | None = caught.value
    while error is not None:
        shown = TracebackException.from_exception(error, capture_locals=True)
        frames = [frame for frame in shown.stack if frame.filename != __file__]
        assert "hunter2" not in str([frame.locals for frame in frames]) + str(error)
        error = error.__cause__ or error.__context__


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_lock_that_is_held_at_a_fork() -> None:
    """The child of a fork that was made while a lock was held goes on, and finds it free."""
    lock = ForkSafeLock()
    with lock:
        lock.renew()  # what the child does at its start
    with lock:
        pass
