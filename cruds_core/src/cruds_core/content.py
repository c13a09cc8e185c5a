"""The content of requests, made from data, and of answers, read to its end."""

from __future__ import annotations

import io
import json
import zlib
from typing import TYPE_CHECKING, Any, cast

from urllib3.exceptions import DecodeError, HTTPError, ProtocolError

from .deadline import OutOfTime, running
from .exceptions import ContentError
from .multipart import Fields, Stream, binary, encode_form, is_reader, utf8

if TYPE_CHECKING:
    from collections.abc import Iterator

    from urllib3 import BaseHTTPResponse

    from .request import Content, Headers

_CHUNK = 1 << 17  # bytes: as much as is decompressed at a time

# A server may compress twice by mistake. Each coding makes a thousand times as much of what is sent, all of
# which may come to nothing: of three, a few KB can keep the last but one busy for hours.
_MOST_CODINGS = 2


def encode(data: object, files: Fields | None, headers: Headers, *, serialize: bool) -> Content:
    """The content of a request. Sets Content-Type and, for a stream, Content-Length in ``headers``.

    Args:
        data: With ``serialize``, bytes as they are and anything else as JSON; without, str (as
            UTF-8), bytes or a binary reader. None is no content.
        files: Form fields, sent as multipart/form-data in place of ``data``.
        headers: The headers of the request. A Content-Type that is there stays, but for a form's.
        serialize: Whether ``data`` is written as JSON.

    Raises:
        ContentError: ``data`` or ``files`` cannot be encoded.
    """
    content: Content
    try:
        has_files = bool(files)
    except ValueError:  # an array has no truth
        has_files = True
    if has_files:
        content, content_type = encode_form(cast("Fields", files))
        headers["Content-Type"] = content_type  # only this one names the boundary
    elif data is None:
        return None
    elif isinstance(data, (bytes, bytearray, memoryview)):
        content = binary("data", cast("bytes", data))
    elif serialize:
        content = dump_json(data)
        headers.setdefault("Content-Type", "application/json")
    elif isinstance(data, str):
        content = utf8("data", data)
    elif is_reader(data):
        content = Stream([cast("Any", data)])
    else:
        msg = (
            f"data must be str, bytes or a binary file with serialize=False (got {type(data).__name__}); "
            "JSON is written with serialize=True"
        )
        raise ContentError(msg)
    if isinstance(content, Stream) and content.length is not None:
        headers["Content-Length"] = str(content.length)
    return content


def dump_json(data: object) -> bytes:
    """Data as JSON text in UTF-8 (RFC 8259).

    Raises:
        ContentError: The data holds something that JSON cannot.
    """
    try:
        text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        # The message of UnicodeEncodeError quotes the text: it says too much.
        reason = "it holds a lone surrogate" if isinstance(error, UnicodeEncodeError) else str(error)
        msg = f"data cannot be written as JSON: {reason}; convert it to what JSON has, or send bytes"
    raise ContentError(msg)


def receive(response: BaseHTTPResponse, limit: int) -> bytes:
    """All of an answer's content, decompressed, holding no more than ``limit`` bytes of it.

    Raises:
        TooLarge: There is more of it.
        urllib3.exceptions.HTTPError: It could not be read.
    """
    expected = response.length_remaining
    if expected is not None and "Content-Encoding" not in response.headers:  # else it may become less
        if expected > limit:
            raise TooLarge(response.status)
        return response.read()
    buffer = io.BytesIO()
    for chunk in chunks(response):
        buffer.write(chunk)
        if buffer.tell() > limit:
            raise TooLarge(response.status)
    return buffer.getvalue()


def receive_refusal(response: BaseHTTPResponse, limit: int) -> bytes:
    """What arrives of the content of an answer that is no success, at most ``limit`` bytes.

    Its status says what is to be known, whether or not the content is whole.
    """
    buffer = io.BytesIO()
    try:
        _check_codings(response)
        while chunk := response.read1(_CHUNK):  # which gives what there is before it fails
            buffer.write(chunk[: limit - buffer.tell()])
            if buffer.tell() == limit:
                response.close()
                break
            _check_time()
    except (HTTPError, ValueError, OutOfTime):  # as in chunks()
        # The rest of this answer must not be taken for the next one.
        response.close()
    return buffer.getvalue()


def chunks(response: BaseHTTPResponse) -> Iterator[bytes]:
    """An answer's content, decompressed, in pieces.

    Raises:
        urllib3.exceptions.HTTPError: It could not be read.
        OutOfTime: The time of the call has passed.
    """
    _check_codings(response)
    try:
        while chunk := response.read(_CHUNK):
            yield chunk
            _check_time()
    except ValueError as error:  # http.client, of a chunk whose size is negative
        msg = "Connection broken"
        raise ProtocolError(msg, error) from error
    if response.tell() and _is_cut(response):  # a HEAD announces what it has not
        msg = "the compressed content ended too early"
        raise DecodeError(msg)


def _check_time() -> None:
    """End what is decompressed without another read of the connection, which would look at the time."""
    if running.deadline is not None:
        running.deadline.cut()


def _check_codings(response: BaseHTTPResponse) -> None:
    """Refuse more codings than two, and of two any that is not known: urllib3 would take it for deflate."""
    codings = [coding.strip().lower() for coding in response.headers.get("Content-Encoding", "").split(",")]
    if len(codings) > _MOST_CODINGS:
        msg = "there are too many content codings"
        raise DecodeError(msg)
    if len(codings) > 1 and not set(codings) <= set(response.CONTENT_DECODERS):
        msg = "a content coding is not known"
        raise DecodeError(msg)


def _is_cut(response: BaseHTTPResponse) -> bool:
    """Whether a compressed stream has no end. urllib3 does not check it, and has no public way to see it."""
    decoder = getattr(response, "_decoder", None)
    return any(_has_no_end(each) for each in getattr(decoder, "_decoders", [decoder]))


def _has_no_end(decoder: object) -> bool:
    stream: Any = getattr(decoder, "_obj", None)
    is_finished = getattr(stream, "is_finished", None)  # of brotli
    is_whole = is_finished() if is_finished else getattr(stream, "eof", True)
    in_first_member = getattr(decoder, "_state", 0) == 0
    return is_whole is False and (in_first_member or not _is_padding(stream))


def _is_padding(stream: Any) -> bool:
    """Whether what follows the first member of gzip is no other one (RFC 1952, section 2.2).

    urllib3 ends quietly at any fault in a later member.
    """
    try:
        stream.copy().decompress(b"\x8b")  # of the two bytes that a member begins with, the second
    except zlib.error as error:
        return "header check" in str(error)
    return False


class TooLarge(Exception):
    """Raised inside the transport when an answer exceeds the limit. Never seen by a caller."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status
