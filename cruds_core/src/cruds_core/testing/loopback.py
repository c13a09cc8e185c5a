"""The server of the contract: an API that sees credentials, and beside it what a scheme itself talks to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from urllib3 import HTTPHeaderDict

from .server import Connection, Reply, Server

#: The path of the API. Below all others is the server of the scheme.
API = "/api"


@dataclass(frozen=True)
class Received:
    """A request as it arrived.

    Attributes:
        method: The method.
        url: The absolute URL with its query, percent-encoded as it was sent.
        headers: The headers, with those that the connection added.
        content: The content, without the framing of chunks.
    """

    method: str
    url: str
    headers: HTTPHeaderDict = field(repr=False)
    content: bytes = field(repr=False)
    #: What `verify` said of it, once it was asked: a server that remembers nonces takes each request once.
    verdict: list[str | None] = field(
        default_factory=list["str | None"], init=False, repr=False, compare=False
    )

    @property
    def target(self) -> str:
        """The path and the query, as they stood in the request line."""
        return "/" + self.url.split("/", 3)[3]


#: What answers a request.
Answer: TypeAlias = "Callable[[Received], Reply]"


class Loopback(Server):
    """A server on 127.0.0.1, from its construction until `close()`; a context manager.

    Args:
        api: Answers what is sent to the API.
        service: Answers all other requests.

    Attributes:
        calls: What was sent to the API, in order of arrival.
        others: What was sent elsewhere.
        faults: What ``api`` and ``service`` raised.
    """

    def __init__(self, api: Answer, service: Answer) -> None:
        self.api, self.service = api, service
        self.calls: list[Received] = []
        self.others: list[Received] = []
        self.faults: list[BaseException] = []
        super().__init__(_Connection)


class _Connection(Connection):
    server: Loopback  # pyright: ignore[reportIncompatibleVariableOverride]

    def reply(self) -> Reply:
        headers = HTTPHeaderDict(self.headers.items())
        received = Received(
            self.command, self.server.url + self.requestline.split()[1], headers, self.content
        )
        is_call = self.path == API or self.path.startswith(f"{API}/")
        (self.server.calls if is_call else self.server.others).append(received)
        try:
            return (self.server.api if is_call else self.server.service)(received)
        except BaseException as fault:
            self.server.faults.append(fault)
            return self.problem(500, "the test itself raised")
