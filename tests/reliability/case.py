"""A fault, and what a call has to make of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from servers.fault import Script, Step

from cruds_core import Client

#: What the Client sends as its bearer token, and servers say back to it.
SECRET = "marked-secret-5f1d"

#: The error that is raised, by its exact class, or what is returned.
Outcome: TypeAlias = "type[Exception] | Data"

OK = b"HTTP/1.1 200 OK\r\n"
ALL = ("read", "create", "download")  # no content, content that is not repeated, an answer that is streamed


@dataclass(frozen=True)
class Data:
    """The data that a call returns; NaN equals NaN.

    Attributes:
        value: The data.
        shown: What the table says of it; what Python says unless given.
    """

    value: object
    shown: str = ""

    def __str__(self) -> str:
        return self.shown or f"data: `{self.value!r}`"


@dataclass(frozen=True)
class Case:
    """A fault.

    Attributes:
        fault: What it is: a row of the table.
        gives: The outcome.
        scripts: The answers of the server, one for each request, the last one for all further ones; in bytes,
            ``@PORT@`` stands for the port of the server.
        verbs: The verbs that it is tried with.
        call: What is called in place of a verb; an error of it has sent nothing.
        place: Where the request goes.
        options: Arguments of the Client.
        calls: How many calls are made.
        variant: What tells it from others of its row.
        keeps: Whether the connection may be used again, as the answer was whole.
        sent: How many times a POST or PATCH may have arrived when an error is raised.
        says: What the message of the error has.
        seconds: The longest that a call may take.
        megabytes: The most memory that a call may take, with what the server in this process takes.
    """

    fault: str
    gives: Outcome
    scripts: Sequence[Script] = field(default=(), repr=False)
    verbs: tuple[str, ...] = ALL
    call: Callable[[Client], object] | None = None
    place: str = "server"
    options: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)
    calls: int = 1
    variant: str = ""
    keeps: bool = False
    sent: int = 1
    says: str = ""
    seconds: float = 5.0
    megabytes: float = 2.0

    @property
    def row(self) -> str:
        """The row of the table."""
        verbs = ", ".join(self.verbs)
        outcome = str(self.gives) if isinstance(self.gives, Data) else f"`{self.gives.__name__}`"
        bound = f"{self.seconds:g} s, {self.megabytes:g} MB"
        return f"| {self.fault} | {verbs} | {outcome} | {bound} |".replace("\\", "\\\\")


def drip(content: bytes) -> list[Step]:
    """Returns a script that sends content byte by byte, over 60 s and more."""
    steps: list[Step] = []
    for byte in content:
        steps += [bytes([byte]), 0.02]
    return steps * (3000 // len(content) + 1)


def json(
    content: bytes, head: bytes = b"Content-Type: application/json\r\n", status: bytes = b"200 OK"
) -> bytes:
    """Returns a whole answer."""
    return b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n%b" % (status, head, len(content), content)
