"""Content that is streamed: files, and multipart/form-data around them."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from http.client import HTTPException
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from urllib3.exceptions import HTTPError
from urllib3.fields import RequestField, guess_content_type
from urllib3.filepost import choose_boundary

from .exceptions import ContentError
from .request import Reader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sized

#: Form fields as ``files`` takes them, by name or as (name, value) pairs. A value is str, bytes, int or a
#: binary reader, or one of urllib3's tuples around it: (filename, data) or (filename, data, content_type).
Fields: TypeAlias = "Mapping[str, Any] | Iterable[tuple[str, Any] | RequestField]"


class Stream:
    """Several pieces of content read one after the other, in constant memory.

    Each reader is sent from where it stood when the Stream was made. It is measured then, and
    exactly that much of it is sent, so that the length announced holds whatever becomes of the file.

    Args:
        parts: Bytes and binary readers, in the order in which they are sent.

    Raises:
        ContentError: A reader is open in text mode.
    """

    def __init__(self, parts: Iterable[bytes | Reader]) -> None:
        self._parts = [_Part(part) for part in parts]
        self._current = 0
        sizes = [part.size for part in self._parts]
        #: The length in bytes, or None when a reader that cannot seek is among the parts.
        self.length = None if None in sizes else sum(cast("list[int]", sizes))

    def read(self, size: int = -1, /) -> bytes:
        """The next ``size`` bytes, fewer at the end of a part, all of them with -1; ``b""`` at the end."""
        if size < 0:
            return b"".join(iter(lambda: self.read(io.DEFAULT_BUFFER_SIZE), b""))
        while size and self._current < len(self._parts):
            if chunk := self._parts[self._current].read(size):
                return chunk
            self._current += 1
        return b""

    def seekable(self) -> bool:
        """Whether it can be read again from the start."""
        return self.length is not None

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go back to the start: the only place there is to go to."""
        if offset or whence or not self.seekable():
            raise io.UnsupportedOperation("a Stream can only be rewound, and only when its files can seek")
        for part in self._parts:
            part.rewind()
        self._current = 0
        return 0


class _Part:
    """Bytes, or a reader from where it stands."""

    def __init__(self, source: bytes | Reader) -> None:
        if isinstance(source, io.TextIOBase):
            raise ContentError('a file must be opened in binary mode, "rb", to be sent as it is')
        self._reader: Reader = io.BytesIO(source) if isinstance(source, bytes) else source
        self.size: int | None = None
        self._start = 0
        if self._seekable():
            self._start = self._place(self._reader.seek(0, os.SEEK_CUR))
            with suppress(OSError):  # of /proc, whose files can seek, but not to their end
                end = self._place(self._reader.seek(0, os.SEEK_END))
                self.size = max(0, end - self._start)  # it may stand beyond its end
            self._reader.seek(self._start)
        self._left = self.size
        self._begun = False

    def _seekable(self) -> bool:
        if getattr(self._reader, "closed", False):
            msg = "a file to be sent is closed"
            raise ContentError(msg)
        seekable = getattr(self._reader, "seekable", None)
        return bool(seekable()) if seekable else False

    @staticmethod
    def _place(found: object) -> int:
        if not isinstance(found, int):  # as of a text file that codecs opened
            msg = f"a file must be binary, and its seek() return the place (it returned {_kind(found)})"
            raise ContentError(msg)
        return found

    def read(self, size: int) -> bytes:
        try:
            return self._read(size)
        # Else they would be taken for those of the connection: it may read from another one.
        except (OSError, HTTPError, HTTPException) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            msg = f"a file could not be read while it was being sent: {reason}"
            raise ContentError(msg) from error

    def _read(self, size: int) -> bytes:
        if self._left is None:
            return _bytes(self._reader.read(size))
        if not self._begun:  # it may stand elsewhere by now: one file can be in several fields
            self._reader.seek(self._start)
            self._begun = True
        chunk = _bytes(self._reader.read(min(size, self._left))) if self._left else b""
        if self._left and not chunk:
            msg = f"a file became {self._left} bytes shorter while it was being sent"
            raise ContentError(msg)
        if len(chunk) > self._left:  # the server would take the rest for the next request
            msg = "a reader returned more bytes than it was asked for"
            raise ContentError(msg)
        self._left -= len(chunk)
        return chunk

    def rewind(self) -> None:
        self._left = self.size
        self._begun = False


def _bytes(chunk: object) -> bytes:
    if not isinstance(chunk, bytes):
        msg = f"a reader must return bytes (it returned {type(chunk).__name__})"
        raise ContentError(msg)
    return chunk


def encode_form(fields: Fields) -> tuple[bytes | Stream, str]:
    """Fields as multipart/form-data (RFC 7578).

    Returns:
        The content, as bytes where all of it is in memory, and its content type.

    Raises:
        ContentError: A field has another form than urllib3's field tuples.
    """
    boundary = choose_boundary()
    parts: list[bytes | Reader] = []
    text = bytearray()
    for name, field in _fields(fields):
        text += f"--{boundary}\r\n".encode() + utf8("files", field.render_headers())
        data: object = field.data
        if is_reader(data):
            parts += [bytes(text), cast("Reader", data)]
            text.clear()
        else:
            text += _field_bytes(name, data)
        text += b"\r\n"
    text += f"--{boundary}--\r\n".encode()
    content_type = f"multipart/form-data; boundary={boundary}"
    return (Stream([*parts, bytes(text)]) if parts else bytes(text)), content_type


def is_reader(data: object) -> bool:
    """Whether it is a file, or anything that reads like one."""
    return not isinstance(data, type) and callable(getattr(data, "read", None))


def utf8(name: str, text: str) -> bytes:
    """Text in UTF-8.

    Raises:
        ContentError: It holds a lone surrogate.
    """
    try:
        return text.encode()
    except UnicodeEncodeError:
        msg = f"{name} holds a lone surrogate, which no text in UTF-8 can; send bytes, or decode it otherwise"
    raise ContentError(msg)


def binary(name: str, data: bytes | bytearray | memoryview) -> bytes:
    """What is bytes already.

    Raises:
        ContentError: It is a memoryview that has been released.
    """
    try:
        return bytes(data)
    except ValueError:
        msg = f"{name} holds a memoryview that has been released; send it before, or send bytes"
    raise ContentError(msg)


def _fields(fields: Fields) -> Iterator[tuple[str, RequestField]]:
    items: object = cast("Any", fields).items() if isinstance(fields, Mapping) else fields
    if isinstance(items, (str, bytes)) or is_reader(items) or not isinstance(items, Iterable):
        msg = f"files must be a mapping or (name, value) pairs (got {type(items).__name__})"
        raise ContentError(msg)
    entries = cast("Any", items)
    for item in entries:
        name, field = ("RequestField", item) if isinstance(item, RequestField) else _field(item)
        for header, value in field.headers.items():
            is_text = isinstance(cast("Any", header), str) and isinstance(value, str | None)
            if not is_text or re.search(r"[\r\n\0]", f"{header}{value}"):
                shown = repr(header) if isinstance(header, str) else type(header).__name__
                msg = f"the header {shown} of one of files must be text without a line break"
                raise ContentError(msg)
        yield name, field


def _field(pair: Any) -> tuple[str, RequestField]:
    if not _is_tuple(pair, 2) or not isinstance(pair[0], str):
        msg = f"files must be a mapping or (name, value) pairs, by names that are str (got {_kind(pair)})"
        raise ContentError(msg)
    name, value = pair
    if is_reader(value):  # a bare file is sent under its own name
        path = getattr(value, "name", None)
        value = (PurePath(path).name if isinstance(path, str) else name, value)
    if _is_tuple(value) and not (
        _is_tuple(value, 2, 3) and all(isinstance(item, str | None) for item in (value[0], *value[2:]))
    ):
        msg = f'files["{name}"] must be data, (filename, data) or (filename, data, type) (got {_kind(value)})'
        raise ContentError(msg)
    if _is_tuple(value, 2) and value[0] is not None:
        # urllib3 would have the name read as a URL, which "report://[1].txt" cannot be.
        filename, data = value
        value = filename, data, guess_content_type(f"./{filename}")
    return name, RequestField.from_tuples(name, value)


def _is_tuple(value: object, *lengths: int) -> bool:
    return isinstance(value, tuple) and (not lengths or len(cast("Sized", value)) in lengths)


def _kind(value: Any) -> str:
    if _is_tuple(value):
        return f"a tuple of {', '.join(type(item).__name__ for item in value)}"
    return type(value).__name__


def _field_bytes(name: str, data: object) -> bytes:
    if isinstance(data, (bytes, bytearray, memoryview)):
        return binary("files", cast("bytes", data))
    if isinstance(data, str):
        return utf8("files", data)
    got = type(data).__name__
    if isinstance(data, int) and not isinstance(data, bool):
        with suppress(ValueError):
            return str(int(data)).encode()  # of an Enum, its value
        got += " of more digits than Python writes"
    msg = f'files["{name}"] must be str, bytes, int or a binary file (got {got})'
    raise ContentError(msg)
