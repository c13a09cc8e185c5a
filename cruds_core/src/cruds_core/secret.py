"""Secrets: held so that nothing prints or pickles them, and masked where they were sent."""

from __future__ import annotations

import base64
import binascii
import json
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from urllib.parse import quote, quote_plus, unquote_plus

from .exceptions import AuthError, CrudsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

#: What stands where a secret stood.
MASK = "***"

#: What a scheme takes as a secret, the text or a callable that returns it, asked at each use.
SecretSource: TypeAlias = "str | Callable[[], str]"

# RFC 9110, section 5.5: a field value holds neither CR, LF nor NUL; other control characters are of no use.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

_SURROGATE = re.compile(r"[\ud800-\udfff]")

# Characters: to mask less would spoil the words of a message, and so tell the secret.
_SHORTEST = 6

# Lists in lists, in which secrets may be given; a list can hold itself.
_LEVELS = 4

# Fields whose values are credentials by their meaning, whoever set them.
_CREDENTIAL_NAME = re.compile(
    r"auth|cookie|token|secret|pass|pwd|sign|session|credential|jwt|private|access|(?<!idempotency-)key",
    re.IGNORECASE,
)

# Fields whose values may be shown whoever set them: a credential can have any other name.
_HARMLESS_NAME = re.compile(
    r"accept(-.*)?|content-.*|user-agent|range|if-.*|prefer|host|location|date|etag", re.IGNORECASE
)


class SecretText(str):
    """A secret as it is handed on: a str whose repr, as a traceback shows it, says nothing."""

    __slots__ = ()

    def __repr__(self) -> str:
        return MASK


class SecretBytes(bytes):
    """The same for bytes. In messages on types it goes by the name of what it was given as."""

    __slots__ = ()

    def __repr__(self) -> str:
        return MASK


SecretBytes.__name__ = "bytes"


class SecretDict(dict[str, Any]):
    """A dict that holds secrets: its repr shows nothing."""

    def __repr__(self) -> str:
        return MASK


SecretDict.__name__ = "dict"


class Secret:
    """A text that is not shown, or a callable that returns one.

    A callable is asked at each use, so a secret that changes is followed. A plain text is never
    pickled: a program that must send a scheme to another process gives an importable callable.

    Args:
        source: The text, or a callable without arguments that returns it.
        name: What the secret is called in messages: the parameter that took it.
        lines: Whether it may have several lines, as a key in PEM has.

    Raises:
        TypeError: ``source`` is neither a str nor callable, or ``name`` is not a str.
        ValueError: ``source`` is a text with control characters.
    """

    __slots__ = ("_lines", "_name", "_source")

    def __init__(self, source: SecretSource, name: str, *, lines: bool = False) -> None:
        if not isinstance(name, str):
            msg = f"name must be a str (got {type(name).__name__})"
            raise TypeError(msg)
        if not isinstance(source, str) and not callable(source):
            msg = f"{name} must be a str or a callable that returns one (got {type(source).__name__})"
            raise TypeError(msg)
        self._source = SecretText(plain(source)) if isinstance(source, str) else source
        self._name = name
        self._lines = lines
        if isinstance(source, str) and (fault := self._fault(source)):
            msg = f"{name} {fault}"
            raise ValueError(msg)

    @property
    def is_text(self) -> bool:
        """Whether it is a text, which is the same at each use, and no callable."""
        return isinstance(self._source, SecretText)

    def reveal(self) -> SecretText:
        """The secret itself.

        Raises:
            AuthError: The callable raised, or returned something that cannot be the secret.
        """
        if isinstance(self._source, SecretText):
            return self._source
        try:
            value = as_secret(self._source())
        except CrudsError:
            raise
        except Exception as error:
            msg = f"the callable given as {self._name} raised {type(error).__name__}"
            raise AuthError(msg) from error
        if value is None:
            msg = f"the callable given as {self._name} must return a str"
            raise AuthError(msg)
        if fault := self._fault(value):
            msg = f"what the callable given as {self._name} returned {fault}"
            raise AuthError(msg)
        return value

    def _fault(self, text: str) -> str | None:
        return fault_of("".join(text.splitlines()) if self._lines else text)

    def __repr__(self) -> str:
        return MASK

    def __reduce__(self) -> tuple[Any, ...]:
        # Another callable, such as a partial, would be pickled with the secret that it holds.
        if isinstance(self._source, SecretText) or not _is_importable(self._source):
            kind = "a plain text" if isinstance(self._source, SecretText) else "no importable function"
            msg = (
                f"{self._name} is {kind}, which is never pickled; give an importable callable that returns it"
                ", for example a function of a module that reads os.environ"
            )
            raise TypeError(msg)
        return _unpickle, (self._source, self._name, self._lines)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Secret:
        return self


def _unpickle(source: SecretSource, name: str, lines: bool) -> Secret:
    return Secret(source, name, lines=lines)


def _is_importable(source: Callable[[], str]) -> bool:
    found: object = sys.modules.get(getattr(source, "__module__", ""))
    for name in getattr(source, "__qualname__", "<none>").split("."):
        found = getattr(found, name, None)
    return found is source


def hidden(value: Any, levels: int = _LEVELS) -> Any:
    """The value, with each text in it a secret, which says nothing in a traceback with its locals."""
    match value:
        case str():
            return SecretText(plain(value))
        case bytes() | bytearray():
            return SecretBytes(value)
        case list() | tuple() if levels and type(cast("Any", value)) in (list, tuple):
            return [hidden(one, levels - 1) for one in cast("list[Any]", value)]
        case Mapping():
            return SecretDict(cast("Mapping[str, Any]", value))
        case _:
            return value


def as_secret(value: object) -> SecretText | None:
    """The value as a secret; None if it is no str."""
    return SecretText(plain(value)) if isinstance(value, str) else None


def plain(text: str) -> str:
    """The text as a str and no subclass: a member of an Enum may write its name in a text made of it."""
    return str.__str__(text)


def fault_of(text: str) -> str | None:
    """What keeps a text from being a credential, worded to follow its name; None if nothing does."""
    if text != text.strip() and _CONTROL.search(text):
        return "begins or ends with a line break or another control character; strip() it"
    if _CONTROL.search(text):
        return "holds a control character"
    if _SURROGATE.search(text):
        return "holds a lone surrogate: what it was read from is not UTF-8"
    return None


def is_credential(name: str) -> bool:
    """Whether a header or query parameter of this name carries credentials."""
    return _CREDENTIAL_NAME.search(name) is not None


def is_harmless(name: str) -> bool:
    """Whether a header of this name can be shown."""
    return _HARMLESS_NAME.fullmatch(name) is not None


def credentials_in(name: str, value: str) -> Iterator[str]:
    """The texts in a header that must not be shown."""
    yield value
    scheme, _, rest = value.partition(" ")
    if rest:
        yield rest
    if scheme.lower() == "basic":  # RFC 7617: a server may echo what it decoded
        try:
            pair = base64.b64decode(rest, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return
        yield pair
        yield pair.partition(":")[2]
    elif name.lower() == "cookie":
        for cookie in value.split(";"):
            yield cookie.partition("=")[2].strip()


def credentials_added(before: str, after: str) -> Iterator[str]:
    """The texts in the query of a URL that another URL does not have, or whose names say credentials."""
    known = [unquote_plus(pair) for pair in before.partition("?")[2].split("&")]
    for pair in after.partition("?")[2].split("&"):
        name, _, value = pair.partition("=")
        if value and (unquote_plus(pair) not in known or is_credential(name)):
            yield from (value, unquote_plus(value))


def mask(text: str, secrets: Iterable[str]) -> str:
    """The text with every one of the secrets replaced by ``***``, but for those too short to be one."""
    forms = {form for secret in secrets if len(secret) >= _SHORTEST for form in _as_echoed(secret)}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, MASK)
    return text


def _as_echoed(secret: str) -> Iterator[str]:
    """A secret as it is, and as a server may write it: percent-encoded, in HTML, in JSON."""
    import html  # late: it brings every entity there is

    yield secret
    odd = "surrogatepass"  # what it was read from may have held anything
    for encoded in (quote(secret, errors=odd), quote(secret, "", errors=odd), quote_plus(secret, errors=odd)):
        yield from (encoded, re.sub("%..", lambda code: code[0].lower(), encoded))
    escaped = html.escape(secret)
    yield from (escaped, html.escape(secret, quote=False))
    yield escaped.replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
    for ensure_ascii in (True, False):
        written = json.dumps(secret, ensure_ascii=ensure_ascii)[1:-1]
        yield from (written, written.replace("/", "\\/"))
