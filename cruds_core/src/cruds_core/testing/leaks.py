"""Looking for secrets in what anybody could see."""

from __future__ import annotations

import base64
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import quote, quote_plus

from ..secret import credentials_in, is_credential

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from urllib3 import HTTPHeaderDict

#: Characters that a secret needs, to be told from words that stand there anyway.
SHORTEST = 8


class Leaks:
    """Texts that must not be seen, in the ways in which they may be written."""

    def __init__(self) -> None:
        self._forms: set[str] = set()

    def know(self, secret: object) -> bool:
        """Look for a secret: a text, or a callable that returns one. False if it is none, or too short."""
        value = secret() if callable(secret) else secret
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        if not isinstance(text, str) or len(text) < SHORTEST:
            return False
        # A key in PEM may be shown line by line.
        lines = text.splitlines()[1:-1] if text.startswith("-----BEGIN") else [text]
        for line in lines:
            self._forms.update(_forms(line))
        return True

    def know_credentials(self, headers: HTTPHeaderDict, public: Sequence[object]) -> None:
        """Look for what a request carried in headers whose names say credentials, but for what is public."""
        for name, value in headers.items():
            if is_credential(name) and value not in public:
                for text in credentials_in(name, value):
                    self.know(text)

    def are_in(self, text: str) -> bool:
        """Whether one of them can be read in a text."""
        return any(form in text for form in self._forms)

    def in_error(self, error: BaseException) -> Iterator[str]:
        """Where they are in an exception, its causes and its traceback with local variables."""
        seen: list[BaseException] = []
        waiting: list[BaseException | None] = [error]
        while waiting:
            each = waiting.pop()
            if each is None or any(each is one for one in seen):
                continue
            seen.append(each)
            trace = traceback.TracebackException.from_exception(each, capture_locals=True)
            if self.are_in("".join(trace.format_exception_only())):
                yield f"the message of {type(each).__name__}"
            if not isinstance(each, BaseExceptionGroup) and self.are_in(repr(each)):
                yield f"the repr of {type(each).__name__}, which shows its args"
            for frame in trace.stack:
                file = Path(frame.filename)
                names = [name for name, shown in (frame.locals or {}).items() if self.are_in(shown)]
                if names and file.parent != Path(__file__).parent:
                    yield f'the local variable "{names[0]}" of {frame.name}() in {file.name}'
            waiting.append(each.__cause__ or (None if each.__suppress_context__ else each.__context__))
            if isinstance(each, BaseExceptionGroup):
                waiting += cast("BaseExceptionGroup[BaseException]", each).exceptions


def _forms(secret: str) -> Iterator[str]:
    """A secret as it is, percent-encoded, as Python writes it, and inside of something in base64."""
    yield from (secret, quote(secret, safe=""), quote_plus(secret), repr(str(secret))[1:-1])
    encoded = secret.encode()
    for offset, first in enumerate((0, 2, 3)):  # the characters that depend on what stands before it
        text = base64.b64encode(bytes(offset) + encoded)[first : (offset + len(encoded)) // 3 * 4].decode()
        yield from (text, text.replace("+", "-").replace("/", "_"))
