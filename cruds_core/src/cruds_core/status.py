"""An answer whose status is an error, as an exception that says what the server said."""

from __future__ import annotations

import http
import json
import re
from contextlib import suppress
from encodings import normalize_encoding
from encodings.aliases import aliases
from typing import TYPE_CHECKING, Any

from .exceptions import ClientError, ServerError, StatusError
from .secret import credentials_added, credentials_in, is_harmless, mask

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .request import Request
    from .response import Response

# The names of the schemes in a WWW-Authenticate: each stands before a parameter, another name or the end.
_CHALLENGE = re.compile(r"(?:^|,)\s*([A-Za-z][A-Za-z0-9-]*)(?=\s+[A-Za-z0-9]|\s*(?:,|$))")

# One without an end takes the rest: to look for an end from each of its quotes would take half a minute.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)

# The schemes of IANA's registry that clients use (RFC 9110, section 16.4.1).
_SCHEMES = ("basic", "bearer", "digest", "dpop", "hoba", "mutual", "negotiate", "oauth", "vapid")

_MEMBERS = ("type", "title", "status", "detail", "instance")  # RFC 9457, section 3.1

# The charsets that a server may name. Python keeps each name that it was ever asked for, known or not; and to
# decode punycode, which has no alias, takes as long as the square of what there is.
_CHARSETS = frozenset({*aliases, *aliases.values(), "koi8_u"})

_SHOWN = 1024  # characters of the content in a message
_SEARCHED = 1 << 16  # bytes of it that are searched for secrets: many more than are shown


def status_error(
    response: Response,
    request: Request,
    sent: Request,
    call: str,
    secrets: Iterable[str],
    *,
    left_origin: bool,
) -> StatusError:
    """The error to raise.

    Args:
        response: The answer.
        request: The request before it was authenticated.
        sent: The request as it was sent: the headers that differ are secret.
        call: What it is called in the message.
        secrets: What else must not be shown.
        left_origin: Whether a redirect led to another origin, which is not given the credentials.
    """
    cls = ClientError if response.status < 500 else ServerError if response.status < 600 else StatusError
    message = f"{call}: {response.status} {phrase(response.status)}"
    known = [*secrets, *credentials_sent(sent, request)]
    if detail := _detail(response, known):
        message += f": {detail}"
    if response.status == 401:
        message += mask(_who_asked(response, sent), known)
    if response.attempts > 1:
        message += f" ({response.attempts} attempts)"
    if response.retry_after is not None:
        message += f"; the server asks to wait {response.retry_after:g} s"
    if left_origin and response.status in (401, 403):
        message += f"; a redirect led to {request.origin}, which gets no credentials: use it as host"
    return cls(message, response=response)


def _who_asked(response: Response, sent: Request) -> str:
    """What a 401 should say beside the words of the server: what was sent, and what is wanted."""
    scheme, _, credentials = sent.headers.get("Authorization", "").partition(" ")
    unquoted = _QUOTED.sub('""', response.headers.get("WWW-Authenticate", ""))
    wanted = dict.fromkeys(_CHALLENGE.findall(unquoted))
    if not scheme:
        told = " (sent without Authorization"
    else:  # another word may be the secret itself
        told = f" (sent with {scheme if credentials and scheme.lower() in _SCHEMES else 'other'} credentials"
    return told + (f"; the server asks for {', '.join(wanted)})" if wanted else ")")


def phrase(status: int) -> str:
    """The reason phrase of a status (RFC 9110, section 15)."""
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "(not a registered status)"


def _detail(response: Response, secrets: Iterable[str]) -> str:
    said = list[str]()
    with suppress(RecursionError):  # orjson reads deeper than Python writes
        said = _words_of(response.problem or {}, response.status)
    return showable(": ".join(said) or text_of(response), secrets)


def _words_of(problem: dict[str, Any], status: int) -> list[str]:
    said = [str(problem[member]) for member in ("title", "detail") if problem.get(member)]
    if said and said[0] == phrase(status):  # RFC 9457, section 3.1.3: for "about:blank"
        del said[0]
    more = {name: value for name, value in problem.items() if name not in _MEMBERS}
    if more and said:  # RFC 9457, section 3.2: an extension, such as the faults of each field
        said.append(json.dumps(more, ensure_ascii=False))
    return said


def showable(text: str, secrets: Iterable[str]) -> str:
    """What a server said, as it may stand in a message: one line, not long, with the secrets masked."""
    text = mask(text, secrets)
    text = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * _SHOWN]).split())
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def text_of(response: Response) -> str:
    """The beginning of an answer's content as text, whatever it is."""
    named = re.search(r'charset="?([\w.:-]+)', response.headers.get("Content-Type", ""))
    charset = normalize_encoding(named[1]).lower() if named else ""
    content = response.content[:_SEARCHED]
    with suppress(LookupError, UnicodeError):  # some of them are not of text
        if charset in _CHARSETS and (text := content.decode(charset, "replace")):
            return text
    return content.decode("utf-8", "replace")


def credentials_sent(sent: Request, request: Request) -> Iterator[str]:
    """What may be a credential in a request, whoever put it there."""
    for name, value in sent.headers.items():
        if not is_harmless(name):
            yield from credentials_in(name, value)
    yield from credentials_added(request.url, sent.url)
