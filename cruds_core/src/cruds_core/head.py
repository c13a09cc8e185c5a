"""The head of an ordinary answer, parsed without the e-mail parser of the standard library.

Any other head is left to the standard library. Both read the same out of what is taken here.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from urllib3 import HTTPHeaderDict

# RFC 9112, sections 4 and 5, but for what is odd or seldom: interim answers, other versions, folded lines,
# bytes beyond ASCII, lines that end with LF alone, and more fields than the standard library takes.
_HEAD = re.compile(
    rb"HTTP/1\.1 ([2-5][0-9][0-9]) ([\t -~]*)\r\n"
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[ \t]*(?:[!-~][\t -~]*)?\r\n){0,99})\r\n"
)
_FIELD = re.compile(r"([^:]+):[ \t]*(.*)\r\n")
_LENGTH = re.compile(r"[0-9]{1,18}")


class Head(NamedTuple):
    """The head of a final answer, after which the connection stays open.

    Attributes:
        size: Bytes of the head.
        status: The status code.
        reason: The reason phrase.
        fields: The fields.
        length: Bytes of the content, as Content-Length says; None where it is chunked.
    """

    size: int
    status: int
    reason: str
    fields: HTTPHeaderDict
    length: int | None


def parse(received: bytes) -> Head | None:
    """The head that the bytes begin with; None where it has not come as a whole, or is no ordinary one."""
    found = _HEAD.match(received)
    if found is None:
        return None
    fields = HTTPHeaderDict()
    lines = fields._container  # pyright: ignore[reportPrivateUsage] # add() takes three times as long
    for name, value in _FIELD.findall(found[3].decode("ascii")):
        lines.setdefault(name.lower(), [name]).append(value)
    length: int | None
    # RFC 9112, section 6.3, for the ordinary: the content has one length, or else is chunked.
    match lines.get("content-length"), lines.get("transfer-encoding"):
        case [_, text], None if _LENGTH.fullmatch(text):
            length = int(text)
        case None, [_, "chunked"]:
            length = None
        case _:
            return None
    if found[1] == b"204" and length != 0:
        return None
    if "connection" in lines and fields["connection"].lower() != "keep-alive":
        return None
    return Head(found.end(), int(found[1]), found[2].decode("ascii").strip(), fields, length)
