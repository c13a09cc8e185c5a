"""The challenges of a WWW-Authenticate header."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# RFC 9110, section 5.6.4: no control character but a tab. What is sent back could not be sent with one.
_QUOTED = r'"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[^\x00-\x08\x0a-\x1f\x7f])*"'

# RFC 9110, section 11.6.1: auth-param = token BWS "=" BWS ( token / quoted-string )
_PARAMETER = re.compile(rf"({_NAME})[ \t]*=[ \t]*({_NAME}|{_QUOTED})(?=[ \t]*(?:,|\Z))")
# challenge = auth-scheme [ 1*SP ( token68 / #auth-param ) ]
_SCHEME = re.compile(rf"({_NAME})(?:[ \t]+|(?=,|\Z))")
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|\Z))")
_SEPARATOR = re.compile(r"[ \t,]*")

# Characters that are read, as many as a line may have: 6 MB of challenges, in many lines, take half a minute.
_LONGEST = 1 << 16


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge.

    Attributes:
        scheme: The name of the scheme, in small letters.
        parameters: Its parameters, by names in small letters, with the quotes of their values taken off.
    """

    scheme: str
    parameters: dict[str, str]


def parse_challenges(text: str) -> list[Challenge]:
    """The challenges in the values of WWW-Authenticate, joined by commas (RFC 9110, section 11.6.1).

    What follows the first thing that is not a challenge is left out: there is no telling where the next
    one would begin. So is what follows 64 KiB.
    """
    text = re.sub(r"\r?\n[ \t]+", " ", text[:_LONGEST])  # RFC 9112, section 5.2: a folded line
    challenges: list[Challenge] = []
    position = _end(_SEPARATOR, text, 0)
    while position < len(text):
        if challenges and (parameter := _PARAMETER.match(text, position)):
            name, value = parameter.groups()
            challenges[-1].parameters.setdefault(name.lower(), _unquoted(value))
            position = parameter.end()
        elif scheme := _SCHEME.match(text, position):
            challenges.append(Challenge(scheme[1].lower(), {}))
            position = _end(_TOKEN68, text, scheme.end())
        else:
            break
        position = _end(_SEPARATOR, text, position)
    return challenges


def _end(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position


def _unquoted(value: str) -> str:
    # RFC 9110, section 5.6.4: a backslash quotes the character after it.
    return re.sub(r"\\(.)", r"\1", value[1:-1], flags=re.DOTALL) if value.startswith('"') else value
